package providers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
	"callgate/providers"
)

// counting is an upstream that counts its requests, and says the number of each.
func counting(said *atomic.Int64, status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n := said.Add(1)
		answer(status, kind, strings.ReplaceAll(body, "NUMBER", fmt.Sprint(n)))(w, r)
	}
}

func cachedHouse(t *testing.T, cache providers.Cache, up string, now func() time.Time, guards ...firewall.Guard) *house {
	t.Helper()
	return newHouseWith(t, providers.Config{Cache: cache, Now: now}, map[string]providers.Provider{
		"openai":    {BaseURL: up + "/v1", Models: []string{"gpt"}, Cache: time.Minute},
		"anthropic": {BaseURL: up + "/v1", Models: []string{"claude"}, Cache: time.Minute},
		"gemini":    {BaseURL: up + "/v1beta", Models: []string{"flash"}, Cache: time.Minute},
		"fresh":     {Kind: "openai", BaseURL: up + "/v1", Models: []string{"new"}},
	}, guards...)
}

const oneWord = `{"id":"c1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"number NUMBER hush"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`

func TestTheSameRequestIsAnsweredFromTheCache(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	var asked atomic.Int64
	h := cachedHouse(t, providers.NewMemoryCache(1<<20, clock), serve(t, counting(&asked, 200, "application/json", oneWord)), clock, mask{"hush"})
	url := h.url(t)
	body := `{"model":"gpt","messages":[{"role":"user","content":"hi"}]}`
	first, was := post(t, url, "/v1/chat/completions", body)
	h.busy.Wait()
	now = now.Add(20 * time.Second)
	second, is := post(t, url, "/v1/chat/completions", body)
	if asked.Load() != 1 || was != is || !strings.Contains(is, "number 1 [masked]") {
		t.Fatalf("asked %d times: %s, then %s", asked.Load(), was, is)
	}
	if first.Header.Get("Callgate-Cache") != "miss" || second.Header.Get("Callgate-Cache") != "hit" || second.Header.Get("Age") != "20" {
		t.Errorf("heads %v and %v", first.Header, second.Header)
	}
	var closed []audit.Record
	for _, r := range h.records() {
		if r.Type == audit.Closed {
			closed = append(closed, r)
		}
	}
	if len(closed) != 2 || closed[0].Cached || closed[0].Usage == nil || !closed[1].Cached || closed[1].Usage != nil {
		t.Errorf("on record: %+v", closed)
	}
	for what, other := range map[string][]string{
		"another prompt":             {`{"model":"gpt","messages":[{"role":"user","content":"ho"}]}`},
		"other spaces":               {`{"model": "gpt","messages":[{"role":"user","content":"hi"}]}`},
		"no-cache":                   {body, "Cache-Control", "no-cache"},
		"no-store":                   {body, "Cache-Control", "max-age=0, No-Store"},
		"another beta":               {body, "Openai-Beta", "x=1"},
		"a provider that keeps none": {`{"model":"new","messages":[{"role":"user","content":"hi"}]}`},
	} {
		n := asked.Load()
		if resp, _ := post(t, url, "/v1/chat/completions", other[0], other[1:]...); asked.Load() != n+1 || resp.Header.Get("Callgate-Cache") == "hit" {
			t.Errorf("%s was answered from the cache", what)
		}
	}
	h.busy.Wait()
	now = now.Add(2 * time.Minute)
	if resp, _ := post(t, url, "/v1/chat/completions", body); resp.Header.Get("Callgate-Cache") != "miss" {
		t.Error("it is kept for longer than it should")
	}
}

// digested is a policy of another digest.
type digested struct {
	except
	digest string
}

func (p digested) Decide(call *firewall.Call) firewall.Decision {
	d := p.except.Decide(call)
	d.Policy = p.digest
	return d
}

func TestTheCacheIsEachTenantsAndEachPolicysOwn(t *testing.T) {
	cache := providers.NewMemoryCache(1<<20, time.Now)
	var asked atomic.Int64
	up := serve(t, counting(&asked, 200, "application/json", oneWord))
	hit := func(tenant, digest string) bool {
		h := &house{}
		gate := firewall.New(firewall.Config{Stops: new(identity.Revocations),
			Verify: func(context.Context, string, string) (identity.Principal, error) {
				return identity.Principal{Tenant: tenant, Subject: "agent:bot"}, nil
			},
			Log: &h.log, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now), Approvals: firewall.NewApprovals(new(firewall.Memory), 0, time.Now), Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		}, &firewall.Law{Policy: digested{nil, digest}})
		h.door = providers.New(providers.Config{Cache: cache, Challenge: func(string, error) string { return "Bearer" }, Logger: slog.New(slog.DiscardHandler)}, gate)
		if err := h.door.SetProviders(map[string]providers.Provider{"openai": {BaseURL: up + "/v1", Models: []string{"gpt"}, Cache: time.Minute}}, nil); err != nil {
			t.Fatal(err)
		}
		resp, _ := post(t, h.url(t), "/v1/chat/completions", `{"model":"gpt","messages":[]}`)
		h.busy.Wait()
		return resp.Header.Get("Callgate-Cache") == "hit"
	}
	for i, tt := range []struct {
		tenant, digest string
		hit            bool
	}{{"a", "p1", false}, {"a", "p1", true}, {"b", "p1", false}, {"a", "p2", false}, {"b", "p1", true}} {
		if got := hit(tt.tenant, tt.digest); got != tt.hit {
			t.Errorf("request %d, of tenant %s under policy %s: hit = %v", i, tt.tenant, tt.digest, got)
		}
	}
}

