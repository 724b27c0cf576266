package identity_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callgate/identity"
)

func TestATokenOfGoogleIsKeptAndReplacedInTime(t *testing.T) {
	var asked atomic.Int32
	var down atomic.Bool
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			http.Error(w, "canary", http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"t%d","token_type":"Bearer","expires_in":3600}`, asked.Add(1))
	}))
	t.Cleanup(at.Close)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "a@b", "token_uri": at.URL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	later := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	g := identity.NewGoogleToken(identity.NewSecret(string(doc)), "scope", clock)
	is := func(want string) identity.Loan {
		t.Helper()
		loan, err := g.Use(t.Context(), nil)
		if err != nil || loan.Value.Reveal() != want {
			t.Errorf("token %q, want %q; %v", loan.Value.Reveal(), want, err)
		}
		return loan
	}
	is("t1")
	later(50 * time.Minute)
	first := is("t1")
	later(7 * time.Minute) // it will end soon, and cannot be replaced
	down.Store(true)
	is("t1")
	down.Store(false)
	is("t2")
	is("t2")
	if !first.Refused(t.Context()) || asked.Load() != 2 { // there is another one already
		t.Errorf("asked %d times", asked.Load())
	}
	second := is("t2")
	if second.Refused(t.Context()) { // it is fresh
		t.Error("a fresh token is got again")
	}
	later(time.Minute)
	if !second.Refused(t.Context()) {
		t.Error("a token that was refused is kept")
	}
	is("t3")
	later(2 * time.Hour)
	down.Store(true)
	if _, err := g.Use(t.Context(), nil); err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("error = %v", err)
	}
}
