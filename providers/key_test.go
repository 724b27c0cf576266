package providers_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
	"callgate/providers"

	"github.com/google/go-cmp/cmp"
)

// A bank is a provider that takes several keys, each as it is told.
type bank struct {
	mu   sync.Mutex
	says map[string]http.HandlerFunc // by key; none: 200
	came []string                    // keys, in the order in which they came
}

func (b *bank) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	b.mu.Lock()
	b.came = append(b.came, key)
	say := b.says[key]
	b.mu.Unlock()
	if say == nil {
		say = answer(200, "application/json", chatReply)
	}
	say(w, r)
}

// take is which keys came since it was asked last.
func (b *bank) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	came := strings.Join(b.came, " ")
	b.came = nil
	return came
}

func (b *bank) set(key string, say http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.says == nil {
		b.says = make(map[string]http.HandlerFunc)
	}
	b.says[key] = say
}

func refusal(status int, doc string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		answer(status, "application/json", doc)(w, r)
	}
}

// A pooled is a house with a provider of several keys, a clock and a log.
type pooled struct {
	*house
	bank *bank
	said bytes.Buffer // to the log
	mu   sync.Mutex
	now  time.Time
	at   string
}

func (p *pooled) clock() time.Time { p.mu.Lock(); defer p.mu.Unlock(); return p.now }
func (p *pooled) later(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = p.now.Add(d)
}

func newPool(t *testing.T, keys ...providers.Key) *pooled {
	t.Helper()
	p := &pooled{house: &house{}, bank: new(bank), now: time.Now()}
	for i := range keys {
		if keys[i].Credential == nil {
			keys[i].Credential = identity.NewSecret("sk-canary-" + keys[i].Name)
		}
	}
	gate := firewall.New(firewall.Config{Stops: new(identity.Revocations),
		Verify: verify, Log: &p.log, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now), Approvals: firewall.NewApprovals(new(firewall.Memory), 0, time.Now), Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}, &firewall.Law{Policy: except{}})
	p.door = providers.New(providers.Config{Now: p.clock, Challenge: func(string, error) string { return "Bearer" }, Logger: slog.New(slog.NewTextHandler(&p.said, nil))}, gate)
	up := serve(t, p.bank)
	if err := p.door.SetProviders(map[string]providers.Provider{
		"lab": {Kind: "openai-compatible", BaseURL: up + "/v1", Keys: keys},
		"two": {Kind: "openai-compatible", BaseURL: up + "/v1", APIKey: identity.NewSecret("sk-canary-two")},
	}, map[string]providers.Model{"any": {Targets: []providers.Target{{Model: "lab/big"}, {Model: "two/big"}}}}); err != nil {
		t.Fatal(err)
	}
	p.at = p.url(t)
	return p
}

// call is one call of a run for a model, and the keys that it came with.
func (p *pooled) call(t *testing.T, run, model string) (status int, keys string) {
	t.Helper()
	resp, body := post(t, p.at, "/v1/chat/completions", `{"model":"`+model+`","messages":[]}`, "Callgate-Run", run)
	if strings.Contains(body, "canary") {
		t.Errorf("the client is told a key: %s", body)
	}
	return resp.StatusCode, strings.ReplaceAll(p.bank.take(), "sk-canary-", "")
}

// last is the record of the last call's end.
func (p *pooled) last() audit.Record {
	all := p.records()
	return all[len(all)-1]
}

func TestRunsAreSharedOutAmongKeysAndKeepTheirs(t *testing.T) {
	p := newPool(t, providers.Key{Name: "a"}, providers.Key{Name: "b", Weight: 3})
	count := make(map[string]int)
	for i := range 200 {
		run := fmt.Sprint("run-", i)
		_, first := p.call(t, run, "lab/m")
		count[first]++
		if i%20 == 0 {
			for range 3 {
				if _, again := p.call(t, run, "lab/m"); again != first {
					t.Errorf("%s had %s, and now has %s", run, first, again)
				}
			}
		}
	}
	if count["a"]+count["b"] != 200 || count["a"] < 25 || count["a"] > 80 {
		t.Errorf("shares: %v, want about 1 to 3", count)
	}
}

