package identity_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"callgate/identity"
)

// minted is an authority over r, whose clock is at *at, and what was recorded.
func minted(t testing.TB, r *identity.Registry, at *time.Time) (*identity.Authority, *[]string) {
	t.Helper()
	var mu sync.Mutex
	var list []string
	keys, err := identity.OpenKeys(filepath.Join(t.TempDir(), "keys"), identity.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	return identity.New(identity.Config{
		Issuer: "http://127.0.0.1:8700", Now: func() time.Time { return *at },
		Record: func(what, by, name, state string) error {
			mu.Lock()
			defer mu.Unlock()
			list = append(list, strings.Join([]string{what, by, name, state}, " | "))
			return nil
		},
	}, keys, r), &list
}

func TestWhatTakesPowerAwayHoldsFromTheNextCallOn(t *testing.T) {
	at := time.Now()
	r := open(t, new(identity.Memory))
	authority, _ := minted(t, r, &at)
	call := func(token identity.Token) error {
		_, err := authority.Verify(t.Context(), token.Access.Reveal(), "/mcp")
		return err
	}
	mint := func(name string) identity.Token {
		token, err := authority.Mint(t.Context(), name, identity.MintOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := call(token); err != nil {
			t.Fatal(err)
		}
		return token
	}
	for _, test := range []struct {
		name string
		do   func(name string) error
		says string
		kind error
	}{
		{"suspended", func(name string) error { return r.Suspend(t.Context(), name, "admin") }, "the agent of the token is suspended", identity.ErrEnded},
		{"retired", func(name string) error { return r.Retire(t.Context(), name, "admin") }, "the agent of the token was retired", identity.ErrEnded},
		{"revoked", func(name string) error { return r.Revoke(t.Context(), name) }, "the agent of the token was revoked", identity.ErrRevoked},
	} {
		t.Run(test.name, func(t *testing.T) {
			create(t, r, identity.Agent{Name: test.name})
			token := mint(test.name)
			if err := test.do(test.name); err != nil {
				t.Fatal(err)
			}
			if err := call(token); err == nil || err.Error() != test.says {
				t.Errorf("the next call: %v", err)
			}
			if _, err := authority.Mint(t.Context(), test.name, identity.MintOptions{}); !errors.Is(err, test.kind) {
				t.Errorf("a token more: %v", err)
			}
		})
	}
	t.Run("resumed, it needs a new token", func(t *testing.T) {
		create(t, r, identity.Agent{Name: "back"})
		old := mint("back")
		if err := errors.Join(r.Suspend(t.Context(), "back", "admin"), r.Resume(t.Context(), "back", "admin")); err != nil {
			t.Fatal(err)
		}
		if call(old) == nil {
			t.Error("a token of before the suspension is good again")
		}
		mint("back")
	})
	t.Run("expired", func(t *testing.T) {
		create(t, r, identity.Agent{Name: "brief", Expires: at.Add(time.Minute)})
		token := mint("brief")
		at = at.Add(time.Minute)
		if err := call(token); err == nil || err.Error() != "the agent of the token has expired" {
			t.Errorf("the next call: %v", err)
		}
		if _, err := authority.Mint(t.Context(), "brief", identity.MintOptions{}); !errors.Is(err, identity.ErrEnded) {
			t.Errorf("a token more: %v", err)
		}
	})
	t.Run("what has ended for good does not come back", func(t *testing.T) {
		for _, name := range []string{"retired", "revoked"} {
			if r.Resume(t.Context(), name, "admin") == nil || r.Suspend(t.Context(), name, "admin") == nil {
				t.Errorf("%s: it has another life", name)
			}
			if _, err := r.Change(t.Context(), name, "admin", func(a *identity.Agent) error { a.Owner = "ben"; return nil }); err == nil {
				t.Errorf("%s: it has another owner", name)
			}
			if _, _, err := r.Rotate(t.Context(), name, "admin", 0); err == nil {
				t.Errorf("%s: it has another secret", name)
			}
		}
	})
}

func TestEveryChangeTellsWhatWasAndWhatIs(t *testing.T) {
	at := time.Now()
	r := open(t, new(identity.Memory))
	_, list := minted(t, r, &at)
	create(t, r, identity.Agent{Name: "bot", Environment: "dev", Models: []string{"lab/*"}, Servers: []string{"shop"}, Expires: time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)})
	_, err := r.Change(t.Context(), "bot", "user:ben", func(a *identity.Agent) error {
		a.Environment, a.Owner, a.Models, a.Name, a.Status, a.Epoch, a.SecretHash = "prod", "ana", []string{"lab/phi", "openai/*"}, "root", "gone", 77, nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Change(t.Context(), "bot", "user:ben", func(*identity.Agent) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Rotate(t.Context(), "bot", "admin", 0); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"agent.created | admin | agent:bot | active, epoch 1, environment dev, models model:lab/*, servers server:shop, expires 2999-01-01T00:00:00Z",
		"agent.changed | user:ben | agent:bot | owner none → user:ana; environment dev → prod; models model:lab/* → model:lab/phi model:openai/*",
		"agent.rotated | admin | agent:bot | epoch 1 → 2; another secret",
	}
	if !slices.Equal(*list, want) {
		t.Errorf("on record:\n%s", strings.Join(*list, "\n"))
	}
	if a, _ := r.Get("bot"); a.Status != identity.Active || len(a.SecretHash) == 0 {
		t.Errorf("a change of the description did more: %+v", a)
	}
}

func TestPowerIsOnRecordBeforeItIsGiven(t *testing.T) {
	at := time.Now()
	store := new(disk)
	r := open(t, store)
	full := false
	keys, err := identity.OpenKeys(filepath.Join(t.TempDir(), "keys"), identity.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	identity.New(identity.Config{Issuer: "http://127.0.0.1:8700", Now: func() time.Time { return at }, Record: func(_, _, _, _ string) error {
		if full {
			return errDisk
		}
		return nil
	}}, keys, r)
	create(t, r, identity.Agent{Name: "bot", Environment: "dev"})
	if err := r.Suspend(t.Context(), "bot", "admin"); err != nil {
		t.Fatal(err)
	}
	before, _ := r.Get("bot")
	gives := func() []error {
		_, change := r.Change(t.Context(), "bot", "admin", func(a *identity.Agent) error { a.Environment = "prod"; return nil })
		_, _, rotate := r.Rotate(t.Context(), "bot", "admin", time.Hour)
		_, signIn := r.SignIn(t.Context(), "https://idp.example", "1", "ana@example.com", nil)
		return []error{r.Resume(t.Context(), "bot", "admin"), change, rotate, signIn}
	}
	for _, broken := range []func(bool){func(b bool) { full = b }, func(b bool) { store.before = map[bool]error{true: errDisk}[b] }} {
		broken(true)
		for i, err := range gives() {
			if !errors.Is(err, errDisk) {
				t.Errorf("%d: %v", i, err)
			}
		}
		if after, _ := r.Get("bot"); after.Status != before.Status || after.Environment != "dev" || !slices.Equal(after.SecretHash, before.SecretHash) {
			t.Errorf("it took effect: %+v", after)
		}
		if len(r.Users()) != 0 {
			t.Error("there is a user")
		}
		broken(false)
	}
	if err := errors.Join(gives()...); err != nil {
		t.Error(err)
	}
	// What takes power away is done all the same, and says what is missing.
	full = true
	if err := r.Suspend(t.Context(), "bot", "admin"); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	if a, _ := r.Get("bot"); a.Status != identity.Suspended {
		t.Error("a record that fails keeps the agent going")
	}
}

func TestARevocationIsNotUndoneByWhatIsUnderWay(t *testing.T) {
	store := &stuck{name: "bot", hangs: make(chan struct{}), on: make(chan struct{})}
	r := open(t, &held{stuck: store})
	create(t, r, identity.Agent{Name: "bot"})
	if err := r.Suspend(t.Context(), "bot", "admin"); err != nil {
		t.Fatal(err)
	}
	store.armed = true
	done := make(chan error, 2)
	go func() { done <- r.Resume(t.Context(), "bot", "admin") }()
	<-store.hangs // the resumption is on its way into the store
	store.armed = false
	go func() { done <- r.Revoke(context.WithoutCancel(t.Context()), "bot") }()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if a, _ := r.Get("bot"); a.Status == identity.Revoked {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the revocation waits for the store")
		}
	}
	close(store.on)
	if errs := []error{<-done, <-done}; !errors.Is(errors.Join(errs...), identity.ErrRevoked) {
		t.Errorf("the resumption says nothing: %v", errs)
	}
	a, _ := r.Get("bot")
	if stored, _ := open(t, &store.Memory).Get("bot"); a.Status != identity.Revoked || stored.Status != identity.Revoked {
		t.Errorf("%s, stored as %s", a.Status, stored.Status)
	}
}

// held makes stuck hang only when it is armed.
type held struct{ *stuck }

func (h *held) PutAgent(ctx context.Context, a identity.Agent) error {
	if !h.armed {
		return h.Memory.PutAgent(ctx, a)
	}
	return h.stuck.PutAgent(ctx, a)
}

func TestTheConfigCanOnlyTakeAStatusAway(t *testing.T) {
	store := new(identity.Memory)
	r := open(t, store)
	status := func() string { a, _ := r.Get("bot"); return a.Status }
	for i, step := range []struct{ says, want string }{{"", "active"}, {"suspended", "suspended"}, {"", "suspended"}, {"active", "suspended"}, {"retired", "retired"}, {"suspended", "retired"}, {"", "retired"}} {
		configure(t, r, identity.Agent{Name: "bot", Status: step.says})
		if status() != step.want {
			t.Errorf("step %d: the config says %q: %s", i, step.says, status())
		}
	}
	if err := r.Configure(t.Context(), []identity.Agent{{Name: "bot", Status: "revoked"}}); !errors.Is(err, identity.ErrInvalid) {
		t.Error(err)
	}
	r = open(t, store)
	configure(t, r, identity.Agent{Name: "bot"})
	if status() != "retired" {
		t.Errorf("after a restart: %s", status())
	}
}

func TestASecretOfTheConfigMayOverlap(t *testing.T) {
	hash := func(s string) []byte { return identity.NewSecret(s).Hash() }
	for _, test := range []struct {
		name string
		next identity.Agent
		ends bool
	}{
		{"another secret ends the tokens", identity.Agent{Name: "bot", SecretHash: hash("2")}, true},
		{"another one beside the old one does not", identity.Agent{Name: "bot", SecretHash: hash("2"), OldSecret: hash("1")}, false},
		{"another one beside a third does", identity.Agent{Name: "bot", SecretHash: hash("2"), OldSecret: hash("3")}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := open(t, new(identity.Memory))
			configure(t, r, identity.Agent{Name: "bot", SecretHash: hash("1")})
			before, _ := r.Get("bot")
			configure(t, r, test.next)
			if after, _ := r.Get("bot"); (after.Epoch > before.Epoch) != test.ends || after.SecretSince.Before(before.SecretSince) {
				t.Errorf("epoch %d, then %d", before.Epoch, after.Epoch)
			}
		})
	}
}

func TestLastSeenIsKeptLazily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(seeing)
		r := open(t, store)
		at := time.Now()
		authority, _ := minted(t, r, &at)
		create(t, r, identity.Agent{Name: "bot"})
		create(t, r, identity.Agent{Name: "idle"})
		token, err := authority.Mint(t.Context(), "bot", identity.MintOptions{})
		if err != nil {
			t.Fatal(err)
		}
		seen := func() time.Time { a, _ := r.Get("bot"); return a.LastSeen }
		for range 100 {
			if _, err := authority.Verify(t.Context(), token.Access.Reveal(), "/mcp"); err != nil {
				t.Fatal(err)
			}
			at = at.Add(time.Second)
		}
		if store.puts != 0 {
			t.Error("a call wrote to the store")
		}
		if d := at.Sub(seen()); d < 0 || d > time.Minute {
			t.Errorf("last seen %v ago", d)
		}
		for range 2 {
			if err := r.SaveSeen(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if store.puts != 1 {
			t.Errorf("%d writes of one piece of news", store.puts)
		}
		if _, err := r.Change(t.Context(), "bot", "admin", func(a *identity.Agent) error { a.Purpose = "x"; return nil }); err != nil {
			t.Fatal(err)
		}
		again, _ := open(t, store).Get("bot")
		if !again.LastSeen.Equal(seen()) {
			t.Errorf("after a restart: %v, want %v", again.LastSeen, seen())
		}
		if idle, _ := r.Get("idle"); !idle.LastSeen.IsZero() {
			t.Errorf("who never came was seen at %v", idle.LastSeen)
		}
	})
}

type seeing struct {
	identity.Memory
	puts int
}

func (s *seeing) PutSeen(ctx context.Context, tenant string, at map[string]time.Time) error {
	s.puts++
	return s.Memory.PutSeen(ctx, tenant, at)
}

func TestVerifyCostsNothingMore(t *testing.T) {
	at := time.Now()
	r := open(t, new(identity.Memory))
	authority, _ := minted(t, r, &at)
	create(t, r, identity.Agent{Name: "bot", Expires: at.Add(time.Hour)})
	token, err := authority.Mint(t.Context(), "bot", identity.MintOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text := token.Access.Reveal()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := authority.Verify(t.Context(), text, "/mcp"); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPagesAreAllAgentsInOrder(t *testing.T) {
	r := open(t, new(identity.Memory))
	var want []string
	for i := range 57 {
		name := fmt.Sprintf("bot-%d", i*7%57)
		create(t, r, identity.Agent{Name: name})
		want = append(want, name)
	}
	configure(t, r, identity.Agent{Name: "left"})
	configure(t, r)
	slices.Sort(want)
	var got []string
	for after := ""; ; {
		page := r.Page(after, 10)
		for _, a := range page {
			got = append(got, a.Name)
		}
		if len(page) < 10 {
			break
		}
		after = page[9].Name
	}
	if !slices.Equal(got, want) || r.Count() != len(want) {
		t.Errorf("got %d of %d: %v", len(got), r.Count(), got)
	}
	if page := r.Page("bot-1x", 1); len(page) != 1 || page[0].Name != "bot-2" {
		t.Errorf("after a name that is nobody's: %v", page)
	}
}

func TestAHundredThousandAgentsFit(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	const agents, most = 100_000, 150 << 20
	list := make([]identity.Agent, agents)
	for i := range list {
		list[i] = identity.Agent{
			Tenant: "default", Name: fmt.Sprintf("agent-with-a-usual-name-%d", i), Roles: []string{"role:support", "role:dev"}, Owner: fmt.Sprintf("user:owner-%d@example.com", i%1000),
			Purpose: fmt.Sprintf("answers the letters of customer %d", i), Environment: "prod", Models: []string{"model:openai/*"}, Servers: []string{"server:crm"},
			Status: identity.Active, Source: identity.FromAPI, Epoch: 1, MaxTTL: time.Hour, SecretHash: slices.Repeat([]byte{byte(i)}, 32), Created: time.Now(), Since: time.Now(),
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := open(t, &many{list: list})
	list = nil
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > most {
		t.Errorf("%d MiB", used>>20)
	} else {
		t.Logf("%d MiB besides what the store read", used>>20)
	}
	if total := after.HeapAlloc; total > most {
		t.Errorf("%d MiB with what the store read", total>>20)
	}
	if page := r.Page("agent-with-a-usual-name-5", 1); len(page) != 1 || page[0].Name != "agent-with-a-usual-name-50" {
		t.Errorf("%v", page)
	}
}

// many is a store of agents that nobody changes.
type many struct {
	identity.Memory
	list []identity.Agent
}

func (m *many) Agents(context.Context, string) ([]identity.Agent, error) {
	l := m.list
	m.list = nil
	return l, nil
}

func TestLimitsOfTheWholeChainHold(t *testing.T) {
	h := family(t)
	limit := func(name string, models ...string) {
		t.Helper()
		if _, err := h.registry.Change(t.Context(), name, "admin", func(a *identity.Agent) error { a.Models = models; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	token := h.exchange(t, h.mint(t, "a", identity.MintOptions{}), "b", identity.MintOptions{})
	within := func() []identity.Within {
		t.Helper()
		p, err := h.Verify(t.Context(), token.Access.Reveal(), "/mcp")
		if err != nil {
			t.Fatal(err)
		}
		return p.Within
	}
	if got := within(); got != nil {
		t.Errorf("nobody is kept to anything: %v", got)
	}
	limit("a", "lab/*")
	limit("b", "openai/*")
	got := within()
	if len(got) != 2 || got[0].Models[0] != "model:openai/*" || got[1].Models[0] != "model:lab/*" {
		t.Errorf("%v", got)
	}
	if err := h.registry.Suspend(t.Context(), "a", "admin"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Verify(t.Context(), token.Access.Reveal(), "/mcp"); err == nil {
		t.Error("who acts for a suspended agent goes on")
	}
}
