package firewall

import (
	"slices"
	"time"
	"unsafe"

	"callgate/audit"

	"github.com/tidwall/gjson"
)

// claim finds what a model asked for that call carries out, before anything is decided
// about it: by the id that the client passes on, else by name and arguments, exactly, then
// by what they mean, then by a part of them. Where several may be meant it prefers what
// belongs to the call's session, and says that it is a guess where nothing tells.
func (j *joins) claim(call *Call, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := &execution{call: call.ID, tool: call.Resource, name: call.Hints.Name, args: call.argsHash, at: now}
	j.execute(e)
	c := claimed{call: call, joins: j, now: now}
	if !c.goesOn() && !c.byID() && !c.exact() && !c.alike() && !c.partly() {
		call.signal(SignalOrphan)
		if x := c.before(); x != nil {
			call.signal(SignalRepeated)
			call.Links = append(call.Links, audit.Link{From: x.call, Kind: audit.LinkAgain, Method: "arguments", Conf: 50})
		}
	}
	sum := call.sum(j)
	calls := &j.stray
	if p := c.found; p != nil {
		if p.taken != nil && p.taken.state == broken {
			call.Links = append(call.Links, audit.Link{From: p.taken.call, Kind: audit.LinkAgain, Method: c.method, Conf: c.conf})
		}
		l := p.by.link(audit.LinkProposed, c.method, c.conf)
		l.ID = p.id
		call.Links = append(call.Links, l)
		p.taken, e.of, e.thread, e.doubt = e, p, p.by.thread, c.unsure
		call.Thread = e.thread.id
		if s := call.Hints.Session; s != "" {
			e.thread.session = s
		}
		calls = &e.thread.calls
	}
	if call.Continues == "" && calls.add(sum) {
		call.signal(SignalLoop)
	}
}

// sum is the hash of what the call does.
func (c *Call) sum(j *joins) uint64 {
	m := meaning{seed: j.seed}
	return m.member(c.Target+"/"+c.Resource, m.member(c.argsHash, 0))
}

// claimed is a call whose proposal is looked for.
type claimed struct {
	*joins
	now    time.Time
	call   *Call
	found  *proposal
	method string
	conf   int
	unsure *doubt // where one of several was taken
}

func (c *claimed) is(p *proposal, method string, conf int) bool {
	c.found, c.method, c.conf = p, method, conf
	return true
}

// open says whether p waits for a call such as this one: none was made for it, or one that
// came to nothing.
func (c *claimed) open(p *proposal) bool {
	return !p.over && (p.taken == nil || p.taken.state == broken) && sameTool(p.name, c.call)
}

// goesOn is the proposal of the call that this one is the rest of.
func (c *claimed) goesOn() bool {
	if c.call.Continues == "" {
		return false
	}
	for _, e := range slices.Backward(c.done) {
		if e.call == c.call.Continues && e.of != nil {
			return c.is(e.of, "request_state", 100)
		}
	}
	return false
}

// byID finds the proposal that the client names.
func (c *claimed) byID() bool {
	id := c.call.Hints.ToolUse
	if id == "" {
		return false
	}
	var same, other []*proposal
	for _, p := range c.byUse[id] {
		switch {
		case !c.open(p):
		case p.args == c.call.argsHash:
			same = append(same, p)
		default:
			other = append(other, p)
		}
	}
	if len(same) > 0 {
		p, conf := c.pick(same)
		if conf >= 90 {
			conf = 100
		}
		return c.is(p, "tool_use_id", conf)
	}
	if len(other) == 0 {
		return false
	}
	p, _ := c.pick(other)
	if p.raw != nil && c.meant(p.raw) == c.meant(c.call.came) {
		return c.is(p, "tool_use_id", 98)
	}
	c.call.signal(SignalArgsChanged) // the model did not ask for this
	return c.is(p, "tool_use_id+args_changed", 95)
}

// exact finds the proposal with the same name and arguments.
func (c *claimed) exact() bool {
	var all []*proposal
	for _, p := range c.proposals {
		if p.args == c.call.argsHash && c.open(p) {
			all = append(all, p)
		}
	}
	return c.one(all, "arguments", 97)
}

// Bounds of what is read to find what a call may have been asked for by.
const (
	maxCompared = 64       // proposals
	maxRead     = 64 << 10 // bytes of their arguments
)

// alike finds the proposal whose arguments mean the same: nulls are nothing, and the
// defaults of the tool's schema are filled in.
func (c *claimed) alike() bool {
	near := c.near()
	if len(near) == 0 {
		return false
	}
	want := c.meant(c.call.came)
	return c.one(slices.DeleteFunc(near, func(p *proposal) bool { return c.meant(p.raw) != want }), "args_semantic", 92)
}

// partly finds the proposal whose arguments are some of the call's, or the other way round.
func (c *claimed) partly() bool {
	own := c.members(c.call.came)
	var best []*proposal
	most := -1
	near := c.near()
	for _, p := range near {
		theirs := c.members(p.raw)
		small, large := own, theirs
		if len(small) > len(large) {
			small, large = large, small
		}
		n := 0
		for name, value := range small {
			if there, ok := large[name]; ok && there == value {
				n++
			}
		}
		switch {
		case n < len(small) || n == 0 && len(theirs) > 0:
		case n > most:
			best, most = []*proposal{p}, n
		case n == most:
			best = append(best, p)
		}
	}
	conf := 90
	if slices.ContainsFunc(near, func(p *proposal) bool { return p.by.thread != near[0].by.thread }) {
		conf = 75
	}
	if most == 0 { // the model gave no arguments at all
		conf = 60
	}
	if !c.one(best, "args_subset", conf) {
		return false
	}
	c.method, c.conf = "args_subset", min(c.conf, conf) // whichever it is
	c.call.signal(SignalArgsChanged)
	return true
}

