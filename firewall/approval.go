package firewall

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gowebpki/jcs"
)

// An Approval is a call that a policy lets pass only once people have agreed. It
// is for that call alone: the same principals, the same target as it was defined, the
// same arguments, under the same policy, once.
type Approval struct {
	ID      string
	State   string // [Asked], [Granted], [Denied], [Used] or [Expired]
	Binding string // SHA-256 of what the approval is for, in hexadecimal

	// The call that first asked for it.
	Call, Run            string
	Tenant, Subject      string
	Actors               []string
	Action, Object       string          // in the words of the policy
	Args                 json.RawMessage `json:",omitempty"` // as forwarded, after masking; nil when too large
	Definition           string          `json:",omitempty"` // SHA-256 of what the target said of Object
	Labels               []string        // of what the run had read
	Evidence             []Evidence      `json:",omitempty"` // from where the values come that the call acts on
	Policy, Rule, Reason string

	Groups  []string // each of which must agree
	Votes   []Vote   // in order
	Asked   time.Time
	Expires time.Time
	UsedBy  string // id of the call that was made with it
}

// A Vote is what one person said.
type Vote struct {
	By   string    `json:"by"` // user:ana
	Yes  bool      `json:"yes"`
	For  []string  `json:"for,omitempty"` // groups that the person spoke for
	Note string    `json:"note,omitempty"`
	At   time.Time `json:"at"`
}

// What the State of an [Approval] may be.
const (
	ApprovalAsked   = "asked"
	ApprovalGranted = "granted"
	ApprovalDenied  = "denied"
	ApprovalUsed    = "used"
	ApprovalExpired = "expired"
)

// Agent is who makes the call.
func (a *Approval) Agent() string {
	if len(a.Actors) > 0 {
		return a.Actors[0]
	}
	return a.Subject
}

// An ApprovalStore keeps approvals.
type ApprovalStore interface {
	// Approvals is all that are kept, the newest last.
	Approvals(ctx context.Context) ([]Approval, error)
	// PutApproval puts a in place of the one with its id.
	PutApproval(ctx context.Context, a Approval) error
}

// What is wrong with a decision about an [Approval].
var (
	ErrNoApproval = errors.New("there is no such approval")
	ErrDecided    = errors.New("the approval is decided, used or expired")
	ErrMayNot     = errors.New("may not decide about the approval")
)

const maxAsked = 100 // approvals that one agent may be waiting for

// Approvals holds calls until people have decided about them. It is used by many
// goroutines at once.
type Approvals struct {
	store   ApprovalStore
	life    time.Duration // of a question, and then of the answer
	now     func() time.Time
	asked   func(Approval) // is told of each question; it must not wait
	granted atomic.Int64   // calls need not look while it is 0

	mu   sync.Mutex           // also held while the store writes, so that it is told in order
	all  map[string]*Approval // by id
	open map[string]*Approval // by binding: asked, granted or denied, and not expired
	news chan struct{}        // closed at the next change; nil while nobody waits for one
}

// NewApprovals returns Approvals that are kept in store, and knows of none yet. A
// question is open for life, and so is the answer; 0 means an hour.
func NewApprovals(store ApprovalStore, life time.Duration, now func() time.Time) *Approvals {
	return &Approvals{store: store, life: cmp.Or(life, time.Hour), now: now, all: make(map[string]*Approval), open: make(map[string]*Approval), asked: func(Approval) {}}
}

// Tell has f be told of each question to people. It must be set before the first call,
// and must not wait.
func (s *Approvals) Tell(f func(Approval)) { s.asked = f }

