package sdk

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"callgate/test/upstream"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/shared"
	"google.golang.org/genai"
)

// backs are models behind the gate, and the dialects in which their vendors are asked.
var backs = map[string]string{
	"openai/gpt": "chat", "lab/qwen": "chat", "anthropic/claude": "messages", "gemini/gemini-2.5-flash": "gemini", "bedrock/anthropic.claude-4:0": "converse", "cohere/command-a": "cohere",
}

// said is what a model said: a text, and calls with their arguments.
type said struct {
	text  string
	calls []call
	in    int64 // tokens
	out   int64
}

type call struct{ id, name, args string }

// A conversation is one of an SDK with a model.
type conversation interface {
	// say asks the model: with a question first, and then with the results of the calls
	// that it asked for.
	say(t *testing.T, results ...string) said
}

var city = map[string]any{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []string{"city"}}

const (
	brief    = "be brief"
	question = "how is it in Bern and Basel?"
)

// twice is a model that asks for the weather of two cities at once, and then says what it
// was told; without tools it says a city as JSON.
func twice(turn upstream.Turn) upstream.Say {
	tool, ok := turn.Find("weather")
	switch {
	case ok && len(turn.Results) == 0:
		return upstream.Say{Text: "I shall look.", Calls: []upstream.Call{{Tool: tool, Args: `{"city":"Bern"}`}, {Tool: tool, Args: `{"city":"Basel"}`}}}
	case ok:
		var all []string
		for _, r := range turn.Results {
			all = append(all, r.Text)
		}
		return upstream.Say{Text: "I was told: " + strings.Join(all, ", ")}
	}
	return upstream.Say{Text: `{"city":"Bern"}`}
}

// TestEachSDKWithEachVendor has the vendors' own SDKs talk with models of all of them: a
// turn with two calls at once, their results, and a reply in a form that is asked for;
// plain and streamed.
func TestEachSDKWithEachVendor(t *testing.T) {
	g := newGate(t, twice)
	for name, begin := range map[string]func(t *testing.T, g *gate, model string, streamed, form bool) conversation{
		"openai-go": beginOpenAI, "anthropic-sdk-go": beginAnthropic, "go-genai": beginGoogle,
	} {
		for model, dialect := range backs {
			for _, streamed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s with %s, streamed %v", name, model, streamed), func(t *testing.T) {
					before := len(g.model.Turns())
					c := begin(t, g, model, streamed, false)
					first := c.say(t)
					if first.text != "I shall look." || len(first.calls) != 2 || first.calls[0].name != "weather" || compact(t, first.calls[0].args) != `{"city":"Bern"}` || compact(t, first.calls[1].args) != `{"city":"Basel"}` {
						t.Fatalf("it said %+v", first)
					}
					if first.in == 0 || first.out == 0 {
						t.Errorf("it took %d and %d tokens", first.in, first.out)
					}
					second := c.say(t, "sunny", "rain")
					if !strings.HasPrefix(second.text, "I was told: ") || strings.Index(second.text, "sunny") > strings.Index(second.text, "rain") || !strings.Contains(second.text, "rain") || len(second.calls) != 0 {
						t.Errorf("it said %+v", second)
					}
					for _, turn := range g.model.Turns()[before:] {
						body := string(turn.Body)
						if turn.Dialect != dialect || !strings.Contains(body, brief) || !strings.Contains(body, question) || !strings.Contains(body, `"required"`) {
							t.Errorf("the vendor was asked in %s: %s", turn.Dialect, body)
						}
					}
					before = len(g.model.Turns())
					formed := begin(t, g, model, streamed, true).say(t)
					if compact(t, formed.text) != `{"city":"Bern"}` {
						t.Errorf("in a form it said %+v", formed)
					}
					asked := string(g.model.Turns()[before].Body)
					if has := strings.Contains(asked, `"required"`); has != (dialect != "converse") { // which has no forms: that is told as lost
						t.Errorf("the vendor was asked for a form: %v: %s", has, asked)
					}
				})
			}
		}
	}
}

