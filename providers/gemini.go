package providers

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"callgate/firewall"
	"callgate/providers/dialect"

	"github.com/tidwall/gjson"
)

// gemini reads what Google's models answer: each event of a stream is a document like a
// plain one. What one text is stands in each candidate, and ends with the stream. A tool
// call is whole where it stands.
type gemini struct {
	calls    map[int]int  // tool calls that were read, by the candidates that ask for them
	begun    map[int]bool // candidates, which have ended or not
	unsigned map[int]bool // candidates of which a call was taken out that had a signature
}

var errPartialCall = errors.New("a tool call comes in pieces")

func (r *gemini) event(ev *firewall.Event, t *texts) error {
	c := &cursor{doc: ev.Body.JSON}
	blocked := false
	err := t.object(c, func(name string) (bool, error) {
		switch name {
		case "candidates":
			return true, t.array(c, func(int) error { return r.candidate(ev, c, t) })
		case "usageMetadata":
			if c.kind() == '{' {
				ev.Mark |= markUsage
			}
		case "promptFeedback":
			ahead := *c
			blocked = gjson.ParseBytes(ahead.raw()).Get("blockReason").Str != ""
			return false, nil
		case "error":
			ev.Mark |= markError
			return false, nil
		case "modelVersion", "responseId", "createTime":
		default:
			return false, nil
		}
		c.skip()
		return true, nil
	})
	// There is no other sign of the end.
	ended := len(r.begun) > 0
	for _, over := range r.begun {
		ended = ended && over
	}
	ev.Last = ev.Last || ended || blocked && len(r.begun) == 0 || ev.Mark&markError != 0
	return err
}

func (r *gemini) candidate(ev *firewall.Event, c *cursor, t *texts) error {
	index, over, content := 0, false, cursor{}
	err := t.object(c, func(name string) (bool, error) {
		switch name {
		case "content":
			content = *c // its lanes need the index, which may come behind it
		case "index":
			index = c.integer()
			return true, nil
		case "finishReason":
			over = c.str() != ""
			return true, nil
		case "avgLogprobs", "tokenCount", "safetyRatings":
		default:
			return false, nil
		}
		c.skip()
		return true, nil
	})
	if r.begun == nil {
		r.begun = make(map[int]bool)
	}
	if len(r.begun) < maxLanes {
		r.begun[index] = r.begun[index] || over
	}
	if err != nil || content.doc == nil {
		return err
	}
	return t.object(&content, func(name string) (bool, error) {
		switch name {
		case "role":
			content.skip()
			return true, nil
		case "parts":
			return true, t.array(&content, func(int) error { return r.part(ev, &content, index, t) })
		}
		return false, nil
	})
}

func (r *gemini) part(ev *firewall.Event, c *cursor, candidate int, t *texts) error {
	kind := "candidates.#.text"
	ahead := *c
	ahead.members(func(name string) {
		if name == "thought" && ahead.kind() == 't' {
			kind = "candidates.#.thought"
		}
		ahead.skip()
	})
	return t.object(c, func(name string) (bool, error) {
		switch name {
		case "text":
			return true, t.slice(c, lane{kind, candidate, 0})
		case "thought", "thoughtSignature":
			c.skip()
			return true, nil
		case "functionCall":
			ev.Mark |= markCalls
			return true, r.call(c, t)
		}
		return false, nil
	})
}

func (r *gemini) call(c *cursor, t *texts) error {
	return t.object(c, func(name string) (bool, error) {
		switch name {
		case "id", "name":
			c.skip()
			return true, nil
		case "args":
			return true, t.all(c) // a model chose the names in there
		case "partialArgs", "willContinue":
			return false, errPartialCall // which nobody asked for, see readGemini
		}
		return false, nil
	})
}

func (r *gemini) read(ev *firewall.Event) {
	if ev.Mark&markError != 0 {
		ev.Fault = faultOf(strings.ToLower(at(ev.Body.JSON, "error.status").Str))
	}
	if ev.Mark&markCalls != 0 {
		r.asks(ev)
	}
}

// asks notes the tool calls that ev asks for.
func (r *gemini) asks(ev *firewall.Event) {
	eachCall(ev.Body.JSON, func(_ string, candidate int, part gjson.Result) {
		call := part.Get("functionCall")
		if r.calls == nil {
			r.calls = make(map[int]int)
		}
		w := want(call.Get("id").Str, call.Get("name").Str, []byte(call.Get("args").Raw))
		w.Place = [2]int{candidate, r.calls[candidate]}
		r.calls[candidate]++
		ev.Wants, ev.Begins = append(ev.Wants, w), append(ev.Begins, w.Name)
	})
}

// eachCall finds the parts of a reply that ask for a tool, and where they stand.
func eachCall(doc []byte, f func(path string, candidate int, part gjson.Result)) {
	for n, c := range at(doc, "candidates").Array() {
		for i, part := range c.Get("content.parts").Array() {
			if part.Get("functionCall").IsObject() {
				f("candidates."+strconv.Itoa(n)+".content.parts."+strconv.Itoa(i), int(c.Get("index").Int()), part)
			}
		}
	}
}

func (r *gemini) whole(ev *firewall.Event) {
	if e := at(ev.Body.JSON, "error"); e.IsObject() {
		ev.Fault = faultOf(strings.ToLower(e.Get("status").Str))
	}
	var t tally
	t.take(dialect.Gemini, ev.Body.JSON)
	ev.Usage = t.told
	r.asks(ev)
	ev.Begins = nil
}

// without makes texts of the calls that are refused. Google's signature is on the first
// call of a step: where that is one of them, the next one has what Google documents for
// calls without.
func (r *gemini) without(events []firewall.Event, wants []firewall.Want) []firewall.Event {
	n := 0
	for i := range events {
		doc := events[i].Body.JSON
		eachCall(events[i].Body.JSON, func(path string, candidate int, part gjson.Result) {
			if n >= len(wants) {
				return
			}
			w := &wants[n]
			n++
			signed := part.Get("thoughtSignature").Str
			switch {
			case w.Refused == nil && r.unsigned[candidate] && signed == "":
				doc = set(doc, path+".thoughtSignature", dialect.Unsigned)
				delete(r.unsigned, candidate)
			case w.Refused == nil:
				delete(r.unsigned, candidate)
			default:
				if signed != "" {
					if r.unsigned == nil {
						r.unsigned = make(map[int]bool)
					}
					r.unsigned[candidate] = true
				}
				doc = setRaw(doc, path, `{"text":`+string(quote(refusal(w)))+`}`)
			}
		})
		if !bytes.Equal(doc, events[i].Body.JSON) {
			events[i] = edited(events[i], doc)
		}
	}
	return events
}

// mend gives the next call that may be made a signature, where the one that had it was
// taken out of an event before.
func (r *gemini) mend(ev *firewall.Event) {
	if len(r.unsigned) == 0 || len(ev.Wants) == 0 {
		return
	}
	allowed := r.without([]firewall.Event{*ev}, make([]firewall.Want, len(ev.Wants)))
	*ev = allowed[0]
}

func (r *gemini) asking() bool { return false }

func (r *gemini) broken(f failure) []byte {
	return append(append([]byte("data: "), f.gemini()...), "\n\n"...)
}

// withoutTokens is doc without the probabilities of the tokens, which tell a text once
// more.
func withoutTokens(doc []byte) []byte {
	for n, c := range at(doc, "candidates").Array() {
		if c.Get("logprobsResult").Exists() {
			doc = drop(doc, "candidates."+strconv.Itoa(n)+".logprobsResult")
		}
	}
	return doc
}
