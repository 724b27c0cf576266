package policy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Version is a policy as it was put in force, or sent in, once. It never changes.
type Version struct {
	Number  int64  // 1, 2, 3…
	Hash    string // SHA-256 of the files, comments and all, in hexadecimal
	Digest  string // of the rows, as records name the policy
	Files   []Source
	Author  string
	Comment string
	Created time.Time
}

// An Act says what somebody did with a version.
type Act struct {
	What    string // [Activate], [Rehearse] or [EndRehearsal]
	Version int64
	Files   bool // by the configuration's files
	By      string
	Comment string
	At      time.Time
}

// What an [Act] may be.
const (
	Activate     = "activate"  // it is in force
	Rehearse     = "rehearse"  // it is a candidate: asked about live calls, without effect
	EndRehearsal = "rehearsed" // there is no candidate any more
)

// A VersionStore keeps versions and acts.
type VersionStore interface {
	// Versions is all that are kept, without their files, the oldest first.
	Versions(ctx context.Context) ([]Version, error)
	// Version is one, whole; its Number is 0 if there is none.
	Version(ctx context.Context, number int64) (Version, error)
	// AddVersion keeps v under a number of its own, which it returns, or that of the
	// version with the same hash.
	AddVersion(ctx context.Context, v Version) (int64, error)
	// Acts is all that were done, the oldest first.
	Acts(ctx context.Context) ([]Act, error)
	// AddAct notes what is done.
	AddAct(ctx context.Context, a Act) error
}

// What is wrong with what [Versions] were asked for.
var (
	ErrNoVersion = errors.New("there is no such version")
	ErrInForce   = errors.New("there is nothing to change")
)

// Versions knows every policy that was ever in force, and which one is. The last
// act counts, whoever did it, and is remembered: neither a restart nor a reload of
// unchanged files undoes what was activated after them. It is used by many
// goroutines at once.
type Versions struct {
	cfg VersionsConfig

	mu        sync.Mutex // held while something changes
	acts      []Act
	active    *Policy
	version   int64 // of active; 0 for files that were never stored
	broken    error // why the version that should be in force is not
	candidate *Policy
	rehearsed int64
}

// VersionsConfig is what Versions need. All fields are required.
type VersionsConfig struct {
	Store   VersionStore
	Record  func(what, by, name, state string) error // puts a change on record, before it takes effect
	Enforce func(active, candidate *Policy)          // puts policies in force; candidate may be nil
	Now     func() time.Time
}

// OpenVersions returns the Versions of a store. Nothing is in force before
// [Versions.Configure].
func OpenVersions(ctx context.Context, cfg VersionsConfig) (*Versions, error) {
	acts, err := cfg.Store.Acts(ctx)
	if err != nil {
		return nil, fmt.Errorf("open policies: %w", err)
	}
	return &Versions{cfg: cfg, acts: acts}, nil
}

// Configure puts p, of the configuration's files, in force, if the files are not
// what they were when they last were; else what was activated after them stays, or
// comes, in force. It says in words what has changed.
func (v *Versions) Configure(ctx context.Context, p *Policy, by string) (changes []string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.active
	if before == nil { // at the start
		v.rehearseAgain(ctx)
	}
	known, err := v.sameFiles(ctx, p)
	switch {
	case err != nil:
		return nil, err
	case !known:
		err = v.put(ctx, p, Act{What: Activate, Files: true, By: by}, Version{Author: by})
	case before == nil:
		err = v.resume(ctx, p)
	}
	if err != nil || before == nil || before.Digest() == v.active.Digest() {
		return nil, err
	}
	return []string{fmt.Sprintf("policy %s is in force, instead of %s", v.active.Digest(), before.Digest())}, nil
}

// sameFiles says whether p's files are those that were last activated as the
// configuration's, or there are none and never were.
func (v *Versions) sameFiles(ctx context.Context, p *Policy) (bool, error) {
	i := lastIndex(v.acts, func(a Act) bool { return a.What == Activate && a.Files })
	if i < 0 {
		return len(p.files) == 0, nil
	}
	last, err := v.cfg.Store.Version(ctx, v.acts[i].Version)
	return last.Hash == hashOf(p.files), err
}