func compact(t *testing.T, doc string) string {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(doc), &v); err != nil {
		t.Fatalf("%v: %q", err, doc)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

type openAIChat struct {
	client   openai.Client
	params   openai.ChatCompletionNewParams
	streamed bool
	last     []call
}

func beginOpenAI(_ *testing.T, g *gate, model string, streamed, form bool) conversation {
	c := &openAIChat{client: g.openai(), streamed: streamed, params: openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.SystemMessage(brief), openai.UserMessage(question)}}}
	if form {
		c.params.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "city", Schema: city}}
	} else {
		c.params.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: "weather", Parameters: city})}
	}
	return c
}

func (c *openAIChat) say(t *testing.T, results ...string) said {
	for i, r := range results {
		c.params.Messages = append(c.params.Messages, openai.ToolMessage(r, c.last[i].id))
	}
	var reply *openai.ChatCompletion
	if c.streamed {
		c.params.StreamOptions.IncludeUsage = openai.Bool(true)
		var all openai.ChatCompletionAccumulator
		s := c.client.Chat.Completions.NewStreaming(within(t), c.params)
		for s.Next() {
			if !all.AddChunk(s.Current()) {
				t.Fatalf("it does not take %s", s.Current().RawJSON())
			}
		}
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
		reply = &all.ChatCompletion
	} else {
		var err error
		if reply, err = c.client.Chat.Completions.New(within(t), c.params); err != nil {
			t.Fatal(err)
		}
	}
	m := reply.Choices[0].Message
	out := said{text: m.Content, in: reply.Usage.PromptTokens, out: reply.Usage.CompletionTokens}
	for _, k := range m.ToolCalls {
		out.calls = append(out.calls, call{k.ID, k.Function.Name, k.Function.Arguments})
	}
	if want := map[bool]string{true: "tool_calls", false: "stop"}[len(out.calls) > 0]; reply.Choices[0].FinishReason != want {
		t.Errorf("it ends with %s", reply.Choices[0].FinishReason)
	}
	c.params.Messages, c.last = append(c.params.Messages, m.ToParam()), out.calls
	return out
}

type anthropicMessages struct {
	client   anthropic.Client
	params   anthropic.MessageNewParams
	streamed bool
	last     []call
}

func beginAnthropic(_ *testing.T, g *gate, model string, streamed, form bool) conversation {
	c := &anthropicMessages{
		client: anthropic.NewClient(anthropicoption.WithBaseURL(g.url), anthropicoption.WithAPIKey(g.token), anthropicoption.WithMaxRetries(0)), streamed: streamed,
		params: anthropic.MessageNewParams{Model: anthropic.Model(model), MaxTokens: 1024, System: []anthropic.TextBlockParam{{Text: brief}}, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(question))}},
	}
	if form {
		c.params.OutputConfig = anthropic.OutputConfigParam{Format: anthropic.JSONOutputFormatParam{Schema: city}}
	} else {
		c.params.Tools = []anthropic.ToolUnionParam{{OfTool: &anthropic.ToolParam{Name: "weather", InputSchema: anthropic.ToolInputSchemaParam{Properties: city["properties"], Required: []string{"city"}}}}}
	}
	return c
}

