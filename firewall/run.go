package firewall

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"callgate/audit"
	"callgate/identity"

	"github.com/google/uuid"
	"github.com/gowebpki/jcs"
)

// Runs knows the run that each caller is in: what has been going on without a
// long pause. A run belongs to its principal. A fresh token, session or
// connection continues it, so that nothing is forgotten by reconnecting.
//
// It also joins the two planes: a tool call to the model call that asked for it,
// and a model call to the tool calls whose results it carries.
type Runs struct {
	idle  time.Duration
	now   func() time.Time
	store RunStore

	mu    sync.Mutex
	runs  map[string]*run // by caller
	next  time.Time       // when to look for runs that have ended
	ended []string        // that the store still has
}

// A RunStore keeps which runs have labels, so that no restart washes them off.
type RunStore interface {
	// LabelledRuns are those that are kept.
	LabelledRuns(ctx context.Context) ([]LabelledRun, error)
	// PutLabels adds labels to those of a run.
	PutLabels(ctx context.Context, r LabelledRun) error
	// DropRun forgets a run that has ended.
	DropRun(ctx context.Context, id string) error
}

// A LabelledRun is a run that has read something with labels.
type LabelledRun struct {
	ID     string
	Key    string // of whom it is: tenant and chain
	Labels Labels
	At     time.Time // when it last got one
}

// run is what is known of one run. Its fields are guarded by Runs.mu.
type run struct {
	id        string
	key       string
	last      time.Time
	labels    Labels
	kept      bool // in the store
	done      Progress
	proposals []*proposal // oldest first
}

// proposal is a tool call that a model asked for.
type proposal struct {
	model   string // call that asked
	id      string // on the model's side
	name    string
	args    string // hash
	call    string // the tool call that carried it out, once there is one
	carried bool   // its result was seen in a later model call
}

const maxProposals = 1024 // per run; the oldest are forgotten

// NewRuns makes Runs whose runs end after idle without a call, where 0 means 30
// minutes, and are kept in store.
func NewRuns(idle time.Duration, store RunStore, now func() time.Time) *Runs {
	if idle == 0 {
		idle = 30 * time.Minute
	}
	return &Runs{idle: idle, now: now, store: store, runs: make(map[string]*run)}
}

// longestStop is how long the process may have been down for its runs to go on.
const longestStop = 24 * time.Hour

