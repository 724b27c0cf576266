package providers_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"callgate/firewall"
	"callgate/providers"
)

// lenient is a mask that lets pass what it cannot read.
type lenient struct{ mask }

func (lenient) Media(*firewall.Call) firewall.Decision {
	return firewall.Decision{Effect: firewall.Allow}
}

// A field is one part of a form; one with a file name is a file.
type field struct{ name, filename, kind, content string }

// formOf is a form and its Content-Type.
func formOf(t testing.TB, fields ...field) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range fields {
		h := make(textproto.MIMEHeader)
		h.Set("Content-Disposition", `form-data; name="`+f.name+`"`)
		if f.filename != "" {
			h.Set("Content-Disposition", `form-data; name="`+f.name+`"; filename="`+f.filename+`"`)
			h.Set("Content-Type", f.kind)
		}
		p, err := w.CreatePart(h)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(p, f.content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

// sent tells a request that arrived upstream in short: its path, and its body, or the
// parts of its form in order.
func sent(t testing.TB, r *http.Request) string {
	t.Helper()
	s := r.URL.Path
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		return s + " " + string(b)
	}
	m, err := r.MultipartReader()
	if err != nil {
		t.Error(err)
		return s
	}
	for {
		p, err := m.NextPart()
		if err == io.EOF {
			return s
		}
		if err != nil {
			t.Error(err)
			return s
		}
		b, _ := io.ReadAll(p)
		s += fmt.Sprintf(" %s=%s", p.FormName(), b)
		if p.FileName() != "" {
			s += fmt.Sprintf("(%s %s)", p.FileName(), p.Header.Get("Content-Type"))
		}
	}
}

const (
	sound = "ID3\x04\x00\xff\xfb\x90 no text, word for word: sesame"
	heard = `{"text":"open sesame","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":5,"total_tokens":19}}`
	drawn = `{"created":1,"data":[{"b64_json":"AAECAw==","revised_prompt":"a sesame seed"}],"usage":{"input_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40},"output_tokens":4160,"total_tokens":4210}}`
)

func sse(docs ...string) string {
	var b strings.Builder
	for _, doc := range docs {
		kind, _, _ := strings.Cut(strings.TrimPrefix(doc, `{"type":"`), `"`)
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", kind, doc)
	}
	return b.String()
}

// TestEveryMediaEndpointPassesTheGate asks each endpoint for the same thing: what it is
// on record as, what goes up and what comes down with a guard on both ways.
func TestEveryMediaEndpointPassesTheGate(t *testing.T) {
	audioForm := func(more ...field) []field {
		return append([]field{{"file", "talk.mp3", "audio/mpeg", sound}, {"model", "", "", "openai/gpt"}, {"prompt", "", "", "about sesame"}}, more...)
	}
	picture := field{"image[]", "a.png", "image/png", "\x89PNG\x00sesame"}
	partial := `{"type":"image_generation.partial_image","b64_json":"AA==","partial_image_index":0,"size":"1024x1024"}`
	completed := `{"type":"image_generation.completed","b64_json":"AAEC","size":"1024x1024","usage":{"input_tokens":7,"output_tokens":3,"total_tokens":10}}`
	speech := sse(`{"type":"speech.audio.delta","audio":"`+base64.StdEncoding.EncodeToString([]byte(sound))+`"}`, `{"type":"speech.audio.done","usage":{"input_tokens":7,"output_tokens":3,"total_tokens":10}}`)
	for _, tt := range []struct {
		name, path, body string
		form             []field
		up               http.HandlerFunc
		sent, kind, down string
		method           string
		in, out          int64 // usage
		unread, unheard  int64
	}{
		{name: "moderations", path: "/v1/moderations", body: `{"model":"gpt","input":"sesame"}`,
			up:   answer(200, "application/json", `{"id":"modr-1","model":"gpt","results":[{"flagged":false,"categories":{"hate":false},"category_scores":{"hate":0.1}}]}`),
			sent: `/v1/moderations {"model":"gpt","input":"[masked]"}`, kind: "application/json",
			down: `{"id":"modr-1","model":"gpt","results":[{"flagged":false,"categories":{"hate":false},"category_scores":{"hate":0.1}}]}`, method: "moderations"},
		{name: "texts that go on", path: "/v1/completions", body: `{"model":"gpt","prompt":"sesame"}`,
			up:   answer(200, "application/json", `{"choices":[{"index":0,"text":"open sesame"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`),
			sent: `/v1/completions {"model":"gpt","prompt":"[masked]"}`, kind: "application/json",
			down: `{"choices":[{"index":0,"text":"open [masked]"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`, method: "completions", in: 7, out: 3},
		{name: "texts that go on, streamed", path: "/v1/completions", body: `{"model":"gpt","stream":true}`,
			up:   events(`data: {"choices":[{"text":"open ses","index":0}]}`+"\n\n", `data: {"choices":[{"text":"ame","index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`+"\n\n", done),
			sent: `/v1/completions {"model":"gpt","stream":true}`, kind: "text/event-stream; charset=utf-8",
			down: `data: {"choices":[{"text":"open [masked]","index":0}]}` + "\n\n" + `data: {"choices":[{"text":"","index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}` + "\n\n" + done, method: "completions", in: 7, out: 3},
		{name: "counts", path: "/v1/responses/input_tokens", body: `{"model":"gpt","input":"sesame"}`,
			up:   answer(200, "application/json", `{"object":"response.input_tokens","input_tokens":11}`),
			sent: `/v1/responses/input_tokens {"model":"gpt","input":"[masked]"}`, kind: "application/json", down: `{"object":"response.input_tokens","input_tokens":11}`, method: "input_tokens"},
		{name: "what is made shorter", path: "/v1/responses/compact", body: `{"model":"gpt","input":"sesame"}`,
			up:   answer(200, "application/json", `{"id":"resp_1","object":"response.compaction","output":[{"type":"message","content":[{"type":"output_text","text":"sesame"}]},{"type":"compaction","encrypted_content":"xx"}],"usage":{"input_tokens":7,"output_tokens":3}}`),
			sent: `/v1/responses/compact {"model":"gpt","input":"[masked]"}`, kind: "application/json",
			down: `{"id":"resp_1","object":"response.compaction","output":[{"type":"message","content":[{"type":"output_text","text":"[masked]"}]},{"type":"compaction","encrypted_content":"xx"}],"usage":{"input_tokens":7,"output_tokens":3}}`, method: "compact", in: 7, out: 3},
		{name: "pictures", path: "/v1/images/generations", body: `{"model":"gpt","prompt":"sesame"}`, up: answer(200, "application/json", drawn),
			sent: `/v1/images/generations {"model":"gpt","prompt":"[masked]"}`, kind: "application/json",
			down: strings.Replace(drawn, "sesame", "[masked]", 1), method: "images", in: 50, out: 4160},
		{name: "pictures, streamed", path: "/v1/images/generations", body: `{"model":"gpt","prompt":"x","stream":true,"partial_images":1}`, up: events(sse(partial), sse(completed)),
			sent: `/v1/images/generations {"model":"gpt","prompt":"x","stream":true,"partial_images":1}`, kind: "text/event-stream; charset=utf-8",
			down: sse(partial, completed), method: "images", in: 7, out: 3},
		{name: "pictures that are changed", path: "/v1/images/edits", form: []field{{"model", "", "", "openai/gpt"}, picture, picture, {"prompt", "", "", "sesame"}},
			up: answer(200, "application/json", drawn), sent: "/v1/images/edits model=gpt image[]=" + picture.content + "(a.png image/png) image[]=" + picture.content + "(a.png image/png) prompt=[masked]", kind: "application/json",
			down: strings.Replace(drawn, "sesame", "[masked]", 1), method: "image_edits", in: 50, out: 4160, unread: 22},
		{name: "pictures that are varied", path: "/v1/images/variations", form: []field{{"image", "a sesame.png", "image/png", "\x89PNG"}, {"model", "", "", "gpt"}},
			up: answer(200, "application/json", drawn), sent: "/v1/images/variations image=\x89PNG(a [masked].png image/png) model=gpt", kind: "application/json",
			down: strings.Replace(drawn, "sesame", "[masked]", 1), method: "image_variations", in: 50, out: 4160, unread: 4},
		{name: "speech", path: "/v1/audio/speech", body: `{"model":"gpt","input":"sesame","voice":"a"}`, up: answer(200, "audio/mpeg", sound),
			sent: `/v1/audio/speech {"model":"gpt","input":"[masked]","voice":"a"}`, kind: "audio/mpeg", down: sound, method: "speech", unheard: int64(len(sound))},
		{name: "speech, in events", path: "/v1/audio/speech", body: `{"model":"gpt","input":"x","voice":"a","stream_format":"sse"}`, up: events(speech),
			sent: `/v1/audio/speech {"model":"gpt","input":"x","voice":"a","stream_format":"sse"}`, kind: "text/event-stream; charset=utf-8", down: speech, method: "speech", in: 7, out: 3},
		{name: "what was said", path: "/v1/audio/transcriptions", form: audioForm(field{"timestamp_granularities[]", "", "", "word"}, field{"timestamp_granularities[]", "", "", "segment"}), up: answer(200, "application/json", heard),
			sent: "/v1/audio/transcriptions file=" + sound + "(talk.mp3 audio/mpeg) model=gpt prompt=about [masked] timestamp_granularities[]=word timestamp_granularities[]=segment", kind: "application/json",
			down: strings.Replace(heard, "sesame", "[masked]", 1), method: "transcriptions", in: 14, out: 5, unread: int64(len(sound))},
		{name: "what was said, as a text", path: "/v1/audio/transcriptions", form: audioForm(field{"response_format", "", "", "srt"}), up: answer(200, "text/plain; charset=utf-8", "1\n00:00:00,000 --> 00:00:02,000\nopen \"sesame\"\n"),
			sent: "/v1/audio/transcriptions file=" + sound + "(talk.mp3 audio/mpeg) model=gpt prompt=about [masked] response_format=srt", kind: "text/plain; charset=utf-8",
			down: "1\n00:00:00,000 --> 00:00:02,000\nopen \"[masked]\"\n", method: "transcriptions", unread: int64(len(sound))},
		{name: "what was said, streamed", path: "/v1/audio/transcriptions", form: audioForm(field{"stream", "", "", "true"}),
			up:   events(sse(`{"type":"transcript.text.delta","delta":"open ses"}`), sse(`{"type":"transcript.text.delta","delta":"ame"}`), sse(`{"type":"transcript.text.done","text":"open sesame","usage":{"input_tokens":14,"input_token_details":{"audio_tokens":14},"output_tokens":5}}`)),
			sent: "/v1/audio/transcriptions file=" + sound + "(talk.mp3 audio/mpeg) model=gpt prompt=about [masked] stream=true", kind: "text/event-stream; charset=utf-8",
			down:   sse(`{"type":"transcript.text.delta","delta":"open [masked]"}`, `{"type":"transcript.text.delta","delta":""}`, `{"type":"transcript.text.done","text":"open [masked]","usage":{"input_tokens":14,"input_token_details":{"audio_tokens":14},"output_tokens":5}}`),
			method: "transcriptions", in: 14, out: 5, unread: int64(len(sound))},
		{name: "what was said, in English", path: "/v1/audio/translations", form: audioForm(), up: answer(200, "application/json", heard),
			sent: "/v1/audio/translations file=" + sound + "(talk.mp3 audio/mpeg) model=gpt prompt=about [masked]", kind: "application/json",
			down: strings.Replace(heard, "sesame", "[masked]", 1), method: "translations", in: 14, out: 5, unread: int64(len(sound))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got, key string
			h := newHouse(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got, key = sent(t, r), r.Header.Get("Authorization")
				tt.up(w, r)
			})), lenient{mask{"sesame"}})
			body, kind := tt.body, "application/json"
			if tt.form != nil {
				body, kind = formOf(t, tt.form...)
			}
			resp, down := post(t, h.url(t), tt.path, body, "Content-Type", kind)
			if got != tt.sent || key != "Bearer sk-real" {
				t.Errorf("upstream got %q with %q, want %q", got, key, tt.sent)
			}
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != tt.kind || down != tt.down {
				t.Errorf("reply = %s as %s\n%q, want\n%q", resp.Status, resp.Header.Get("Content-Type"), down, tt.down)
			}
			records := h.records()
			if types(records) != "opened closed:ok" {
				t.Fatalf("records = %s", types(records))
			}
			r, end := records[0], records[1]
			if r.Kind != "model" || r.Method != tt.method || r.Target+" "+r.Resource != "openai gpt" || r.Unjudged != tt.unread || end.Unjudged != tt.unheard {
				t.Errorf("record %s %s %s %s, unjudged %d and %d", r.Kind, r.Method, r.Target, r.Resource, r.Unjudged, end.Unjudged)
			}
			switch u := end.Usage; {
			case tt.in == 0 && u != nil && !u.Estimated:
				t.Errorf("usage = %+v, want none, or what is estimated", u)
			case tt.in > 0 && (u == nil || u.Input != tt.in || u.Output != tt.out):
				t.Errorf("usage = %+v, want %d and %d", u, tt.in, tt.out)
			}
			if end.Bytes < tt.unheard || r.Bytes <= tt.unread {
				t.Errorf("bytes = %d and %d", r.Bytes, end.Bytes)
			}
		})
	}
}

