// Package guards holds the firewall's guards: what reads the content of calls and
// of their replies, and takes out of it what should not pass.
package guards

import (
	"context"
	"fmt"
	"sync"

	"callgate/audit"
	"callgate/firewall"
)

// Secrets is a [firewall.Guard] that masks secrets: keys, tokens and passwords, as
// gitleaks' rules know them, in what agents send to models and tools and in what
// these reply, streamed or not. A secret becomes [secret:<rule>]; the secret
// itself goes nowhere, neither into records nor into errors.
//
// A call passes twice. Request reads the body as one text, so that a name and its
// value belong together, and edits the strings in it. Reply does the same with
// each event, and reads what is streamed lane by lane, holding back no more than
// the word that is being written, or what may be the beginning of a secret. For
// every way to cut a text into events the agent sees the same.
//
// Names in objects and numbers are read but stay; a secret there is on record as
// not masked. Secrets is used by many goroutines at once.
type Secrets struct {
	words *keywords
	all   []keyword // by number in words
	frame frame
	scans sync.Pool // of *scan
}

// keyword is a word at which a rule is asked.
type keyword struct {
	rule *rule
	size int
}

// NewSecrets returns a Secrets with the rules of the gitleaks release that callgate
// is built with.
func NewSecrets() *Secrets {
	s := new(Secrets)
	var words []string
	for _, r := range load() {
		for _, k := range r.keywords {
			words = append(words, k)
			s.all = append(s.all, keyword{r, len(k)})
		}
		if r.place == block {
			s.frame.source = r.source
		}
	}
	s.words = newKeywords(words)
	s.scans.New = func() any { return &scan{rules: s} }
	return s
}

// Name implements [firewall.Guard].
func (s *Secrets) Name() string { return "secrets" }

// Request implements [firewall.Guard]. It always allows: what it finds is masked.
func (s *Secrets) Request(ctx context.Context, call *firewall.Call) (firewall.Decision, error) {
	size := len(call.Body.JSON)
	if err := s.mask(ctx, call, "request", &call.Body); err != nil {
		return firewall.Decision{}, err
	}
	call.Checks = append(call.Checks, audit.Check{Guard: s.Name(), Version: version, Request: int64(size)})
	return firewall.Decision{Effect: firewall.Allow}, nil
}

// Media implements [firewall.MediaGuard]: a secret is a text, and what is said or drawn
// of one is not looked for.
func (s *Secrets) Media(*firewall.Call) firewall.Decision {
	return firewall.Decision{Effect: firewall.Allow}
}

// Reply implements [firewall.Guard]. The check on record counts the bytes of the
// events as they leave: no other byte of the reply has passed the guard.
func (s *Secrets) Reply(ctx context.Context, call *firewall.Call, events firewall.Events) firewall.Events {
	whole := func(yield func(firewall.Event, error) bool) {
		for ev, err := range events {
			if err == nil {
				err = s.mask(ctx, call, "reply", &ev.Body)
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
	return func(yield func(firewall.Event, error) bool) {
		for ev, err := range firewall.Windowed(whole, func(lane string) firewall.Editor { return s.lane(call, lane) }) {
			if err == nil {
				judged(call, s.Name(), version, len(ev.Body.JSON))
			}
			if !yield(ev, err) {
				return
			}
		}
	}
}

// lane returns what masks the secrets in one lane of the reply to call.
func (s *Secrets) lane(call *firewall.Call, lane string) firewall.Editor {
	sc := s.scans.Get().(*scan)
	sc.reset(true)
	decided := 0 // of the whole lane
	return func(text string, from int, end bool) (int, []firewall.Edit, error) {
		shift := from - decided
		decided = sc.feed(text[sc.raw+shift:], end)
		var edits []firewall.Edit
		for _, e := range sc.edits {
			edit := firewall.Edit{From: e.from + shift, To: e.to + shift}
			if e.rule != nil {
				edit.Text = e.rule.mask
				note(call, s.Name(), e.rule.id, masked, "reply "+lane)
			}
			edits = append(edits, edit)
		}
		if end {
			s.release(sc)
		}
		return decided + shift, edits, nil
	}
}

// release gives a scan back that nobody uses any more. Large ones are not kept.
func (s *Secrets) release(sc *scan) {
	if cap(sc.text) <= 256<<10 {
		s.scans.Put(sc)
	}
}

const piece = 32 << 10 // of a document, that is read at once

// mask masks the secrets in the strings of body. Those that are slices of a lane
// are left to the lane.
func (s *Secrets) mask(ctx context.Context, call *firewall.Call, side string, body *firewall.Body) error {
	sc := s.scans.Get().(*scan)
	defer s.release(sc)
	sc.reset(false)
	var edits []edit
	doc := view(body.JSON)
	for at := 0; at < len(doc); at += piece {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("look for secrets: %w", err)
		}
		to := min(at+piece, len(doc))
		sc.feed(doc[at:to], to == len(doc))
		for _, e := range sc.edits {
			if e.rule == nil {
				edits[len(edits)-1].to = e.to
				continue
			}
			edits = append(edits, e)
		}
	}
	if len(edits) == 0 {
		return nil
	}
	if err := s.rewrite(call, side, body, edits); err != nil {
		return &firewall.Error{Code: firewall.Unavailable, Rule: s.Name(), Reason: "there is a secret where it cannot be masked", Err: err}
	}
	return nil
}
