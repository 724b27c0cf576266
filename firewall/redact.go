package firewall

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"callgate/audit"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"
)

// redacted is what stands in the place of a value that was taken out.
const redacted = `"[redacted]"`

// redactor takes out of documents what obligations want to be out of them.
type redactor struct {
	call   *Call
	args   []wanted
	result []wanted
}

// wanted is a path that a rule redacts.
type wanted struct {
	path []string
	rule string
}

// redactor is for what the obligations of call ask to be taken out, nil if that
// is nothing.
func (c *Call) redactor() *redactor {
	var r *redactor
	for _, o := range c.Decision.Obligations {
		if o.Do != Redact {
			continue
		}
		if r == nil {
			r = &redactor{call: c}
		}
		for path := range strings.SplitSeq(o.With, ";") {
			side, rest, _ := strings.Cut(path, ".")
			w := wanted{strings.Split(rest, "."), o.Rule}
			if side == "args" {
				r.args = append(r.args, w)
			} else {
				r.result = append(r.result, w)
			}
		}
	}
	return r
}

// request takes values out of the arguments, before any guard or record sees them.
func (r *redactor) request() error {
	if r == nil || r.args == nil {
		return nil
	}
	c := r.call
	if c.ArgsAt == "" {
		return r.impossible(r.args[0].rule, "arguments")
	}
	args := gjson.GetBytes(c.Body.JSON, c.ArgsAt)
	if !args.Exists() {
		return nil
	}
	return c.Body.replace(r.find(nil, args, args.Index, r.args, "request/"+c.ArgsAt))
}

// reply takes values out of the documents of each result.
func (r *redactor) reply(events Events) Events {
	if r == nil || r.result == nil {
		return events
	}
	return func(yield func(Event, error) bool) {
		if r.call.ResultAt == nil {
			yield(Event{}, r.impossible(r.result[0].rule, "results"))
			return
		}
		for ev, err := range events {
			if err == nil && ev.Last {
				err = r.event(&ev)
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// impossible refuses a call that an obligation cannot be kept for.
func (r *redactor) impossible(rule, what string) error {
	return &Error{Code: Denied, Rule: rule, Reason: fmt.Sprintf("rule %s takes values out of %s, which %s has none of", rule, what, r.call.Object())}
}

func (r *redactor) event(ev *Event) error {
	var cuts []cut
	for _, at := range r.call.ResultAt {
		found := gjson.GetBytes(ev.Body.JSON, at)
		switch {
		case !found.Exists():
		case !strings.Contains(at, "#"):
			cuts = r.document(cuts, found, found.Index)
		default: // one of each item of a list
			places := found.Array()
			if len(found.Indexes) != len(places) {
				return &Error{Code: Unavailable, Rule: r.result[0].rule, Reason: "values could not be taken out of the result as rule " + r.result[0].rule + " wants"}
			}
			for i, place := range places {
				cuts = r.document(cuts, place, found.Indexes[i])
			}
		}
	}
	return ev.Body.replace(cuts)
}

// document finds what must be taken out of one document of a result, which begins
// at a place of the body. A text that is no JSON is taken out whole: nobody can
// tell where in it the value is.
func (r *redactor) document(cuts []cut, doc gjson.Result, at int) []cut {
	if doc.Type != gjson.String {
		return r.find(cuts, doc, at, r.result, "reply")
	}
	text := doc.String()
	inner := gjson.Result{Type: gjson.JSON, Raw: text}
	if _, err := ParseBody([]byte(text), Limits{}); err != nil || !inner.IsObject() && !inner.IsArray() {
		rule := r.result[0].rule
		r.note(rule, "reply")
		return append(cuts, cut{at, at + len(doc.Raw), quoted("[redacted: rule " + rule + " takes values out of this result, which is no JSON]")})
	}
	parts := r.find(nil, inner, 0, r.result, "reply")
	if parts == nil {
		return cuts
	}
	return append(cuts, cut{at, at + len(doc.Raw), quoted(string(carve([]byte(text), parts)))})
}

// find appends what must be cut out of doc, which begins at a place of its body.
func (r *redactor) find(cuts []cut, doc gjson.Result, at int, all []wanted, side string) []cut {
	for _, w := range all {
		where := side
		if side != "reply" {
			where += "/" + strings.Join(w.path, "/")
		}
		cuts = r.follow(cuts, doc, at, w.path, w.rule, where)
	}
	return cuts
}

// follow goes down a path: through objects by name, and through each item of a list.
func (r *redactor) follow(cuts []cut, v gjson.Result, at int, path []string, rule, where string) []cut {
	if len(path) == 0 {
		r.note(rule, where)
		return append(cuts, cut{at, at + len(v.Raw), redacted})
	}
	v.ForEach(func(name, item gjson.Result) bool {
		switch begin := at + item.Index - v.Index; {
		case v.IsArray():
			cuts = r.follow(cuts, item, begin, path, rule, where)
		case v.IsObject() && name.String() == path[0]: // each time, should it stand there twice
			cuts = r.follow(cuts, item, begin, path[1:], rule, where)
		}
		return true
	})
	return cuts
}

// note puts on record that something was taken out.
func (r *redactor) note(rule, where string) {
	for i := range r.call.Findings {
		if f := &r.call.Findings[i]; f.Guard == Redact && f.Rule == rule && f.Where == where {
			f.Count++
			return
		}
	}
	r.call.Findings = append(r.call.Findings, audit.Finding{Guard: Redact, Rule: rule, Where: where, Action: "mask", Count: 1})
}

// A cut replaces doc[from:to], a value of a document, by another.
type cut struct {
	from, to int
	by       string // JSON
}

// replace makes cuts in b.
func (b *Body) replace(cuts []cut) error {
	if cuts == nil {
		return nil
	}
	made, err := ParseBody(carve(b.JSON, cuts), Limits{Bytes: math.MaxInt, Depth: 1 << 12}) // it was within its limits
	if err != nil {
		return fmt.Errorf("take values out: %w", err)
	}
	b.JSON, b.Spans, b.Edited = made.JSON, made.Spans, true
	return nil
}

// carve is doc with cuts made. Of two that overlap, the one that begins first
// counts, and then the longer.
func carve(doc []byte, cuts []cut) []byte {
	slices.SortFunc(cuts, func(a, b cut) int { return cmp.Or(a.from-b.from, b.to-a.to) })
	out, at := make([]byte, 0, len(doc)), 0
	for _, c := range cuts {
		if c.from < at {
			continue
		}
		out = append(append(out, doc[at:c.from]...), c.by...)
		at = c.to
	}
	return append(out, doc[at:]...)
}

// quoted is s as JSON.
func quoted(s string) string {
	b, _ := jsontext.AppendQuote(nil, s) // invalid UTF-8 becomes U+FFFD
	return string(b)
}