func lastIndex(acts []Act, is func(Act) bool) int {
	for i, a := range slices.Backward(acts) {
		if is(a) {
			return i
		}
	}
	return -1
}

// resume puts in force what was so when the process ended; where nothing was, p.
// What cannot be loaded any more is replaced by nothing: every call is denied.
func (v *Versions) resume(ctx context.Context, p *Policy) error {
	v.active = p
	if i := lastIndex(v.acts, func(a Act) bool { return a.What == Activate }); i >= 0 {
		v.version = v.acts[i].Version
		if !v.acts[i].Files { // else it is p
			v.active, v.broken = v.load(ctx, v.version)
		}
		if v.broken != nil {
			v.active, _ = Load()
		}
	}
	state := "version " + strconv.FormatInt(v.version, 10)
	if v.broken != nil {
		state += " cannot be loaded, so that every call is denied: " + v.broken.Error()
	}
	if err := v.cfg.Record("policy.activated", "config", v.active.Digest(), state); err != nil {
		return err
	}
	v.cfg.Enforce(v.active, v.candidate)
	return nil
}

// rehearseAgain takes up the candidate that there was when the process ended. One
// that is lost does no harm.
func (v *Versions) rehearseAgain(ctx context.Context) {
	i := lastIndex(v.acts, func(a Act) bool { return a.What != Activate })
	if i < 0 || v.acts[i].What != Rehearse {
		return
	}
	if c, err := v.load(ctx, v.acts[i].Version); err == nil {
		v.candidate, v.rehearsed = c, v.acts[i].Version
	}
}

// load makes the policy of a version.
func (v *Versions) load(ctx context.Context, number int64) (*Policy, error) {
	kept, err := v.cfg.Store.Version(ctx, number)
	switch {
	case err != nil:
		return nil, fmt.Errorf("load version %d: %w", number, err)
	case kept.Number == 0:
		return nil, fmt.Errorf("%w: %d", ErrNoVersion, number)
	case hashOf(kept.Files) != kept.Hash:
		return nil, fmt.Errorf("load version %d: its files are not what they were", number)
	}
	p, err := Load(kept.Files...)
	if err != nil {
		return nil, fmt.Errorf("load version %d: %w", number, err)
	}
	return p, nil
}

// put stores p as a version, and does a with it.
func (v *Versions) put(ctx context.Context, p *Policy, a Act, about Version) error {
	about.Hash, about.Digest, about.Files, about.Created = hashOf(p.files), p.Digest(), p.files, v.cfg.Now()
	number, err := v.cfg.Store.AddVersion(ctx, about)
	if err != nil {
		return fmt.Errorf("store policy %s: %w", p.Digest(), err)
	}
	a.Version = number
	return v.do(ctx, a, p)
}

// do puts an act with the policy of its version on record, stores it, and lets it
// take effect.
func (v *Versions) do(ctx context.Context, a Act, p *Policy) error {
	a.At = v.cfg.Now()
	what := map[string]string{Activate: "policy.activated", Rehearse: "policy.rehearsed", EndRehearsal: "policy.rehearsal_ended"}[a.What]
	state := "version " + strconv.FormatInt(a.Version, 10)
	if a.What == Activate && v.active != nil {
		state += " instead of " + v.active.Digest()
	}
	if a.Comment != "" {
		state += "; " + a.Comment
	}
	digest := ""
	if p != nil {
		digest = p.Digest()
	}
	if err := v.cfg.Record(what, a.By, digest, state); err != nil {
		return err
	}
	if err := v.cfg.Store.AddAct(ctx, a); err != nil {
		return fmt.Errorf("store that policy version %d: %s: %w", a.Version, a.What, err)
	}
	v.acts = append(v.acts, a)
	switch a.What {
	case Activate:
		v.active, v.version, v.broken = p, a.Version, nil
	case Rehearse:
		v.candidate, v.rehearsed = p, a.Version
	default:
		v.candidate, v.rehearsed = nil, 0
	}
	v.cfg.Enforce(v.active, v.candidate)
	return nil
}

