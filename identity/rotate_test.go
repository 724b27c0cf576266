package identity_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/identity"

	jose "github.com/go-jose/go-jose/v4"
)

// states are the keys of h, by their states, in order.
func states(h *house) string {
	var list []string
	for _, k := range h.SigningKeys() {
		list = append(list, k.State)
	}
	return strings.Join(list, " ")
}

// readable says whether another reader takes token, by what the gate publishes.
func readable(t *testing.T, h *house, token identity.Token) bool {
	t.Helper()
	w := get(t, h.handler(), "/.well-known/jwks.json")
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(token.Access.Reveal(), []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	found := set.Key(jws.Signatures[0].Header.KeyID)
	if len(found) == 0 {
		return false
	}
	k := found[0]
	thumb, err := k.Thumbprint(crypto.SHA256)
	if err != nil || b64(thumb) != k.KeyID || k.Algorithm != jws.Signatures[0].Header.Algorithm {
		t.Fatalf("key %s: thumbprint %s, alg %s, %v", k.KeyID, b64(thumb), k.Algorithm, err)
	}
	_, err = jws.Verify(k.Key)
	return err == nil
}

func good(h *house, token identity.Token) bool {
	_, err := h.Verify(context.Background(), token.Access.Reveal(), "/mcp")
	return err == nil
}

func TestAKeyIsKnownBeforeItSignsAndAfterIt(t *testing.T) {
	h := newHouse(t)
	h.clock.Store(time.Now().Unix()) // when the first key was made
	create(t, h.registry, identity.Agent{Name: "bot", MaxTTL: 2 * time.Hour})
	old := h.mint(t, "bot", identity.MintOptions{TTL: 2 * time.Hour})
	step := func(pass time.Duration, want string) {
		t.Helper()
		h.pass(pass)
		if err := h.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := states(h); got != want {
			t.Fatalf("keys: %s, want %s", got, want)
		}
		if reopened := keysIn(t, h); reopened != want {
			t.Fatalf("on disk: %s, want %s", reopened, want)
		}
	}
	step(0, "active")
	if err := h.RotateKeys(false, "admin"); err != nil {
		t.Fatal(err)
	}
	step(0, "active pending")
	if err := h.RotateKeys(false, "admin"); err != nil || states(h) != "active pending" {
		t.Fatal("a second time makes another one", err)
	}
	step(359*time.Second, "active pending")
	step(time.Minute, "retiring active")
	fresh := h.mint(t, "bot", identity.MintOptions{})
	if !good(h, old) || !good(h, fresh) || !readable(t, h, old) || !readable(t, h, fresh) {
		t.Error("not both are good")
	}
	step(time.Hour, "retiring active")
	if !good(h, old) {
		t.Error("the old one ended early")
	}
	step(time.Hour+time.Minute, "active")
	if good(h, old) || readable(t, h, old) {
		t.Error("the old one is good for ever")
	}
	step(720*time.Hour, "active pending") // by itself
	step(7*time.Minute, "retiring active")
	for _, what := range []string{"key.created | admin", "key.activated | system", "key.retired | system", "key.created | system"} {
		if !slices.ContainsFunc(h.recorded(), func(line string) bool { return strings.HasPrefix(line, what) }) {
			t.Errorf("no %s in %q", what, h.recorded())
		}
	}
}

// keysIn is what is stored of the keys of h.
func keysIn(t *testing.T, h *house) string {
	t.Helper()
	return states(&house{Authority: identity.New(identity.Config{Issuer: gateURL, Now: h.now, Logger: quiet()}, openKeys(t, h.dir), open(t, new(identity.Memory)))})
}

func TestADroppedKeyEndsItsTokensAtOnce(t *testing.T) {
	h := newHouse(t)
	create(t, h.registry, identity.Agent{Name: "bot"})
	stolen := h.mint(t, "bot", identity.MintOptions{})
	if !good(h, stolen) { // and remembered
		t.Fatal("not good")
	}
	id := h.SigningKeys()[0].ID
	if err := h.DropKey(id, "admin"); err != nil {
		t.Fatal(err)
	}
	if good(h, stolen) || readable(t, h, stolen) {
		t.Error("its token is still good")
	}
	if fresh := h.mint(t, "bot", identity.MintOptions{}); !good(h, fresh) || !readable(t, h, fresh) {
		t.Error("nothing is issued any more")
	}
	if got := keysIn(t, h); got != "active" {
		t.Error(got)
	}
	if err := h.DropKey(id, "admin"); !errors.Is(err, identity.ErrUnknown) {
		t.Error(err)
	}
	if err := h.RotateKeys(true, "admin"); err != nil || states(h) != "retiring active" {
		t.Error(states(h), err)
	}
}

func TestWhatCannotBeStoredDoesNotSign(t *testing.T) {
	h := newHouse(t)
	create(t, h.registry, identity.Agent{Name: "bot"})
	before := h.mint(t, "bot", identity.MintOptions{})
	file := filepath.Join(h.dir, "signing.age")
	sealed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(file, "in the way"), 0o700); err != nil { // so that no file can take its place
		t.Fatal(err)
	}
	if err := h.RotateKeys(true, "admin"); err == nil || states(h) != "active" || !good(h, before) {
		t.Errorf("%v, %s", err, states(h))
	}
	id := h.SigningKeys()[0].ID
	if err := h.DropKey(id, "admin"); err == nil || good(h, before) {
		t.Errorf("a key that was to be dropped is good because the disk is full: %v", err)
	}
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, sealed, 0o600); err != nil {
		t.Fatal(err)
	}
	h.unrecorded = errors.New("the ledger is full")
	if err := h.RotateKeys(true, "admin"); err == nil || states(h) != "active" {
		t.Errorf("rotated without a record: %v, %s", err, states(h))
	}
}

