package identity_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/identity"

	"github.com/google/go-cmp/cmp"
)

// disk is a store that can break, before a write or after it.
type disk struct {
	identity.Memory
	before, after error
	puts          int
}

func (d *disk) PutAgent(ctx context.Context, a identity.Agent) error {
	d.puts++
	if d.before != nil {
		return d.before
	}
	if err := d.Memory.PutAgent(ctx, a); err != nil {
		return err
	}
	return d.after
}

func (d *disk) PutUser(ctx context.Context, u identity.User) error {
	if d.before != nil {
		return d.before
	}
	return d.Memory.PutUser(ctx, u)
}

var errDisk = errors.New("disk is full")

func open(t testing.TB, store identity.Store) *identity.Registry {
	t.Helper()
	r, err := identity.OpenRegistry(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func create(t testing.TB, r *identity.Registry, a identity.Agent) (identity.Agent, identity.Secret) {
	t.Helper()
	a, secret, err := r.Create(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return a, secret
}

func TestCreate(t *testing.T) {
	store := new(identity.Memory)
	r := open(t, store)
	a, secret := create(t, r, identity.Agent{Name: "support-bot", Roles: []string{"support", "role:dev", "support"}, Owner: "ana"})
	want := identity.Agent{
		Tenant: "default", Name: "support-bot", Roles: []string{"role:dev", "role:support"}, Owner: "user:ana",
		Status: "active", SecretHash: secret.Hash(), MaxTTL: time.Hour, Epoch: 1, Created: a.Created, Source: "api",
		Since: a.Created, SecretSince: a.Created,
	}
	if d := cmp.Diff(want, a); d != "" {
		t.Error(d)
	}
	if len(secret.Reveal()) != 43 || a.Created.IsZero() {
		t.Errorf("secret of %d characters, created %v", len(secret.Reveal()), a.Created)
	}
	got, ok := open(t, store).Get("support-bot")
	if d := cmp.Diff(want, got); !ok || d != "" {
		t.Error("after a restart:", d)
	}
	got.Roles[0] = "role:admin"
	if again, _ := r.Get("support-bot"); again.Roles[0] != "role:dev" {
		t.Error("whoever got an agent can change it")
	}
}

func TestCreateRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		agent identity.Agent
		want  error
	}{
		{"no name", identity.Agent{}, identity.ErrInvalid},
		{"upper case", identity.Agent{Name: "Bot"}, identity.ErrInvalid},
		{"a letter of another script", identity.Agent{Name: "b\u043et"}, identity.ErrInvalid},
		{"a name that begins with a dot", identity.Agent{Name: "..bot"}, identity.ErrInvalid},
		{"a name with a colon", identity.Agent{Name: "agent:bot"}, identity.ErrInvalid},
		{"a name with a wildcard", identity.Agent{Name: "bot*"}, identity.ErrInvalid},
		{"65 characters", identity.Agent{Name: strings.Repeat("b", 65)}, identity.ErrInvalid},
		{"a name that is taken", identity.Agent{Name: "taken"}, identity.ErrTaken},
		{"the name of a revoked agent", identity.Agent{Name: "revoked"}, identity.ErrTaken},
		{"the name of an agent in the config", identity.Agent{Name: "configured"}, identity.ErrTaken},
		{"the name of an agent that left the config", identity.Agent{Name: "left"}, identity.ErrTaken},
		{"a role of two words", identity.Agent{Name: "bot", Roles: []string{"a b"}}, identity.ErrInvalid},
		{"a role that pretends to be an agent", identity.Agent{Name: "bot", Roles: []string{"agent:root"}}, identity.ErrInvalid},
		{"an empty role", identity.Agent{Name: "bot", Roles: []string{"role:"}}, identity.ErrInvalid},
		{"too many roles", identity.Agent{Name: "bot", Roles: slices.Repeat([]string{"r"}, 65)}, identity.ErrInvalid},
		{"an owner that is an agent", identity.Agent{Name: "bot", Owner: "agent:other"}, identity.ErrInvalid},
		{"a purpose of two lines", identity.Agent{Name: "bot", Purpose: "a\nb"}, identity.ErrInvalid},
		{"another tenant", identity.Agent{Name: "bot", Tenant: "other"}, identity.ErrInvalid},
		{"a negative ttl", identity.Agent{Name: "bot", MaxTTL: -1}, identity.ErrInvalid},
		{"a ttl of years", identity.Agent{Name: "bot", MaxTTL: 20_000 * time.Hour}, identity.ErrInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := open(t, new(identity.Memory))
			create(t, r, identity.Agent{Name: "taken"})
			create(t, r, identity.Agent{Name: "revoked"})
			if err := r.Revoke(t.Context(), "revoked"); err != nil {
				t.Fatal(err)
			}
			configure(t, r, identity.Agent{Name: "configured"}, identity.Agent{Name: "left"})
			configure(t, r, identity.Agent{Name: "configured"})
			if _, secret, err := r.Create(t.Context(), test.agent); !errors.Is(err, test.want) || secret.Reveal() != "" {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestAWriteThatFails(t *testing.T) {
	t.Run("creates nothing", func(t *testing.T) {
		store := &disk{before: errDisk}
		r := open(t, store)
		if _, _, err := r.Create(t.Context(), identity.Agent{Name: "bot"}); !errors.Is(err, errDisk) {
			t.Error(err)
		}
		if _, ok := r.Get("bot"); ok {
			t.Error("the agent is there")
		}
		store.before = nil
		create(t, r, identity.Agent{Name: "bot"})
	})
	t.Run("but was stored can be tried again", func(t *testing.T) {
		store := &disk{after: errDisk}
		r := open(t, store)
		if _, _, err := r.Create(t.Context(), identity.Agent{Name: "bot"}); !errors.Is(err, errDisk) {
			t.Error(err)
		}
		store.after = nil
		a, _ := create(t, r, identity.Agent{Name: "bot"})
		if got, _ := open(t, store).Get("bot"); !slices.Equal(got.SecretHash, a.SecretHash) {
			t.Error("the store has the secret of the first try")
		}
	})
	t.Run("revokes all the same and says that it must be repeated", func(t *testing.T) {
		store := new(disk)
		r := open(t, store)
		create(t, r, identity.Agent{Name: "bot"})
		store.before = errDisk
		if err := r.Revoke(t.Context(), "bot"); !errors.Is(err, errDisk) {
			t.Error(err)
		}
		if a, _ := r.Get("bot"); a.Status != identity.Revoked {
			t.Error("the agent is still active")
		}
		store.before = nil
		if err := r.Revoke(t.Context(), "bot"); err != nil {
			t.Error(err)
		}
		if a, _ := open(t, store).Get("bot"); a.Status != identity.Revoked || a.Epoch != 2 {
			t.Errorf("after a restart: %+v", a)
		}
	})
	t.Run("leaves the configured agents as they were", func(t *testing.T) {
		store := new(disk)
		r := open(t, store)
		configure(t, r, identity.Agent{Name: "one", Roles: []string{"old"}})
		store.before = errDisk
		if err := r.Configure(t.Context(), []identity.Agent{{Name: "one", Roles: []string{"new"}}, {Name: "two"}}); !errors.Is(err, errDisk) {
			t.Error(err)
		}
		if list := r.List(); len(list) != 1 || list[0].Roles[0] != "role:old" {
			t.Errorf("%+v", list)
		}
	})
}

func configure(t testing.TB, r *identity.Registry, agents ...identity.Agent) {
	t.Helper()
	if err := r.Configure(t.Context(), agents); err != nil {
		t.Fatal(err)
	}
}

func TestConfigure(t *testing.T) {
	names := func(r *identity.Registry) (list []string) {
		for _, a := range r.List() {
			list = append(list, a.Name+" "+a.Status+" "+a.Source)
		}
		return list
	}
	store := new(disk)
	r := open(t, store)
	create(t, r, identity.Agent{Name: "made"})
	configure(t, r, identity.Agent{Name: "a"}, identity.Agent{Name: "b", SecretHash: identity.NewSecret("1").Hash()}, identity.Agent{Name: "c"})
	if err := r.Revoke(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	configure(t, r, identity.Agent{Name: "b", SecretHash: identity.NewSecret("1").Hash()}, identity.Agent{Name: "c"}, identity.Agent{Name: "d"})
	want := []string{"b active config", "c revoked config", "d active config", "made active api"}
	if d := cmp.Diff(want, names(r)); d != "" {
		t.Error(d)
	}

	t.Run("writes only what changed", func(t *testing.T) {
		store.puts = 0
		configure(t, r, identity.Agent{Name: "b", SecretHash: identity.NewSecret("1").Hash()}, identity.Agent{Name: "c"}, identity.Agent{Name: "d"})
		if store.puts != 0 {
			t.Errorf("%d writes", store.puts)
		}
	})
	t.Run("keeps what it knew over a restart", func(t *testing.T) {
		r := open(t, store)
		if d := cmp.Diff([]string{"c revoked config", "made active api"}, names(r)); d != "" {
			t.Error("before the config is read:", d)
		}
		before, _ := open(t, store).Get("made")
		configure(t, r, identity.Agent{Name: "a"}, identity.Agent{Name: "c"})
		if d := cmp.Diff([]string{"a active config", "c revoked config", "made active api"}, names(r)); d != "" {
			t.Error(d)
		}
		if after, _ := r.Get("made"); !after.Created.Equal(before.Created) {
			t.Error("Created changed")
		}
	})
	t.Run("ends old tokens where the secret changed", func(t *testing.T) {
		before, _ := r.Get("b")
		configure(t, r, identity.Agent{Name: "b", SecretHash: identity.NewSecret("2").Hash()})
		if after, _ := r.Get("b"); after.Epoch != before.Epoch+1 {
			t.Errorf("epoch %d, then %d", before.Epoch, after.Epoch)
		}
	})
	t.Run("reports all mistakes together and changes nothing", func(t *testing.T) {
		before := names(r)
		err := r.Configure(t.Context(), []identity.Agent{{Name: "made"}, {Name: "Bad"}, {Name: "x"}, {Name: "x"}})
		if !errors.Is(err, identity.ErrTaken) || !errors.Is(err, identity.ErrInvalid) || strings.Count(err.Error(), "\n") != 2 {
			t.Error(err)
		}
		if !strings.Contains(err.Error(), "callgate agent create") {
			t.Error("the conflict is not explained:", err)
		}
		if d := cmp.Diff(before, names(r)); d != "" {
			t.Error(d)
		}
	})
}

// stuck is a store that hangs when an agent of that name is put.
type stuck struct {
	identity.Memory
	name      string
	hangs, on chan struct{}
	armed     bool
}

func (s *stuck) PutAgent(ctx context.Context, a identity.Agent) error {
	if a.Name == s.name {
		close(s.hangs)
		<-s.on
	}
	return s.Memory.PutAgent(ctx, a)
}

func TestAStoreThatHangsKeepsNoAgentGoing(t *testing.T) {
	store := &stuck{name: "slow", hangs: make(chan struct{}), on: make(chan struct{})}
	r := open(t, store)
	create(t, r, identity.Agent{Name: "bot"})
	configure(t, r, identity.Agent{Name: "conf"})
	var all sync.WaitGroup
	all.Go(func() { r.Configure(t.Context(), []identity.Agent{{Name: "conf"}, {Name: "slow"}}) })
	<-store.hangs
	for _, name := range []string{"bot", "conf"} {
		all.Go(func() { r.Revoke(t.Context(), name) })
		revoked := func() bool { a, _ := r.Get(name); return a.Status == identity.Revoked }
		for deadline := time.Now().Add(5 * time.Second); !revoked(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is not revoked while the store hangs", name)
			}
		}
	}
	close(store.on)
	all.Wait()
	again := open(t, store)
	for _, name := range []string{"bot", "conf"} { // what was configured meanwhile must not bring it back
		now, _ := r.Get(name)
		if stored, _ := again.Get(name); now.Status != identity.Revoked || stored.Status != identity.Revoked {
			t.Errorf("%s: %s, stored as %s", name, now.Status, stored.Status)
		}
	}
}

func TestRevokeAnUnknownAgent(t *testing.T) {
	if err := open(t, new(identity.Memory)).Revoke(t.Context(), "nobody"); !errors.Is(err, identity.ErrUnknown) {
		t.Error(err)
	}
}

func TestOneNameIsGivenOnce(t *testing.T) {
	r := open(t, new(identity.Memory))
	var wg sync.WaitGroup
	made := make(chan identity.Agent, 16)
	for range cap(made) {
		wg.Go(func() {
			if a, _, err := r.Create(t.Context(), identity.Agent{Name: "bot"}); err == nil {
				made <- a
			}
		})
	}
	wg.Wait()
	if len(made) != 1 {
		t.Errorf("%d agents of one name", len(made))
	}
}

func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		b.Run(fmt.Sprintf("of %d", n), func(b *testing.B) {
			r := open(b, new(identity.Memory))
			for i := range n {
				create(b, r, identity.Agent{Name: fmt.Sprintf("bot-%d", i), Roles: []string{"support"}})
			}
			name := fmt.Sprintf("bot-%d", n-1)
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := r.Get(name); !ok {
					b.Fatal("not there")
				}
			}
		})
	}
}
