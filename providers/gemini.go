package providers

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"callgate/firewall"
	"callgate/providers/dialect"
)

// googlePath begins the paths of Google's dialect at the door. Its SDKs send the same
// below /v1 for what is not in beta.
const googlePath = "/v1beta/models"

// googleEndpoint is the endpoint of a path of Google's dialect: <models>/<model>:<what>.
// The model, and whether the reply streams, stand in the path there and nowhere else; in
// the document that is judged they are members, as in other dialects.
func googleEndpoint(path string) (at endpoint, model string, ok bool) {
	rest, ok := strings.CutPrefix(path, googlePath)
	if !ok && strings.HasPrefix(path, "/v1beta/") {
		return endpoint{route: "/v1", speaks: Google}, "", true
	}
	if !ok {
		if rest, ok = strings.CutPrefix(path, modelsPath); !ok || !strings.Contains(rest, ":") {
			return at, "", false
		}
	}
	// The routes are below /v1, as the resource is that tokens for models are for.
	at = endpoint{route: modelsPath, speaks: Google}
	cut := strings.LastIndexByte(rest, ':')
	if rest == "" || cut < 0 && rest[0] == '/' {
		at.kind, at.method = firewall.List, "models"
		return at, "", true
	}
	if cut < 2 || rest[0] != '/' {
		return at, "", true
	}
	switch rest[cut+1:] {
	case "generateContent", "streamGenerateContent":
		at.kind, at.method, at.route = firewall.Model, "gemini", "/v1/generateContent"
	case "countTokens":
		at.kind, at.method, at.route = firewall.Model, "gemini_count", "/v1/countTokens"
	case "embedContent":
		at.kind, at.method, at.route = firewall.Model, "gemini_embed", "/v1/embedContent"
	case "batchEmbedContents":
		at.kind, at.method, at.route = firewall.Model, "gemini_embeds", "/v1/embedContent"
	}
	return at, rest[1:cut], true
}

// googleBody is body as it is judged: with the model, and whether the reply streams.
func googleBody(r *http.Request, body []byte) ([]byte, error) {
	_, model, _ := googleEndpoint(r.URL.Path)
	streams := strings.HasSuffix(r.URL.Path, ":streamGenerateContent")
	if streams && r.URL.Query().Get("alt") != "sse" {
		return nil, firewall.Refuse(firewall.Invalid, "callgate streams events only: ask for streamGenerateContent?alt=sse, as Google's SDKs do")
	}
	at := 0
	for at < len(body) && strings.IndexByte(" \t\r\n", body[at]) >= 0 {
		at++
	}
	if at == len(body) || body[at] != '{' {
		return nil, firewall.Refuse(firewall.Invalid, "the body must be a JSON object")
	}
	head := append([]byte(`{"model":`), quote(model)...)
	if streams {
		head = append(head, `,"stream":true`...)
	}
	rest := body[at+1:]
	if trimmed := strings.TrimLeft(string(rest[:min(len(rest), 64)]), " \t\r\n"); trimmed != "" && trimmed[0] != '}' {
		head = append(head, ',')
	}
	return append(head, rest...), nil
}

// google reads Google's generateContent. Each event of a stream is a whole response with
// what is new in it; a call stands in one.
type google struct {
	ended    map[int]bool // candidates, and whether they have
	unsigned map[int]bool // candidates of which a call was taken out that had the signature of its step
}

func (r *google) event(ev *firewall.Event, t *texts) error {
	doc := at(ev.Body.JSON, "@this")
	if r.ended == nil {
		r.ended = make(map[int]bool)
	}
	blocked := doc.Get("promptFeedback.blockReason").Str != ""
	for n, candidate := range doc.Get("candidates").Array() {
		blocked = false
		if i := candidate.Get("index"); i.Exists() {
			n = int(i.Int())
		}
		r.ended[n] = r.ended[n] || candidate.Get("finishReason").Str != ""
		for _, part := range candidate.Get("content.parts").Array() {
			if part.Get("functionCall").Exists() {
				ev.Mark |= markCalls
			}
		}
	}
	if doc.Get("usageMetadata").Exists() {
		ev.Mark |= markUsage
	}
	if doc.Get("error").Exists() {
		ev.Mark |= markError
	}
	ev.Last = blocked || len(r.ended) > 0
	for _, over := range r.ended {
		ev.Last = ev.Last && over
	}
	c := &cursor{doc: ev.Body.JSON}
	return t.object(c, func(name string) (bool, error) {
		switch name {
		case "candidates":
			return true, t.array(c, func(n int) error { return r.candidate(c, n, t) })
		case "usageMetadata", "modelVersion", "responseId", "createTime":
		default:
			return false, nil
		}
		c.skip()
		return true, nil
	})
}

func (r *google) candidate(c *cursor, n int, t *texts) error {
	head := *c
	head.members(func(name string) {
		if name == "index" {
			n = head.integer()
		} else {
			head.skip()
		}
	})
	return t.object(c, func(name string) (bool, error) {
		switch name {
		case "content":
			return true, t.object(c, func(name string) (bool, error) {
				if name != "parts" {
					return false, nil
				}
				return true, t.array(c, func(int) error { return r.part(c, n, t) })
			})
		case "index", "finishReason", "tokenCount", "avgLogprobs":
			c.skip()
			return true, nil
		}
		return false, nil
	})
}

