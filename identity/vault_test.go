package identity_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"callgate/identity"

	"github.com/google/go-cmp/cmp"
)

// safe is where a vault keeps secrets, and a record of what was done. Either can
// break.
type safe struct {
	identity.MemorySecrets
	seal        *identity.Seal
	now         time.Time
	log         []string
	unrecorded  error
	unstored    error
	whileStored func()
}

func newSafe(t testing.TB) *safe {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := identity.OpenKeys(dir, identity.Secret{}); err != nil {
		t.Fatal(err)
	}
	seal, err := identity.OpenSeal(dir, identity.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	return &safe{seal: seal, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
}

func (s *safe) PutSecret(ctx context.Context, e identity.SealedEntry) error {
	if s.whileStored != nil {
		s.whileStored()
	}
	if s.unstored != nil {
		return s.unstored
	}
	return s.MemorySecrets.PutSecret(ctx, e)
}

func (s *safe) record(what, by, name, state string) error {
	if s.unrecorded != nil {
		return s.unrecorded
	}
	s.log = append(s.log, strings.Join([]string{what, by, name, state}, " | "))
	return nil
}

func (s *safe) config() identity.VaultConfig {
	return identity.VaultConfig{
		Store: s, Seal: s.seal, Record: s.record, Now: func() time.Time { return s.now },
		Member: func(tenant, subject, of string) bool {
			return tenant == "default" && subject == "user:ana" && of == "group:sales"
		},
	}
}

func (s *safe) open(t testing.TB) *identity.Vault {
	t.Helper()
	v, err := identity.OpenVault(t.Context(), s.config())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// sources finds the secrets of v.
func sources(t testing.TB, v *identity.Vault) *identity.Sources {
	t.Helper()
	s := identity.NewSources(identity.SourcesConfig{Vault: v, Logger: quiet()})
	t.Cleanup(s.Close)
	return s
}

func credential(t testing.TB, s *identity.Sources, ref, target string) identity.Credential {
	t.Helper()
	c, err := s.Credential(ref, target)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func put(t testing.TB, v *identity.Vault, e identity.Entry, value string) identity.Entry {
	t.Helper()
	e, err := v.Put(t.Context(), "admin", e, identity.NewSecret(value))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var bot = &identity.Principal{Tenant: "default", Subject: "agent:bot", Roles: []string{"role:dev"}}

func TestASecretIsPutRotatedAndRemoved(t *testing.T) {
	s := newSafe(t)
	v := s.open(t)
	c := credential(t, sources(t, v), "secret:openai", "provider:openai")
	lent := func(want, name string) {
		t.Helper()
		loan, err := c.Use(t.Context(), bot)
		if err != nil || loan.Value.Reveal() != want || loan.Name != name {
			t.Fatalf("%q as %q: %v; want %q as %q", loan.Value.Reveal(), loan.Name, err, want, name)
		}
	}
	withheld := func(denied bool, reason string) {
		t.Helper()
		loan, err := c.Use(t.Context(), bot)
		var w *identity.Withheld
		if !errors.As(err, &w) || w.Denied != denied || !strings.Contains(w.Reason, reason) || loan.Value.Reveal() != "" {
			t.Fatalf("%v %q; want %q", err, loan.Value.Reveal(), reason)
		}
	}
	withheld(false, "provider:openai is not there: an operator runs callgate secret put openai")
	put(t, v, identity.Entry{Name: "openai", Scope: identity.Scope{Targets: []string{"provider:openai"}}}, "one")
	lent("one", "secret:openai@1")
	if loan, _ := c.Use(t.Context(), bot); loan.Refused(t.Context()) {
		t.Error("there is another value although nobody put one")
	} else if _, err := v.Rotate(t.Context(), "admin", "openai", identity.NewSecret("two"), s.now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	} else if !loan.Refused(t.Context()) {
		t.Error("there is no other value although it was rotated")
	}
	lent("two", "secret:openai@2")

	v = s.open(t) // all of it is found again
	c = credential(t, sources(t, v), "secret:openai", "provider:openai")
	lent("two", "secret:openai@2")
	s.now = s.now.Add(time.Hour)
	withheld(false, "has expired: an operator runs callgate secret rotate openai")
	if _, err := v.Rescope(t.Context(), "admin", "openai", identity.Scope{}); !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("an expired secret is scoped: %v", err)
	}
	if _, err := v.Rotate(t.Context(), "admin", "openai", identity.NewSecret("three"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	lent("three", "secret:openai@3")
	for range 2 { // twice is no error
		if err := v.Remove(t.Context(), "admin", "openai"); err != nil {
			t.Fatal(err)
		}
	}
	withheld(false, "is not there")
	if len(v.List()) != 0 {
		t.Errorf("%+v", v.List())
	}
	v = s.open(t)
	c = credential(t, sources(t, v), "secret:openai", "provider:openai")
	withheld(false, "is not there")
	if e := put(t, v, identity.Entry{Name: "openai"}, "four"); e.Version != 4 {
		t.Errorf("version %d means two values", e.Version)
	}
	want := []string{
		"secret.created | admin | secret:openai | version 1, for provider:openai, for everybody",
		"secret.rotated | admin | secret:openai | version 2, for provider:openai, for everybody, until 2026-11-23T13:00:00Z",
		"secret.rotated | admin | secret:openai | version 3, for provider:openai, for everybody",
		"secret.removed | admin | secret:openai | version 3",
		"secret.created | admin | secret:openai | version 4, anywhere, for everybody",
	}
	if diff := cmp.Diff(want, s.log); diff != "" {
		t.Error(diff)
	}
}

func TestAScopeSaysWhoMayUseASecret(t *testing.T) {
	child := &identity.Principal{Tenant: "default", Subject: "agent:bot", Actors: []string{"agent:child"}, Roles: []string{"role:dev"}, Above: [][]string{{"role:support"}}}
	alone := &identity.Principal{Tenant: "default", Subject: "user:ben"}
	forAna := &identity.Principal{Tenant: "default", Subject: "user:ana", Actors: []string{"agent:bot"}}
	for _, test := range []struct {
		name   string
		agents []string
		target string
		who    *identity.Principal
		denied string
	}{
		{"all", nil, "server:crm", bot, ""},
		{"another target", nil, "provider:crm", bot, "secret:crm is not for provider:crm"},
		{"callgate itself", []string{"agent:other"}, "server:crm", nil, ""},
		{"callgate itself at another target", nil, "server:crmx", nil, "is not for server:crmx"},
		{"the agent", []string{"agent:other", "agent:bot"}, "server:crm", bot, ""},
		{"another agent", []string{"agent:other"}, "server:crm", bot, "may not be used by agent:bot"},
		{"a role", []string{"role:dev"}, "server:crm", bot, ""},
		{"another role", []string{"role:ops"}, "server:crm", bot, "may not be used by agent:bot"},
		{"a child of the agent", []string{"agent:bot"}, "server:crm", child, "may not be used by agent:child"},
		{"a child of an agent that may not", []string{"agent:child"}, "server:crm", child, "may not be used by agent:child"},
		{"a child with a role that its parent has not", []string{"role:dev"}, "server:crm", child, "may not be used by agent:child"},
		{"a chain", []string{"agent:child", "role:support"}, "server:crm", child, ""},
		{"a user without an agent", []string{"agent:bot"}, "server:crm", alone, "may not be used by user:ben"},
		{"the user", []string{"user:ana"}, "server:crm", forAna, ""},
		{"another user", []string{"user:ben"}, "server:crm", forAna, "may not be used by agent:bot"},
		{"a group of the user", []string{"group:sales"}, "server:crm", forAna, ""},
		{"a group of nobody here", []string{"group:sales"}, "server:crm", bot, "may not be used by agent:bot"},
		{"nobody", []string{"agent:bot"}, "server:crm", new(identity.Principal), "may not be used by "},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSafe(t)
			v := s.open(t)
			put(t, v, identity.Entry{Name: "crm", Scope: identity.Scope{Targets: []string{"server:crm"}, Agents: test.agents}}, "canary")
			s.log = nil
			_, err := credential(t, sources(t, v), "secret:crm", test.target).Use(t.Context(), test.who)
			var w *identity.Withheld
			switch {
			case test.denied == "" && err != nil, test.denied != "" && !errors.As(err, &w):
				t.Fatalf("%v, want %q", err, test.denied)
			case w == nil:
				return
			}
			if !w.Denied || !strings.Contains(w.Reason, test.denied) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%+v", w)
			}
			if len(s.log) != 1 || !strings.HasPrefix(s.log[0], "secret.denied | ") {
				t.Errorf("on record: %q", s.log)
			}
		})
	}
}

func TestSecretsThatMakeNoSense(t *testing.T) {
	s := newSafe(t)
	v := s.open(t)
	put(t, v, identity.Entry{Name: "there"}, "x")
	s.log = nil
	many := strings.Split(strings.Repeat("agent:a ", 65), " ")[:65]
	for _, test := range []struct {
		name  string
		entry identity.Entry
		value string
		kind  error
	}{
		{"no name", identity.Entry{}, "x", identity.ErrInvalid},
		{"a name with a slash", identity.Entry{Name: "a/b"}, "x", identity.ErrInvalid},
		{"a name in capitals", identity.Entry{Name: "A"}, "x", identity.ErrInvalid},
		{"no value", identity.Entry{Name: "a"}, "", identity.ErrInvalid},
		{"a huge value", identity.Entry{Name: "a"}, strings.Repeat("x", 48<<10+1), identity.ErrInvalid},
		{"expired already", identity.Entry{Name: "a", Expires: s.now}, "x", identity.ErrInvalid},
		{"a target of no kind", identity.Entry{Name: "a", Scope: identity.Scope{Targets: []string{"openai"}}}, "x", identity.ErrInvalid},
		{"a target without a name", identity.Entry{Name: "a", Scope: identity.Scope{Targets: []string{"provider:"}}}, "x", identity.ErrInvalid},
		{"a star", identity.Entry{Name: "a", Scope: identity.Scope{Agents: []string{"role:*"}}}, "x", identity.ErrInvalid},
		{"too many", identity.Entry{Name: "a", Scope: identity.Scope{Agents: many}}, "x", identity.ErrInvalid},
		{"a name that is taken", identity.Entry{Name: "there"}, "x", identity.ErrTaken},
	} {
		if _, err := v.Put(t.Context(), "admin", test.entry, identity.NewSecret(test.value)); !errors.Is(err, test.kind) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	_, rotate := v.Rotate(t.Context(), "admin", "nowhere", identity.NewSecret("x"), time.Time{})
	_, scope := v.Rescope(t.Context(), "admin", "nowhere", identity.Scope{})
	for _, err := range []error{rotate, scope, v.Remove(t.Context(), "admin", "nowhere")} {
		if !errors.Is(err, identity.ErrNoSecret) {
			t.Errorf("of a secret that is not there: %v", err)
		}
	}
	if s.log != nil {
		t.Errorf("on record: %q", s.log)
	}
}

func TestNothingIsGivenThatIsNotOnRecordAndStored(t *testing.T) {
	s := newSafe(t)
	v := s.open(t)
	put(t, v, identity.Entry{Name: "a"}, "old")
	c := credential(t, sources(t, v), "secret:a", "provider:a")
	still := func(when string) {
		t.Helper()
		if loan, err := c.Use(t.Context(), bot); err != nil || loan.Value.Reveal() != "old" || loan.Name != "secret:a@1" {
			t.Errorf("%s: %q as %s: %v", when, loan.Value.Reveal(), loan.Name, err)
		}
	}
	for when, broken := range map[string]*error{"not recorded": &s.unrecorded, "not stored": &s.unstored} {
		*broken = errDisk
		if _, err := v.Rotate(t.Context(), "admin", "a", identity.NewSecret("new"), time.Time{}); !errors.Is(err, errDisk) {
			t.Errorf("%s: %v", when, err)
		}
		if _, err := v.Put(t.Context(), "admin", identity.Entry{Name: "b"}, identity.NewSecret("new")); !errors.Is(err, errDisk) {
			t.Errorf("%s: %v", when, err)
		}
		*broken = nil
		still(when)
	}
	if got := s.log[len(s.log)-1]; !strings.HasPrefix(got, "secret.failed") {
		t.Errorf("what was not stored is on record as %q", got)
	}
	s.unrecorded, s.unstored = errDisk, errDisk // what takes away is done all the same
	if err := v.Remove(t.Context(), "admin", "a"); !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "is removed, but that is not stored") {
		t.Error(err)
	}
	if _, err := c.Use(t.Context(), bot); err == nil {
		t.Error("a removed secret is lent")
	}
	s.unrecorded, s.unstored = nil, nil
	if err := v.Remove(t.Context(), "admin", "a"); err != nil {
		t.Error(err)
	}
	if again := s.open(t); len(again.List()) != 0 {
		t.Errorf("it is back after a restart: %+v", again.List())
	}
}

func TestARemovalIsNotUndoneByARotationUnderWay(t *testing.T) {
	s := newSafe(t)
	v := s.open(t)
	put(t, v, identity.Entry{Name: "a"}, "old")
	removed := make(chan error, 1)
	s.whileStored = func() {
		s.whileStored = nil
		go func() { removed <- v.Remove(t.Context(), "admin", "a") }()
		for len(v.List()) > 0 { // it is gone at once, though the store is busy
			runtime.Gosched()
		}
	}
	if _, err := v.Rotate(t.Context(), "admin", "a", identity.NewSecret("new"), time.Time{}); !errors.Is(err, identity.ErrNoSecret) {
		t.Errorf("rotate: %v", err)
	}
	if err := <-removed; err != nil {
		t.Error(err)
	}
	if len(v.List()) != 0 || len(s.open(t).List()) != 0 {
		t.Error("the secret is there again")
	}
}

func TestWhoCanWriteToTheStoreCannotChangeASecret(t *testing.T) {
	s := newSafe(t)
	v := s.open(t)
	put(t, v, identity.Entry{Name: "a", Scope: identity.Scope{Targets: []string{"server:a"}, Agents: []string{"role:dev"}}, Expires: s.now.Add(time.Hour)}, "canary")
	kept, _ := s.Secrets(t.Context())
	if strings.Contains(fmt.Sprintf("%+v", kept), "canary") {
		t.Error("the store shows the value")
	}
	for name, forge := range map[string]func(*identity.SealedEntry){
		"another name":    func(e *identity.SealedEntry) { e.Name = "b" },
		"more targets":    func(e *identity.SealedEntry) { e.Targets = nil },
		"more agents":     func(e *identity.SealedEntry) { e.Agents = append(e.Agents, "role:ops") },
		"a longer life":   func(e *identity.SealedEntry) { e.Expires = time.Time{} },
		"another version": func(e *identity.SealedEntry) { e.Version = 7 },
	} {
		t.Run(name, func(t *testing.T) {
			e := kept[0]
			forge(&e)
			forged := &safe{seal: s.seal, now: s.now}
			if err := forged.MemorySecrets.PutSecret(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			if _, err := identity.OpenVault(t.Context(), forged.config()); err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("it was opened: %v", err)
			}
		})
	}
}

func TestToLendASecretCostsNothing(t *testing.T) {
	s := newSafe(t)
	v := s.open(t)
	put(t, v, identity.Entry{Name: "a", Scope: identity.Scope{Targets: []string{"provider:a"}, Agents: []string{"role:ops", "role:dev"}}, Expires: s.now.Add(time.Hour)}, "canary")
	h := identity.NewHeader(credential(t, sources(t, v), "secret:a", "provider:a"), "Bearer ")
	if n := testing.AllocsPerRun(100, func() {
		if value, _, err := h.Use(t.Context(), bot); err != nil || value[0] != "Bearer canary" {
			t.Fatal(value, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLend(b *testing.B) {
	s := newSafe(b)
	v := s.open(b)
	put(b, v, identity.Entry{Name: "a", Scope: identity.Scope{Targets: []string{"provider:a"}, Agents: []string{"role:dev"}}}, "canary")
	h := identity.NewHeader(credential(b, sources(b, v), "secret:a", "provider:a"), "Bearer ")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := h.Use(b.Context(), bot); err != nil {
			b.Fatal(err)
		}
	}
}
