package firewall

import (
	"hash/fnv"
	"strings"
	"sync"

	"callgate/audit"
)

// A Keeper keeps what passes: prompts, arguments, replies. It is an [audit.Payloads].
type Keeper interface {
	Put(run string, doc []byte, keep bool) (audit.Payload, error)
}

// Keep is how much of what passes is kept.
type Keep uint8

const (
	KeepFull     Keep = iota // as it passed: after the guards and rules that take something out of it
	KeepRedacted             // with what any guard knows taken out of it, also where it passed
	KeepDigests              // a commitment: it can be proven, and not read
	KeepNone
)

// keeps are the names of the values of [Keep].
var keeps = [...]string{"full", "redacted", "digests", "none"}

func (k Keep) String() string { return keeps[k] }

// ParseKeep is the Keep of a name.
func ParseKeep(name string) (Keep, bool) {
	for i, k := range keeps {
		if k == name {
			return Keep(i), true
		}
	}
	return KeepNone, false
}

// A KeepRule says how much is kept of the calls of an agent, or of those to an object.
// Both are patterns that may end in a *; "" is any.
type KeepRule struct {
	Agent, Object string
	Keep          Keep
	Percent       float64 // of runs; the others' are digests. 0 is all
}

// keepOf is by the first rule that fits; everything, where none does.
func (g *Gate) keepOf(call *Call) Keep {
	rules := g.keeps.Load()
	if rules == nil {
		return KeepFull
	}
	for i := range *rules {
		r := &(*rules)[i]
		if !fits(r.Agent, call.Caller.Agent()) || !fits(r.Object, call.Object()) {
			continue
		}
		if r.Percent > 0 && r.Keep < KeepDigests && r.Percent <= lot(call.Run) {
			return KeepDigests
		}
		return r.Keep
	}
	return KeepFull
}

func fits(pattern, name string) bool {
	if rest, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, rest)
	}
	return pattern == "" || pattern == name
}

// lot is a number from 0 up to 100 that a run has drawn once and for all: runs are kept
// whole, or not at all.
func lot(run string) float64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(run))
	return float64(h.Sum32()) / (1 << 32) * 100
}

// clean says that no guard found anything in the request that is still there.
func (call *Call) clean() bool {
	for _, f := range call.Findings {
		if f.Action != "mask" {
			return false
		}
	}
	return true
}

// maxGot is the most bytes of a reply that are kept.
const maxGot = 32 << 20

// replies are buffers for replies.
var replies = sync.Pool{New: func() any { return new([]byte) }}

// keepRequest keeps what call asks for.
func (g *Gate) keepRequest(call *Call) error {
	if g.cfg.Payloads == nil || call.asks != nil || call.idle() || call.run == nil || call.Unread > 0 && len(call.Body.JSON) == 0 {
		return nil
	}
	if call.stays = g.keepOf(call); call.stays == KeepNone {
		return nil
	}
	at, err := g.cfg.Payloads.Put(call.Run, call.Body.JSON, call.stays == KeepFull)
	if err != nil {
		return err
	}
	call.keeping, call.asks = true, &at
	return nil
}

// got notes what goes down, a document to a line, if the reply is to be kept.
func (call *Call) got(ev *Event) {
	if !call.keeping || len(ev.Body.JSON) == 0 {
		return
	}
	if call.reply == nil {
		call.reply = replies.Get().(*[]byte)
	}
	b := *call.reply
	if len(b)+len(ev.Body.JSON) > maxGot {
		call.cut = true
		return
	}
	if len(b) > 0 {
		b = append(b, '\n')
	}
	*call.reply = append(b, ev.Body.JSON...)
}

// keepReply keeps what went down.
func (g *Gate) keepReply(call *Call) *audit.Payload {
	if !call.keeping || call.reply == nil {
		return nil
	}
	b := call.reply
	call.reply = nil
	at, err := g.cfg.Payloads.Put(call.Run, *b, call.stays == KeepFull)
	if cap(*b) <= 1<<20 {
		*b = (*b)[:0]
		replies.Put(b)
	}
	if err != nil { // it is gone, and on record without it; the next call finds out
		g.cfg.Logger.Error("a reply is not kept", "call", call.ID, "error", err)
		return nil
	}
	at.Cut = call.cut
	return &at
}
