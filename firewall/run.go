package firewall

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
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
	seed  maphash.Seed
	trace atomic.Bool // what runs have met is to be known

	mu    sync.Mutex
	hours map[string]*hour // of agents
	runs  map[string]*run  // by caller
	next  time.Time        // when to look for runs that have ended
	ended []string         // that the store still has
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

// run is what is known of one run. Its fields are guarded by Runs.mu, but for joins.
type run struct {
	id     string
	key    string
	last   time.Time
	labels Labels
	kept   bool // in the store
	done   Progress
	met    *met   // what it has met, where the law wants to know
	drift  drift  // how it has departed from what is expected
	parent *run   // of who its agent acts for
	joins  *joins // of its calls
}

// NewRuns makes Runs whose runs end after idle without a call, where 0 means 30
// minutes, and are kept in store.
func NewRuns(idle time.Duration, store RunStore, now func() time.Time) *Runs {
	if idle == 0 {
		idle = 30 * time.Minute
	}
	return &Runs{idle: idle, now: now, store: store, seed: maphash.MakeSeed(), runs: make(map[string]*run), hours: make(map[string]*hour)}
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
		r.runs[k.Key] = &run{id: k.ID, key: k.Key, last: now, labels: k.Labels, kept: true, joins: newJoins(k.ID, r.seed)}
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
	now := r.now()
	first := r.enter(call, now)
	if call.Continues != "" {
		call.Links = append(call.Links, audit.Link{From: call.Continues, Kind: audit.LinkContinued, Method: "request_state", Conf: 100})
	}
	r.join(call, first, now)
}

// enter puts call into its caller's run, and says whether it is the first one there.
func (r *Runs) enter(call *Call, now time.Time) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	var u *run
	if call.During != nil { // it is part of what the agent does
		u = call.During.run
		call.above = call.During.above
		call.Hints.Run, call.Thread = call.During.Hints.Run, call.During.Thread
		call.Links = append(call.Links, audit.Link{From: call.During.ID, Kind: audit.LinkAsked, Method: "stream", Conf: 100})
	} else {
		u, call.above = r.of(&call.Caller, now)
	}
	u.last = now
	if r.trace.Load() {
		call.mets = r.known(u)
	}
	call.run, call.parent, call.Run, call.Chain = u, u.parent, u.id, u.id
	call.Labels, call.Before = u.labels, u.done
	if !call.idle() {
		u.done.Calls++
	}
	if call.Hints.Run != "" {
		call.Chain = call.Hints.Run
	}
	return u.done.Calls == 1 && !call.idle()
}

// known is what u has met, and those for whom it acts.
func (r *Runs) known(u *run) (all mets) {
	for ; u != nil && len(all) < maxAbove; u = u.parent {
		if u.met == nil {
			u.met = newMet(r.seed)
		}
		all = append(all, u.met)
	}
	return all
}

const maxAbove = 16 // runs that act for each other

// heard notes what call tells its model, now that it may be forwarded.
func (r *Runs) heard(law *Law, call *Call) {
	if len(call.mets) > 0 && call.Kind == Model && call.History != nil && call.During == nil {
		call.mets[0].heard(law.Client, call, len(call.mets) > 1)
	}
}

// answered notes what the agent is about to learn from a tool.
func (call *Call) answered(ev *Event) {
	if len(call.mets) > 0 && len(ev.Body.JSON) > 0 && (call.Kind == Tool || call.Kind == Resource || call.Kind == Prompt) {
		call.mets[0].answered(call, ev.Body.JSON)
	}
}

// of is the run that caller is in, and those of all for whom it acts, which go on as
// long as it does. What they have read, it has read too: they may have told it.
func (r *Runs) of(caller *identity.Principal, now time.Time) (u *run, above []string) {
	chain := caller.Chain()
	var inherited Labels
	var parent *run
	for i := 1; i < len(chain); i++ {
		up := r.at(runKey(caller.Tenant, chain[i:]), now)
		if i == 1 {
			parent = up
		}
		up.last = now
		inherited |= up.labels
		above = append(above, up.id)
	}
	u = r.at(runKey(caller.Tenant, chain), now)
	u.labels |= inherited
	u.parent = parent
	return u, above
}

// at is the run of key that is under way, or one that begins.
func (r *Runs) at(key string, now time.Time) *run {
	u := r.runs[key]
	if u == nil || now.Sub(u.last) > r.idle {
		if u != nil && u.kept {
			r.ended = append(r.ended, u.id)
		}
		u = &run{id: newID(), key: key}
		u.joins = newJoins(u.id, r.seed)
		r.runs[key] = u
	}
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
	u.drift.gained(gained, call.ID)
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
	cost := call.spent()
	if cost == 0 || call.run == nil {
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