// Asked says whether a model was seen to ask for a call that has links: with these
// arguments, unless the client says that it means this one. Where they are only a part of
// what it asked for, or more than that, it did not ask for the call.
func Asked(links []audit.Link) bool {
	return slices.ContainsFunc(links, func(l audit.Link) bool {
		return l.Kind == audit.LinkProposed && l.To == "" && l.Method != "args_subset"
	})
}

// near is the open proposals for the tool whose arguments are known, the newest of them.
func (c *claimed) near() []*proposal {
	var all []*proposal
	left := maxRead
	for _, p := range slices.Backward(c.proposals) {
		if p.raw == nil || len(c.call.came) > maxArgs || !c.open(p) {
			continue
		}
		if left -= len(p.raw); left < 0 || len(all) == maxCompared {
			break
		}
		all = append(all, p)
	}
	slices.Reverse(all)
	return all
}

// one is whether all are one, or one of them is likelier than the others.
func (c *claimed) one(all []*proposal, method string, conf int) bool {
	if len(all) == 0 {
		return false
	}
	p, sure := c.pick(all)
	switch {
	case p.doubted():
	case len(all) == 1:
		return c.is(p, method, conf)
	case !slices.ContainsFunc(all, func(other *proposal) bool { return other.by != p.by }):
		return c.is(p, "twin", min(conf, 95)) // the model asked for the same more than once: in order
	case sure >= 90:
		return c.is(p, "affinity", min(conf, sure))
	case c.recent(p, all):
		return c.is(p, "time", 90)
	}
	d := new(doubt)
	for _, other := range all {
		if other.doubts = append(other.doubts, d); len(other.doubts) > maxDoubts {
			other.doubts = other.doubts[1:]
		}
	}
	c.unsure = d
	return c.is(p, "ambiguous", min(conf, sure, 60))
}

// pick is the likeliest of some proposals, and how sure that is: one of the conversation
// that the call belongs to, of its latest turn, the first of that. Of several conversations it
// is the one whose model spoke last: calls follow at once.
func (c *claimed) pick(all []*proposal) (*proposal, int) {
	var best *proposal
	top, threads := 0, 0
	for _, p := range all {
		s := c.affinity(p)
		switch {
		case best == nil || s > top:
			best, top, threads = p, s, 1
		case s < top:
		case p.by.thread != best.by.thread:
			threads++
			if p.since().After(best.since()) {
				best = p
			}
		case p.by != best.by: // a later turn of the same
			best = p
		}
	}
	if threads > 1 {
		return best, max(10, 100/threads)
	}
	return best, 90
}

// recent says whether p was asked for just now, and all others that are as likely long ago.
func (c *claimed) recent(p *proposal, all []*proposal) bool {
	return c.now.Sub(p.since()) <= justNow && !slices.ContainsFunc(all, func(other *proposal) bool {
		return other.by.thread != p.by.thread && c.now.Sub(other.since()) < longAgo && c.affinity(other) >= c.affinity(p)
	})
}

const (
	justNow = 300 * time.Millisecond // how long clients take to make a call that a model asks for
	longAgo = 8 * time.Second        // what still waits then waits for a person, or goes past the gate
)

// since is since when p has waited for a call.
func (p *proposal) since() time.Time {
	if p.taken != nil && p.taken.at.After(p.at) {
		return p.taken.at
	}
	return p.at
}

// affinity is how much says that the call is of the conversation that p is of.
func (c *claimed) affinity(p *proposal) int {
	h, t := &c.call.Hints, p.by.thread
	return agree(h.Thread, t.hint, 16) + agree(h.Session, t.session, 8) + agree(h.Run, p.by.run, 4) + agree(h.Client, p.by.session, 4) + agree(c.call.Caller.TokenID, p.by.token, 2)
}

// agree weighs two names of the same thing: nothing if one is not known.
func agree(a, b string, weight int) int {
	switch {
	case a == "" || b == "":
		return 0
	case a == b:
		return weight
	}
	return -weight
}

// before is a call that was made with the same arguments a while ago.
func (c *claimed) before() *execution {
	for _, e := range slices.Backward(c.done[:len(c.done)-1]) {
		if e.of != nil && e.args == c.call.argsHash && e.tool == c.call.Resource && e.name == c.call.Hints.Name {
			return e
		}
	}
	return nil
}

// meant is the hash of what arguments mean to the tool.
func (c *claimed) meant(args []byte) uint64 {
	m := meaning{seed: c.seed}
	return m.filled(parsedArgs(args), gjson.GetBytes(c.call.Tool, "inputSchema"), 0)
}

// members is the hashes of the members of arguments.
func (c *claimed) members(args []byte) map[string]uint64 {
	m := meaning{seed: c.seed}
	out := make(map[string]uint64)
	parsedArgs(args).ForEach(func(name, v gjson.Result) bool {
		if v.Type != gjson.Null && len(out) < maxCompared {
			out[name.Str] = m.of(v, 0)
		}
		return true
	})
	return out
}

func parsedArgs(args []byte) gjson.Result {
	if len(args) == 0 {
		return gjson.Parse("{}")
	}
	return gjson.Parse(unsafe.String(unsafe.SliceData(args), len(args))) // documents are never changed in place
}

// ended notes what became of a tool call.
func (j *joins) ended(call *Call, s state) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range slices.Backward(j.done) {
		if e.call == call.ID {
			e.state = s
			return
		}
	}
}