func TestAKeyThatIsRefusedLeavesItsCallsToAnother(t *testing.T) {
	const quota = `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}`
	for _, tt := range []struct {
		name  string
		say   http.HandlerFunc
		fault string
		other string // whether another model has the key still
		state string
		rests time.Duration
	}{
		{"401", refusal(401, `{"error":{"message":"Incorrect API key provided: sk-canary-a"}}`), "http 401", "b", "dead", 5 * time.Minute},
		{"402", refusal(402, `{"error":{"message":"pay"}}`), "http 402", "b", "dead", 5 * time.Minute},
		{"403 of a model", refusal(403, `{"error":{"message":"no access to the model"}}`), "http 403", "a", "dead", 5 * time.Minute},
		{"429 for a time", refusal(429, `{"error":{"message":"slow down"}}`, "Retry-After", "90"), "http 429", "a", "hot", 90 * time.Second},
		{"429 for as long as it takes", refusal(429, `{"error":{"message":"slow down"}}`), "http 429", "a", "hot", 10 * time.Second},
		{"429 since money has run out", refusal(429, quota, "Retry-After", "1"), "http 429", "b", "dead", 5 * time.Minute},
		{"400 as Google says it", refusal(400, `{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}`), "http 400", "b", "dead", 5 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPool(t, providers.Key{Name: "a", Weight: 1_000_000}, providers.Key{Name: "b"})
			p.bank.set("sk-canary-a", tt.say)
			is := func(model, want string) {
				t.Helper()
				if status, keys := p.call(t, "r", model); status != 200 || keys != want {
					t.Errorf("%d with %s, want %s", status, keys, want)
				}
			}
			is("lab/m", "a b")
			r := p.last()
			for i := range r.Attempts {
				r.Attempts[i].TookUS = 0
			}
			if diff := cmp.Diff([]audit.Attempt{{Target: "lab", Resource: "m", Fault: tt.fault, Key: "a"}, {Target: "lab", Resource: "m"}}, r.Attempts); diff != "" || r.Outcome != "ok" {
				t.Errorf("on record (-want +got): %s", diff)
			}
			is("lab/m", "b") // without asking again
			p.bank.set("sk-canary-a", nil)
			is("lab/other", tt.other)
			state := p.door.States()[0].Keys[0]
			if tt.other == "a" && (state.Model != "m" || state.State != tt.state) || tt.other == "b" && (state.Model != "" || state.State != tt.state || state.Status == 0) {
				t.Errorf("state: %+v", state)
			}
			p.later(tt.rests - time.Second)
			is("lab/m", "b")
			p.later(2 * time.Second)
			is("lab/m", "a")
			if state := p.door.States()[0].Keys[0]; state.State != "ok" {
				t.Errorf("state: %+v", state)
			}
			if said := p.said.String(); !strings.Contains(said, "key=a") || strings.Contains(said+fmt.Sprint(p.records()), "canary") {
				t.Errorf("log: %s", said)
			}
		})
	}
}

func TestIfNoKeyIsTakenTheClientIsTold(t *testing.T) {
	p := newPool(t, providers.Key{Name: "a"}, providers.Key{Name: "b"}, providers.Key{Name: "c"})
	for _, k := range []string{"a", "b", "c"} {
		p.bank.set("sk-canary-"+k, refusal(429, `{"error":{"message":"slow down, of `+k+`","type":"rate_limit_error"}}`, "Retry-After", "30"))
	}
	status, keys := p.call(t, "r", "lab/m")
	if status != 429 || len(strings.Fields(keys)) != 3 || len(p.last().Attempts) != 3 {
		t.Errorf("%d with %s; %+v", status, keys, p.last().Attempts)
	}
	if status, keys := p.call(t, "r", "lab/m"); status != 429 || len(strings.Fields(keys)) != 1 { // the one that is done first is tried
		t.Errorf("%d with %s", status, keys)
	}
	p.later(31 * time.Second)
	for _, k := range []string{"a", "b", "c"} {
		p.bank.set("sk-canary-"+k, refusal(401, `{"error":{"message":"wrong key"}}`))
	}
	if status, keys := p.call(t, "r", "any"); status != 200 || !strings.HasSuffix(keys, " two") || len(strings.Fields(keys)) != 4 { // and another target
		t.Errorf("%d with %s", status, keys)
	}
	r := p.last()
	if len(r.Attempts) != 4 || r.Attempts[2].Fault != "http 401" || r.Attempts[2].Key != "" || r.Attempts[3].Target != "two" || r.Attempts[3].Fault != "" {
		t.Errorf("on record: %+v", r.Attempts)
	}
}