// Restore takes up what the store has kept. It must happen before the first call.
func (s *Approvals) Restore(ctx context.Context) error {
	kept, err := s.store.Approvals(ctx)
	if err != nil {
		return fmt.Errorf("restore approvals: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range kept {
		s.keep(a)
	}
	return nil
}

// keep takes up a, in the place of what was known of it.
func (s *Approvals) keep(a Approval) {
	if old := s.all[a.ID]; old != nil && old.State == ApprovalGranted {
		s.granted.Add(-1)
	}
	if s.news != nil {
		close(s.news)
		s.news = nil
	}
	s.all[a.ID] = &a
	delete(s.open, a.Binding)
	switch a.State {
	case ApprovalGranted:
		s.granted.Add(1)
		fallthrough
	case ApprovalAsked, ApprovalDenied:
		s.open[a.Binding] = &a
	}
}

// put stores a and then takes it up: what is not stored has not happened.
func (s *Approvals) put(ctx context.Context, a Approval) error {
	if err := s.store.PutApproval(ctx, a); err != nil {
		return &Error{Code: Unavailable, Rule: a.Rule, Reason: "approvals cannot be stored, so the call is refused", Retry: time.Second, Err: fmt.Errorf("store approval %s: %w", a.ID, err)}
	}
	s.keep(a)
	return nil
}

// find is the open approval of a binding, if it has not expired.
func (s *Approvals) find(binding string) *Approval {
	a := s.open[binding]
	if a == nil {
		return nil
	}
	if s.now().After(a.Expires) {
		s.expire(a)
		return nil
	}
	return a
}

// expire ends a. That need not be stored: whoever reads it sees the time.
func (s *Approvals) expire(a *Approval) {
	b := *a
	b.State = ApprovalExpired
	s.keep(b)
}

// carry gives call, which its policy holds, the approval that was granted for it,
// and says whether one was.
func (s *Approvals) carry(call *Call) bool {
	if s.granted.Load() == 0 {
		return false
	}
	binding := bind(call)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(binding)
	if a == nil || a.State != ApprovalGranted {
		return false
	}
	call.Approval = a.ID
	return true
}

// pass lets a call that is held go on if all groups that are asked for have
// approved it, and uses that up. Else it refuses it until they have.
func (s *Approvals) pass(ctx context.Context, call *Call) error {
	d := call.Decision
	binding, groups := bind(call), groups(d)
	if len(groups) == 0 { // held by what asks nobody
		return &Error{Code: Denied, Rule: d.Rule, Reason: d.Reason}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(binding)
	if a == nil || !subset(groups, a.Groups) {
		made, err := s.ask(ctx, call, binding, groups)
		if err != nil {
			return err
		}
		a = &made
	}
	call.Approval = a.ID
	switch a.State {
	case ApprovalGranted:
		used := *a
		used.State, used.UsedBy = ApprovalUsed, call.ID
		return s.put(ctx, used)
	case ApprovalDenied:
		return &Error{Code: Denied, Rule: d.Rule, Approval: a.ID, Reason: "approval " + a.ID + " was denied: do otherwise"}
	}
	return &Error{Code: Pending, Rule: d.Rule, Approval: a.ID, Reason: fmt.Sprintf("%s (approval %s, open until %s): make the same call again once it is approved",
		d.Reason, a.ID, a.Expires.UTC().Format(time.RFC3339))}
}

// ask makes an approval that people can decide about.
func (s *Approvals) ask(ctx context.Context, call *Call, binding string, groups []string) (Approval, error) {
	now := s.now()
	s.forget(now)
	waiting := 0
	for _, a := range s.all {
		if a.State == ApprovalAsked && a.Agent() == call.Caller.Agent() && a.Tenant == call.Caller.Tenant && !now.After(a.Expires) {
			waiting++
		}
	}
	if waiting >= maxAsked {
		return Approval{}, &Error{Code: Exhausted, Rule: call.Decision.Rule, Reason: fmt.Sprintf("%d calls of %s wait for approval: no more are held until some are decided", waiting, call.Caller.Agent())}
	}
	a := Approval{
		ID: newID(), State: ApprovalAsked, Binding: binding, Call: call.ID, Run: call.Run,
		Tenant: call.Caller.Tenant, Subject: call.Caller.Subject, Actors: slices.Clone(call.Caller.Actors),
		Action: call.Action(), Object: call.Object(), Definition: call.Definition,
		Labels: call.Labels.Names(), Policy: call.Decision.Policy, Rule: call.Decision.Rule, Reason: call.Decision.Reason,
		Groups: groups, Asked: now, Expires: now.Add(s.life),
	}
	if args := call.Args(); len(args) <= maxArgs {
		a.Args = slices.Clone(args)
	}
	if call.Kind == Tool {
		a.Evidence = call.shown()
	}
	if err := s.put(ctx, a); err != nil {
		return a, err
	}
	s.asked(a)
	return a, nil
}

const maxKept = 10_000 // approvals in memory; more only while they are open

// forget drops what is long over from memory, if that is full.
func (s *Approvals) forget(now time.Time) {
	if len(s.all) < maxKept {
		return
	}
	for id, a := range s.all {
		if state := a.state(now); state == ApprovalUsed || state == ApprovalExpired {
			delete(s.all, id)
			if s.open[a.Binding] == a {
				delete(s.open, a.Binding)
			}
			if a.State == ApprovalGranted {
				s.granted.Add(-1)
			}
		}
	}
}

// Decide notes what somebody says of an approval. One no ends it; it is
// granted when every group has agreed. member says whether somebody belongs to a
// group in a tenant, and record puts the decision on record before it counts.
func (s *Approvals) Decide(ctx context.Context, id string, v Vote, member func(tenant, name, group string) bool, record func(Approval) error) (Approval, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.all[id]
	if old == nil {
		return Approval{}, fmt.Errorf("%w: %s", ErrNoApproval, id)
	}
	if now := s.now(); old.State != ApprovalAsked && (v.Yes || old.State != ApprovalGranted) || now.After(old.Expires) {
		return *old, fmt.Errorf("%w: %s is %s", ErrDecided, id, old.state(now))
	}
	a := *old
	a.Votes = slices.Clone(old.Votes)
	for _, group := range a.Groups {
		if member(a.Tenant, v.By, group) {
			v.For = append(v.For, group)
		}
	}
	switch {
	case v.By == a.Subject || slices.Contains(a.Actors, v.By):
		return a, fmt.Errorf("%w: %s is of the chain that asks, and somebody else must decide", ErrMayNot, v.By)
	case len(v.For) == 0:
		return a, fmt.Errorf("%w: %s is not in %s", ErrMayNot, v.By, strings.Join(a.Groups, " or "))
	}
	v.At = s.now()
	a.Votes = append(a.Votes, v)
	switch {
	case !v.Yes:
		a.State = ApprovalDenied
	case a.agreed():
		a.State, a.Expires = ApprovalGranted, v.At.Add(s.life)
	}
	if err := record(a); err != nil {
		return *old, err
	}
	return a, s.put(ctx, a)
}

// agreed says whether somebody of each group has agreed.
func (a *Approval) agreed() bool {
	for _, group := range a.Groups {
		if !slices.ContainsFunc(a.Votes, func(v Vote) bool { return v.Yes && slices.Contains(v.For, group) }) {
			return false
		}
	}
	return true
}

// state is the State of a at a time.
func (a *Approval) state(now time.Time) string {
	if a.State != ApprovalUsed && now.After(a.Expires) {
		return ApprovalExpired
	}
	return a.State
}

// List is all approvals, the newest first.
func (s *Approvals) List() []Approval {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Approval, 0, len(s.all))
	now := s.now()
	for _, a := range s.all {
		b := *a
		b.State = a.state(now)
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b Approval) int { return cmp.Compare(b.ID, a.ID) }) // ids grow with time
	return list
}

// groups are those whose approval d asks for.
func groups(d Decision) []string {
	var all []string
	for _, o := range d.Obligations {
		if o.Do == RequireApproval && !slices.Contains(all, o.With) {
			all = append(all, o.With)
		}
	}
	slices.Sort(all)
	return all
}

func subset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

// bind is what an approval of call is for: who, what, as it was defined, with which
// arguments, under which policy.
func bind(call *Call) string {
	h := sha256.New()
	part := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	for _, s := range []string{call.Decision.Policy, call.Caller.Tenant, call.Kind.String(), call.Target, call.Method, call.Resource, call.Definition} {
		part(s)
	}
	for _, s := range call.Caller.Chain() {
		part(s)
	}
	with := call.came
	if canonical, err := jcs.Transform(with); err == nil {
		with = canonical
	}
	part(string(with))
	return hex.EncodeToString(h.Sum(nil))
}