// Add stores p, and puts it in force with activate. It returns its number.
func (v *Versions) Add(ctx context.Context, p *Policy, author, comment string, activate bool) (int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	about := Version{Author: author, Comment: comment, Hash: hashOf(p.files), Digest: p.Digest(), Files: p.files, Created: v.cfg.Now()}
	if err := v.cfg.Record("policy.stored", author, p.Digest(), comment); err != nil {
		return 0, err
	}
	number, err := v.cfg.Store.AddVersion(ctx, about)
	if err != nil {
		return 0, fmt.Errorf("store policy %s: %w", p.Digest(), err)
	}
	if !activate || number == v.version && v.broken == nil {
		return number, nil
	}
	return number, v.do(ctx, Act{What: Activate, Version: number, By: author, Comment: comment}, p)
}

// Do activates or rehearses a version, or ends the rehearsal.
func (v *Versions) Do(ctx context.Context, a Act) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if a.What == EndRehearsal {
		if v.candidate == nil {
			return fmt.Errorf("%w: no version is being rehearsed", ErrInForce)
		}
		a.Version = v.rehearsed
		return v.do(ctx, a, v.candidate)
	}
	p, err := v.load(ctx, a.Version)
	if err != nil {
		return err
	}
	switch {
	case a.What == Activate && a.Version == v.version && v.broken == nil:
		return fmt.Errorf("%w: version %d is in force", ErrInForce, a.Version)
	case a.What == Rehearse && a.Version == v.rehearsed:
		return fmt.Errorf("%w: version %d is rehearsed", ErrInForce, a.Version)
	}
	return v.do(ctx, a, p)
}

// Rollback activates the version that was in force before the one that is, and
// returns its number.
func (v *Versions) Rollback(ctx context.Context, by, comment string) (int64, error) {
	v.mu.Lock()
	current := v.version
	i := lastIndex(v.acts, func(a Act) bool { return a.What == Activate && a.Version != current })
	v.mu.Unlock()
	if i < 0 {
		return 0, fmt.Errorf("%w: no other version was in force before", ErrInForce)
	}
	before := v.acts[i].Version
	return before, v.Do(ctx, Act{What: Activate, Version: before, By: by, Comment: comment})
}

// A Standing is which policies are in force.
type Standing struct {
	Active    *Policy
	Version   int64  // of Active; 0 if it was never stored
	By        string // who activated it
	Files     bool   // as the configuration's
	Candidate int64  // version that is rehearsed, 0 if none is
	Broken    error  // why the version that should be in force is not
}

// Standing says which policies are in force.
func (v *Versions) Standing() Standing {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := Standing{Active: v.active, Version: v.version, Candidate: v.rehearsed, Broken: v.broken, Files: true}
	if i := lastIndex(v.acts, func(a Act) bool { return a.What == Activate }); i >= 0 {
		s.By, s.Files = v.acts[i].By, v.acts[i].Files
	}
	return s
}

// Again has the policies in force enforced again, with what else the law is made of.
func (v *Versions) Again() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cfg.Enforce(v.active, v.candidate)
}

// List is all versions, the newest first, and all acts, the oldest first.
func (v *Versions) List(ctx context.Context) ([]Version, []Act, error) {
	list, err := v.cfg.Store.Versions(ctx)
	if err != nil {
		return nil, nil, err
	}
	slices.Reverse(list)
	v.mu.Lock()
	defer v.mu.Unlock()
	return list, slices.Clone(v.acts), nil
}

// Get is one version, whole.
func (v *Versions) Get(ctx context.Context, number int64) (Version, error) {
	kept, err := v.cfg.Store.Version(ctx, number)
	if err == nil && kept.Number == 0 {
		err = fmt.Errorf("%w: %d", ErrNoVersion, number)
	}
	return kept, err
}

// hashOf names files by all that stands in them, wherever they are.
func hashOf(files []Source) string {
	h := sha256.New()
	for _, f := range files {
		head := make([]byte, 9)
		binary.BigEndian.PutUint64(head, uint64(len(f.Text)))
		if strings.HasSuffix(f.Name, confExtension) {
			head[8] = 1
		}
		h.Write(head)
		h.Write(f.Text)
	}
	return hex.EncodeToString(h.Sum(nil))
}