func (r *google) part(c *cursor, n int, t *texts) error {
	l := lane{"candidates.#.text", n, 0}
	head := *c
	head.members(func(name string) {
		if name == "thought" {
			if string(head.raw()) == "true" {
				l.kind = "candidates.#.thought"
			}
		} else {
			head.skip()
		}
	})
	return t.object(c, func(name string) (bool, error) {
		switch name {
		case "text":
			return true, t.slice(c, l)
		case "thought", "thoughtSignature":
			c.skip()
			return true, nil
		case "functionCall":
			return true, t.object(c, func(name string) (bool, error) {
				switch name {
				case "id", "name":
					c.skip()
					return true, nil
				case "partialArgs", "willContinue":
					return false, errPartialCall
				}
				return true, t.all(c) // a model chose the names in there
			})
		}
		return false, nil
	})
}

func (r *google) read(ev *firewall.Event) {
	if ev.Mark&markError != 0 {
		ev.Fault = faultOf(strings.ToLower(at(ev.Body.JSON, "error.status").Str))
	}
	r.wants(ev)
}

func (r *google) whole(ev *firewall.Event) {
	doc := at(ev.Body.JSON, "@this")
	ev.Usage = geminiUsage(doc.Get("usageMetadata"))
	if doc.Get("error").IsObject() {
		ev.Fault = faultOf(strings.ToLower(doc.Get("error.status").Str))
	}
	r.wants(ev)
	for _, part := range doc.Get("candidates.0.content.parts").Array() {
		if !part.Get("thought").Bool() {
			ev.Said += part.Get("text").Str
		}
	}
}

// wants notes the calls that ev asks for: each is whole.
func (r *google) wants(ev *firewall.Event) {
	for n, candidate := range at(ev.Body.JSON, "candidates").Array() {
		for i, part := range candidate.Get("content.parts").Array() {
			call := part.Get("functionCall")
			if !call.IsObject() {
				continue
			}
			w := want(call.Get("id").Str, call.Get("name").Str, argsOf(call.Get("args")))
			w.Place = [2]int{n, i}
			ev.Wants = append(ev.Wants, w)
		}
	}
}

func (*google) asking() bool { return false }

// without makes texts of the calls that are refused.
func (r *google) without(events []firewall.Event, wants []firewall.Want) []firewall.Event {
	ev := &events[len(events)-1]
	doc := r.signed(ev.Body.JSON, wants)
	for i := range wants {
		if w := &wants[i]; w.Refused != nil {
			doc = setRaw(doc, partAt(w), `{"text":`+string(quote(refusal(w)))+`}`)
		}
	}
	*ev = edited(*ev, doc)
	return events
}

func partAt(w *firewall.Want) string {
	return "candidates." + strconv.Itoa(w.Place[0]) + ".content.parts." + strconv.Itoa(w.Place[1])
}

// signed is doc, in which the first call of a step that is left has a signature where the
// one that is taken out had it: what Google documents for calls without, since it would
// not take a conversation in which that has none.
func (r *google) signed(doc []byte, wants []firewall.Want) []byte {
	for i := range wants {
		w := &wants[i]
		n, has := w.Place[0], at(doc, partAt(w)+".thoughtSignature").Str != ""
		switch {
		case w.Refused != nil && has:
			if r.unsigned == nil {
				r.unsigned = make(map[int]bool)
			}
			r.unsigned[n] = true
		case w.Refused == nil && r.unsigned[n]:
			if delete(r.unsigned, n); !has {
				doc = set(doc, partAt(w)+".thoughtSignature", dialect.Unsigned)
			}
		}
	}
	return doc
}

// mend is signed for a call in an event of its own.
func (r *google) mend(ev *firewall.Event) {
	if len(r.unsigned) > 0 && len(ev.Wants) > 0 {
		*ev = edited(*ev, r.signed(ev.Body.JSON, ev.Wants))
	}
}

// withoutTokens is doc without the probabilities of its tokens, which tell a text once
// more: where a guard has changed the text, they would give it away.
func withoutTokens(doc []byte) []byte {
	for n, c := range at(doc, "candidates").Array() {
		if c.Get("logprobsResult").Exists() {
			doc = drop(doc, "candidates."+strconv.Itoa(n)+".logprobsResult")
		}
	}
	return doc
}

func (*google) broken(f failure) []byte {
	return append(append([]byte("data: "), f.google()...), "\n\n"...)
}

// google is the body of an error in Google's dialect.
func (f failure) google() []byte {
	status := map[int]string{401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 408: "DEADLINE_EXCEEDED", 409: "ABORTED", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}[f.status]
	if status == "" {
		if status = "INTERNAL"; f.status < 500 {
			status = "INVALID_ARGUMENT"
		}
	}
	b := append([]byte(`{"error":{"code":`), strconv.Itoa(f.status)...)
	b = append(append(b, `,"message":`...), quote(f.message)...)
	b = append(append(b, `,"status":`...), quote(status)...)
	return append(f.why(b), "}}"...)
}

// errPartialCall is a call that comes in pieces, which callgate lets nobody ask for.
var errPartialCall = errors.New("a tool call comes in pieces")

// hosts notes a tool that the provider runs, once.
func (r *request) hosts(h firewall.Hosted) {
	if !slices.Contains(r.hosted, h) {
		r.hosted = append(r.hosted, h)
	}
}

// Google is the dialect of Google's generateContent.
const Google = string(dialect.Gemini)