func TestStreamsAreReplayed(t *testing.T) {
	for _, s := range surfaces {
		var asked atomic.Int64
		events := strings.Join(s.stream(turn{"number NUMBER", [][2]string{{"f", `{"a":1}`}}}), "")
		h := cachedHouse(t, providers.NewMemoryCache(1<<20, time.Now), serve(t, counting(&asked, 200, "text/event-stream", events)), time.Now)
		url := h.url(t)
		path, body := s.ask(true)
		_, was := post(t, url, path, body)
		h.busy.Wait()
		resp, is := post(t, url, path, body)
		if asked.Load() != 1 || was != is || resp.Header.Get("Callgate-Cache") != "hit" || resp.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
			t.Errorf("%s: asked %d times, %v\n%s\nthen\n%s", s.name, asked.Load(), resp.Header, was, is)
		}
	}
}

// What failed, or came in part, is asked for again.
func TestWhatFailedIsNotKept(t *testing.T) {
	stream := strings.Join(chatStream(turn{"hi", nil}), "")
	for name, up := range map[string]func(*atomic.Int64) http.HandlerFunc{
		"an error": func(n *atomic.Int64) http.HandlerFunc {
			return counting(n, 500, "application/json", `{"error":{"message":"no"}}`)
		},
		"an error in a 200": func(n *atomic.Int64) http.HandlerFunc {
			return counting(n, 200, "application/json", `{"error":{"message":"no"}}`)
		},
		"an error in a stream": func(n *atomic.Int64) http.HandlerFunc {
			return counting(n, 200, "text/event-stream", `data: {"error":{"message":"no"}}`+"\n\n")
		},
		"half a stream": func(n *atomic.Int64) http.HandlerFunc {
			return counting(n, 200, "text/event-stream", stream[:len(stream)/2])
		},
		"what is larger than is kept": func(n *atomic.Int64) http.HandlerFunc {
			return counting(n, 200, "application/json", strings.Replace(oneWord, "NUMBER", strings.Repeat("x", 5<<20), 1))
		},
	} {
		var asked atomic.Int64
		h := cachedHouse(t, providers.NewMemoryCache(64<<20, time.Now), serve(t, up(&asked)), time.Now)
		url := h.url(t)
		body := `{"model":"gpt","stream":true,"messages":[{"role":"user","content":"hi"}]}`
		post(t, url, "/v1/chat/completions", body)
		h.busy.Wait()
		if resp, _ := post(t, url, "/v1/chat/completions", body); asked.Load() != 2 || resp.Header.Get("Callgate-Cache") == "hit" {
			t.Errorf("%s was kept", name)
		}
	}
}

// seen is a cache that shows what it is given, and may be broken.
type seen struct {
	*providers.MemoryCache
	values [][]byte
	broken bool
}

func (s *seen) Get(ctx context.Context, key string) ([]byte, error) {
	if s.broken {
		return nil, errors.New("connection refused")
	}
	return s.MemoryCache.Get(ctx, key)
}

func (s *seen) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if s.broken {
		return errors.New("connection refused")
	}
	s.values = append(s.values, value)
	return s.MemoryCache.Put(ctx, key, value, ttl)
}

// Who has what the cache has knows nothing, and who changes it is not believed; a cache
// that fails costs nothing but time.
func TestTheCacheIsTrustedWithNothing(t *testing.T) {
	var asked atomic.Int64
	c := &seen{MemoryCache: providers.NewMemoryCache(1<<20, time.Now)}
	h := cachedHouse(t, c, serve(t, counting(&asked, 200, "application/json", oneWord)), time.Now)
	url := h.url(t)
	body := `{"model":"gpt","messages":[{"role":"user","content":"hi"}]}`
	post(t, url, "/v1/chat/completions", body)
	h.busy.Wait()
	if len(c.values) != 1 || strings.Contains(string(c.values[0]), "number") {
		t.Fatalf("the cache can read %q", c.values)
	}
	c.values[0][20] ^= 1
	if resp, got := post(t, url, "/v1/chat/completions", body); resp.StatusCode != 200 || asked.Load() != 2 {
		t.Errorf("what was changed is believed: %s", got)
	}
	h.busy.Wait()
	c.broken = true
	if resp, got := post(t, url, "/v1/chat/completions", body); resp.StatusCode != 200 || asked.Load() != 3 {
		t.Errorf("a cache that is down: %d %s", resp.StatusCode, got)
	}
}

func TestAMemoryCacheHoldsNoMoreThanItMay(t *testing.T) {
	now := time.Now()
	c := providers.NewMemoryCache(10_000, func() time.Time { return now })
	ctx := t.Context()
	has := func(key string) bool {
		v, err := c.Get(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		return v != nil
	}
	put := func(key string, size int) {
		if err := c.Put(ctx, key, make([]byte, size), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		put(fmt.Sprint(i), 1000)
		has("0") // is asked for all the time
	}
	left := 0
	for i := range 100 {
		if has(fmt.Sprint(i)) {
			left++
		}
	}
	if !has("0") || left < 5 || left > 8 {
		t.Errorf("%d are left, and the first one is: %v", left, has("0"))
	}
	if put("huge", 10_000); has("huge") || !has("0") {
		t.Error("it holds more than it may")
	}
	now = now.Add(time.Hour)
	if has("0") {
		t.Error("it holds what is over")
	}
}