// Restore goes on with the runs that had labels when the process ended: when they
// last made a call is not known, so they are taken to be under way. It must happen
// before the first call.
func (r *Runs) Restore(ctx context.Context) error {
	kept, err := r.store.LabelledRuns(ctx)
	if err != nil {
		return fmt.Errorf("restore runs: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for _, k := range kept {
		if now.Sub(k.At) > max(longestStop, r.idle) {
			if err := r.store.DropRun(ctx, k.ID); err != nil {
				return fmt.Errorf("restore runs: %w", err)
			}
			continue
		}
		r.runs[k.Key] = &run{id: k.ID, key: k.Key, last: now, labels: k.Labels, kept: true}
	}
	return nil
}

// attribute puts call into its caller's run and links it to what led to it.
func (r *Runs) attribute(call *Call) {
	call.came = call.Body.JSON
	if call.ArgsAt != "" {
		call.came = call.Args()
		call.argsHash = HashArgs(call.came)
		if call.Written != nil { // as the model proposed them
			call.argsHash = HashArgs(call.Written)
		}
	}
	if run := call.Caller.Run; run != "" { // the token is for no other
		call.Hints.Run = run
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.forget(now)
	var u *run
	if call.During != nil { // it is part of what the agent does
		u = call.During.run
		call.Hints.Run = call.During.Hints.Run
		call.Links = append(call.Links, audit.Link{From: call.During.ID, Kind: "asked", Method: "stream"})
	} else {
		u = r.of(&call.Caller, now)
	}
	u.last = now
	call.run, call.Run, call.Chain = u, u.id, u.id
	call.Labels, call.Before = u.labels, u.done
	if !call.idle() {
		u.done.Calls++
	}
	if call.Hints.Run != "" {
		call.Chain = call.Hints.Run
	}
	if call.Continues != "" {
		call.Links = append(call.Links, audit.Link{From: call.Continues, Kind: "continued", Method: "request_state"})
	}
	switch call.Kind {
	case Tool:
		if call.During != nil {
			break
		}
		if l, ok := u.claim(call); ok {
			call.Links = append(call.Links, l)
		}
	case Model: // one that a server asks for brings no results
		call.Links = append(call.Links, u.carry(call)...)
	}
}

// of is the run that caller is in. What those have read for whom an agent acts, it
// has read too: they may have told it.
func (r *Runs) of(caller *identity.Principal, now time.Time) *run {
	chain := caller.Chain()
	var inherited Labels
	for i := 1; i < len(chain); i++ {
		if u := r.runs[runKey(caller.Tenant, chain[i:])]; u != nil && now.Sub(u.last) <= r.idle {
			inherited |= u.labels
		}
	}
	key := runKey(caller.Tenant, chain)
	u := r.runs[key]
	if u == nil || now.Sub(u.last) > r.idle {
		if u != nil && u.kept {
			r.ended = append(r.ended, u.id)
		}
		u = &run{id: newID(), key: key}
		r.runs[key] = u
	}
	u.labels |= inherited
	return u
}

func runKey(tenant string, chain []string) string {
	return tenant + "\x1f" + strings.Join(chain, "\x1f")
}

// read notes that the agent is about to see the reply to call. What its run gets
// new by that is stored before.
func (r *Runs) read(ctx context.Context, call *Call) error {
	if call.Brings == 0 {
		return nil
	}
	r.mu.Lock()
	u := call.run
	gained := call.Brings &^ u.labels
	u.labels |= call.Brings
	u.kept = true
	r.mu.Unlock()
	if gained == 0 {
		return nil
	}
	call.brought |= gained
	if err := r.store.PutLabels(ctx, LabelledRun{ID: u.id, Key: u.key, Labels: gained, At: r.now()}); err != nil {
		return &Error{Code: Unavailable, Reason: "what the run has read cannot be stored, so the reply is withheld", Retry: time.Second, Err: err}
	}
	return nil
}

// spend notes what call cost, now that it is over.
func (r *Runs) spend(call *Call) {
	cost, known := call.Price.of(call.Usage)
	if !known || call.run == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	call.run.done.Spent += cost
}

// forget drops runs that have ended, now and then.
func (r *Runs) forget(now time.Time) {
	if now.Before(r.next) {
		return
	}
	r.next = now.Add(r.idle / 4)
	for k, u := range r.runs {
		if now.Sub(u.last) > r.idle {
			delete(r.runs, k)
			if u.kept {
				r.ended = append(r.ended, u.id)
			}
		}
	}
}

// Tidy takes runs that have ended out of the store.
func (r *Runs) Tidy(ctx context.Context) error {
	r.mu.Lock()
	ended := r.ended
	r.ended = nil
	r.mu.Unlock()
	for i, id := range ended {
		if err := r.store.DropRun(ctx, id); err != nil {
			r.mu.Lock()
			r.ended = append(r.ended, ended[i:]...) // to be tried again
			r.mu.Unlock()
			return fmt.Errorf("forget runs: %w", err)
		}
	}
	return nil
}

// propose notes that call's reply asks for a tool call. It must happen before
// the agent can see the reply, or the tool call could arrive first.
func (r *Runs) propose(call *Call, w Want, hash string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := call.run
	if len(u.proposals) >= maxProposals {
		u.proposals = append(u.proposals[:0], u.proposals[maxProposals/4:]...)
	}
	u.proposals = append(u.proposals, &proposal{model: call.ID, id: w.ID, name: w.Name, args: hash})
}

// claim finds the proposal that call carries out: by the id that the client
// passed on, else by name and canonical arguments.
func (u *run) claim(call *Call) (audit.Link, bool) {
	if id := call.Hints.ToolUse; id != "" {
		for _, p := range slices.Backward(u.proposals) {
			if p.id == id && p.call == "" && sameTool(p.name, call) {
				method := "tool_use_id"
				if p.args != call.argsHash {
					method = "tool_use_id+args_changed" // the model did not ask for this
				}
				return p.take(call.ID, method), true
			}
		}
	}
	var found *proposal
	method := "arguments"
	for _, p := range u.proposals {
		if p.call != "" || p.args != call.argsHash || !sameTool(p.name, call) {
			continue
		}
		switch {
		case found == nil:
			found = p
		case found.model == p.model:
			method = "twin" // the model asked for the same thing more than once: in order
		default:
			method = "ambiguous"
		}
	}
	if found == nil {
		return audit.Link{}, false
	}
	return found.take(call.ID, method), true
}

func (p *proposal) take(call, method string) audit.Link {
	p.call = call
	return audit.Link{From: p.model, Kind: "proposed", Method: method, ID: p.id}
}

// carry finds the tool calls whose results call brings to its model, each once.
func (u *run) carry(call *Call) []audit.Link {
	var links []audit.Link
	for _, id := range call.Hints.Results {
		for _, p := range slices.Backward(u.proposals) {
			if p.id != id {
				continue
			}
			if p.call != "" && !p.carried {
				p.carried = true
				links = append(links, audit.Link{From: p.call, Kind: "result", Method: "tool_use_id", ID: id})
			}
			break
		}
	}
	return links
}

// sameTool says whether a model that asks for name means call's tool. Clients put
// their own prefixes before a name (mcp__server__tool, server.tool), and some
// write every sign as an underscore.
func sameTool(name string, call *Call) bool {
	return EndsInName(name, call.Resource) || call.Hints.Name != "" && EndsInName(name, call.Hints.Name)
}

// EndsInName says whether name is tool, or ends in it behind a sign. One sign is as good
// as another.
func EndsInName(name, tool string) bool {
	at := len(name) - len(tool)
	if at < 0 {
		return false
	}
	for i := range len(tool) {
		if a, b := name[at+i], tool[i]; a != b && !(isSign(a) && isSign(b)) {
			return false
		}
	}
	return at == 0 || isSign(name[at-1])
}

func isSign(c byte) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9')
}

// HashArgs is the SHA-256 of arguments in canonical form (RFC 8785), so that two
// writings of the same arguments are equal. No arguments are an empty object.
func HashArgs(args []byte) string {
	if len(args) == 0 {
		args = []byte("{}")
	}
	canonical, err := jcs.Transform(args)
	if err != nil { // numbers beyond RFC 8785, or not an object: exact bytes still compare
		canonical = args
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:16])
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }
