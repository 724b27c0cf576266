package guards

import (
	"bytes"
	"slices"
	"strings"

	"callgate/audit"
	"callgate/firewall"

	"github.com/go-json-experiment/json/jsontext"
)

// What was done about a finding, in the words of the record.
const (
	masked   = "mask"
	recorded = "record"
)

// cut is what is masked of one string of a document.
type cut struct {
	span     int
	from, to int
	rule     *rule
	next     bool // the secret began in a string before this one
}

// rewrite makes edits, which are in order, to body: of each, what lies in strings.
// All other bytes stay as they are.
func (s *Secrets) rewrite(call *firewall.Call, side string, body *firewall.Body, edits []edit) error {
	if len(body.Spans) == 0 {
		b, err := firewall.ParseBody(body.JSON, firewall.Limits{Bytes: len(body.JSON)})
		if err != nil {
			return err
		}
		body.Spans = b.Spans
	}
	cuts, outside := clip(body.Spans, edits)
	for _, r := range outside {
		note(call, s.Name(), r.id, recorded, side)
	}
	if len(cuts) == 0 {
		return nil
	}
	for i, pointer := range s.pointers(body, cuts) {
		if !cuts[i].next {
			note(call, s.Name(), cuts[i].rule.id, masked, side+pointer)
		}
	}
	return splice(body, cuts)
}

// clip cuts edits to the strings that they touch, but for slices of a lane. The
// rules of those that touch no string at all are outside.
func clip(spans []firewall.Span, edits []edit) (cuts []cut, outside []*rule) {
	first := 0
	for _, e := range edits {
		for first < len(spans) && spans[first].End-1 <= e.from {
			first++
		}
		touched, next := false, false
		for i := first; i < len(spans) && spans[i].At+1 < e.to; i++ {
			touched = true
			if spans[i].Lane == "" {
				cuts = append(cuts, cut{i, max(e.from, spans[i].At+1), min(e.to, spans[i].End-1), e.rule, next})
				next = true
			}
		}
		if !touched {
			outside = append(outside, e.rule)
		}
	}
	return cuts, outside
}

// splice puts masks in place of cuts. No document that somebody may still hold is
// changed.
func splice(body *firewall.Body, cuts []cut) error {
	doc, spans := body.JSON, slices.Clone(body.Spans)
	out := make([]byte, 0, len(doc)+32*len(cuts))
	at := 0 // doc[:at] is in out
	for i := range spans {
		s := &spans[i]
		from, to := s.At, s.End
		s.At += len(out) - at
		for len(cuts) > 0 && cuts[0].span == i {
			out = append(append(out, doc[at:cuts[0].from]...), cuts[0].rule.mask...)
			at, cuts = cuts[0].to, cuts[1:]
		}
		s.End = to + len(out) - at
		if at <= from {
			continue
		}
		out = append(out, doc[at:to]...)
		at = to
		text, err := jsontext.AppendUnquote(nil, out[s.At:s.End])
		if err != nil {
			return err
		}
		s.Text = string(text)
	}
	body.JSON, body.Spans, body.Edited = append(out, doc[at:]...), spans, true
	return nil
}

const longestPointer = 256 // of a record; names can be long

// pointers are the JSON Pointers of the strings that cuts are in.
func (s *Secrets) pointers(body *firewall.Body, cuts []cut) []string {
	found := make([]string, len(cuts))
	d := jsontext.NewDecoder(bytes.NewBuffer(body.JSON), jsontext.AllowDuplicateNames(true))
	for i := range cuts {
		end := int64(body.Spans[cuts[i].span].End)
		for d.InputOffset() < end {
			if _, err := d.ReadToken(); err != nil {
				return found // it is not known where
			}
		}
		found[i] = s.clean(d.StackPointer())
	}
	return found
}

// clean masks the secrets in a pointer's names, and cuts it off where it is too long.
func (s *Secrets) clean(pointer jsontext.Pointer) string {
	var cleaned jsontext.Pointer
	for name := range pointer.Tokens() {
		cleaned = cleaned.AppendToken(s.text(name))
	}
	if len(cleaned) > longestPointer {
		return strings.ToValidUTF8(string(cleaned[:longestPointer]), "") + "…"
	}
	return string(cleaned)
}

// text masks the secrets in a text that is whole.
func (s *Secrets) text(text string) string {
	sc := s.scans.Get().(*scan)
	defer s.release(sc)
	sc.reset(true)
	sc.feed(text, true)
	var out strings.Builder
	at := 0
	for _, e := range sc.edits {
		out.WriteString(text[at:e.from])
		if e.rule != nil {
			out.WriteString(e.rule.mask)
		}
		at = e.to
	}
	out.WriteString(text[at:])
	return out.String()
}

const mostFindings = 64 // that tell where exactly

// note puts on record what a guard found. Of very many, only the side is told.
func note(call *firewall.Call, guard, rule, action, where string) {
	if len(call.Findings) >= mostFindings {
		where, _, _ = strings.Cut(where, "/")
		where, _, _ = strings.Cut(where, " ")
	}
	for i := range call.Findings {
		if f := &call.Findings[i]; f.Guard == guard && f.Rule == rule && f.Where == where && f.Action == action {
			f.Count++
			return
		}
	}
	call.Findings = append(call.Findings, audit.Finding{Guard: guard, Rule: rule, Where: where, Action: action, Count: 1})
}

// judged notes that guard has judged n more bytes of the reply to call.
func judged(call *firewall.Call, guard, version string, n int) {
	for i := range call.Checks {
		if call.Checks[i].Guard == guard {
			call.Checks[i].Reply += int64(n)
			return
		}
	}
	call.Checks = append(call.Checks, audit.Check{Guard: guard, Version: version, Reply: int64(n)})
}
