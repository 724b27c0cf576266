package providers_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
	"callgate/providers"
)

const token = "bot-token"

// verify knows one token, so that tests need no keys.
func verify(_ context.Context, presented, _ string) (identity.Principal, error) {
	if presented != token {
		return identity.Principal{}, errors.New("the token is not valid here")
	}
	return identity.Principal{Tenant: "default", Subject: "agent:bot", TokenID: "jti-1"}, nil
}

// except allows everything but the objects it names.
type except map[string]bool

func (p except) Decide(call *firewall.Call) firewall.Decision {
	if call.Kind == 0 || p[call.Object()] {
		return firewall.Decision{Rule: "R9", Reason: "rule R9 denies " + call.Object(), Policy: "p1"}
	}
	return firewall.Decision{Effect: firewall.Allow, Rule: "R1", Policy: "p1"}
}

func (except) Member(_, _, _ string) bool { return false }

func (except) Names(*identity.Principal, string, string) bool { return false }

func (p except) May(_ *identity.Principal, object, _ string) firewall.Answer {
	if p[object] {
		return firewall.No
	}
	return firewall.Yes
}

// A house is a gate with its door and its log.
type house struct {
	log  audit.Memory
	door *providers.Handler
	busy sync.WaitGroup // requests at the door
}

func newHouse(t testing.TB, upstream string, guards ...firewall.Guard) *house {
	t.Helper()
	return newHouseWith(t, providers.Config{}, map[string]providers.Provider{
		"openai":    {BaseURL: upstream + "/v1", APIKey: identity.NewSecret("sk-real"), Models: []string{"gpt", "small"}},
		"anthropic": {BaseURL: upstream + "/v1", APIKey: identity.NewSecret("sk-ant"), Models: []string{"claude"}},
	}, guards...)
}

func newHouseWith(t testing.TB, cfg providers.Config, list map[string]providers.Provider, guards ...firewall.Guard) *house {
	t.Helper()
	h := &house{}
	h.door = newDoor(t, cfg, &h.log, list, guards...)
	return h
}

func newDoor(t testing.TB, cfg providers.Config, log audit.Log, list map[string]providers.Provider, guards ...firewall.Guard) *providers.Handler {
	t.Helper()
	gate := firewall.New(firewall.Config{Stops: new(identity.Revocations),
		Verify: verify, Log: log, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now), Approvals: firewall.NewApprovals(new(firewall.Memory), 0, time.Now), Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}, &firewall.Law{Policy: except{"model:openai/secret": true}, Guards: guards})
	cfg.Challenge = func(route string, _ error) string { return `Bearer realm="` + route + `"` }
	cfg.Logger = slog.New(slog.DiscardHandler)
	door := providers.New(cfg, gate)
	if err := door.SetProviders(list, nil); err != nil {
		t.Fatal(err)
	}
	return door
}

// serve starts an HTTP server that ends with the test.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// answer is an upstream that always says the same.
func answer(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// post sends body to a path of the door at base, as the bot, and returns the
// reply and its body.
func post(t testing.TB, base, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	return do(t, req, header...)
}

func get(t testing.TB, base, path string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return do(t, req, header...)
}

// do sends req with more headers, given as name, value; an empty value takes a
// header away.
func do(t testing.TB, req *http.Request, header ...string) (*http.Response, string) {
	t.Helper()
	for i := 0; i < len(header); i += 2 {
		req.Header.Del(header[i])
		if header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read reply: %v", err)
	}
	return resp, string(got)
}

// types tells the records of a log in short.
func types(records []audit.Record) string {
	var s []string
	for _, r := range records {
		s = append(s, strings.TrimSuffix(string(r.Type)+":"+r.Outcome, ":"))
	}
	return strings.Join(s, " ")
}

// url is where the door is.
func (h *house) url(t testing.TB) string {
	t.Helper()
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.busy.Add(1)
		defer h.busy.Done()
		h.door.ServeHTTP(w, r)
	}))
}

// records is the log once the door has nothing more to do.
func (h *house) records() []audit.Record {
	h.busy.Wait()
	return h.log.Records()
}

// mask is a guard that writes [masked] over a word, however it is cut.
type mask struct{ word string }

func (m mask) Name() string { return "mask" }

func (m mask) Request(_ context.Context, call *firewall.Call) (firewall.Decision, error) {
	call.Body.Rewrite(func(_ int, s firewall.Span) (string, bool) {
		return strings.ReplaceAll(s.Text, m.word, "[masked]"), strings.Contains(s.Text, m.word)
	})
	return firewall.Decision{Effect: firewall.Allow}, nil
}

func (m mask) Reply(_ context.Context, _ *firewall.Call, events firewall.Events) firewall.Events {
	windowed := firewall.Windowed(events, func(string) firewall.Editor { return m.edit })
	return func(yield func(firewall.Event, error) bool) {
		for ev, err := range windowed {
			ev.Body.Rewrite(func(_ int, s firewall.Span) (string, bool) {
				return strings.ReplaceAll(s.Text, m.word, "[masked]"), s.Lane == "" && strings.Contains(s.Text, m.word)
			})
			if !yield(ev, err) {
				return
			}
		}
	}
}

func (m mask) edit(text string, from int, end bool) (int, []firewall.Edit, error) {
	var edits []firewall.Edit
	at := from
	for {
		n := strings.Index(text[at:], m.word)
		if n < 0 {
			break
		}
		edits = append(edits, firewall.Edit{From: at + n, To: at + n + len(m.word), Text: "[masked]"})
		at += n + len(m.word)
	}
	if end {
		return len(text), edits, nil
	}
	for k := min(len(m.word)-1, len(text)-at); k > 0; k-- {
		if bytes.HasSuffix([]byte(text), []byte(m.word[:k])) {
			return len(text) - k, edits, nil
		}
	}
	return len(text), edits, nil
}

// hints is a guard that changes nothing and notes which results a call carries.
type hints struct{ results []string }

func (*hints) Name() string { return "hints" }

func (g *hints) Request(_ context.Context, call *firewall.Call) (firewall.Decision, error) {
	g.results = call.Hints.Results
	return firewall.Decision{Effect: firewall.Allow}, nil
}

func (*hints) Reply(_ context.Context, _ *firewall.Call, events firewall.Events) firewall.Events {
	return events
}
