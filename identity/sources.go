package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Resolver finds values of one kind where they are kept.
type Resolver interface {
	// Resolve is what stands at place now. last is what it found there before, nil
	// at first; where nothing has changed it may return that with another time.
	Resolve(ctx context.Context, place string, last *Found) (*Found, error)
}

// A Found is a value, and for how long it is good. It is never changed once it is
// returned.
type Found struct {
	Value   Secret
	Version string    // for the record, "" for none: nothing that tells of the value
	Renew   time.Time // when to ask again; zero: never
	Expires time.Time // when it is not used any more though nothing else can be had; zero: never

	stamp fileStamp // of a file
}

// SourcesConfig is what [Sources] need.
type SourcesConfig struct {
	Vault     *Vault              // of secret:NAME; nil for none
	Resolvers map[string]Resolver // by the word before the colon
	Now       func() time.Time    // default time.Now
	Logger    *slog.Logger        // required
}

// Sources find credentials by their references: secret:NAME, env:NAME, file:/path,
// vault:PATH#FIELD and the like. What was found is kept until it expires, and asked
// for anew before that, behind the back of who uses it. They are used by many
// goroutines at once.
type Sources struct {
	cfg  SourcesConfig
	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup

	mu        sync.Mutex
	resolvers map[string]Resolver
	all       map[string]*lookup // by reference
}

const (
	lookupTime = 10 * time.Second // for a resolver to answer
	againAfter = time.Second      // one that failed is asked again
	freshTime  = 2 * time.Second  // in which a value that was refused is not asked for again
)

// NewSources returns Sources.
func NewSources(cfg SourcesConfig) *Sources {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Sources{cfg: cfg, resolvers: maps.Clone(cfg.Resolvers), all: make(map[string]*lookup)}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// Close ends what is asked for.
func (s *Sources) Close() {
	s.end()
	s.work.Wait()
}

// Credential is what ref leads to, for one target: provider:NAME or server:NAME.
// Nothing is asked for yet. The error is that ref can lead nowhere.
func (s *Sources) Credential(ref, target string) (Credential, error) {
	kind, place, _ := strings.Cut(ref, ":")
	if kind == "secret" && s.cfg.Vault != nil {
		if !isName(place) {
			return nil, invalid("%.80q is no name for a secret", place)
		}
		return &named{s.cfg.Vault, place, target}, nil
	}
	if place == "" {
		return nil, invalid("%.20s: leads nowhere", kind)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.all[ref]
	if l == nil {
		l = &lookup{of: s, ref: strings.ReplaceAll(ref, " ", "%20"), kind: kind, place: place}
		_, l.near = s.resolvers[kind].(near)
		s.all[ref] = l
	}
	return &found{l, target}, nil
}

// SetResolver puts r in the place of what finds values of a kind; nil finds none.
// What was found before is good until it expires.
func (s *Sources) SetResolver(kind string, r Resolver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resolvers[kind] = r
}

func (s *Sources) resolver(kind string) Resolver {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resolvers[kind]
}

// Refresh asks for everything anew that is in use, and waits for the answers until
// ctx ends.
func (s *Sources) Refresh(ctx context.Context) {
	for _, done := range s.begin() {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
}

func (s *Sources) begin() []<-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	var begun []<-chan struct{}
	for _, l := range s.all {
		if l.now.Load() != nil {
			begun = append(begun, l.begin(true))
		}
	}
	return begun
}

// near is a Resolver that answers at once: its value is asked for by who needs it.
type near interface{ near() }

// A found is a credential that a resolver finds, for one target. It is a
// [Credential].
type found struct {
	*lookup
	target string
}

// Use implements [Credential].
func (f *found) Use(ctx context.Context, _ *Principal) (Loan, error) {
	k, err := f.get(ctx)
	if err != nil {
		return Loan{}, &Withheld{Reason: "the credential of " + f.target + " cannot be had now: try again, and if that does not help its operator must look at callgate's log", Err: err}
	}
	return Loan{k.Value, k.mark, k.Value, f.lookup}, nil
}

// A lookup is one reference, and what it has led to.
type lookup struct {
	of          *Sources
	ref         string // as the record has it
	kind, place string
	near        bool
	now         atomic.Pointer[known] // nil before the first time

	mu      sync.Mutex
	running chan struct{} // closed when the one under way is over; nil: none is
	err     error         // of the last one
	again   time.Time     // not before this, after one that failed
}

// A known is what a lookup has found.
type known struct {
	*Found
	got  time.Time
	mark string // for the record
}

// get is what the reference leads to now.
func (l *lookup) get(ctx context.Context) (*known, error) {
	k, now := l.now.Load(), l.of.cfg.Now()
	if k != nil && (k.Renew.IsZero() || now.Before(k.Renew)) {
		return k, nil
	}
	done := l.begin(false)
	if k.good(now) && !l.near {
		return k, nil
	}
	select {
	case <-done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if k = l.now.Load(); k.good(now) {
		return k, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		return nil, fmt.Errorf("%s is not good any more", l.ref)
	}
	return nil, fmt.Errorf("%s: %w", l.ref, l.err)
}

func (k *known) good(now time.Time) bool {
	return k != nil && (k.Expires.IsZero() || now.Before(k.Expires))
}

// begin asks the resolver, unless it is asked already or has just failed, and
// returns what is closed when it has answered.
func (l *lookup) begin(force bool) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running != nil {
		return l.running
	}
	done := make(chan struct{})
	if l.of.life.Err() != nil || !force && l.of.cfg.Now().Before(l.again) {
		close(done)
		return done
	}
	l.running = done
	l.of.work.Go(func() {
		defer close(done)
		l.ask()
	})
	return done
}

// ask asks the resolver and keeps the answer.
func (l *lookup) ask() {
	ctx, cancel := context.WithTimeout(l.of.life, lookupTime)
	defer cancel()
	last := l.now.Load()
	var old *Found
	if last != nil {
		old = last.Found
	}
	next, err := (*Found)(nil), errors.New("nothing is configured that could find it")
	if by := l.of.resolver(l.kind); by != nil {
		next, err = by.Resolve(ctx, l.place, old)
	}
	if err == nil && next.Value.Reveal() == "" {
		err = errors.New("it is empty")
	}
	now := l.of.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.err
	l.running, l.err = nil, err
	if err != nil {
		l.again = now.Add(againAfter)
		if before == nil {
			l.of.cfg.Logger.Warn("a credential cannot be had; the last one is used until it expires", "credential", l.ref, "error", err)
		}
		return
	}
	l.again = time.Time{}
	k := &known{next, now, l.ref}
	if next.Version != "" {
		k.mark += "@" + next.Version
	}
	switch {
	case last == nil:
	case last.Value.Reveal() == next.Value.Reveal():
		same := *next // so that what was made of the value is not made again
		same.Value = last.Value
		k.Found = &same
	default:
		l.of.cfg.Logger.Info("a credential has changed", "credential", k.mark)
	}
	if before != nil {
		l.of.cfg.Logger.Info("a credential can be had again", "credential", k.mark)
	}
	l.now.Store(k)
}

// renewed implements lender: it asks for another value than one that was refused, and says
// whether there is one.
func (l *lookup) renewed(ctx context.Context, refused Secret) bool {
	k := l.now.Load()
	if k == nil {
		return false
	}
	if k.Value.Reveal() != refused.Reveal() {
		return true
	}
	if !l.near && l.of.cfg.Now().Sub(k.got) < freshTime {
		return false // it would be the same
	}
	select {
	case <-l.begin(true):
	case <-ctx.Done():
		return false
	}
	return l.now.Load().Value.Reveal() != refused.Reveal()
}
