package firewall

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"callgate/audit"
)

// Bounds of what is remembered of one run. What is older is forgotten first.
const (
	maxModels    = 2048 // model calls
	maxSame      = 32   // of these with the very same request
	maxThreads   = 512
	maxProposals = 1024
	maxDone      = 512 // tool calls
	maxArgBytes  = 512 << 10
)

// joins is what is remembered of a run's calls, to know which led to which. Three joins
// meet in it: a model call and the one whose conversation it goes on with (follow), a tool
// call and the model call that asked for it (claim), a result and the model call that it
// was brought to (carry), which confirms or corrects the second. It has a lock of its own:
// no other run waits while it looks.
type joins struct {
	seed maphash.Seed
	run  string

	mu        sync.Mutex
	threads   []*thread
	asked     []*asked
	proposals []*proposal
	done      []*execution
	argBytes  int // of proposals

	byCall    map[string]*asked
	byNode    map[uint64][]*asked
	byReply   map[uint64]*asked // whose text is long enough to be known by
	byKept    map[string]*asked // by the id under which the provider keeps the reply
	byUse     map[string][]*proposal
	byContent map[uint64][]*execution
	stray     ring // tool calls of no thread
}

// A thread is one conversation: a history that grows.
type thread struct {
	id      string // of the model call that began it
	hint    string // as its client names it
	session string // in which its tools are called
	last    *asked
	turns   []turn // as last told it
	calls   ring
}

// asked is a model call.
type asked struct {
	id     string
	thread *thread
	head   uint64
	node   uint64 // of the history that it was sent with
	turns  int
	reply  uint64 // hash of the text of the answer
	spoke  bool   // the answer has text
	pieces []uint32
	size   int // bytes of that text
	over   bool
	failed bool
	wants  []*proposal

	run, session, token string // as the client named them, and as it came with
}

// proposal is a tool call that a model asked for.
type proposal struct {
	by     *asked
	id     string // on the model's side
	name   string
	args   string // hash
	raw    []byte // the arguments, nil where they are too large
	known  bool   // the gate has a tool that is meant by it
	taken  *execution
	over   bool     // its result was seen, or its conversation has gone on without it
	doubts []*doubt // at each of which a call was held to be made for it, or for another
	at     time.Time
}

// execution is a tool call that passed the gate.
type execution struct {
	call    string
	tool    string // as the model may name it
	name    string // as the client does
	args    string // hash
	of      *proposal
	thread  *thread
	at      time.Time
	state   state
	told    bool     // what it answered is known
	forms   []uint64 // of the answer
	pieces  []uint32
	opening string // of its text
	size    int    // of its text
	carried bool   // its result was seen
	doubt   *doubt // whether it was made for of
}

// A doubt is that a call may have been made for one of several proposals.
type doubt struct{ gone bool }

const maxDoubts = 4 // of one proposal

// doubted says whether a call that was made for p may be held to be made for another.
func (p *proposal) doubted() bool {
	return slices.ContainsFunc(p.doubts, func(d *doubt) bool { return !d.gone })
}

// A state is what became of a tool call.
type state uint8

const (
	underway state = iota
	ended          // it answered
	broken         // it did not, or it was not let through: whoever made it may try again
)

func newJoins(run string, seed maphash.Seed) *joins {
	return &joins{
		seed: seed, run: run,
		byCall: make(map[string]*asked), byNode: make(map[uint64][]*asked), byReply: make(map[uint64]*asked), byKept: make(map[string]*asked),
		byUse: make(map[string][]*proposal), byContent: make(map[uint64][]*execution),
	}
}

// remember adds a model call.
func (j *joins) remember(a *asked) {
	if len(j.asked) >= maxModels {
		gone := j.asked[:maxModels/4]
		for _, old := range gone {
			delete(j.byCall, old.id)
			j.byNode[old.node] = slices.DeleteFunc(j.byNode[old.node], func(x *asked) bool { return x == old })
			if len(j.byNode[old.node]) == 0 {
				delete(j.byNode, old.node)
			}
			if j.byReply[old.reply] == old {
				delete(j.byReply, old.reply)
			}
		}
		for id, of := range j.byKept {
			if slices.Contains(gone, of) {
				delete(j.byKept, id)
			}
		}
		j.asked = append([]*asked(nil), j.asked[maxModels/4:]...)
	}
	j.asked = append(j.asked, a)
	j.byCall[a.id] = a
	if a.node > 1 { // something was said
		same := j.byNode[a.node]
		if len(same) >= maxSame {
			same = append(same[:0], same[1:]...)
		}
		j.byNode[a.node] = append(same, a)
	}
}

// begin adds a thread.
func (j *joins) begin(t *thread) *thread {
	if len(j.threads) >= maxThreads {
		j.threads = append([]*thread(nil), j.threads[maxThreads/4:]...)
	}
	j.threads = append(j.threads, t)
	return t
}

// propose notes that call's reply asks for a tool call. It must happen before
// the agent can see the reply, or the tool call could arrive first.
func (j *joins) propose(call *Call, w Want, hash string, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	a := j.byCall[call.ID]
	if a == nil {
		a = &asked{id: call.ID, run: call.Hints.Run, session: call.Hints.Session, token: call.Caller.TokenID}
		a.thread = j.begin(&thread{id: call.ID, hint: call.Hints.Thread, last: a})
		j.remember(a)
	}
	p := &proposal{by: a, id: w.ID, name: w.Name, args: hash, known: w.known, at: now, over: w.Refused != nil}
	if len(w.Args) <= maxArgs {
		p.raw = w.Args
	}
	if len(j.proposals) >= maxProposals {
		j.dropProposals(maxProposals / 4)
	}
	for j.argBytes += len(p.raw); j.argBytes > maxArgBytes && len(j.proposals) > 0; {
		j.dropProposals(max(1, len(j.proposals)/4))
	}
	j.proposals = append(j.proposals, p)
	a.wants = append(a.wants, p)
	if p.id != "" {
		j.byUse[p.id] = append(j.byUse[p.id], p)
	}
}

func (j *joins) dropProposals(n int) {
	for _, old := range j.proposals[:n] {
		j.argBytes -= len(old.raw)
		if old.id == "" {
			continue
		}
		j.byUse[old.id] = slices.DeleteFunc(j.byUse[old.id], func(p *proposal) bool { return p == old })
		if len(j.byUse[old.id]) == 0 {
			delete(j.byUse, old.id)
		}
	}
	j.proposals = append([]*proposal(nil), j.proposals[n:]...)
}

// execute adds a tool call.
func (j *joins) execute(e *execution) {
	if len(j.done) >= maxDone {
		for _, old := range j.done[:maxDone/4] {
			for _, f := range old.forms {
				j.byContent[f] = slices.DeleteFunc(j.byContent[f], func(x *execution) bool { return x == old })
				if len(j.byContent[f]) == 0 {
					delete(j.byContent, f)
				}
			}
		}
		j.done = append([]*execution(nil), j.done[maxDone/4:]...)
	}
	j.done = append(j.done, e)
}

// link is an edge to a model call.
func (a *asked) link(kind, method string, conf int) audit.Link {
	return audit.Link{From: a.id, Kind: kind, Method: method, Conf: conf}
}
