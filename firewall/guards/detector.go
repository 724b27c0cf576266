package guards

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"callgate/audit"
	"callgate/firewall"

	"github.com/go-json-experiment/json/jsontext"
)

// A Match is what a [Detector] has found: text[From:To], of a kind, and what stands in
// its place where it is masked.
type Match struct {
	From, To int
	Kind     string
	Mask     string
}

// Reach is the most bytes that a match may have, with the character behind it. As many
// bytes of a stream are held back.
const Reach = 64

// A Detector finds things in texts. It is used by many goroutines at once, and the same
// text has the same matches.
type Detector interface {
	Name() string    // of its guard
	Version() string // of its rules, for the record
	Kinds() []string // of what it finds
	// Find appends what stands in text to dst, in order and without overlap. What it
	// finds at a place depends on no more than the Reach bytes from there and the 128
	// before it.
	Find(dst []Match, text string) []Match
}

// An Action is what is done about what a [Detector] finds.
type Action uint8

// In order of severity.
const (
	Off    Action = iota // it is not looked for
	Record               // it is on record
	Mask                 // and masked
	Ask                  // people must approve the request; of a reply, the same as Deny
	Refuse               // the call ends
)

var actionNames = [...]string{"off", "record", "mask", "ask", "deny"}

func (a Action) String() string { return actionNames[a] }

// ParseAction is the Action of a name.
func ParseAction(name string) (Action, bool) {
	i := slices.Index(actionNames[:], name)
	return Action(max(i, 0)), i >= 0
}

// Settings say what is done about what is found, and where.
type Settings struct {
	Action    Action   // where no rule fits
	Kinds     []string // that count; empty is all
	Approvers string   // group that is asked
	Rules     []Rule   // the first that fits
}

// A Rule is what is done at an object of policy.
type Rule struct {
	Object string // may end in a *; "" is any
	Side   string // "request", "reply"; "" is both
	Action Action
}

// of is what is done on one side of call.
func (s *Settings) of(call *firewall.Call, side string) Action {
	for i := range s.Rules {
		r := &s.Rules[i]
		if (r.Side == "" || r.Side == side) && fits(r.Object, call.Object()) {
			return r.Action
		}
	}
	return s.Action
}

func fits(pattern, object string) bool {
	if rest, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(object, rest)
	}
	return pattern == "" || pattern == object
}

// A Watch is the [firewall.Guard] of a [Detector]. It reads texts: the strings of
// documents, and what is streamed. Names in objects and numbers are not read.
type Watch struct {
	by  Detector
	set atomic.Pointer[Settings]
}

// NewWatch returns a Watch that is off.
func NewWatch(by Detector) *Watch {
	w := &Watch{by: by}
	w.Set(Settings{})
	return w
}

// Set has s be in force from the next call on.
func (w *Watch) Set(s Settings) { w.set.Store(&s) }

// Name implements [firewall.Guard].
func (w *Watch) Name() string { return w.by.Name() }

// Media implements [firewall.MediaGuard]: where it must not miss anything, what it cannot
// read does not pass.
func (w *Watch) Media(call *firewall.Call) firewall.Decision {
	s := w.set.Load()
	if max(s.of(call, "request"), s.of(call, "reply")) < Ask {
		return firewall.Decision{Effect: firewall.Allow}
	}
	return firewall.Decision{Rule: w.Name(), Reason: "guard " + w.Name() + " cannot read what is no text: send it without, or have whoever runs this gate let it pass"}
}

// Request implements [firewall.Guard].
func (w *Watch) Request(_ context.Context, call *firewall.Call) (firewall.Decision, error) {
	allow := firewall.Decision{Effect: firewall.Allow}
	s := w.set.Load()
	do := s.of(call, "request")
	if do == Off {
		return allow, nil
	}
	call.Checks = append(call.Checks, audit.Check{Guard: w.Name(), Version: w.by.Version(), Request: int64(len(call.Body.JSON))})
	found, err := w.document(call, s, do, "request", &call.Body)
	switch {
	case err != nil:
		return firewall.Decision{}, err
	case found == "" || do < Ask:
		return allow, nil
	case do == Ask:
		return firewall.Decision{Effect: firewall.Ask, Rule: w.Name(), Reason: fmt.Sprintf("guard %s found %s, so that someone of %s must approve this call first", w.Name(), found, s.Approvers),
			Obligations: []firewall.Obligation{{Do: firewall.RequireApproval, With: s.Approvers, Rule: w.Name()}}}, nil
	}
	return firewall.Decision{Rule: w.Name(), Reason: w.refusal(found)}, nil
}

func (w *Watch) refusal(found string) string {
	return fmt.Sprintf("guard %s found %s, which must not pass here", w.Name(), found)
}

