package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// An Entry is what may be known of a secret in a [Vault]: all but its value.
type Entry struct {
	Name    string // 1 to 64 of a-z 0-9 - _ . beginning with a letter or digit
	Version int    // goes up with each value, and is never used again
	Scope
	Created time.Time // when the name was first put
	Rotated time.Time // when the value was put
	Expires time.Time // when it is not lent any more; zero: never
	Removed time.Time // zero while it is there
}

// A SealedEntry is an Entry as a store keeps it.
type SealedEntry struct {
	Entry
	Sealed string // the value; "" where it was removed
}

// A SecretStore keeps the secrets of a [Vault], sealed. It is used by one of them.
type SecretStore interface {
	// Secrets is all that was put, in any order.
	Secrets(ctx context.Context) ([]SealedEntry, error)
	// PutSecret makes e durable before it returns nil, in place of what has its name.
	// Times are kept to the microsecond.
	PutSecret(ctx context.Context, e SealedEntry) error
}

// MemorySecrets is a [SecretStore] in memory, for tests and for trying things out.
// The zero MemorySecrets is empty and ready.
type MemorySecrets struct {
	mu   sync.Mutex
	kept map[string]SealedEntry
}

// Secrets implements [SecretStore].
func (m *MemorySecrets) Secrets(context.Context) ([]SealedEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.kept)), nil
}

// PutSecret implements [SecretStore].
func (m *MemorySecrets) PutSecret(_ context.Context, e SealedEntry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil {
		m.kept = make(map[string]SealedEntry)
	}
	m.kept[e.Name] = e
	return nil
}

// VaultConfig is what a [Vault] needs.
type VaultConfig struct {
	Store SecretStore // required
	Seal  *Seal       // required
	// Record puts on record what is done to a secret, and that one was denied to
	// somebody. What gives something is not done if it cannot be recorded. nil
	// records nothing.
	Record func(what, by, name, state string) error
	// Member says whether a subject belongs to a role or group by the policy in
	// force; nil: nobody does but by their own roles.
	Member func(tenant, subject, of string) bool
	Now    func() time.Time // default time.Now
}

// A Vault holds secrets by name and lends them within their scopes. It is used by
// many goroutines at once; to lend costs no lock.
type Vault struct {
	cfg     VaultConfig
	writing sync.Mutex // held while the store is written, so that it gets changes in order
	mu      sync.Mutex // never held for long: a removal waits for nothing else

	now atomic.Pointer[map[string]*treasure] // never changed, only replaced, with mu
}

// A treasure is a secret in memory. It is never changed.
type treasure struct {
	Entry
	value Secret
	mark  string // name and version, as the record has them
}

const (
	maxSecrets = 10_000
	maxSecret  = 48 << 10 // bytes of a value
)

// ErrNoSecret is that there is no secret of a name.
var ErrNoSecret = errors.New("no such secret")

// OpenVault reads what is in the store.
func OpenVault(ctx context.Context, cfg VaultConfig) (*Vault, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Record == nil {
		cfg.Record = func(_, _, _, _ string) error { return nil }
	}
	v := &Vault{cfg: cfg}
	kept, err := cfg.Store.Secrets(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the secrets: %w", err)
	}
	all := make(map[string]*treasure, len(kept))
	for _, e := range kept {
		t := &treasure{Entry: e.Entry}
		if e.Removed.IsZero() {
			if t.value, err = cfg.Seal.Open(e.place(), e.Sealed); err != nil {
				return nil, fmt.Errorf("read secret %s: %w", e.Name, err)
			}
		}
		t.mark = e.mark()
		all[e.Name] = t
	}
	v.now.Store(&all)
	return v, nil
}

// place is what the value is sealed for: all that is known of it, so that nobody
// who can write to the store widens its scope or puts another value in its place.
func (e *Entry) place() string {
	targets, agents := append([]string{}, e.Targets...), append([]string{}, e.Agents...) // [] and not null
	doc, err := json.Marshal([]any{"secret", e.Name, e.Version, targets, agents, e.Created.UnixMicro(), e.Rotated.UnixMicro(), e.Expires.UnixMicro()})
	if err != nil {
		panic(err) // there is nothing in it that could not be written
	}
	return string(doc)
}

func (e *Entry) mark() string { return "secret:" + e.Name + "@" + strconv.Itoa(e.Version) }