func TestMediaCallsAreDeniedAndRefused(t *testing.T) {
	file := field{"file", "a.mp3", "audio/mpeg", sound}
	model := func(name string) field { return field{"model", "", "", name} }
	long := strings.Repeat("x", 2<<20)
	for _, tt := range []struct {
		name, path, body string
		form             []field
		kind             string // Content-Type, in the place of the body's own
		guard            firewall.Guard
		status           int
		reason, outcome  string
	}{
		{name: "a picture of a model that is denied", path: "/v1/images/generations", body: `{"model":"openai/secret","prompt":"x"}`, status: 403, reason: "rule R9 denies model:openai/secret", outcome: "denied"},
		{name: "a form for a model that is denied", path: "/v1/audio/transcriptions", form: []field{file, model("openai/secret")}, status: 403, reason: "rule R9 denies model:openai/secret", outcome: "denied"},
		{name: "sound for a guard that must read it", path: "/v1/audio/transcriptions", form: []field{file, model("gpt")}, guard: mask{"x"}, status: 403, reason: "guard mask must read what passes", outcome: "denied"},
		{name: "speech for a guard that must read it", path: "/v1/audio/speech", body: `{"model":"gpt","input":"x"}`, guard: mask{"y"}, status: 403, reason: "guard mask must read what passes", outcome: "denied"},
		{name: "no model", path: "/v1/moderations", body: `{"input":"x"}`, status: 400, reason: "model is missing", outcome: "invalid"},
		{name: "no model in a form", path: "/v1/images/variations", form: []field{{"image", "a.png", "image/png", "x"}}, status: 400, reason: "model is missing", outcome: "invalid"},
		{name: "a model of another dialect", path: "/v1/images/generations", body: `{"model":"claude"}`, status: 400, reason: "provider anthropic speaks the anthropic dialect", outcome: "invalid"},
		{name: "a document where a form is wanted", path: "/v1/audio/transcriptions", body: `{"model":"gpt"}`, kind: "application/json", status: 400, reason: "takes multipart/form-data", outcome: "invalid"},
		{name: "a form without a boundary", path: "/v1/audio/transcriptions", form: []field{file, model("gpt")}, kind: "multipart/form-data", status: 400, reason: "takes multipart/form-data", outcome: "invalid"},
		{name: "a form with another boundary", path: "/v1/audio/transcriptions", form: []field{file, model("gpt")}, kind: "multipart/form-data; boundary=other", status: 400, reason: "the form cannot be read", outcome: "invalid"},
		{name: "no form at all", path: "/v1/audio/transcriptions", body: "garbage", kind: "multipart/form-data; boundary=b", status: 400, reason: "the form cannot be read", outcome: "invalid"},
		{name: "two models", path: "/v1/audio/transcriptions", form: []field{model("gpt"), file, model("openai/secret")}, status: 400, reason: "names model twice", outcome: "invalid"},
		{name: "two models in two cases", path: "/v1/audio/transcriptions", form: []field{model("gpt"), file, {"Model", "", "", "secret"}}, status: 400, reason: "names its model twice", outcome: "invalid"},
		{name: "a list of models", path: "/v1/audio/transcriptions", form: []field{model("gpt"), file, {"model[]", "", "", "secret"}}, status: 400, reason: "names its model twice", outcome: "invalid"},
		{name: "a file for a model", path: "/v1/audio/transcriptions", form: []field{file, {"model", "gpt", "text/plain", "gpt"}}, status: 400, reason: "model must be a text", outcome: "invalid"},
		{name: "a field that is too long", path: "/v1/audio/transcriptions", form: []field{file, model("gpt"), {"prompt", "", "", long}}, status: 400, reason: "field prompt is larger", outcome: "invalid"},
		{name: "a field that is no text", path: "/v1/audio/transcriptions", form: []field{file, model("gpt"), {"prompt", "", "", "\xff"}}, status: 400, reason: "not valid UTF-8", outcome: "invalid"},
		{name: "a file that is too large", path: "/v1/audio/transcriptions", form: []field{model("gpt"), {"file", "a.wav", "audio/wav", long + long + long}}, status: 413, reason: "larger than 4194304 bytes", outcome: "invalid"},
		{name: "too many parts", path: "/v1/images/edits", form: append(make([]field, 0), many(200, field{"image[]", "a.png", "image/png", "x"})...), status: 400, reason: "more than 128 parts", outcome: "invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the call went up") }))
			var guards []firewall.Guard
			if tt.guard != nil {
				guards = append(guards, tt.guard)
			}
			h := newHouseWith(t, providers.Config{Limits: firewall.Limits{Bytes: 4 << 20}}, map[string]providers.Provider{
				"openai": {BaseURL: up + "/v1", Models: []string{"gpt"}}, "anthropic": {BaseURL: up + "/v1", Models: []string{"claude"}},
			}, guards...)
			body, kind := tt.body, "application/json"
			if tt.form != nil {
				body, kind = formOf(t, tt.form...)
			}
			if tt.kind != "" {
				kind = tt.kind
			}
			resp, down := post(t, h.url(t), tt.path, body, "Content-Type", kind)
			if resp.StatusCode != tt.status || !strings.Contains(down, tt.reason) || !strings.HasPrefix(down, `{"error":{"message":`) {
				t.Errorf("reply = %d %s, want %d %s", resp.StatusCode, down, tt.status, tt.reason)
			}
			if got := types(h.records()); got != "refused:"+tt.outcome {
				t.Errorf("records = %s", got)
			}
		})
	}
}