// Reply implements [firewall.Guard].
func (w *Watch) Reply(_ context.Context, call *firewall.Call, events firewall.Events) firewall.Events {
	s := w.set.Load()
	do := s.of(call, "reply")
	if do == Off {
		return events
	}
	whole := func(yield func(firewall.Event, error) bool) {
		for ev, err := range events {
			if err == nil {
				var found string
				if found, err = w.document(call, s, do, "reply", &ev.Body); err == nil && found != "" && do >= Ask {
					err = &firewall.Error{Code: firewall.Denied, Rule: w.Name(), Reason: w.refusal(found)}
				}
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
	return func(yield func(firewall.Event, error) bool) {
		for ev, err := range firewall.Windowed(whole, func(lane string) firewall.Editor { return w.lane(call, s, do, lane) }) {
			if err == nil {
				judged(call, w.Name(), w.by.Version(), len(ev.Body.JSON))
			}
			if !yield(ev, err) {
				return
			}
		}
	}
}

// lane returns what reads one lane of a reply.
func (w *Watch) lane(call *firewall.Call, s *Settings, do Action, lane string) firewall.Editor {
	var matches []Match
	return func(text string, from int, end bool) (int, []firewall.Edit, error) {
		decided := len(text)
		if !end {
			for decided = max(from, len(text)-Reach); decided > from && !utf8.RuneStart(text[decided]); {
				decided--
			}
		}
		matches = w.find(s, matches[:0], text)
		var edits []firewall.Edit
		for _, m := range matches {
			switch {
			case m.From < from:
				continue
			case m.From >= decided:
			case m.To > decided: // the rest of it is to come, or what follows
				decided = m.From
			default:
				note(call, w.Name(), m.Kind, do.done(), "reply "+lane)
				if do >= Ask {
					return 0, nil, &firewall.Error{Code: firewall.Denied, Rule: w.Name(), Reason: w.refusal(m.Kind)}
				}
				if do == Mask {
					edits = append(edits, firewall.Edit{From: m.From, To: m.To, Text: m.Mask})
				}
			}
		}
		return decided, edits, nil
	}
}

// done is what was done, in the words of the record.
func (a Action) done() string {
	if a == Ask {
		return recorded
	}
	return a.String()
}

// find is what of the kinds that count is in text.
func (w *Watch) find(s *Settings, dst []Match, text string) []Match {
	dst = w.by.Find(dst, text)
	if len(s.Kinds) > 0 {
		dst = slices.DeleteFunc(dst, func(m Match) bool { return !slices.Contains(s.Kinds, m.Kind) })
	}
	return dst
}

// document reads the strings of body but for slices of lanes, and masks what it finds,
// if that is what is done. It says of what kind the first is.
func (w *Watch) document(call *firewall.Call, s *Settings, do Action, side string, body *firewall.Body) (found string, err error) {
	spans := body.Spans
	if len(spans) == 0 && len(body.JSON) > 0 {
		b, err := firewall.ParseBody(body.JSON, firewall.Limits{Bytes: len(body.JSON), Depth: len(body.JSON)})
		if err != nil {
			return "", fmt.Errorf("guard %s: %w", w.Name(), err)
		}
		spans = b.Spans
	}
	var matches []Match
	var out []byte
	at := 0 // of the document, up to which it is in out
	for i := range spans {
		sp := &spans[i]
		if sp.Lane != "" {
			continue
		}
		matches = w.find(s, matches[:0], sp.Text)
		for _, m := range matches {
			note(call, w.Name(), m.Kind, do.done(), side)
			if found == "" {
				found = m.Kind
			}
		}
		if len(matches) == 0 || do != Mask {
			continue
		}
		out = append(out, body.JSON[at:sp.At]...)
		if out, err = jsontext.AppendQuote(out, masking(sp.Text, matches)); err != nil {
			return "", err
		}
		at = sp.End
	}
	if out == nil {
		return found, nil
	}
	return found, replaced(body, spans, append(out, body.JSON[at:]...))
}

// masking is text with its matches masked.
func masking(text string, matches []Match) string {
	var b strings.Builder
	at := 0
	for _, m := range matches {
		b.WriteString(text[at:m.From])
		b.WriteString(m.Mask)
		at = m.To
	}
	b.WriteString(text[at:])
	return b.String()
}

// replaced puts doc in the place of body's document: the same but for what strings say.
func replaced(body *firewall.Body, old []firewall.Span, doc []byte) error {
	again, err := firewall.ParseBody(doc, firewall.Limits{Bytes: len(doc), Depth: len(doc)})
	if err != nil {
		return err
	}
	if len(again.Spans) != len(old) {
		return fmt.Errorf("%d strings became %d", len(old), len(again.Spans))
	}
	for i := range old {
		again.Spans[i].Lane, again.Spans[i].Close = old[i].Lane, old[i].Close
	}
	body.JSON, body.Spans, body.Edited = doc, again.Spans, true
	return nil
}