func (c *anthropicMessages) say(t *testing.T, results ...string) said {
	var blocks []anthropic.ContentBlockParamUnion
	for i, r := range results {
		blocks = append(blocks, anthropic.NewToolResultBlock(c.last[i].id, r, false))
	}
	if blocks != nil {
		c.params.Messages = append(c.params.Messages, anthropic.NewUserMessage(blocks...))
	}
	var reply *anthropic.Message
	if c.streamed {
		reply = new(anthropic.Message)
		s := c.client.Messages.NewStreaming(within(t), c.params)
		for s.Next() {
			if err := reply.Accumulate(s.Current()); err != nil {
				t.Fatal(err)
			}
		}
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
	} else {
		var err error
		if reply, err = c.client.Messages.New(within(t), c.params); err != nil {
			t.Fatal(err)
		}
	}
	out := said{in: reply.Usage.InputTokens + reply.Usage.CacheReadInputTokens, out: reply.Usage.OutputTokens}
	for _, b := range reply.Content {
		switch b.Type {
		case "text":
			out.text += b.Text
		case "tool_use":
			out.calls = append(out.calls, call{b.ID, b.Name, string(b.Input)})
		}
	}
	if want := map[bool]anthropic.StopReason{true: "tool_use", false: "end_turn"}[len(out.calls) > 0]; reply.StopReason != want {
		t.Errorf("it ends with %s", reply.StopReason)
	}
	c.params.Messages, c.last = append(c.params.Messages, reply.ToParam()), out.calls
	return out
}

type googleContents struct {
	client   *genai.Client
	model    string
	contents []*genai.Content
	config   *genai.GenerateContentConfig
	streamed bool
	last     []call
}

func beginGoogle(t *testing.T, g *gate, model string, streamed, form bool) conversation {
	client, err := genai.NewClient(within(t), &genai.ClientConfig{APIKey: g.token, Backend: genai.BackendGeminiAPI, HTTPOptions: genai.HTTPOptions{BaseURL: g.url}})
	if err != nil {
		t.Fatal(err)
	}
	c := &googleContents{client: client, model: model, streamed: streamed, contents: genai.Text(question), config: &genai.GenerateContentConfig{SystemInstruction: genai.NewContentFromText(brief, genai.RoleUser)}}
	if form {
		c.config.ResponseMIMEType, c.config.ResponseJsonSchema = "application/json", city
	} else {
		c.config.Tools = []*genai.Tool{{FunctionDeclarations: []*genai.FunctionDeclaration{{Name: "weather", ParametersJsonSchema: city}}}}
	}
	return c
}

func (c *googleContents) say(t *testing.T, results ...string) said {
	var parts []*genai.Part
	for i, r := range results {
		part := genai.NewPartFromFunctionResponse(c.last[i].name, map[string]any{"output": r})
		part.FunctionResponse.ID = c.last[i].id
		parts = append(parts, part)
	}
	if parts != nil {
		c.contents = append(c.contents, genai.NewContentFromParts(parts, genai.RoleUser))
	}
	var out said
	mine := &genai.Content{Role: genai.RoleModel}
	ended := genai.FinishReason("")
	take := func(r *genai.GenerateContentResponse) {
		if r.UsageMetadata != nil {
			out.in, out.out = int64(r.UsageMetadata.PromptTokenCount), int64(r.UsageMetadata.CandidatesTokenCount)
		}
		for _, candidate := range r.Candidates {
			if candidate.FinishReason != "" {
				ended = candidate.FinishReason
			}
			if candidate.Content == nil {
				continue
			}
			for _, p := range candidate.Content.Parts {
				mine.Parts = append(mine.Parts, p)
				out.text += p.Text
				if p.FunctionCall != nil {
					args, err := json.Marshal(p.FunctionCall.Args)
					if err != nil {
						t.Fatal(err)
					}
					out.calls = append(out.calls, call{p.FunctionCall.ID, p.FunctionCall.Name, string(args)})
				}
			}
		}
	}
	if c.streamed {
		for r, err := range c.client.Models.GenerateContentStream(within(t), c.model, c.contents, c.config) {
			if err != nil {
				t.Fatal(err)
			}
			take(r)
		}
	} else {
		r, err := c.client.Models.GenerateContent(within(t), c.model, c.contents, c.config)
		if err != nil {
			t.Fatal(err)
		}
		take(r)
	}
	if ended != genai.FinishReasonStop {
		t.Errorf("it ends with %s", ended)
	}
	c.contents, c.last = append(c.contents, mine), out.calls
	return out
}
