package dialect

import (
	"slices"
	"strings"
)

// A Loss is something that a request or a reply says and the language that it was
// written in cannot.
type Loss struct {
	Path string // in the document that it came in, with * for any index: "tools.*.function.strict"
	Why  string // in a few words: "gemini has no such thing"
}

// Losses are all of a translation, each path once, in order.
type Losses []Loss

// Add notes a loss.
func (l *Losses) Add(path, why string) {
	if !slices.ContainsFunc(*l, func(o Loss) bool { return o.Path == path }) {
		*l = append(*l, Loss{path, why})
	}
}

// String is the paths, with ", " between them: what stands in Callgate-Lossy.
func (l Losses) String() string {
	paths := make([]string, len(l))
	for i, loss := range l {
		paths[i] = loss.Path
	}
	slices.Sort(paths)
	return strings.Join(paths, ", ")
}

// in is l by the paths of the dialect that the request came in, where writers note them
// by those of chat and messages.
func (l Losses) in(from Name) Losses {
	if from == Gemini {
		return l.inGemini()
	}
	if from != Responses {
		return l
	}
	var own Losses
	for _, loss := range l {
		path := loss.Path
		if named, ok := responsesPaths[path]; ok {
			path = named
		} else if rest, ok := strings.CutPrefix(path, "messages.*.content.tool_result.content"); ok {
			path = "input.*.output" + rest
		} else if rest, ok := strings.CutPrefix(path, "messages.*"); ok {
			path = "input.*" + rest
		}
		own.Add(path, loss.Why)
	}
	return own
}

// responsesPaths are what responses calls otherwise.
var responsesPaths = map[string]string{
	"messages.*.content.thinking": "input.*.reasoning", "messages.*.content.reasoning": "input.*.reasoning", "messages.*.content.file": "input.*.content.input_file",
	"messages.*.content.image.file": "input.*.content.input_image", "messages.*.content.document": "input.*.content.input_file", "messages.*.content.image_url.detail": "input.*.content.input_image.detail",
	"response_format.json_object": "text.format.json_object", "reasoning_effort": "reasoning.effort", "verbosity": "text.verbosity", "max_tokens": "max_output_tokens",
}

// inGemini is l by the paths of a request to Google.
func (l Losses) inGemini() Losses {
	var own Losses
	for _, loss := range l {
		path := loss.Path
		if named, ok := geminiPaths[path]; ok {
			path = named
		} else if rest, ok := strings.CutPrefix(path, "messages.*.content.tool_result.content"); ok {
			path = "contents.*.parts.functionResponse.parts" + rest
		} else if rest, ok := strings.CutPrefix(path, "messages.*.content"); ok {
			path = "contents.*.parts" + rest
		}
		own.Add(path, loss.Why)
	}
	return own
}

// geminiPaths are what Google calls otherwise.
var geminiPaths = map[string]string{
	"messages.*.content.thinking": "contents.*.parts.thoughtSignature", "messages.*.content.reasoning": "contents.*.parts.thoughtSignature",
	"messages.*.content.file": "contents.*.parts.fileData", "messages.*.content.image.file": "contents.*.parts.fileData", "messages.*.content.document": "contents.*.parts.fileData",
	"messages.*.content.input_audio": "contents.*.parts.inlineData", "messages.*.content.tool_result.is_error": "contents.*.parts.functionResponse.response.error",
	"messages.*.content.media":    "contents.*.parts.inlineData",
	"response_format.json_object": "generationConfig.responseMimeType", "reasoning_effort": "generationConfig.thinkingConfig.thinkingLevel",
	"thinking.budget_tokens": "generationConfig.thinkingConfig.thinkingBudget", "max_tokens": "generationConfig.maxOutputTokens", "temperature": "generationConfig.temperature",
	"top_k": "generationConfig.topK", "seed": "generationConfig.seed", "n": "generationConfig.candidateCount", "stop": "generationConfig.stopSequences",
	"presence_penalty": "generationConfig.presencePenalty", "frequency_penalty": "generationConfig.frequencyPenalty",
}
