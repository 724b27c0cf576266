package upstream

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"
)

// googlePath is what a path of Google's generateContent asks for, and whether it is one.
func googlePath(path string) (model string, streams, ok bool) {
	rest, ok := strings.CutPrefix(path, "/v1beta/models/")
	model, verb, _ := strings.Cut(rest, ":")
	return model, verb == "streamGenerateContent", ok && (verb == "generateContent" || verb == "streamGenerateContent")
}

// readGoogle finds the tools and results of a request of Google's.
func (t *Turn) readGoogle() {
	doc := gjson.ParseBytes(t.Body)
	for _, tool := range doc.Get("tools.#.functionDeclarations|@flatten").Array() {
		t.Tools = append(t.Tools, Tool{"", tool.Get("name").Str})
	}
	for _, part := range doc.Get("contents.#.parts|@flatten").Array() {
		if r := part.Get("functionResponse"); r.Exists() {
			t.Results = append(t.Results, Result{r.Get("name").Str, r.Get("response").Raw})
		}
	}
}

func (s *sse) google(model string, n int, say Say) {
	pieces := []string{}
	if say.Text != "" {
		for _, piece := range slices(say.Text) {
			pieces = append(pieces, `{"text":`+quote(piece)+`}`)
		}
	}
	for _, c := range say.Calls {
		pieces = append(pieces, googleCall(c))
	}
	for i, piece := range pieces {
		finish := ""
		if i == len(pieces)-1 {
			finish = `,"finishReason":"STOP"`
		}
		s.send("", googleReply(model, n, piece, finish))
	}
}

func googleCall(c Call) string {
	return fmt.Sprintf(`{"functionCall":{"name":%s,"args":%s},"thoughtSignature":"c2lnbmVk"}`, quote(c.Tool.Name), c.Args)
}

func googleReply(model string, n int, parts, finish string) string {
	return fmt.Sprintf(`{"candidates":[{"content":{"role":"model","parts":[%s]}%s,"index":0}],"usageMetadata":{"promptTokenCount":150,"cachedContentTokenCount":30,"candidatesTokenCount":35,"thoughtsTokenCount":5,"totalTokenCount":190},"modelVersion":%s,"responseId":"resp-%d"}`,
		parts, finish, quote(model), n)
}

func googleWhole(model string, n int, say Say) string {
	var parts []string
	if say.Text != "" {
		parts = append(parts, `{"text":`+quote(say.Text)+`}`)
	}
	for _, c := range say.Calls {
		parts = append(parts, googleCall(c))
	}
	return googleReply(model, n, strings.Join(parts, ","), `,"finishReason":"STOP"`)
}

func (m *Model) google(w http.ResponseWriter, turn Turn, n int, streams bool, say Say) {
	if !streams {
		writeJSON(w, googleWhole(turn.Model, n, say))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	(&sse{w: w}).google(turn.Model, n, say)
}