// List is all secrets that are there, by name.
func (v *Vault) List() []Entry {
	var list []Entry
	for _, t := range *v.now.Load() {
		if t.Removed.IsZero() {
			list = append(list, t.clone())
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Get is what is known of a secret that is there.
func (v *Vault) Get(name string) (Entry, bool) {
	t := v.find(name)
	if t == nil {
		return Entry{}, false
	}
	return t.clone(), true
}

func (e Entry) clone() Entry {
	e.Scope = e.Scope.clone()
	return e
}

// find is the secret of a name, nil if it is not there.
func (v *Vault) find(name string) *treasure {
	if t := (*v.now.Load())[name]; t != nil && t.Removed.IsZero() {
		return t
	}
	return nil
}

// Put makes a new secret of e, which needs a Name and may have a Scope and Expires.
// The error is [ErrTaken] where there is one of that name, [ErrInvalid], or of the
// record or the store.
func (v *Vault) Put(ctx context.Context, by string, e Entry, value Secret) (Entry, error) {
	v.writing.Lock()
	defer v.writing.Unlock()
	old := (*v.now.Load())[e.Name]
	switch {
	case !isName(e.Name):
		return Entry{}, invalid("%.80q is no name for a secret: use 1 to %d of a-z 0-9 - _ . beginning with a letter or digit", e.Name, maxName)
	case old != nil && old.Removed.IsZero():
		return Entry{}, &mistake{ErrTaken, "there is a secret " + e.Name + " already: callgate secret rotate gives it another value, and callgate secret scope another scope"}
	case old == nil && len(*v.now.Load()) >= maxSecrets:
		return Entry{}, invalid("there are %d secrets, which is as many as there may be", maxSecrets)
	}
	at := v.at()
	next := Entry{Name: e.Name, Version: 1, Scope: e.Scope.clone(), Created: at, Rotated: at, Expires: micro(e.Expires)}
	if old != nil { // so that name and version never mean two values
		next.Version, next.Created = old.Version+1, old.Created
	}
	return v.give(ctx, "secret.created", by, old, next, value)
}

// Rotate gives a secret another value, which counts from the next use on. It
// expires when it is said to, or never.
func (v *Vault) Rotate(ctx context.Context, by, name string, value Secret, expires time.Time) (Entry, error) {
	v.writing.Lock()
	defer v.writing.Unlock()
	old := v.find(name)
	if old == nil {
		return Entry{}, noSecret(name)
	}
	next := old.clone()
	next.Version++
	next.Rotated, next.Expires = v.at(), micro(expires)
	return v.give(ctx, "secret.rotated", by, old, next, value)
}

// Rescope gives a secret another scope, which counts from the next use on.
func (v *Vault) Rescope(ctx context.Context, by, name string, s Scope) (Entry, error) {
	v.writing.Lock()
	defer v.writing.Unlock()
	old := v.find(name)
	if old == nil {
		return Entry{}, noSecret(name)
	}
	next := old.clone()
	next.Scope = s.clone()
	return v.give(ctx, "secret.scoped", by, old, next, old.value)
}

// give puts a secret on record, in the store and in the place of old, in this order.
func (v *Vault) give(ctx context.Context, what, by string, old *treasure, e Entry, value Secret) (Entry, error) {
	if err := e.Scope.check(); err != nil {
		return Entry{}, err
	}
	switch n := len(value.Reveal()); {
	case n == 0:
		return Entry{}, invalid("the value of secret %s is empty", e.Name)
	case n > maxSecret:
		return Entry{}, invalid("the value of secret %s is larger than %d bytes", e.Name, maxSecret)
	case !e.Expires.IsZero() && !e.Expires.After(v.cfg.Now()):
		return Entry{}, invalid("secret %s would have expired already", e.Name)
	}
	sealed, err := v.cfg.Seal.Close(e.place(), value)
	if err != nil {
		return Entry{}, fmt.Errorf("secret %s: %w", e.Name, err)
	}
	if err := v.cfg.Record(what, by, "secret:"+e.Name, e.state()); err != nil {
		return Entry{}, fmt.Errorf("nothing is done to secret %s, since that could not be recorded: %w", e.Name, err)
	}
	if err := v.cfg.Store.PutSecret(ctx, SealedEntry{e, sealed}); err != nil {
		_ = v.cfg.Record("secret.failed", by, "secret:"+e.Name, what+" was not stored, so that it is not done")
		return Entry{}, fmt.Errorf("store secret %s: %w", e.Name, err)
	}
	if !v.settle(old, &treasure{e, value, e.mark()}) {
		return Entry{}, &mistake{ErrNoSecret, "secret " + e.Name + " was removed meanwhile"}
	}
	return e.clone(), nil
}

// Remove ends a secret: it is not lent any more, at once, and whether the error is
// nil or not. An error other than [ErrNoSecret] says that this is not on record, or
// not stored, so that it must be removed again.
func (v *Vault) Remove(ctx context.Context, by, name string) error {
	e, news, ok := v.end(name)
	if !ok {
		return noSecret(name)
	}
	var unrecorded error
	if news {
		if err := v.cfg.Record("secret.removed", by, "secret:"+name, "version "+strconv.Itoa(e.Version)); err != nil {
			unrecorded = fmt.Errorf("secret %s is removed, but that could not be recorded: %w", name, err)
		}
	}
	v.writing.Lock()
	defer v.writing.Unlock()
	if v.find(name) != nil { // it was put again
		return unrecorded
	}
	if err := v.cfg.Store.PutSecret(ctx, SealedEntry{Entry: e}); err != nil {
		return errors.Join(unrecorded, fmt.Errorf("secret %s is removed, but that is not stored and would not outlive a restart; remove it again: %w", name, err))
	}
	return unrecorded
}

// end removes a secret in memory, before that is stored: a store that hangs must
// not keep it in use. news says that it was there.
func (v *Vault) end(name string) (e Entry, news, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := (*v.now.Load())[name]
	if old == nil {
		return Entry{}, false, false
	}
	e = old.clone()
	if !e.Removed.IsZero() {
		return e, false, true
	}
	e.Removed = v.at()
	v.place(&treasure{Entry: e, mark: old.mark})
	return e, true, true
}

// settle puts next in the place of old, unless another took that.
func (v *Vault) settle(old, next *treasure) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if (*v.now.Load())[next.Name] != old {
		return false
	}
	v.place(next)
	return true
}

// place puts t in its place. It needs mu.
func (v *Vault) place(t *treasure) {
	all := maps.Clone(*v.now.Load())
	all[t.Name] = t
	v.now.Store(&all)
}

func (v *Vault) at() time.Time { return micro(v.cfg.Now()) }

func micro(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

func noSecret(name string) error {
	return &mistake{ErrNoSecret, fmt.Sprintf("there is no secret %.80q; callgate secret list shows them", name)}
}

// state is what the record tells of a secret, besides its name.
func (e *Entry) state() string {
	s := "version " + strconv.Itoa(e.Version) + ", " + e.Scope.String()
	if !e.Expires.IsZero() {
		s += ", until " + e.Expires.Format(time.RFC3339)
	}
	return s
}

// A named is a secret of a vault for one target. It is a [Credential].
type named struct {
	vault        *Vault
	name, target string
}

// Use implements [Credential].
func (n *named) Use(_ context.Context, who *Principal) (Loan, error) {
	t := n.vault.find(n.name)
	switch {
	case t == nil:
		return Loan{}, &Withheld{Reason: "the credential of " + n.target + " is not there: an operator runs callgate secret put " + n.name}
	case !t.Leads(n.target):
		return Loan{}, n.deny(who, "is not for "+n.target)
	case !t.has(who, n.vault.cfg.Member):
		return Loan{}, n.deny(who, "may not be used by "+who.Agent())
	case !t.Expires.IsZero() && !n.vault.cfg.Now().Before(t.Expires):
		return Loan{}, &Withheld{Reason: "the credential of " + n.target + " has expired: an operator runs callgate secret rotate " + n.name}
	}
	return Loan{t.value, t.mark, t.value, n}, nil
}

// renewed implements lender.
func (n *named) renewed(_ context.Context, refused Secret) bool {
	t := n.vault.find(n.name)
	return t != nil && t.value != refused
}

// deny puts on record that the secret is not lent, and why.
func (n *named) deny(who *Principal, why string) error {
	w := &Withheld{Denied: true, Reason: "the credential secret:" + n.name + " " + why + ": an operator can change its scope with callgate secret scope"}
	by := "system"
	if who != nil {
		by = who.Agent()
	}
	if err := n.vault.cfg.Record("secret.denied", by, "secret:"+n.name, why); err != nil {
		w.Err = fmt.Errorf("the denial is not on record: %w", err)
	}
	return w
}
