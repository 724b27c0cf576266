package identity_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/identity"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// family is a house whose agents are a, b, c, d, e and f, each of which may delegate to
// all but f.
func family(t testing.TB) *house {
	h := newHouse(t)
	h.delegate = func(_ *identity.Principal, to string) error {
		if to == "agent:f" {
			return errors.New("no row allows it")
		}
		return nil
	}
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		create(t, h.registry, identity.Agent{Name: name, Roles: []string{"of-" + name}, Owner: "user:of-" + name})
	}
	return h
}

func (h *house) exchange(t testing.TB, parent identity.Token, child string, o identity.MintOptions) identity.Token {
	t.Helper()
	token, err := h.Exchange(t.Context(), parent.Access.Reveal(), child, o)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func claimsOf(t testing.TB, token identity.Token) map[string]any {
	t.Helper()
	doc, err := base64.RawURLEncoding.DecodeString(strings.Split(token.Access.Reveal(), ".")[1])
	var c map[string]any
	if err != nil || json.Unmarshal(doc, &c) != nil {
		t.Fatal(err)
	}
	return c
}

func caps(t testing.TB, doc string) []identity.Cap {
	t.Helper()
	list, err := identity.ParseCaps([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestASubAgent(t *testing.T) {
	h := family(t)
	a := h.mint(t, "a", identity.MintOptions{TTL: 200 * time.Second})
	narrow := caps(t, `[{"type":"callgate_call","actions":["call"],"locations":["tool:shop/*"],"arguments":{"amount":{"max":50}},"limits":{"calls":3}}]`)
	b := h.exchange(t, a, "b", identity.MintOptions{Caps: narrow, TTL: 250 * time.Second})
	c := h.exchange(t, b, "c", identity.MintOptions{})

	got, root := claimsOf(t, c), claimsOf(t, a)
	want := map[string]any{
		"iss": gateURL, "sub": "agent:a", "sub_profile": "ai_agent", "aud": []any{gateURL}, "client_id": "c", "exp": root["exp"], "iat": root["iat"], "nbf": root["nbf"],
		"jti": c.ID, "txn": root["txn"], "tenant": "default", "cg_e": 1., "cg_g": c.Grant,
		"act": map[string]any{"iss": gateURL, "sub": "agent:c", "sub_profile": "ai_agent",
			"act": map[string]any{"iss": gateURL, "sub": "agent:b", "sub_profile": "ai_agent"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	p, err := h.Verify(t.Context(), c.Access.Reveal(), "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	if p.User != "user:of-a" {
		t.Errorf("%s answers for it, want who answers for the root", p.User)
	}
	if p.Agent() != "agent:c" || !slices.Equal(p.Chain(), []string{"agent:c", "agent:b", "agent:a"}) {
		t.Errorf("%v", p.Chain())
	}
	var held [][]string
	for i := range p.Chain() {
		held = append(held, p.Held(i))
	}
	if d := cmp.Diff([][]string{{"role:of-c"}, {"role:of-b"}, {"role:of-a"}}, held); d != "" {
		t.Error(d)
	}
	if len(p.Hops) != 1 || p.Hops[0].Agent != "agent:b" || p.Hops[0].Grant != b.Grant || p.Hops[0].Life != 200*time.Second || cmp.Diff(p.Hops[0].Caps, narrow) != "" {
		t.Errorf("%+v", p.Hops)
	}
	if d := cmp.Diff(narrow, b.Caps); d != "" || claimsOf(t, b)["authorization_details"] == nil {
		t.Error(d)
	}
}

func TestWhatIsRevokedAboveEndsWhatIsBelow(t *testing.T) {
	type ends struct{ a, b, c bool }
	for name, test := range map[string]struct {
		revoke func(h *house, a, b identity.Token) error
		want   ends
	}{
		"the token of the middle": {func(h *house, _, b identity.Token) error {
			return h.revocations.Revoke(context.Background(), identity.RevokedToken, b.ID, "admin")
		}, ends{b: true}},
		"the grant of the middle": {func(h *house, _, b identity.Token) error {
			return h.revocations.Revoke(context.Background(), identity.RevokedGrant, b.Grant, "admin")
		}, ends{b: true, c: true}},
		"the grant of the root": {func(h *house, a, _ identity.Token) error {
			return h.revocations.Revoke(context.Background(), identity.RevokedGrant, a.Grant, "admin")
		}, ends{true, true, true}},
		"the chain": {func(h *house, a, _ identity.Token) error {
			return h.revocations.Revoke(context.Background(), identity.RevokedChain, claimsOf(t, a)["txn"].(string), "admin")
		}, ends{true, true, true}},
		"the first agent": {func(h *house, _, _ identity.Token) error { return h.registry.Revoke(context.Background(), "a") }, ends{true, true, true}},
		"the middle one":  {func(h *house, _, _ identity.Token) error { return h.registry.Revoke(context.Background(), "b") }, ends{false, true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			h := family(t)
			a := h.mint(t, "a", identity.MintOptions{})
			b := h.exchange(t, a, "b", identity.MintOptions{})
			c := h.exchange(t, b, "c", identity.MintOptions{})
			got := func() ends {
				no := func(token identity.Token) bool {
					_, err := h.Verify(t.Context(), token.Access.Reveal(), "/mcp")
					return err != nil
				}
				return ends{no(a), no(b), no(c)}
			}
			if got() != (ends{}) {
				t.Fatal("not all are good at first")
			}
			if err := test.revoke(h, a, b); err != nil {
				t.Fatal(err)
			}
			if got() != test.want {
				t.Errorf("%+v, want %+v", got(), test.want)
			}
			for i, token := range []identity.Token{a, b, c} { // what is over gives nothing any more
				_, err := h.Exchange(t.Context(), token.Access.Reveal(), "d", identity.MintOptions{})
				if over := []bool{test.want.a, test.want.b, test.want.c}[i]; over != (err != nil) {
					t.Errorf("exchange of %d: %v", i, err)
				}
			}
		})
	}
}

func TestTokenExchangeRefuses(t *testing.T) {
	h := family(t)
	_, secret := create(t, h.registry, identity.Agent{Name: "child"})
	_, stranger := create(t, h.registry, identity.Agent{Name: "stranger"})
	scoped := h.mint(t, "a", identity.MintOptions{Scope: "mcp:shop", Audience: gateURL + "/mcp", Run: "r1", Caps: caps(t, `[{"type":"callgate_call","locations":["tool:shop/*"],"limits":{"calls":3,"depth":1}}]`)})
	last := h.exchange(t, scoped, "b", identity.MintOptions{})
	chain := h.exchange(t, h.mint(t, "c", identity.MintOptions{}), "d", identity.MintOptions{})
	deepest := h.mint(t, "a", identity.MintOptions{})
	for range 4 {
		deepest = h.exchange(t, deepest, "b", identity.MintOptions{})
	}
	const at = "urn:ietf:params:oauth:token-type:access_token"
	ask := func(subject identity.Token, more ...string) url.Values {
		v := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {subject.Access.Reveal()}, "subject_token_type": {at}}
		for i := 0; i < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	for name, test := range map[string]struct {
		form url.Values
		code string
	}{
		"more than the parent's caps":        {ask(scoped, "authorization_details", `[{"type":"callgate_call","locations":["tool:bank/*"],"limits":{"calls":1}}]`), "invalid_scope"},
		"more calls than the parent's":       {ask(scoped, "authorization_details", `[{"type":"callgate_call","locations":["tool:shop/x"],"limits":{"calls":4}}]`), "invalid_scope"},
		"calls without a limit":              {ask(scoped, "authorization_details", `[{"type":"callgate_call","locations":["tool:shop/x"]}]`), "invalid_scope"},
		"a scope besides the parent's":       {ask(scoped, "scope", "mcp:shop mcp:bank"), "invalid_scope"},
		"a resource beside the parent's":     {ask(scoped, "resource", gateURL+"/v1"), "invalid_target"},
		"a resource above the parent's":      {ask(scoped, "resource", gateURL), "invalid_target"},
		"another run":                        {ask(scoped, "run", "r2"), "invalid_request"},
		"deeper than the caps":               {ask(last), "invalid_request"},
		"deeper than any":                    {ask(deepest), "invalid_request"},
		"a right that is not understood":     {ask(scoped, "authorization_details", `[{"type":"callgate_call","locations":["tool:shop/x"],"limits":{"calls":1},"only_on":"monday"}]`), "invalid_authorization_details"},
		"no subject_token":                   {ask(identity.Token{}), "invalid_request"},
		"a subject_token that is none":       {ask(identity.Token{Access: identity.NewSecret("x.y.z")}), "invalid_request"},
		"an ID token":                        {ask(scoped, "subject_token_type", "urn:ietf:params:oauth:token-type:id_token"), "invalid_request"},
		"a refresh token":                    {ask(scoped, "requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"), "invalid_request"},
		"an actor_token of another chain":    {ask(scoped, "actor_token", chain.Access.Reveal(), "actor_token_type", at), "invalid_request"},
		"an actor_token of another client":   {ask(scoped, "actor_token", h.mint(t, "stranger", identity.MintOptions{}).Access.Reveal(), "actor_token_type", at, "client_id", "child", "client_secret", secret.Reveal()), "invalid_request"},
		"no actor at all":                    {ask(scoped, "client_id", "", "client_secret", ""), "invalid_client"},
		"the credentials of somebody else":   {ask(scoped, "client_id", "child", "client_secret", stranger.Reveal()), "invalid_client"},
		"an agent that may not be delegated": {ask(scoped, "actor_token", h.mint(t, "f", identity.MintOptions{}).Access.Reveal(), "actor_token_type", at), "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			form := test.form
			if !form.Has("actor_token") && !form.Has("client_id") {
				form.Set("client_id", "child")
				form.Set("client_secret", secret.Reveal())
			}
			before := len(h.recorded())
			w := post(h.handler(), form.Encode(), nil)
			var told struct{ Error, Access string }
			if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil || told.Error != test.code || strings.Contains(w.Body.String(), "access_token\":") {
				t.Errorf("%d %s, want %s", w.Code, w.Body, test.code)
			}
			for _, line := range h.recorded()[before:] {
				if strings.HasPrefix(line, "token.issued") || strings.HasPrefix(line, "grant.given") {
					t.Error(line)
				}
			}
		})
	}
	t.Run("and gives what may be", func(t *testing.T) {
		form := ask(scoped, "client_id", "child", "client_secret", secret.Reveal(), "resource", gateURL+"/mcp/shop", "run", "r1",
			"authorization_details", `[{"type":"callgate_call","locations":["tool:shop/x"],"limits":{"calls":2}}]`)
		w := post(h.handler(), form.Encode(), nil)
		var told struct {
			Token  string `json:"access_token"`
			Issued string `json:"issued_token_type"`
			Scope  string `json:"scope"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &told); err != nil || told.Issued != at || told.Scope != "mcp:shop" {
			t.Fatal(w.Body, err)
		}
		p, err := h.Verify(t.Context(), told.Token, "/mcp/shop")
		if err != nil || len(p.Hops) != 2 || p.Run != "r1" {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

// Whatever chain of exchanges is accepted, the last child is permitted no call that any
// one before it is refused: by the check at exchange alone.
func TestNoChildIsPermittedWhatAnAncestorIsRefused(t *testing.T) {
	pairs, probes := 0, 0
	objects := []string{"tool:s/a", "tool:s/b", "tool:s2/a", "model:o/x", "model:o/y", "resource:s|file:///a"}
	cap := rapid.Custom(func(r *rapid.T) identity.Cap {
		c := identity.Cap{Type: identity.CapType}
		c.Actions = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"call", "generate", "read"}), 0, 2, rapid.ID[string]).Draw(r, "actions")
		c.Locations = rapid.SliceOfNDistinct(rapid.SampledFrom(append([]string{"tool:*", "tool:s/*", "model:o/*", "model:*", "resource:s|*"}, objects...)), 1, 3, rapid.ID[string]).Draw(r, "locations")
		if rapid.Bool().Draw(r, "bound") {
			least, most := rapid.SampledFrom([]float64{0, 5, 10}).Draw(r, "min"), rapid.SampledFrom([]float64{5, 10, 20}).Draw(r, "max")
			c.Arguments = map[string]identity.Bound{"n": {Min: &least, Max: &most}}
		}
		if rapid.Bool().Draw(r, "text") {
			if c.Arguments == nil {
				c.Arguments = map[string]identity.Bound{}
			}
			b := identity.Bound{Prefix: rapid.SampledFrom([]string{"", "/a/", "/a/b/"}).Draw(r, "prefix")}
			b.OneOf = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"/a/x", "/a/b/x", "/c"}), 0, 2, rapid.ID[string]).Draw(r, "one_of")
			if b.Prefix != "" || len(b.OneOf) > 0 {
				c.Arguments["p"] = b
			}
		}
		if rapid.Bool().Draw(r, "until") {
			c.Limits.NotAfter = 1_800_000_000 + int64(rapid.SampledFrom([]int{10, 100, 1000}).Draw(r, "not_after"))
		}
		c.Limits.Calls = int64(rapid.IntRange(0, 3).Draw(r, "calls"))
		return c
	})
	h := family(t)
	rapid.Check(t, func(r *rapid.T) {
		token := h.mint(t, "a", identity.MintOptions{Caps: rapid.SliceOfN(cap, 0, 3).Draw(r, "root")})
		chain := [][]identity.Cap{token.Caps}
		for i := range 3 {
			ask := rapid.SliceOfN(cap, 0, 2).Draw(r, fmt.Sprint("hop", i))
			child, err := h.Exchange(t.Context(), token.Access.Reveal(), "b", identity.MintOptions{Caps: ask})
			if err != nil {
				continue
			}
			token, chain = child, append(chain, ask)
			pairs++
		}
		permits := func(list []identity.Cap, action, object, args string, at time.Time) bool {
			return len(list) == 0 || slices.ContainsFunc(list, func(c identity.Cap) bool { return c.Permits(action, object, []byte(args), at) })
		}
		for _, object := range objects {
			for _, action := range []string{"call", "generate", "read", "embed"} {
				for _, args := range []string{`{}`, `{"n":7}`, `{"n":"7"}`, `{"n":20,"p":"/a/x"}`, `{"n":5,"p":"/a/b/x"}`, `{"n":10,"p":"/a/b/../../c"}`, `{"p":"/c"}`} {
					for _, after := range []int64{0, 50, 5000} {
						probes++
						at := time.Unix(1_800_000_000+after, 0)
						refused := false
						for _, list := range chain {
							if len(list) == 0 { // as its parent
								continue
							}
							may := permits(list, action, object, args, at)
							if may && refused {
								t.Fatalf("%s %s %s at +%d: permitted to a child of what was refused: %+v", action, object, args, after, chain)
							}
							refused = refused || !may
						}
					}
				}
			}
		}
	})
	if pairs == 0 {
		t.Error("no exchange was accepted")
	}
	t.Logf("%d exchanges accepted, %d calls probed", pairs, probes)
}

func TestCapsThatAreNotTaken(t *testing.T) {
	for name, doc := range map[string]string{
		"no list":                     `{"type":"callgate_call","locations":["tool:a/b"]}`,
		"nothing":                     `[]`,
		"another type":                `[{"type":"payment","locations":["tool:a/b"]}]`,
		"no location":                 `[{"type":"callgate_call"}]`,
		"everything":                  `[{"type":"callgate_call","locations":["*"]}]`,
		"every kind of thing":         `[{"type":"callgate_call","locations":["t*"]}]`,
		"a star in the midst of it":   `[{"type":"callgate_call","locations":["tool:s*"]}]`,
		"two stars":                   `[{"type":"callgate_call","locations":["tool:*/*"]}]`,
		"an unknown action":           `[{"type":"callgate_call","locations":["tool:a/b"],"actions":["do"]}]`,
		"a name in another case":      `[{"type":"callgate_call","locations":["tool:a/b"],"Limits":{"calls":1}}]`,
		"a name twice":                `[{"type":"callgate_call","locations":["tool:a/b"],"limits":{"calls":1},"limits":{"calls":9}}]`,
		"a limit below none":          `[{"type":"callgate_call","locations":["tool:a/b"],"limits":{"calls":-1}}]`,
		"a limit that is half":        `[{"type":"callgate_call","locations":["tool:a/b"],"limits":{"calls":1.5}}]`,
		"a limit that is null":        `[{"type":"callgate_call","locations":["tool:a/b"],"limits":null}]`,
		"an argument without bound":   `[{"type":"callgate_call","locations":["tool:a/b"],"arguments":{"x":{}}}]`,
		"an argument by a query":      `[{"type":"callgate_call","locations":["tool:a/b"],"arguments":{"x.#(y>1)":{"max":1}}}]`,
		"a bound that is not known":   `[{"type":"callgate_call","locations":["tool:a/b"],"arguments":{"x":{"max":1,"regex":".*"}}}]`,
		"a prefix that climbs":        `[{"type":"callgate_call","locations":["tool:a/b"],"arguments":{"x":{"prefix":"/a/../"}}}]`,
		"more than anybody writes":    `[{"type":"callgate_call","locations":["tool:a/` + strings.Repeat("b", 600) + `"]}]`,
		"deeper than it can be given": `[{"type":"callgate_call","locations":["tool:a/b"],"limits":{"depth":9}}]`,
	} {
		if list, err := identity.ParseCaps([]byte(doc)); err == nil {
			t.Errorf("%s: taken as %+v", name, list)
		}
	}
}

func TestIntrospectionAndRevocation(t *testing.T) {
	h := family(t)
	_, secret := create(t, h.registry, identity.Agent{Name: "me"})
	_, other := create(t, h.registry, identity.Agent{Name: "other"})
	_, guard := create(t, h.registry, identity.Agent{Name: "guard", Roles: []string{"introspect"}})
	token := h.mint(t, "me", identity.MintOptions{Scope: "mcp:shop"})
	ask := func(path, client string, s identity.Secret) map[string]any {
		t.Helper()
		w := postTo(h.handler(), path, url.Values{"token": {token.Access.Reveal()}, "client_id": {client}, "client_secret": {s.Reveal()}}.Encode(), nil)
		var told map[string]any
		if w.Code != 200 || w.Body.Len() > 0 && json.Unmarshal(w.Body.Bytes(), &told) != nil {
			t.Fatal(w.Code, w.Body)
		}
		return told
	}
	if got := ask("/oauth/introspect", "me", secret); got["active"] != true || got["sub"] != "agent:me" || got["scope"] != "mcp:shop" || got["jti"] != token.ID {
		t.Errorf("%v", got)
	}
	if got := ask("/oauth/introspect", "guard", guard); got["active"] != true {
		t.Errorf("%v", got)
	}
	if got := ask("/oauth/introspect", "other", other); len(got) != 1 || got["active"] != false {
		t.Errorf("%v", got)
	}
	ask("/oauth/revoke", "other", other)
	if _, err := h.Verify(t.Context(), token.Access.Reveal(), "/mcp"); err != nil {
		t.Errorf("a stranger revoked it: %v", err)
	}
	ask("/oauth/revoke", "me", secret)
	if _, err := h.Verify(t.Context(), token.Access.Reveal(), "/mcp"); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Error(err)
	}
	if got := ask("/oauth/introspect", "me", secret); got["active"] != false {
		t.Errorf("%v", got)
	}
	if w := postTo(h.handler(), "/oauth/revoke", "token=x", nil); w.Code != 401 {
		t.Errorf("without a client: %d", w.Code)
	}
}
