package identity_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/identity"

	"github.com/google/go-cmp/cmp"
)

const idp = "https://idp.example"

func people(t testing.TB, r *identity.Registry, users []identity.User, groups ...identity.Group) {
	t.Helper()
	if err := r.ConfigurePeople(t.Context(), users, groups); err != nil {
		t.Fatal(err)
	}
}

func signIn(t testing.TB, r *identity.Registry, subject, email string, groups ...string) identity.User {
	t.Helper()
	u, err := r.SignIn(t.Context(), idp, subject, email, groups)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestNamesOfDifferentKindsNeverMeet(t *testing.T) {
	for _, name := range []string{
		"", "user:", "agent:x", "role:x", "user:agent:x", "user:user:x", "group:x", "Ana", "an\u0430", "ana ", "ana\n", "ana*", "ana,x", "-ana", "@ana", "ana/..", "ana\u200b", strings.Repeat("a", 129),
	} {
		r := open(t, new(identity.Memory))
		if err := r.ConfigurePeople(t.Context(), []identity.User{{Name: name}}, nil); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("a user may be called %q", name)
		}
		if _, _, err := r.Offboard(t.Context(), name, "admin", nil); err == nil && !strings.HasPrefix(name, "user:") {
			if u := r.Users(); len(u) > 0 && !strings.HasPrefix(u[0].Name, "user:") {
				t.Errorf("a user called %q was offboarded", name)
			}
		}
	}
	for _, name := range []string{"", "group:", "a:b", "group:a:b", "role:admin", "group:role:admin", "everyone", "group:everyone", "fin\u0430nce", "a b", "a,b", "a*", "a;b"} {
		r := open(t, new(identity.Memory))
		if err := r.ConfigurePeople(t.Context(), nil, []identity.Group{{Name: name}}); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("a group may be called %q", name)
		}
	}
}

func TestGroupsOfALogin(t *testing.T) {
	r := open(t, new(identity.Memory))
	people(t, r, []identity.User{{Name: "ana", Email: "Ana@Example.com", Groups: []string{"own"}}},
		identity.Group{Name: "finance", Claims: []string{"8f0c", "Finance Team"}}, identity.Group{Name: "ops", Members: []string{"ana"}})
	u := signIn(t, r, "1", "ana@example.com", "finance", "Finance Team", "dev", "role:admin", "group:admins", "agent:root", "everyone", "d\u0435v", "a b")
	if d := cmp.Diff([]string{"group:dev", "group:finance", "group:ops", "group:own"}, u.Groups); u.Name != "user:ana" || d != "" {
		t.Error(u.Name, d)
	}
	// What the provider calls finance is nobody's finance here.
	if u := signIn(t, r, "1", "ana@example.com", "finance"); slices.Contains(u.Groups, "group:finance") {
		t.Error("a group of the provider took the name of one of the config")
	}
	// Without the config's word, what it gave is gone at once.
	people(t, r, []identity.User{{Name: "ana"}})
	if groups, err := r.Person("user:ana"); err != nil || !slices.Equal(groups, []string{"group:finance"}) {
		t.Error(groups, err) // which is what the provider said, and no group of the config claims any more
	}
}

