package mcp_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"callgate/mcp"
)

// moody is an HTTP server that breaks connections off while it is gone.
type moody struct {
	http.Handler
	gone atomic.Bool
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m.gone.Load() {
		panic(http.ErrAbortHandler)
	}
	m.Handler.ServeHTTP(w, r)
}

// soon polls for what happens by itself.
func soon(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(20 * time.Second); !done(); <-tick.C {
		if time.Now().After(late) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func TestAServerThatIsBackIsFoundToBeThoughNobodyCalls(t *testing.T) {
	for name, modern := range map[string]bool{"modern": true, "legacy": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := &moody{Handler: newWeb(modern, false)}
			up.gone.Store(true)
			s := overHTTP(t, up)
			s.Start()
			soon(t, "it is found not to be there", func() bool { return s.Down() != nil })
			up.gone.Store(false)
			soon(t, "it is found to be there", func() bool { return s.Down() == nil && s.Load().Breaker == "closed" })
			if _, _, err := call(t.Context(), s, "ana", `{"name":"plain"}`); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatAServerAnswersToBeingAskedDoesNotMatter(t *testing.T) {
	var asked atomic.Int64
	s := overHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	s.Start()
	soon(t, "it is asked", func() bool { return asked.Load() > 1 })
	if err := s.Down(); err != nil || s.Load().Breaker != "closed" {
		t.Errorf("%v, %+v", err, s.Load())
	}
}

func TestAListIsStillKnownForAWhileWhenItsServerIsGone(t *testing.T) {
	up := &moody{Handler: newWeb(true, false)}
	web := httptest.NewServer(up)
	t.Cleanup(web.Close)
	h := open(t, rules{}, map[string]*mcp.Server{"good": behind(t, "good", web.URL)})
	c := h.visit(t, "/mcp").modern()
	before := c.ask("tools/list", `{}`, "")
	up.gone.Store(true)
	for range 10 { // the breaker opens, and what the server is must be found out anew
		if r := c.ask("tools/call", `{"name":"good__plain","arguments":{}}`, ""); !strings.Contains(r.body, `"callgate/code":"unavailable"`) {
			t.Fatalf("a call: %s", r.body)
		}
	}
	if r := c.ask("tools/list", `{}`, ""); r.body != before.body || !strings.Contains(r.body, "good__plain") {
		t.Errorf("the list is %s, was %s", r.body, before.body)
	}
	if r := c.ask("resources/list", `{}`, ""); r.last("result._meta.callgate/unavailable").Raw != `["good"]` {
		t.Errorf("a list that is not known: %s", r.body)
	}
}
