package identity_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"callgate/identity"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
)

const gateURL = "http://127.0.0.1:8700"

// house is an authority and what belongs to it.
type house struct {
	*identity.Authority
	registry *identity.Registry
	dir      string // of the keys
	clock    atomic.Int64
	mu       sync.Mutex
	record   []string

	revocations *identity.Revocations
	delegate    func(from *identity.Principal, to string) error // nil: nobody may

	unrecorded error // what a record fails with
}

// now can be set: tokens live by it.
func (h *house) now() time.Time        { return time.Unix(h.clock.Load(), 0) }
func (h *house) pass(d time.Duration)  { h.clock.Add(int64(d / time.Second)) }
func (h *house) handler() http.Handler { return h.Handler() }
func (h *house) recorded() []string    { h.mu.Lock(); defer h.mu.Unlock(); return slices.Clone(h.record) }
func (h *house) add(line string)       { h.mu.Lock(); defer h.mu.Unlock(); h.record = append(h.record, line) }
func quiet() *slog.Logger              { return slog.New(slog.NewTextHandler(io.Discard, nil)) }
func b64(b []byte) string              { return base64.RawURLEncoding.EncodeToString(b) }
func openKeys(t testing.TB, dir string) *identity.Keys {
	t.Helper()
	keys, err := identity.OpenKeys(dir, identity.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func newHouse(t testing.TB) *house {
	t.Helper()
	return newHouseWith(t, identity.FrontConfig{})
}

func newHouseWith(t testing.TB, front identity.FrontConfig) *house {
	t.Helper()
	return newHouseAs(t, func(c *identity.Config) { c.Front = front })
}

// newHouseAs is a house whose authority is otherwise by what change does.
func newHouseAs(t testing.TB, change func(*identity.Config)) *house {
	t.Helper()
	h := &house{registry: open(t, new(identity.Memory)), dir: filepath.Join(t.TempDir(), "keys")}
	h.clock.Store(1_800_000_000)
	record := func(what, by, name, state string) error {
		h.add(strings.Join([]string{what, by, name, state}, " | "))
		return h.unrecorded
	}
	var err error
	if h.revocations, err = identity.OpenRevocations(t.Context(), new(identity.MemoryRevocations), 24*time.Hour, h.now, record); err != nil {
		t.Fatal(err)
	}
	cfg := identity.Config{Issuer: gateURL, Now: h.now, Logger: quiet(), Record: record, Revocations: h.revocations,
		Delegate: func(_ context.Context, from *identity.Principal, to string) error {
			if h.delegate == nil {
				return errors.New("nobody may")
			}
			return h.delegate(from, to)
		},
	}
	change(&cfg)
	h.Authority = identity.New(cfg, openKeys(t, h.dir), h.registry)
	return h
}

func (h *house) mint(t testing.TB, name string, o identity.MintOptions) identity.Token {
	t.Helper()
	token, err := h.Mint(t.Context(), name, o)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// signingKey opens the key files as their documentation says, so that tests can
// forge what only a broken or newer gate could issue.
func (h *house) signingKey(t testing.TB) (*ecdsa.PrivateKey, string) {
	t.Helper()
	doc, err := ringOf(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	var ring struct {
		Keys []struct {
			ID    string `json:"kid"`
			PKCS8 []byte `json:"pkcs8"`
		} `json:"keys"`
	}
	if err := json.Unmarshal([]byte(doc), &ring); err != nil || len(ring.Keys) != 1 {
		t.Fatal(err, ring)
	}
	key, err := x509.ParsePKCS8PrivateKey(ring.Keys[0].PKCS8)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*ecdsa.PrivateKey), ring.Keys[0].ID
}

// sign signs whatever header and claims say, as ES256.
func sign(t testing.TB, key *ecdsa.PrivateKey, header, claims string) string {
	t.Helper()
	text := b64([]byte(header)) + "." + b64([]byte(claims))
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func TestATokenAsIssued(t *testing.T) {
	h := newHouse(t)
	create(t, h.registry, identity.Agent{Name: "bot", Roles: []string{"support"}, Owner: "user:ana"})
	token := h.mint(t, "bot", identity.MintOptions{})

	// go-jose reads what golang-jwt wrote, with the key that the gate publishes.
	var set jose.JSONWebKeySet
	body := get(t, h.handler(), "/.well-known/jwks.json").Body
	if err := json.Unmarshal(body.Bytes(), &set); err != nil || len(set.Keys) != 1 {
		t.Fatal(err, body)
	}
	published := set.Keys[0]
	if sum, err := published.Thumbprint(crypto.SHA256); err != nil || b64(sum) != published.KeyID || published.Algorithm != "ES256" || published.Use != "sig" || !published.IsPublic() {
		t.Errorf("published key: %+v, thumbprint %s, %v", published, b64(sum), err)
	}
	jws, err := jose.ParseSignedCompact(token.Access.Reveal(), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jws.Verify(published)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(token.Access.Reveal(), ".")
	plain, err := base64.RawURLEncoding.DecodeString(head)
	if want := fmt.Sprintf(`{"alg":"ES256","kid":%q,"typ":"at+jwt"}`, published.KeyID); err != nil || string(plain) != want {
		t.Errorf("header %s, want %s", plain, want)
	}
	var got map[string]any
	if err := json.Unmarshal(doc, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"iss": gateURL, "sub": "agent:bot", "sub_profile": "ai_agent", "aud": []any{gateURL}, "client_id": "bot",
		"exp": 1_800_000_300., "iat": 1_800_000_000., "nbf": 1_800_000_000.,
		"jti": token.ID, "txn": got["txn"], "tenant": "default", "cg_e": 1., "cg_g": token.Grant,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(token.ID) != 22 || len(got["txn"].(string)) != 22 || got["txn"] == token.ID {
		t.Errorf("jti %q, txn %q", token.ID, got["txn"])
	}
	if token.TTL != 300*time.Second || token.Audience != gateURL || token.Expires.Unix() != 1_800_000_300 {
		t.Errorf("%+v", token)
	}

	p, err := h.Verify(t.Context(), token.Access.Reveal(), "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(identity.Principal{Tenant: "default", Subject: "agent:bot", Roles: []string{"role:support"}, Owner: "user:ana", User: "user:ana", Client: "bot", Grant: token.Grant,
		TokenID: token.ID, Txn: got["txn"].(string), Expires: token.Expires}, p); d != "" {
		t.Error(d)
	}
}

// members is claims or a header that a test changes.
type members map[string]any

func (m members) with(name string, value any) members {
	c := members{name: value}
	for k, v := range m {
		if k != name {
			c[k] = v
		}
	}
	return c
}

func (m members) without(name string) members {
	c := m.with(name, nil)
	delete(c, name)
	return c
}

func (m members) String() string {
	doc, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(doc)
}

// more is m with a member that JSON would not let a map have.
func (m members) more(member string) string {
	return strings.TrimSuffix(m.String(), "}") + "," + member + "}"
}

func TestVerify(t *testing.T) {
	h := newHouse(t)
	create(t, h.registry, identity.Agent{Name: "bot"})
	create(t, h.registry, identity.Agent{Name: "gone"})
	if err := h.registry.Revoke(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	key, kid := h.signingKey(t)
	at := h.clock.Load()
	head := members{"alg": "ES256", "typ": "at+jwt", "kid": kid}
	c := members{"iss": gateURL, "sub": "agent:bot", "sub_profile": "ai_agent", "aud": []string{gateURL}, "client_id": "bot",
		"exp": at + 300, "iat": at, "nbf": at, "jti": "AAAAAAAAAAAAAAAAAAAAAA", "txn": "BBBBBBBBBBBBBBBBBBBBBB", "tenant": "default", "cg_e": 1, "cg_g": rootOf("bot")}
	good := sign(t, key, head.String(), c.String())
	headOf, rest, _ := strings.Cut(good, ".")
	claimsOf, sigOf, _ := strings.Cut(rest, ".")
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bySigner := func(header members, signer func(text []byte) []byte) string {
		text := b64([]byte(header.String())) + "." + claimsOf
		return text + "." + b64(signer([]byte(text)))
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	hs256 := func(text []byte) []byte {
		mac := hmac.New(sha256.New, public)
		mac.Write(text)
		return mac.Sum(nil)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rs256 := func(text []byte) []byte {
		sum := sha256.Sum256(text)
		sig, err := rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	header := func(m members) string { return sign(t, key, m.String(), c.String()) }
	claims := func(m members) string { return sign(t, key, head.String(), m.String()) }
	raw := func(doc string) string { return sign(t, key, head.String(), doc) }
	ownJWK := jose.JSONWebKey{Key: &other.PublicKey}

	const (
		none       = "not an access token"
		tooLong    = "longer"
		unsigned   = "not signed"
		foreign    = "not issued by this gate"
		alg        = "algorithm of its key"
		typ        = "typ is not at+jwt"
		crit       = "crit"
		twice      = "twice"
		more       = "more than callgate issues"
		tampered   = "tampered"
		issuer     = "another issuer"
		expired    = "expired"
		early      = "not valid yet"
		incomplete = "lacks a claim"
		audience   = "another resource"
		unknown    = "not known"
		revoked    = "was revoked"
		ended      = "ended by a change"
		noGrant    = "the delegation that the token came from"
	)
	for _, test := range []struct {
		name, token, route, want string // want "" is a token that is good
	}{
		{"as it should be", good, "/mcp", ""},
		{"a route below", good, "/mcp/files", ""},
		{"4 seconds past its end", claims(c.with("exp", at-4).with("iat", at-9)), "/mcp", ""},
		{"4 seconds before its beginning", claims(c.with("nbf", at+4).with("iat", at+4)), "/mcp", ""},
		{"an audience with a slash at its end", claims(c.with("aud", []string{gateURL + "/"})), "/mcp", ""},
		{"the audience that is called", claims(c.with("aud", []string{gateURL + "/mcp/files"})), "/mcp/files", ""},
		{"an audience above what is called", claims(c.with("aud", []string{gateURL + "/mcp"})), "/mcp/files", ""},

		{"nothing", "", "/mcp", none},
		{"an API key", "sk-fake", "/mcp", none},
		{"two dots", "..", "/mcp", none},
		{"four parts", good + ".x", "/mcp", none},
		{"an encrypted token's five parts", "e30.e30.e30.e30.e30", "/mcp", none},
		{"a space at its end", good + " ", "/mcp", none},
		{"padding", headOf + "=." + rest, "/mcp", none},
		{"a line break in the header", headOf[:8] + "\n" + headOf[8:] + "." + rest, "/mcp", none},
		{"a header that is a list", sign(t, key, `[]`, c.String()), "/mcp", none},
		{"a header with more behind it", sign(t, key, head.String()+"{}", c.String()), "/mcp", none},
		{"invalid UTF-8 in the header", sign(t, key, head.more("\"\xff\":1"), c.String()), "/mcp", none},
		{"claims that are null", raw(`null`), "/mcp", issuer},
		{"claims that are a list", raw(`[]`), "/mcp", none},
		{"claims with more behind them", raw(c.String() + "{}"), "/mcp", none},
		{"claims that are cut off", raw(strings.TrimSuffix(c.String(), "}")), "/mcp", none},
		{"invalid UTF-8 in the claims", raw(c.more("\"\xff\":1")), "/mcp", none},
		{"8 KiB and one byte", strings.Repeat("a", 8193), "/mcp", tooLong},

		{"no signature", headOf + "." + claimsOf + ".", "/mcp", unsigned},
		{"alg none", bySigner(head.with("alg", "none"), func([]byte) []byte { return []byte("x") }), "/mcp", unsigned},
		{"alg nOnE and no signature", b64([]byte(head.with("alg", "nOnE").String())) + "." + claimsOf + ".", "/mcp", unsigned},
		{"no alg", header(head.without("alg")), "/mcp", alg},
		{"HS256 with the public key", bySigner(head.with("alg", "HS256"), hs256), "/mcp", alg},
		{"RS256 with our kid", bySigner(head.with("alg", "RS256"), rs256), "/mcp", alg},
		{"EdDSA with our kid", bySigner(head.with("alg", "EdDSA"), func(text []byte) []byte { return ed25519.Sign(edKey, text) }), "/mcp", alg},
		{"ES384 with our kid", header(head.with("alg", "ES384")), "/mcp", alg},
		{"alg in lower case", header(head.with("alg", "es256")), "/mcp", alg},
		{"an alg that is a number", header(head.with("alg", 256)), "/mcp", incomplete},
		{"alg twice", sign(t, key, head.more(`"alg":"none"`), c.String()), "/mcp", twice},
		{"alg twice, once escaped", sign(t, key, head.more(`"\u0061lg":"none"`), c.String()), "/mcp", twice},
		{"ALG besides alg", sign(t, key, head.more(`"ALG":"none"`), c.String()), "/mcp", more},
		{"no kid", header(head.without("kid")), "/mcp", foreign},
		{"another kid", header(head.with("kid", "other")), "/mcp", foreign},
		{"a kid that is a path", header(head.with("kid", "../../../../dev/null")), "/mcp", foreign},
		{"a kid that is SQL", header(head.with("kid", "x' UNION SELECT 'k")), "/mcp", foreign},
		{"a key of its own in the header", sign(t, other, head.with("jwk", ownJWK).String(), c.String()), "/mcp", more},
		{"a URL of keys in the header", sign(t, other, head.with("jku", "https://evil.example/jwks").String(), c.String()), "/mcp", more},
		{"a certificate in the header", sign(t, other, head.with("x5c", []string{"MII"}).String(), c.String()), "/mcp", more},

		{"no typ", header(head.without("typ")), "/mcp", typ},
		{"typ JWT", header(head.with("typ", "JWT")), "/mcp", typ},
		{"typ in upper case", header(head.with("typ", "AT+JWT")), "/mcp", typ},
		{"an ID-JAG", header(head.with("typ", "oauth-id-jag+jwt")), "/mcp", typ},
		{"a DPoP proof", header(head.with("typ", "dpop+jwt")), "/mcp", typ},
		{"a client assertion", header(head.with("typ", "client-authentication+jwt")), "/mcp", typ},
		{"an assertion of ours for a tool server", header(head.with("typ", "callgate-call+jwt")), "/mcp", typ},
		{"an unknown critical header", header(head.with("crit", []string{"exp2"}).with("exp2", 1)), "/mcp", crit + "|" + more},
		{"a critical header alone", header(head.with("crit", []string{"b64"})), "/mcp", crit},
		{"an unencoded payload", header(head.with("b64", false)), "/mcp", more},

		{"signed by another", sign(t, other, head.String(), c.String()), "/mcp", tampered},
		{"other claims under the signature", headOf + "." + b64([]byte(c.with("sub", "agent:root").with("client_id", "root").String())) + "." + sigOf, "/mcp", tampered},
		{"a signature cut short", good[:len(good)-6], "/mcp", tampered},
		{"a signature with a line break", good[:len(good)-6] + "\n" + good[len(good)-6:], "/mcp", none},
		{"a signature with other unused bits", good[:len(good)-1] + "_", "/mcp", none},
		{"a signature of zeros", headOf + "." + claimsOf + "." + b64(make([]byte, 64)), "/mcp", tampered},
		{"a signature in DER", bySigner(head, func(text []byte) []byte {
			sum := sha256.Sum256(text)
			sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
			if err != nil {
				t.Fatal(err)
			}
			return sig
		}), "/mcp", tampered},

		{"another issuer", claims(c.with("iss", "https://evil.example")), "/mcp", issuer},
		{"an issuer with a slash more", claims(c.with("iss", gateURL+"/")), "/mcp", issuer},
		{"no issuer", claims(c.without("iss")), "/mcp", issuer},
		{"expired", claims(c.with("exp", at-5).with("iat", at-9)), "/mcp", expired},
		{"no exp", claims(c.without("exp")), "/mcp", expired + "|" + incomplete},
		{"exp 0", claims(c.with("exp", 0)), "/mcp", expired + "|" + incomplete},
		{"exp 1e300", raw(strings.Replace(c.String(), fmt.Sprintf(`"exp":%d`, at+300), `"exp":1e300`, 1)), "/mcp", incomplete},
		{"exp beyond what JSON can say", claims(c.with("exp", uint64(1)<<63)), "/mcp", incomplete},
		{"exp with a fraction", claims(c.with("exp", float64(at)+300.5)), "/mcp", incomplete},
		{"exp that is a string", claims(c.with("exp", "1800000300")), "/mcp", incomplete},
		{"exp null", claims(c.with("exp", nil)), "/mcp", incomplete},
		{"exp before iat", claims(c.with("exp", at+3).with("iat", at+4)), "/mcp", incomplete},
		{"not valid yet", claims(c.with("nbf", at+6)), "/mcp", early},
		{"issued in the future", claims(c.with("iat", at+6)), "/mcp", early},
		{"no nbf", claims(c.without("nbf")), "/mcp", incomplete},
		{"no iat", claims(c.without("iat")), "/mcp", incomplete},
		{"no jti", claims(c.without("jti")), "/mcp", incomplete},
		{"no txn", claims(c.without("txn")), "/mcp", incomplete},
		{"no sub", claims(c.without("sub")), "/mcp", incomplete},
		{"no client_id", claims(c.without("client_id")), "/mcp", incomplete},
		{"no tenant", claims(c.without("tenant")), "/mcp", incomplete},
		{"another tenant", claims(c.with("tenant", "other")), "/mcp", incomplete},
		{"no epoch", claims(c.without("cg_e")), "/mcp", incomplete},
		{"a subject that is not the client", claims(c.with("sub", "agent:gone").with("cg_g", rootOf("gone"))), "/mcp", incomplete},
		{"a subject without its kind", claims(c.with("sub", "bot")), "/mcp", incomplete},
		{"a person as subject", claims(c.with("sub", "user:bot")), "/mcp", incomplete},
		{"the profile of a person", claims(c.with("sub_profile", "user")), "/mcp", incomplete},
		{"sub twice", raw(c.more(`"sub":"agent:root"`)), "/mcp", twice},
		{"SUB besides sub", raw(c.more(`"SUB":"agent:root"`)), "/mcp", more},
		{"Exp instead of exp", claims(c.without("exp").with("Exp", at+300)), "/mcp", more},
		{"no grant", claims(c.without("cg_g")), "/mcp", incomplete},
		{"another's grant", claims(c.with("cg_g", rootOf("gone"))), "/mcp", noGrant},
		{"a grant that never was", claims(c.with("cg_g", "gr_01ARZ3NDEKTSV4RRFFQ69G5FAV")), "/mcp", noGrant},
		{"an actor that nobody delegated to", claims(c.with("act", actorOf("agent:bot"))), "/mcp", noGrant},
		{"an actor without an issuer", claims(c.with("act", members{"sub": "agent:bot", "sub_profile": "ai_agent"})), "/mcp", incomplete},
		{"a person as actor", claims(c.with("act", members{"iss": gateURL, "sub": "user:bot", "sub_profile": "user"})), "/mcp", incomplete},
		{"an actor of which more is said", claims(c.with("act", members{"iss": gateURL, "sub": "agent:bot", "sub_profile": "ai_agent", "admin": true})), "/mcp", more},
		{"actors deeper than any", claims(c.with("act", deep(6))), "/mcp", incomplete},
		{"a key that was not shown", claims(c.with("cnf", members{"jkt": "x"})), "/mcp", "show that you hold it"},
		{"a key of a kind that is not known", claims(c.with("cnf", members{"kid": "x"})), "/mcp", more},
		{"no key to be shown", claims(c.with("cnf", members{})), "/mcp", incomplete},
		{"a scope that no grant has", claims(c.with("scope", "mcp:files")), "/mcp", noGrant},
		{"a run that no grant has", claims(c.with("cg_r", "r1")), "/mcp", noGrant},
		{"caps that no grant has", claims(c.with("authorization_details", []any{})), "/mcp", noGrant},

		{"no audience", claims(c.without("aud")), "/mcp", incomplete},
		{"an empty audience", claims(c.with("aud", []string{})), "/mcp", incomplete},
		{"an audience that is a string", claims(c.with("aud", gateURL)), "/mcp", incomplete},
		{"two audiences", claims(c.with("aud", []string{gateURL, "https://other.example"})), "/mcp", incomplete},
		{"the audience of another", claims(c.with("aud", []string{"https://other.example"})), "/mcp", audience},
		{"a host that only begins like ours", claims(c.with("aud", []string{gateURL + ".evil.example"})), "/mcp", audience},
		{"a port that only begins like ours", claims(c.with("aud", []string{gateURL + "0"})), "/mcp", audience},
		{"an audience beside what is called", claims(c.with("aud", []string{gateURL + "/mcp/files"})), "/mcp/mail", audience},
		{"an audience whose name only begins like it", claims(c.with("aud", []string{gateURL + "/mcp/file"})), "/mcp/files", audience},
		{"an audience below what is called", claims(c.with("aud", []string{gateURL + "/mcp/files"})), "/mcp", audience},
		{"an audience with dots", claims(c.with("aud", []string{gateURL + "/mcp/.."})), "/mcp/..", audience},
		{"an audience with a query", claims(c.with("aud", []string{gateURL + "/mcp?x"})), "/mcp", audience},

		{"an agent that is not there", claims(c.with("sub", "agent:nobody").with("client_id", "nobody").with("cg_g", rootOf("nobody"))), "/mcp", unknown},
		{"an agent that was revoked", claims(c.with("sub", "agent:gone").with("client_id", "gone").with("cg_g", rootOf("gone"))), "/mcp", revoked},
		{"an epoch before the agent's", claims(c.with("cg_e", 2)), "/mcp", ended},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 2 { // what was found once must be found again from memory
				p, err := h.Verify(t.Context(), test.token, test.route)
				if test.want == "" {
					if err != nil || p.Subject != "agent:bot" {
						t.Fatalf("got %+v, %v", p, err)
					}
					continue
				}
				var r identity.Refusal
				if !errors.As(err, &r) || !slices.ContainsFunc(strings.Split(test.want, "|"), func(w string) bool { return strings.Contains(string(r), w) }) {
					t.Fatalf("got %v, want a refusal that says %q", err, test.want)
				}
				if p.Subject != "" || p.Roles != nil {
					t.Fatalf("refused, and yet %+v", p)
				}
				if strings.ContainsFunc(string(r), func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
					t.Fatalf("%q does not fit into a header", r)
				}
			}
		})
	}
}

// rootOf is the grant that an agent has by being registered.
func rootOf(name string) string {
	sum := sha256.Sum256([]byte("default/agent:" + name))
	return "gr_" + ulid.ULID(sum[:16]).String()
}

func actorOf(subject string) members {
	return members{"iss": gateURL, "sub": subject, "sub_profile": "ai_agent"}
}

func deep(n int) members {
	a := actorOf("agent:bot")
	for range n - 1 {
		a = actorOf("agent:bot").with("act", a)
	}
	return a
}

func TestATokenOfAnotherLibrary(t *testing.T) {
	h := newHouse(t)
	create(t, h.registry, identity.Agent{Name: "bot"})
	key, kid := h.signingKey(t)
	at := h.clock.Load()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(members{"iss": gateURL, "sub": "agent:bot", "sub_profile": "ai_agent", "aud": []string{gateURL}, "client_id": "bot",
		"exp": at + 60, "iat": at, "nbf": at, "jti": "j", "txn": "t", "tenant": "default", "cg_e": 1, "cg_g": rootOf("bot")}.String()))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	if p, err := h.Verify(t.Context(), token, "/mcp"); err != nil || p.TokenID != "j" {
		t.Error(p, err)
	}
}

func TestMint(t *testing.T) {
	h := newHouse(t)
	create(t, h.registry, identity.Agent{Name: "bot"})
	create(t, h.registry, identity.Agent{Name: "brief", MaxTTL: 90*time.Second + 500*time.Millisecond})
	create(t, h.registry, identity.Agent{Name: "gone"})
	if err := h.registry.Revoke(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, agent string
		options     identity.MintOptions
		ttl         time.Duration
		audience    string
		err         error
		says        string
	}{
		{name: "by default for five minutes and all of the gate", agent: "bot", ttl: 300 * time.Second, audience: gateURL},
		{name: "never longer than the agent may", agent: "brief", ttl: 90 * time.Second, audience: gateURL},
		{name: "for as long as the agent may", agent: "bot", options: identity.MintOptions{TTL: time.Hour}, ttl: time.Hour, audience: gateURL},
		{name: "for a second more", agent: "bot", options: identity.MintOptions{TTL: time.Hour + time.Second}, err: identity.ErrInvalid, says: "at most 1h0m0s"},
		{name: "for less than a second", agent: "bot", options: identity.MintOptions{TTL: time.Millisecond}, err: identity.ErrInvalid, says: "1s"},
		{name: "for less than nothing", agent: "bot", options: identity.MintOptions{TTL: -time.Second}, err: identity.ErrInvalid},
		{name: "with a scope", agent: "bot", options: identity.MintOptions{Scope: "mcp:files"}, ttl: 300 * time.Second, audience: gateURL},
		{name: "with a scope that is none", agent: "bot", options: identity.MintOptions{Scope: "admin"}, err: identity.ErrScope, says: "mcp:SERVER"},
		{name: "for a resource", agent: "bot", options: identity.MintOptions{Audience: gateURL + "/mcp/files/"}, ttl: 300 * time.Second, audience: gateURL + "/mcp/files"},
		{name: "for the gate with a slash", agent: "bot", options: identity.MintOptions{Audience: gateURL + "/"}, ttl: 300 * time.Second, audience: gateURL},
		{name: "for the gate in upper case", agent: "bot", options: identity.MintOptions{Audience: "HTTP" + gateURL[4:] + "/mcp"}, ttl: 300 * time.Second, audience: gateURL + "/mcp"},
		{name: "for another host", agent: "bot", options: identity.MintOptions{Audience: "https://evil.example"}, err: identity.ErrTarget, says: gateURL},
		{name: "for a host that begins like ours", agent: "bot", options: identity.MintOptions{Audience: gateURL + ".evil.example/mcp"}, err: identity.ErrTarget},
		{name: "for our host as a user's name", agent: "bot", options: identity.MintOptions{Audience: gateURL + "@evil.example"}, err: identity.ErrTarget},
		{name: "for a resource with a fragment", agent: "bot", options: identity.MintOptions{Audience: gateURL + "/mcp#x"}, err: identity.ErrTarget},
		{name: "for a resource with a query", agent: "bot", options: identity.MintOptions{Audience: gateURL + "/mcp?x=y"}, err: identity.ErrTarget},
		{name: "for a resource with dots", agent: "bot", options: identity.MintOptions{Audience: gateURL + "/mcp/../v1"}, err: identity.ErrTarget},
		{name: "for a resource with an encoded slash", agent: "bot", options: identity.MintOptions{Audience: gateURL + "/mcp%2ffiles"}, err: identity.ErrTarget},
		{name: "for a resource with two slashes", agent: "bot", options: identity.MintOptions{Audience: gateURL + "/mcp//"}, err: identity.ErrTarget},
		{name: "for a resource without end", agent: "bot", options: identity.MintOptions{Audience: gateURL + "/" + strings.Repeat("a", 600)}, err: identity.ErrTarget},
		{name: "for nobody", agent: "nobody", err: identity.ErrUnknown},
		{name: "for a revoked agent", agent: "gone", err: identity.ErrRevoked},
	} {
		t.Run(test.name, func(t *testing.T) {
			token, err := h.Mint(t.Context(), test.agent, test.options)
			if test.err != nil {
				if !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.says) || token.Access.Reveal() != "" {
					t.Errorf("got %v, want %v that says %q", err, test.err, test.says)
				}
				return
			}
			if err != nil || token.TTL != test.ttl || token.Audience != test.audience {
				t.Fatalf("got %+v, %v", token, err)
			}
			route := strings.TrimPrefix(token.Audience, gateURL)
			if _, err := h.Verify(t.Context(), token.Access.Reveal(), route); err != nil {
				t.Error(err)
			}
			if _, err := h.Verify(t.Context(), token.Access.Reveal(), "/v1/models"); (err != nil) != (route != "") {
				t.Errorf("at another route: %v", err)
			}
		})
	}
}

func TestATokenEnds(t *testing.T) {
	refused := func(t *testing.T, h *house, token identity.Token, says string) {
		t.Helper()
		if _, err := h.Verify(t.Context(), token.Access.Reveal(), "/mcp"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
	accepted := func(t *testing.T, h *house, token identity.Token) identity.Principal {
		t.Helper()
		p, err := h.Verify(t.Context(), token.Access.Reveal(), "/mcp")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	t.Run("with its time, though it was verified before", func(t *testing.T) {
		h := newHouse(t)
		create(t, h.registry, identity.Agent{Name: "bot"})
		token := h.mint(t, "bot", identity.MintOptions{})
		h.pass(304 * time.Second)
		accepted(t, h, token)
		h.pass(time.Second)
		refused(t, h, token, "expired")
	})
	t.Run("on the real clock too", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := open(t, new(identity.Memory))
			create(t, r, identity.Agent{Name: "bot"})
			h := &house{Authority: identity.New(identity.Config{Issuer: gateURL, Logger: quiet()}, openKeys(t, filepath.Join(t.TempDir(), "keys")), r)}
			token := h.mint(t, "bot", identity.MintOptions{TTL: time.Minute})
			time.Sleep(time.Minute + 4*time.Second)
			accepted(t, h, token)
			time.Sleep(2 * time.Second)
			refused(t, h, token, "expired")
		})
	})
	t.Run("with its agent, for good", func(t *testing.T) {
		h := newHouse(t)
		create(t, h.registry, identity.Agent{Name: "bot"})
		token := h.mint(t, "bot", identity.MintOptions{TTL: time.Hour})
		accepted(t, h, token)
		if err := h.registry.Revoke(t.Context(), "bot"); err != nil {
			t.Fatal(err)
		}
		refused(t, h, token, "revoked")
	})
	t.Run("when the config names its agent no more", func(t *testing.T) {
		h := newHouse(t)
		configure(t, h.registry, identity.Agent{Name: "bot"})
		token := h.mint(t, "bot", identity.MintOptions{})
		accepted(t, h, token)
		configure(t, h.registry)
		refused(t, h, token, "not known")
		configure(t, h.registry, identity.Agent{Name: "bot"})
		accepted(t, h, token)
	})
	t.Run("when the config gives its agent another secret", func(t *testing.T) {
		h := newHouse(t)
		configure(t, h.registry, identity.Agent{Name: "bot", SecretHash: identity.NewSecret("one").Hash()})
		token := h.mint(t, "bot", identity.MintOptions{})
		accepted(t, h, token)
		configure(t, h.registry, identity.Agent{Name: "bot", SecretHash: identity.NewSecret("two").Hash()})
		refused(t, h, token, "ended")
		accepted(t, h, h.mint(t, "bot", identity.MintOptions{}))
	})
	t.Run("but roles change under it", func(t *testing.T) {
		h := newHouse(t)
		configure(t, h.registry, identity.Agent{Name: "bot", Roles: []string{"few"}})
		token := h.mint(t, "bot", identity.MintOptions{})
		accepted(t, h, token)
		configure(t, h.registry, identity.Agent{Name: "bot", Roles: []string{"many"}})
		if p := accepted(t, h, token); p.Roles[0] != "role:many" {
			t.Errorf("%+v", p)
		}
	})
}

func TestTheNextCallAfterARevocationFails(t *testing.T) {
	h := newHouse(t)
	for i := range 20 {
		name := fmt.Sprintf("bot-%d", i)
		create(t, h.registry, identity.Agent{Name: name})
		tokens := []string{h.mint(t, name, identity.MintOptions{}).Access.Reveal(), h.mint(t, name, identity.MintOptions{}).Access.Reveal()}
		var revoked atomic.Bool
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for {
					after := revoked.Load()
					_, err := h.Verify(context.Background(), tokens[w%2], "/mcp")
					if after && err == nil {
						t.Error("a call passed after the revocation")
					}
					if after {
						return
					}
				}
			})
		}
		if err := h.registry.Revoke(t.Context(), name); err != nil {
			t.Error(err)
		}
		revoked.Store(true)
		wg.Wait()
	}
}

func TestManyTokensAtOnce(t *testing.T) {
	h := newHouse(t)
	create(t, h.registry, identity.Agent{Name: "bot"})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				token, err := h.Mint(context.Background(), "bot", identity.MintOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				for range 3 {
					if p, err := h.Verify(context.Background(), token.Access.Reveal(), "/v1/models"); err != nil || p.TokenID != token.ID {
						t.Error(p, err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestChangesAreRecorded(t *testing.T) {
	h := newHouse(t)
	_, secret := create(t, h.registry, identity.Agent{Name: "bot", Roles: []string{"support"}, Owner: "ana"})
	configure(t, h.registry, identity.Agent{Name: "conf"})
	configure(t, h.registry, identity.Agent{Name: "conf", Roles: []string{"dev"}})
	configure(t, h.registry)
	byAdmin := h.mint(t, "bot", identity.MintOptions{})
	post(h.handler(), "grant_type=client_credentials&client_id=bot&client_secret="+secret.Reveal(), nil)
	post(h.handler(), "grant_type=client_credentials&client_id=bot&client_secret=wrong", nil)
	if err := h.registry.Revoke(t.Context(), "bot"); err != nil {
		t.Fatal(err)
	}
	post(h.handler(), "grant_type=client_credentials&client_id=bot&client_secret="+secret.Reveal(), nil)
	post(h.handler(), "grant_type=client_credentials&client_id=a%0Ab&client_secret=x", nil)
	got := h.recorded()
	if len(got) != 10 {
		t.Fatalf("%d records: %q", len(got), got)
	}
	got[5] = strings.Split(got[5], "jti")[0]
	want := []string{
		"agent.created | admin | agent:bot | active, epoch 1, roles role:support, owner user:ana",
		"agent.created | config | agent:conf | active, epoch 1",
		"agent.changed | config | agent:conf | roles none → role:dev",
		"agent.removed | config | agent:conf | active, epoch 1, roles role:dev",
		"token.issued | admin | agent:bot | jti " + byAdmin.ID + ", for 5m0s, at " + gateURL + ", of " + byAdmin.Grant,
		"token.issued | agent:bot | agent:bot | ",
		"token.refused | agent:bot | agent:bot | wrong client_id or client_secret, from 192.0.2.1",
		"agent.revoked | admin | agent:bot | status active → revoked; epoch 1 → 2",
		"token.refused | agent:bot | agent:bot | revoked, from 192.0.2.1",
		"token.refused | agent:? | agent:? | wrong client_id or client_secret, from 192.0.2.1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestWhatCannotBeRecordedIsNotDoneUnlessItTakesAway(t *testing.T) {
	h := newHouse(t)
	_, secret := create(t, h.registry, identity.Agent{Name: "bot"})
	h.unrecorded = errors.New("disk full")
	if _, err := h.Mint(t.Context(), "bot", identity.MintOptions{}); !errors.Is(err, h.unrecorded) {
		t.Errorf("Mint: %v", err)
	}
	if w := post(h.handler(), "grant_type=client_credentials&client_id=bot&client_secret="+secret.Reveal(), nil); w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "access_token") {
		t.Errorf("token endpoint: %d %s", w.Code, w.Body)
	}
	if _, _, err := h.registry.Create(t.Context(), identity.Agent{Name: "other"}); !errors.Is(err, h.unrecorded) {
		t.Errorf("Create: %v", err)
	}
	if _, ok := h.registry.Get("other"); ok {
		t.Error("an agent is there that is not on record")
	}
	if err := h.registry.Revoke(t.Context(), "bot"); !errors.Is(err, h.unrecorded) {
		t.Errorf("Revoke: %v", err)
	}
	if a, _ := h.registry.Get("bot"); a.Status != identity.Revoked {
		t.Errorf("bot is %s", a.Status)
	}
	h.unrecorded = nil
	if _, _, err := h.registry.Create(t.Context(), identity.Agent{Name: "other"}); err != nil {
		t.Errorf("Create when the cause is gone: %v", err)
	}
}

func get(t testing.TB, handler http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	return w
}

// post sends form to the token endpoint.
func post(handler http.Handler, form string, change func(*http.Request)) *httptest.ResponseRecorder {
	return postTo(handler, "/oauth/token", form, change)
}

func postTo(handler http.Handler, path, form string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func BenchmarkVerify(b *testing.B) {
	h := newHouse(b)
	create(b, h.registry, identity.Agent{Name: "bot"})
	b.Run("seen", func(b *testing.B) {
		token := h.mint(b, "bot", identity.MintOptions{}).Access.Reveal()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := h.Verify(context.Background(), token, "/v1/chat/completions"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("seen by many at once", func(b *testing.B) {
		token := h.mint(b, "bot", identity.MintOptions{}).Access.Reveal()
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := h.Verify(context.Background(), token, "/v1/chat/completions"); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("new", func(b *testing.B) {
		tokens := make([]string, 1000)
		for i := range tokens {
			tokens[i] = h.mint(b, "bot", identity.MintOptions{}).Access.Reveal()
		}
		var fresh *identity.Authority
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if i%len(tokens) == 0 { // one that has not seen them
				fresh = identity.New(identity.Config{Issuer: gateURL, Now: h.now, Logger: quiet()}, openKeys(b, h.dir), h.registry)
			}
			if _, err := fresh.Verify(context.Background(), tokens[i%len(tokens)], "/mcp"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("garbage", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := h.Verify(context.Background(), "sk-proj-0123456789", "/mcp"); err == nil {
				b.Fatal("taken")
			}
		}
	})
}

func BenchmarkMint(b *testing.B) {
	h := newHouse(b)
	h.Authority = identity.New(identity.Config{Issuer: gateURL, Logger: quiet()}, openKeys(b, h.dir), h.registry)
	create(b, h.registry, identity.Agent{Name: "bot"})
	b.ReportAllocs()
	for b.Loop() {
		h.mint(b, "bot", identity.MintOptions{})
	}
}
