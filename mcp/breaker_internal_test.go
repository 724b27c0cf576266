package mcp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// clockwork is a time that moves when it is told to.
type clockwork struct {
	mu sync.Mutex
	at time.Time
}

func (c *clockwork) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(time.Microsecond) // no two things happen at once
	return c.at
}

func (c *clockwork) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// moody is a modern MCP server that answers, hangs up, refuses or hangs.
type moody struct {
	mood  atomic.Value
	calls atomic.Int64
	held  chan struct{} // a value for each request that hangs
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	doc, _ := io.ReadAll(r.Body)
	id := gjson.GetBytes(doc, "id").Raw
	w.Header().Set("Content-Type", "application/json")
	if gjson.GetBytes(doc, "method").Str == "server/discover" {
		io.WriteString(w, `{"jsonrpc":"2.0","id":`+id+`,"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}}`)
		return
	}
	if gjson.GetBytes(doc, "method").Str == "tools/list" { // which callgate asks for first
		io.WriteString(w, `{"jsonrpc":"2.0","id":`+id+`,"result":{"resultType":"complete","tools":[{"name":"x"}],"ttlMs":600000}}`)
		return
	}
	m.calls.Add(1)
	switch m.mood.Load() {
	case "well":
		io.WriteString(w, `{"jsonrpc":"2.0","id":`+id+`,"result":{"resultType":"complete","content":[]}}`)
	case "no":
		io.WriteString(w, `{"jsonrpc":"2.0","id":`+id+`,"error":{"code":-32603,"message":"no"}}`)
	case "locked":
		w.WriteHeader(http.StatusForbidden)
	case "broken":
		w.WriteHeader(http.StatusBadGateway)
	case "hang":
		m.held <- struct{}{}
		<-r.Context().Done()
	default:
		panic(http.ErrAbortHandler)
	}
}

// at is a Server at m whose breaker goes by clock.
func (m *moody) at(t *testing.T, clock *clockwork, set func(*ServerConfig)) *Server {
	t.Helper()
	m.held = make(chan struct{}, 1000)
	m.mood.Store("well")
	web := httptest.NewUnstartedServer(m)
	web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	web.Start()
	cfg := ServerConfig{Name: "moody", URL: web.URL, Logger: slog.New(slog.DiscardHandler)}
	if set != nil {
		set(&cfg)
	}
	s := NewServer(cfg)
	s.breaker.now = clock.now
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Close(ctx)
		web.Close()
	})
	if _, err := s.Info(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func ping(ctx context.Context, s *Server) *firewall.Error {
	var e *firewall.Error
	for _, err := range s.Do(ctx, nil, Request{Method: "tools/call", Params: []byte(`{"name":"x"}`)}) {
		if err != nil && !errors.As(err, &e) {
			e = &firewall.Error{Code: firewall.Canceled, Err: err}
		}
	}
	return e
}

func TestAServerThatFailsIsLeftAloneForAWhile(t *testing.T) {
	clock := &clockwork{at: time.Now()}
	m := new(moody)
	s := m.at(t, clock, nil)
	m.mood.Store("gone")
	for range maxFailures {
		if e := ping(t.Context(), s); e == nil || e.Code != firewall.Unavailable || strings.Contains(e.Reason, "left alone") {
			t.Fatalf("a failure is told as %v", e)
		}
	}
	for _, wait := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		wait *= time.Second
		before := m.calls.Load()
		e := ping(t.Context(), s)
		if e == nil || e.Code != firewall.Unavailable || e.Retry > wait || e.Retry < wait-time.Second/2 || !strings.Contains(e.Reason, "left alone") {
			t.Errorf("after %v: %+v", wait, e)
		}
		if got := s.Load().Breaker; got != breakerOpen || m.calls.Load() != before {
			t.Errorf("the breaker is %s; %d requests came", got, m.calls.Load()-before)
		}
		clock.move(wait)
		if e := ping(t.Context(), s); e == nil || strings.Contains(e.Reason, "left alone") || m.calls.Load() == before {
			t.Errorf("the probe: %v", e)
		}
	}
	clock.move(maxRecovery)
	m.mood.Store("no") // an answer like any other
	if e := ping(t.Context(), s); e != nil || s.Load().Breaker != breakerClosed {
		t.Errorf("the probe of a server that is well: %v, breaker %s", e, s.Load().Breaker)
	}
}

func TestWhatAServerAnswersIsNoFailure(t *testing.T) {
	for _, mood := range []string{"no", "locked"} {
		m := new(moody)
		s := m.at(t, &clockwork{at: time.Now()}, nil)
		m.mood.Store(mood)
		for range 3 * maxFailures {
			ping(t.Context(), s)
		}
		if got := s.Load().Breaker; got != breakerClosed {
			t.Errorf("%s: the breaker is %s", mood, got)
		}
	}
	m := new(moody)
	s := m.at(t, &clockwork{at: time.Now()}, nil)
	m.mood.Store("broken") // a proxy before it
	for range maxFailures {
		ping(t.Context(), s)
	}
	if got := s.Load().Breaker; got != breakerOpen {
		t.Errorf("broken: the breaker is %s", got)
	}
}