func TestALoginIsOneUser(t *testing.T) {
	store := new(identity.Memory)
	r := open(t, store)
	people(t, r, []identity.User{{Name: "ana", Email: "ana@example.com"}})
	ana := signIn(t, r, "1", "ana@example.com")
	if ana.Name != "user:ana" || ana.LastLogin.IsZero() || ana.Issuer != idp {
		t.Errorf("%+v", ana)
	}
	for _, test := range []struct{ name, subject, email, want string }{
		{"another address is the same user", "1", "ana.b@example.com", "user:ana"},
		{"no address is the same user", "1", "", "user:ana"},
		{"a stranger is named by the address", "2", "Ben@Example.com", "user:ben@example.com"},
		{"the address of before is not taken over", "3", "ben@example.com", ""},
		{"nor that of a user of the config who has come", "4", "ana@example.com", ""},
		{"an address of another script is no name", "5", "an\u0430@example.com", ""},
		{"an address that is none is no name", "6", "root", ""},
		{"nor one with a colon", "7", "agent:x@example.com", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := signIn(t, r, test.subject, test.email)
			if test.want != "" && u.Name != test.want || test.want == "" && !strings.HasPrefix(u.Name, "user:u-") {
				t.Errorf("%q is %s", test.email, u.Name)
			}
			if again := signIn(t, open(t, store), test.subject, ""); again.Name != u.Name && u.Name != "user:ana" {
				t.Errorf("after a restart %s is %s", u.Name, again.Name)
			}
		})
	}
	if u, err := r.SignIn(t.Context(), "https://other.example", "1", "", nil); err != nil || u.Name == "user:ana" {
		t.Errorf("the same subject of another issuer is %s (%v)", u.Name, err)
	}
	for name, call := range map[string]func() error{
		"no subject":         func() error { _, err := r.SignIn(t.Context(), idp, "", "", nil); return err },
		"a subject of lines": func() error { _, err := r.SignIn(t.Context(), idp, "a\nb", "", nil); return err },
		"too many groups": func() error {
			_, err := r.SignIn(t.Context(), idp, "9", "", make([]string, 513))
			return err
		},
		"a group that is too long": func() error {
			_, err := r.SignIn(t.Context(), idp, "9", "", []string{strings.Repeat("g", 257)})
			return err
		},
	} {
		if err := call(); !errors.Is(err, identity.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhoHasLeftDoesNotComeBack(t *testing.T) {
	store := new(identity.Memory)
	r := open(t, store)
	at := time.Now()
	_, list := minted(t, r, &at)
	signIn(t, r, "1", "ana@example.com")
	signIn(t, r, "2", "ben@example.com")
	if err := r.SuspendUser(t.Context(), "user:ben@example.com", "admin"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SignIn(t.Context(), idp, "2", "ben@example.com", nil); !errors.Is(err, identity.ErrEnded) {
		t.Errorf("a suspended user signs in: %v", err)
	}
	if _, err := r.Person("user:ben@example.com"); !errors.Is(err, identity.ErrEnded) {
		t.Error("a suspended user may go on")
	}
	if err := r.ResumeUser(t.Context(), "user:ben@example.com", "admin"); err != nil {
		t.Fatal(err)
	}
	signIn(t, r, "2", "ben@example.com")
	for _, name := range []string{"user:ana@example.com", "user:zoe@example.com"} { // whom nobody knew
		if _, _, err := r.Offboard(t.Context(), name, "admin", nil); err != nil {
			t.Fatal(err)
		}
	}
	r = open(t, store)
	people(t, r, []identity.User{{Name: "ana@example.com"}, {Name: "zoe@example.com"}})
	for subject, email := range map[string]string{"1": "ana@example.com", "3": "zoe@example.com"} {
		if _, err := r.SignIn(t.Context(), idp, subject, email, nil); !errors.Is(err, identity.ErrEnded) {
			t.Errorf("%s signs in: %v", email, err)
		}
	}
	if err := r.ResumeUser(t.Context(), "user:ana@example.com", "admin"); !errors.Is(err, identity.ErrEnded) {
		t.Error(err)
	}
	if all := strings.Join(*list, "\n"); !strings.Contains(all, "user.refused | user:ben@example.com | user:ben@example.com | a login: user:ben@example.com is suspended") {
		t.Errorf("the refused login is not on record:\n%s", all)
	}
}

func TestOffboardingLeavesNoAgentToNobody(t *testing.T) {
	r := open(t, new(identity.Memory))
	at := time.Now()
	_, list := minted(t, r, &at)
	people(t, r, []identity.User{{Name: "ana", Groups: []string{"pair", "alone", "paper"}}, {Name: "ben"}, {Name: "gone"}},
		identity.Group{Name: "pair", Members: []string{"ben"}}, identity.Group{Name: "left", Members: []string{"ana", "gone"}})
	if err := r.SuspendUser(t.Context(), "user:gone", "admin"); err != nil {
		t.Fatal(err)
	}
	for name, owner := range map[string]string{
		"hers": "ana", "hers-too": "user:Ana", "bens": "ben", "of-both": "group:pair", "of-her-group": "group:alone", "of-nobody": "", "of-a-group-she-is-not-in": "group:other",
		"of-one-on-paper": "group:paper", "of-her-and-one-who-is-gone": "group:left", "ended": "ana",
	} {
		create(t, r, identity.Agent{Name: name, Owner: owner})
	}
	if err := r.Retire(t.Context(), "ended", "admin"); err != nil {
		t.Fatal(err)
	}
	byRows := func(group string) []string { // as a policy may say
		return map[string][]string{"group:paper": {"user:ana", "user:cleo"}}[group]
	}
	names := func(agents []identity.Agent) (names []string) {
		for _, a := range agents {
			names = append(names, a.Name)
		}
		return names
	}
	want := []string{"hers", "hers-too", "of-her-and-one-who-is-gone", "of-her-group"}
	*list = nil
	if d := cmp.Diff(want, names(r.Orphans("user:ana", byRows))); d != "" || len(*list) > 0 {
		t.Error("before:", d, *list)
	}
	_, agents, err := r.Offboard(t.Context(), "user:ana", "user:ben", byRows)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, names(agents)); d != "" {
		t.Error(d)
	}
	for _, a := range r.List() {
		if stopped := a.Status == identity.Suspended; stopped != slices.Contains(want, a.Name) {
			t.Errorf("%s is %s", a.Name, a.Status)
		}
	}
	if len(*list) != 1+len(want) || (*list)[1] != "agent.suspended | user:ben | agent:hers | status active → suspended; epoch 1 → 2" {
		t.Errorf("on record:\n%s", strings.Join(*list, "\n"))
	}
}

func TestAStoreThatFailsKeepsNoUserGoing(t *testing.T) {
	store := new(disk)
	r := open(t, store)
	signIn(t, r, "1", "ana@example.com")
	create(t, r, identity.Agent{Name: "hers", Owner: "ana@example.com"})
	store.before = errDisk
	_, agents, err := r.Offboard(t.Context(), "user:ana@example.com", "admin", nil)
	if !errors.Is(err, errDisk) || len(agents) != 1 || agents[0].Status != identity.Suspended {
		t.Errorf("%v, %+v", err, agents)
	}
	if _, err := r.Person("user:ana@example.com"); !errors.Is(err, identity.ErrEnded) {
		t.Error("the user goes on")
	}
}
