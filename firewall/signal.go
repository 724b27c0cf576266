package firewall

// Signals are what is not as it should be between what models ask for, what passes the
// gate, and what models are told. They stand on the record of the call at which they are
// noticed, and refuse nothing by themselves.
const (
	SignalOrphan        = "orphan"         // a tool call that no model was seen to ask for
	SignalRepeated      = "repeated"       // it was asked for once, and has been carried out before
	SignalArgsChanged   = "args_changed"   // the model asked for it with other arguments
	SignalResultChanged = "result_changed" // the model is told another result than the tool gave
	SignalResultCut     = "result_cut"     // the model is told a part of the result
	SignalOffGateway    = "off_gateway"    // the result of a tool call that never came here
	SignalBypassed      = "bypassed"       // of a tool that is behind the gate
	SignalHistoryEdited = "history_edited" // what was said before in the conversation is not what was said
	SignalLoop          = "loop"           // the same tool calls again and again
	SignalDrift         = "drift"          // what is not expected of the agent; see [audit.Departure]
)

const (
	ringSize   = 64 // tool calls that are looked back at
	sameInRow  = 5  // equal ones, one after the other, that are a loop
	sameCalls  = 10 // equal ones among those that are looked back at
	maxCycle   = 8  // tool calls after which it begins anew
	sameCycles = 3  // that one after the other are a loop
)

// A ring is the latest tool calls of a conversation, as hashes of their names and arguments.
type ring struct {
	calls []uint64
	next  int
}

// add adds a call, and says whether it is one of a loop.
func (r *ring) add(sum uint64) (loops bool) {
	if len(r.calls) < ringSize {
		r.calls = append(r.calls, sum)
	} else {
		r.calls[r.next%ringSize] = sum
	}
	r.next++
	n := 0
	for _, c := range r.calls {
		if c == sum {
			n++
		}
	}
	row := 0
	for row < len(r.calls) && r.back(row) == sum {
		row++
	}
	if n >= sameCalls || row >= sameInRow {
		return true
	}
	for size := 2; size <= maxCycle && size*sameCycles <= len(r.calls); size++ {
		if r.cycles(size) {
			return true
		}
	}
	return false
}

// cycles says whether the last calls are a cycle of a size.
func (r *ring) cycles(size int) bool {
	for back := range size * (sameCycles - 1) {
		if r.back(back) != r.back(back+size) {
			return false
		}
	}
	return true
}

// back is the call so many before the last one.
func (r *ring) back(n int) uint64 {
	return r.calls[(r.next-1-n)%len(r.calls)]
}

// signal notes a signal once.
func (c *Call) signal(s string) {
	for _, known := range c.Signals {
		if known == s {
			return
		}
	}
	c.Signals = append(c.Signals, s)
}
