package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/audit"
	"callgate/identity"
)

// receiver is a webhook that fails some times first.
type receiver struct {
	mu    sync.Mutex
	fails int
	got   []string
	all   int
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all++
	if r.fails > 0 {
		r.fails--
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	t, v1, _ := strings.Cut(strings.TrimPrefix(req.Header.Get("Callgate-Signature"), "t="), ",v1=")
	mac := hmac.New(sha256.New, []byte("shared"))
	mac.Write([]byte(t + "." + string(body)))
	if hex.EncodeToString(mac.Sum(nil)) != v1 {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	r.got = append(r.got, string(body))
}

// alerting runs alerts until f is over, and says what was put on record as lost.
func alerting(t *testing.T, url string, f func(*alerts)) (lost []string) {
	t.Helper()
	a := newAlerts(func(what, _, _, state string) error {
		lost = append(lost, what+": "+state)
		return nil
	})
	a.pause = time.Millisecond
	a.aim(url, identity.NewSecret("shared"))
	ctx, stop := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { a.run(ctx) })
	f(a)
	stop()
	work.Wait()
	return lost
}

func departed(seen string) alert {
	return alert{Type: "drift", Drift: &audit.Drift{Departure: audit.Departure{Kind: "hosts", Seen: seen}, Call: "c1"}}
}

func TestAlertsAreSentAgainUntilTheyArrive(t *testing.T) {
	r := &receiver{fails: 4}
	s := httptest.NewServer(r)
	defer s.Close()
	lost := alerting(t, s.URL, func(a *alerts) {
		a.add(departed("one"))
		a.add(departed("two"))
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			r.mu.Lock()
			n := len(r.got)
			r.mu.Unlock()
			if n == 2 {
				return
			}
		}
	})
	if len(r.got) != 2 || !strings.Contains(r.got[0], `"seen":"one"`) || !strings.Contains(r.got[1], `"seen":"two"`) || r.all != 6 || len(lost) > 0 {
		t.Errorf("%d tries: %q; lost %q", r.all, r.got, lost)
	}
}

func TestAlertsThatCannotBeSentAreOnRecord(t *testing.T) {
	r := &receiver{fails: 1 << 30}
	s := httptest.NewServer(r)
	defer s.Close()
	lost := alerting(t, s.URL, func(a *alerts) {
		for range maxAlerts + 100 { // nobody waits
			a.add(departed("one"))
		}
		s.Config.SetKeepAlivesEnabled(false)
	})
	all := strings.Join(lost, "\n")
	if !strings.Contains(all, "alert.lost: hosts one of call c1: the webhook answers 502 Bad Gateway") || !strings.Contains(all, "did not fit into the queue") {
		t.Errorf("%d lines: %.300s", len(lost), all)
	}
}

func TestAlertsGoNowhereWithoutAWebhook(t *testing.T) {
	if lost := alerting(t, "", func(a *alerts) { a.add(departed("one")) }); len(lost) > 0 {
		t.Error(lost)
	}
}