func TestEveryAlgorithm(t *testing.T) {
	for _, alg := range []string{identity.ES256, identity.EdDSA, identity.RS256} {
		t.Run(alg, func(t *testing.T) {
			h := newHouse(t)
			create(t, h.registry, identity.Agent{Name: "bot"})
			before := h.mint(t, "bot", identity.MintOptions{})
			h.Authority = identity.New(identity.Config{Issuer: gateURL, Now: h.now, Logger: quiet(), Alg: alg}, openKeys(t, h.dir), h.registry)
			if err := h.Tidy(t.Context()); err != nil { // the config's algorithm is another one
				t.Fatal(err)
			}
			h.pass(7 * time.Minute)
			if err := h.Tidy(t.Context()); err != nil {
				t.Fatal(err)
			}
			token := h.mint(t, "bot", identity.MintOptions{})
			if got := claimsHeader(t, token); got != alg {
				t.Errorf("signed by %s", got)
			}
			if !good(h, token) || !readable(t, h, token) {
				t.Error("it is not good")
			}
			h.pass(-3 * time.Minute)
			if !good(h, before) {
				t.Error("the one before is not")
			}
		})
	}
}

func claimsHeader(t *testing.T, token identity.Token) string {
	t.Helper()
	jws, err := jose.ParseSignedCompact(token.Access.Reveal(), []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	return jws.Signatures[0].Header.Algorithm
}

// A key of one algorithm is no key of another: neither by the header nor by what the
// library would make of it.
func TestAlgorithmsAreNotConfused(t *testing.T) {
	h := newHouse(t)
	create(t, h.registry, identity.Agent{Name: "bot"})
	_, kid := h.signingKey(t)
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	claims := strings.Split(h.mint(t, "bot", identity.MintOptions{}).Access.Reveal(), ".")[1]
	for _, alg := range []string{"EdDSA", "RS256", "HS256", "none"} {
		head := b64([]byte(`{"alg":"` + alg + `","typ":"at+jwt","kid":"` + kid + `"}`))
		sig := b64(ed25519.Sign(other, []byte(head+"."+claims)))
		if _, err := h.Verify(t.Context(), head+"."+claims+"."+sig, "/mcp"); err == nil {
			t.Errorf("%s is taken for a key of ES256", alg)
		}
	}
}

func BenchmarkIssueAndVerify(b *testing.B) {
	for _, alg := range []string{identity.ES256, identity.EdDSA, identity.RS256} {
		h := newHouse(b)
		create(b, h.registry, identity.Agent{Name: "bot"})
		h.Authority = identity.New(identity.Config{Issuer: gateURL, Now: h.now, Logger: quiet(), Alg: alg}, openKeys(b, h.dir), h.registry)
		if err := h.RotateKeys(true, "admin"); err != nil {
			b.Fatal(err)
		}
		b.Run("issue "+alg, func(b *testing.B) {
			for b.Loop() {
				h.mint(b, "bot", identity.MintOptions{})
			}
		})
		b.Run("verify a new one "+alg, func(b *testing.B) {
			tokens := make([]string, 0, 4096)
			for range cap(tokens) {
				tokens = append(tokens, h.mint(b, "bot", identity.MintOptions{}).Access.Reveal())
			}
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if i%len(tokens) == 0 { // forget those that were seen
					b.StopTimer()
					h.Authority = identity.New(identity.Config{Issuer: gateURL, Now: h.now, Logger: quiet(), Alg: alg}, openKeys(b, h.dir), h.registry)
					b.StartTimer()
				}
				if _, err := h.Verify(b.Context(), tokens[i%len(tokens)], "/mcp"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