func TestAKeyIsForItsModels(t *testing.T) {
	p := newPool(t, providers.Key{Name: "a", Models: []string{"small", "tiny*"}}, providers.Key{Name: "b", Models: []string{"huge"}})
	for model, want := range map[string]string{"lab/small": "200 a", "lab/tiny-2": "200 a", "lab/huge": "200 b", "lab/big": "400 ", "any": "200 two"} {
		if status, keys := p.call(t, "r", model); fmt.Sprint(status, " ", keys) != want {
			t.Errorf("%s: %d %s, want %s", model, status, keys, want)
		}
	}
}

// lost is a credential that cannot be had, or is not for who asks.
type lost struct{ denied bool }

func (l lost) Use(context.Context, *identity.Principal) (identity.Loan, error) {
	return identity.Loan{}, &identity.Withheld{Reason: "the credential is not lent", Denied: l.denied}
}

func TestAKeyThatIsNotLentLeavesItsCallsToAnother(t *testing.T) {
	for _, denied := range []bool{true, false} {
		p := newPool(t, providers.Key{Name: "a", Credential: lost{denied}, Weight: 1_000_000}, providers.Key{Name: "b"})
		if status, keys := p.call(t, "r", "lab/m"); status != 200 || keys != "b" || len(p.last().Attempts) != 0 {
			t.Errorf("%d with %s", status, keys)
		}
		p = newPool(t, providers.Key{Name: "a", Credential: lost{denied}}, providers.Key{Name: "c", Credential: lost{denied}})
		want := map[bool]int{true: 403, false: 503}[denied]
		if status, keys := p.call(t, "r", "lab/m"); status != want || keys != "" {
			t.Errorf("%d with %s", status, keys)
		}
	}
}

func TestATryThatWasNotAnsweredIsNoAttempt(t *testing.T) {
	p := newPool(t, providers.Key{Name: "a", Weight: 1_000_000}, providers.Key{Name: "b"})
	p.bank.set("sk-canary-a", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	status, keys := p.call(t, "r", "lab/m")
	if r := p.last(); status != 503 || strings.Trim(keys, "a ") != "" || len(r.Attempts) != 0 {
		t.Errorf("%d with %s; %+v", status, keys, r.Attempts)
	}
}

func TestAnErrorThatWasLookedAtArrivesWhole(t *testing.T) {
	p := newPool(t, providers.Key{Name: "a"})
	long := strings.Repeat("x", 200_000)
	for _, status := range []int{400, 429} {
		p.bank.set("sk-canary-a", refusal(status, `{"error":{"message":"`+long+`"}}`))
		resp, body := post(t, p.at, "/v1/chat/completions", `{"model":"lab/m","messages":[]}`)
		if resp.StatusCode != status || !strings.Contains(body, long) {
			t.Errorf("%d, %d bytes", resp.StatusCode, len(body))
		}
	}
}

func TestManyCallsFindTheKeyThatIsLeft(t *testing.T) {
	p := newPool(t, providers.Key{Name: "a"}, providers.Key{Name: "b"}, providers.Key{Name: "c"})
	p.bank.set("sk-canary-a", refusal(401, `{"error":{"message":"wrong key"}}`))
	p.bank.set("sk-canary-b", refusal(429, `{"error":{"message":"slow down"}}`))
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			resp, body := post(t, p.at, "/v1/chat/completions", `{"model":"lab/m","messages":[]}`, "Callgate-Run", fmt.Sprint(i))
			if resp.StatusCode != 200 {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			p.door.States()
		})
	}
	all.Wait()
}

func TestKeysThatMakeNoSense(t *testing.T) {
	p := newPool(t)
	many := make([]providers.Key, 65)
	for i := range many {
		many[i].Credential = identity.NewSecret("x")
	}
	for want, keys := range map[string][]providers.Key{
		"key 2: there is none": {{Credential: identity.NewSecret("x")}, {}},
		"key 1: weight":        {{Credential: identity.NewSecret("x"), Weight: -1}},
		"at most 64 keys":      many,
	} {
		if err := p.door.SetProviders(map[string]providers.Provider{"lab": {Kind: "groq", Keys: keys}}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %s in it", err, want)
		}
	}
}