func many(n int, f field) []field {
	list := make([]field, n)
	for i := range list {
		list[i] = f
	}
	return list
}

// TestAFormThatEndsTooEarly sends every beginning of a form, at its last byte too.
func TestAFormThatEndsTooEarly(t *testing.T) {
	body, kind := formOf(t, field{"model", "", "", "gpt"}, field{"file", "a.mp3", "audio/mpeg", sound})
	up := 0
	h := newHouse(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up++
		answer(200, "application/json", heard)(w, r)
	})))
	url := h.url(t)
	whole := len(strings.TrimSuffix(body, "\r\n"))
	for n := 0; n < whole; n += 7 {
		resp, down := post(t, url, "/v1/audio/transcriptions", body[:n], "Content-Type", kind)
		if resp.StatusCode != 400 || up != 0 {
			t.Fatalf("with %d of %d bytes: %d %s", n, len(body), resp.StatusCode, down)
		}
	}
	if resp, down := post(t, url, "/v1/audio/transcriptions", body[:whole], "Content-Type", kind); resp.StatusCode != 200 || up != 1 {
		t.Errorf("whole: %d %s", resp.StatusCode, down)
	}
}

func TestSpeechThatFailsIsCutOff(t *testing.T) {
	for _, tt := range []struct {
		name    string
		up      http.HandlerFunc
		status  int    // 0: the reply breaks off
		reason  string // part of the reply
		outcome string
	}{
		{"before it begins, with the provider's error", answer(429, "application/json", `{"error":{"message":"slow down","type":"rate_limit_error"}}`), 429, "slow down", "fault"},
		{"before it begins, with a page", answer(500, "text/html", "<html>"), 500, "nothing that its API defines", "fault"},
		{"with a page", answer(200, "text/html", "<html>"), 503, "not JSON", "unavailable"},
		{"with nothing", answer(200, "audio/mpeg", ""), 503, "answered with nothing", "unavailable"},
		{"with a hang-up", cut(func(http.ResponseWriter, *http.Request) {}), 503, "cannot be reached", "unavailable"},
		{"in the middle", cut(func(w http.ResponseWriter, r *http.Request) {
			answer(200, "audio/mpeg", sound)(w, r)
			w.(http.Flusher).Flush()
		}), 0, sound, "unavailable"},
		{"in the middle, silently", hang(answer(200, "audio/mpeg", sound)), 0, sound, "timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := providers.Provider{BaseURL: serve(t, tt.up)}
			if tt.outcome == "timeout" {
				to.IdleTimeout = 250 * time.Millisecond
			}
			h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{"openai": to})
			req, err := http.NewRequest("POST", h.url(t)+"/v1/audio/speech", strings.NewReader(`{"model":"gpt","input":"x"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			down, err := io.ReadAll(resp.Body)
			switch {
			case tt.status != 0 && (err != nil || resp.StatusCode != tt.status):
				t.Errorf("reply = %d, %v", resp.StatusCode, err)
			case tt.status == 0 && !errors.Is(err, io.ErrUnexpectedEOF):
				t.Errorf("a reply that is cut off ended with %v", err)
			}
			if !strings.Contains(string(down), tt.reason) {
				t.Errorf("reply = %q, want %q", down, tt.reason)
			}
			if got := types(h.records()); got != "opened closed:"+tt.outcome {
				t.Errorf("records = %s", got)
			}
		})
	}
}

// TestSpeechIsHeardAsItComes reads the first piece before there is another.
func TestSpeechIsHeardAsItComes(t *testing.T) {
	next := make(chan struct{})
	h := newHouse(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(200, "audio/mpeg", "one")(w, r)
		w.(http.Flusher).Flush()
		<-next
		_, _ = io.WriteString(w, "two")
	})))
	req, err := http.NewRequest("POST", h.url(t)+"/v1/audio/speech", strings.NewReader(`{"model":"gpt","input":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 3)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "one" {
		t.Fatalf("first = %q, %v", first, err)
	}
	close(next)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "two" {
		t.Errorf("rest = %q, %v", rest, err)
	}
}

func TestMediaStreamsThatFailEndInTheirDialect(t *testing.T) {
	delta := sse(`{"type":"transcript.text.delta","delta":"a"}`)
	partial := sse(`{"type":"image_generation.partial_image","b64_json":"AA=="}`)
	wrong := func(kind, reason, code string) string {
		return "event: error\n" + `data: {"error":{"message":"provider openai ` + reason + `","type":"server_error","param":null,"code":"` + code + `"}}` + "\n\n"
	}
	body, kind := formOf(t, field{"model", "", "", "gpt"}, field{"stream", "", "", "true"}, field{"file", "a.mp3", "audio/mpeg", sound})
	for _, tt := range []struct {
		name, path, body, kind string
		up                     http.HandlerFunc
		want, outcome          string
	}{
		{"words that are cut off", "/v1/audio/transcriptions", body, kind, cut(events(delta)), delta + wrong("", "broke off in the middle of its reply", "unavailable"), "unavailable"},
		{"words that are garbage", "/v1/audio/transcriptions", body, kind, events(delta, "data: <html>\n\n"), delta + wrong("", "sent an event that is not valid JSON", "unavailable"), "unavailable"},
		{"a picture that is cut off", "/v1/images/generations", `{"model":"gpt","stream":true}`, "application/json", cut(events(partial)), partial + wrong("", "broke off in the middle of its reply", "unavailable"), "unavailable"},
		{"a picture that the provider fails to draw", "/v1/images/generations", `{"model":"gpt","stream":true}`, "application/json",
			events(partial, sse(`{"type":"error","error":{"type":"image_generation_server_error","message":"no"}}`)), partial + sse(`{"type":"error","error":{"type":"image_generation_server_error","message":"no"}}`), "fault"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, serve(t, tt.up))
			_, down := post(t, h.url(t), tt.path, tt.body, "Content-Type", tt.kind)
			if down != tt.want {
				t.Errorf("reply = %q, want %q", down, tt.want)
			}
			if got := types(h.records()); got != "opened closed:"+tt.outcome {
				t.Errorf("records = %s", got)
			}
		})
	}
}

// TestAFormGoesToTheNextTarget sends it again, under another model's name.
func TestAFormGoesToTheNextTarget(t *testing.T) {
	var got []string
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, sent(t, r))
		if len(got) == 1 {
			answer(404, "application/json", `{"error":{"message":"gone","code":"model_not_found"}}`)(w, r)
			return
		}
		answer(200, "application/json", heard)(w, r)
	}))
	h := newHouse(t, up)
	if err := h.door.SetProviders(map[string]providers.Provider{"openai": {BaseURL: up}}, map[string]providers.Model{
		"ear": {Targets: []providers.Target{{Model: "openai/old"}, {Model: "openai/new"}}},
	}); err != nil {
		t.Fatal(err)
	}
	body, kind := formOf(t, field{"model", "", "", "ear"}, field{"file", "a.mp3", "audio/mpeg", "x"})
	resp, down := post(t, h.url(t), "/v1/audio/transcriptions", body, "Content-Type", kind)
	if resp.StatusCode != 200 || down != heard || resp.Header.Get("Callgate-Model") != "openai/new" {
		t.Errorf("reply = %s %s by %s", resp.Status, down, resp.Header.Get("Callgate-Model"))
	}
	want := "/audio/transcriptions model=old file=x(a.mp3 audio/mpeg), /audio/transcriptions model=new file=x(a.mp3 audio/mpeg)"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("upstream got %q, want %q", s, want)
	}
}

