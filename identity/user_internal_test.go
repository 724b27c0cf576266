package identity

import (
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// The login flow issues such tokens; what holds of them is checked where they are
// verified.
func TestATokenForAUserHasTheUsersGroupsAndEndsWithTheUser(t *testing.T) {
	r, err := OpenRegistry(t.Context(), new(Memory))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := OpenKeys(filepath.Join(t.TempDir(), "keys"), Secret{})
	if err != nil {
		t.Fatal(err)
	}
	a := New(Config{Issuer: "http://127.0.0.1:8700"}, keys, r)
	if _, _, err := r.Create(t.Context(), Agent{Name: "bot", Roles: []string{"support"}}); err != nil {
		t.Fatal(err)
	}
	u, err := r.SignIn(t.Context(), "https://idp.example", "1", "ana@example.com", []string{"finance"})
	if err != nil {
		t.Fatal(err)
	}
	agent, err := a.active("bot")
	if err != nil {
		t.Fatal(err)
	}
	g, err := a.root(agent, u.Name, MintOptions{})
	if err != nil {
		t.Fatal(err)
	}
	g.ID = newGrantID()
	g.Hops[0].Grant = g.ID
	if err := a.give(t.Context(), g, time.Minute, u.Name); err != nil {
		t.Fatal(err)
	}
	token, err := a.issue(agent, g, MintOptions{})
	if err != nil {
		t.Fatal(err)
	}
	verify := func() (Principal, error) { return a.Verify(t.Context(), token.Access.Reveal(), "/mcp") }
	p, err := verify()
	if err != nil || p.Subject != u.Name || !slices.Equal(p.Held(0), []string{"role:support"}) || !slices.Equal(p.Held(1), []string{"group:finance"}) {
		t.Fatalf("%v %+v", err, p)
	}
	if _, err := r.SignIn(t.Context(), "https://idp.example", "1", "ana@example.com", []string{"ops"}); err != nil {
		t.Fatal(err)
	}
	if p, err := verify(); err != nil || !slices.Equal(p.Held(1), []string{"group:ops"}) {
		t.Errorf("after another login: %v %+v", err, p)
	}
	if _, _, err := r.Offboard(t.Context(), u.Name, "admin", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(); err != errDismissed {
		t.Errorf("after the user has left: %v", err)
	}
}