func TestAClientThatGivesUpIsNoFailure(t *testing.T) {
	m := new(moody)
	s := m.at(t, &clockwork{at: time.Now()}, nil)
	m.mood.Store("hang")
	for range 2 * maxFailures {
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { ping(ctx, s) })
		<-m.held
		cancel()
		all.Wait()
	}
	if got := s.Load().Breaker; got != breakerClosed {
		t.Errorf("the breaker is %s", got)
	}
}

func TestTimeoutsOpenTheBreaker(t *testing.T) {
	m := new(moody)
	s := m.at(t, &clockwork{at: time.Now()}, func(c *ServerConfig) { c.Timeout = 30 * time.Millisecond })
	m.mood.Store("hang")
	var all sync.WaitGroup
	for range maxFailures { // all at once: each of them counts
		all.Go(func() {
			if e := ping(t.Context(), s); e == nil || e.Code != firewall.Timeout {
				t.Errorf("a call that hangs: %v", e)
			}
		})
	}
	all.Wait()
	if got := s.Load().Breaker; got != breakerOpen {
		t.Errorf("the breaker is %s", got)
	}
}

func TestOneProbeAtATime(t *testing.T) {
	clock := &clockwork{at: time.Now()}
	b := &breaker{now: clock.now}
	for range maxFailures {
		a, _ := b.attempt()
		a.failed(false)
	}
	clock.move(minRecovery)
	probe, _ := b.attempt()
	if probe == nil || !probe.probe || b.state() != breakerProbing {
		t.Fatal("no probe")
	}
	if a, wait := b.attempt(); a != nil || wait <= 0 {
		t.Error("a second one went through")
	}
	probe.gone() // nothing was learned: the next one finds out
	probe, _ = b.attempt()
	if probe == nil {
		t.Fatal("no probe after one that gave up")
	}
	probe.answered()
	if a, _ := b.attempt(); a == nil || b.state() != breakerClosed {
		t.Error("the server is well and left alone")
	}
}

func TestWhatBreaksTogetherCountsOnce(t *testing.T) {
	clock := &clockwork{at: time.Now()}
	b := &breaker{now: clock.now}
	var together []*attempt
	for range 100 {
		a, _ := b.attempt()
		together = append(together, a)
	}
	for _, a := range together {
		a.failed(false)
	}
	if b.failures != 1 || b.state() != breakerClosed {
		t.Errorf("%d failures, %s", b.failures, b.state())
	}
}

func TestRequestsWaitForASlot(t *testing.T) {
	m := new(moody)
	s := m.at(t, &clockwork{at: time.Now()}, func(c *ServerConfig) { c.Concurrency, c.Timeout = 2, 10*time.Second })
	m.mood.Store("hang")
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { ping(ctx, s) })
		<-m.held
	}
	waiting, give := context.WithCancel(t.Context())
	for range 2 * queueFactor {
		all.Go(func() { ping(waiting, s) })
	}
	for s.Load().Waiting < 2*queueFactor {
		runtime.Gosched() // until all have come
	}
	e := ping(t.Context(), s)
	if e == nil || e.Code != firewall.Exhausted || e.Retry == 0 {
		t.Errorf("a request beyond the queue: %v", e)
	}
	if l := s.Load(); l.InFlight != 2 || m.calls.Load() != 2 {
		t.Errorf("%+v, %d requests came", l, m.calls.Load())
	}
	give()
	for s.Load().Waiting > 0 {
		runtime.Gosched() // until all have gone, or the next one finds no place
	}
	m.mood.Store("well")
	all.Go(func() {
		if e := ping(t.Context(), s); e != nil {
			t.Errorf("a request that waited: %v", e)
		}
	})
	for s.Load().Waiting == 0 {
		runtime.Gosched()
	}
	cancel()
	all.Wait()
	if l := s.Load(); l.InFlight != 0 || l.Waiting != 0 {
		t.Errorf("afterwards: %+v", l)
	}
}

func TestAWaitForASlotEnds(t *testing.T) {
	m := new(moody)
	s := m.at(t, &clockwork{at: time.Now()}, func(c *ServerConfig) { c.Concurrency, c.Timeout = 1, 30*time.Millisecond })
	if err := s.slots.take(t.Context(), "moody"); err != nil {
		t.Fatal(err)
	}
	if e := ping(t.Context(), s); e == nil || e.Code != firewall.Exhausted || e.Retry == 0 {
		t.Errorf("a request that got no turn: %v", e)
	}
	s.slots.free()
	if got := s.Load().Breaker; got != breakerClosed {
		t.Errorf("the breaker is %s", got)
	}
}