// TestSpeechOfALogicalModel keeps nothing back that has begun.
func TestSpeechOfALogicalModel(t *testing.T) {
	up := serve(t, answer(200, "audio/wav", sound))
	h := newHouse(t, up)
	if err := h.door.SetProviders(map[string]providers.Provider{"openai": {BaseURL: up}}, map[string]providers.Model{"voice": {Targets: []providers.Target{{Model: "openai/tts"}}}}); err != nil {
		t.Fatal(err)
	}
	resp, down := post(t, h.url(t), "/v1/audio/speech", `{"model":"voice","input":"x"}`)
	if resp.StatusCode != 200 || down != sound || resp.Header.Get("Content-Type") != "audio/wav" {
		t.Errorf("reply = %s %q", resp.Status, down)
	}
}

// rewriter is a guard that writes a document of its own.
type rewriter struct {
	lenient
	doc string
}

func (g rewriter) Request(_ context.Context, call *firewall.Call) (firewall.Decision, error) {
	body, err := firewall.ParseBody([]byte(g.doc), firewall.Limits{})
	body.Edited = true
	call.Body = body
	return firewall.Decision{Effect: firewall.Allow}, err
}

func TestAFormIsSentOnlyAsItWasJudged(t *testing.T) {
	for _, tt := range []struct{ name, doc, reason string }{
		{"a file less", `{"model":"gpt","file":"x"}`, "cannot be sent"},
		{"a file more", `{"model":"gpt","file":{"filename":"a","content_type":"audio/mpeg"},"b":{"filename":"b","content_type":"audio/mpeg"}}`, "cannot be sent"},
		{"a number", `{"model":"gpt","n":1,"file":{"filename":"a","content_type":"audio/mpeg"}}`, "cannot be sent"},
		{"a name that breaks out", `{"model":"gpt","file":{"filename":"a\r\nX: y","content_type":"audio/mpeg"}}`, "cannot be sent"},
		{"another model", `{"model":"gpt-5","file":{"filename":"a","content_type":"audio/mpeg"}}`, "a guard changed the name of the model"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the call went up") }))
			h := newHouse(t, up, rewriter{doc: tt.doc})
			body, kind := formOf(t, field{"model", "", "", "gpt"}, field{"file", "a.mp3", "audio/mpeg", "x"})
			resp, down := post(t, h.url(t), "/v1/audio/transcriptions", body, "Content-Type", kind)
			if resp.StatusCode != 403 || !strings.Contains(down, tt.reason) {
				t.Errorf("reply = %d %s, want %s", resp.StatusCode, down, tt.reason)
			}
			if got := types(h.records()); got != "opened closed:denied" {
				t.Errorf("records = %s", got)
			}
		})
	}
}
