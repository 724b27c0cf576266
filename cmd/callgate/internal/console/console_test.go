package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/cmd/callgate/internal/console"
	"callgate/cmd/callgate/internal/store"
	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/identity"
)

const adminToken = "the-admin-token"

// A desk is a console with real parts behind it.
type desk struct {
	t         *testing.T
	dir       string
	ledger    *audit.Ledger
	handler   http.Handler
	gate      *firewall.Gate
	approvals *firewall.Approvals
	reload    error
	reasons   []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	dir := t.TempDir()
	d := &desk{t: t, dir: dir}
	law, err := policy.Load(policy.Source{Name: "p", Text: []byte(`
p,  agent:bot, *, tool:shop/pay, call, true, allow, R1
p2, agent:bot, *, tool:shop/pay, call, true, allow, require_approval:group:finance, R2
g,  user:ana, group:finance, default`)})
	if err != nil {
		t.Fatal(err)
	}
	if d.ledger, err = audit.Open(filepath.Join(dir, "ledger"), audit.Config{}); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), filepath.Join(dir, "callgate.db"), "")
	if err != nil {
		t.Fatal(err)
	}
	index := store.NewIndex(db, d.ledger, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { index.Run(ctx); close(ended) }()
	registry, err := identity.OpenRegistry(ctx, db.Agents())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := identity.OpenKeys(filepath.Join(dir, "keys"), identity.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		<-ended
		if err := errors.Join(d.ledger.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	d.approvals = firewall.NewApprovals(new(firewall.Memory), time.Hour, time.Now)
	gate := firewall.New(firewall.Config{Stops: new(identity.Revocations),
		Verify: func(context.Context, string, string) (identity.Principal, error) {
			return identity.Principal{Tenant: "default", Subject: "agent:bot"}, nil
		},
		Log: d.ledger, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now), Approvals: d.approvals, Now: time.Now,
	}, &firewall.Law{Policy: law})
	d.gate = gate
	d.handler = console.New(console.Config{
		Approvals: d.approvals, Approve: func(ctx context.Context, id string, v firewall.Vote) (firewall.Approval, error) {
			return gate.Approve(ctx, id, v, func(firewall.Approval) error { return nil })
		},
		Record: func(what, by, name, state string) error {
			return d.ledger.Append(&audit.Record{Type: audit.Changed, At: 2_000_000, What: what, By: by, Name: name, State: state}).Wait(context.Background())
		},
		Token: identity.NewSecret(adminToken), Registry: registry, Ledger: d.ledger, Index: index,
		Authority: identity.New(identity.Config{Issuer: "http://127.0.0.1:8700"}, keys, registry),
		Reload: func(context.Context) (console.Reloaded, error) {
			return console.Reloaded{Changes: []string{"policy b is in force, instead of a"}, Restart: []string{}}, d.reload
		},
		Servers: func(context.Context) []console.Server {
			return []console.Server{{Name: "till", State: "ready", Tools: []string{"pay"}}}
		},
		Status: func(context.Context) console.Status {
			return console.Status{Policy: "abc", Ready: d.reasons == nil, Reasons: d.reasons, Head: 9, Indexed: 7, Servers: []console.Server{{Name: "till", Reach: "https://till.example/?key=1", State: "ready"}}}
		},
		BeginLogin: func(_ context.Context, server string, n console.NewLogin) (console.Login, error) {
			switch server {
			case "till":
				return console.Login{ID: "l1", Server: server, Holder: "agent:" + n.Agent, State: "waiting", URL: "https://as.example/authorize", Scopes: n.Scopes}, nil
			case "away":
				return console.Login{}, &firewall.Error{Code: firewall.Unavailable, Reason: "server away cannot be logged in to", Err: errors.New("no route")}
			}
			return console.Login{}, firewall.Refuse(firewall.NotFound, "there is no MCP server %q", server)
		},
		Login: func(ctx context.Context, id string) (console.Login, bool) {
			<-ctx.Done()
			return console.Login{ID: id, State: "done"}, id == "l1"
		},
		Logins: func() []console.Login { return []console.Login{{Server: "till", Holder: "gate"}} },
		EndLogin: func(_ context.Context, _ string, o console.OldLogin) (int, error) {
			if o.All {
				return 3, nil
			}
			return 0, firewall.Refuse(firewall.Invalid, "no logins")
		},
	}).Handler()
	return d
}

// ask makes a request as the admin does, unless edit changes it.
func (d *desk) ask(method, path, body string, edit func(*http.Request)) (int, string) {
	d.t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:8701"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+adminToken)
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	text, _ := io.ReadAll(w.Body)
	return w.Code, string(text)
}

func (d *desk) append(r *audit.Record) {
	d.t.Helper()
	if err := d.ledger.Append(r).Wait(context.Background()); err != nil {
		d.t.Fatal(err)
	}
}

func TestOnlyTheAdminIsAnswered(t *testing.T) {
	d := newDesk(t)
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	for _, test := range []struct {
		name   string
		edit   func(*http.Request)
		status int
	}{
		{"the admin token is enough", nil, 200},
		{"the scheme may be written in any case", header("Authorization", "bearer "+adminToken), 200},
		{"no token", func(r *http.Request) { r.Header.Del("Authorization") }, 401},
		{"a wrong token", header("Authorization", "Bearer the-admin-tokem"), 401},
		{"the beginning of the token", header("Authorization", "Bearer the-admin"), 401},
		{"an empty token", header("Authorization", "Bearer "), 401},
		{"the token with another scheme", header("Authorization", "Basic "+adminToken), 401},
		{"localhost is a name of this listener", host("localhost:8701"), 200},
		{"an IPv6 address is, too", host("[::1]:8701"), 200},
		{"a name that a page has led here", host("evil.example:8701"), 403},
		{"a name that only looks like an address", host("127.0.0.1.evil.example"), 403},
		{"no host at all", host(""), 403},
		{"a page of this listener", header("Origin", "http://127.0.0.1:8701"), 200},
		{"a page from elsewhere", header("Origin", "http://evil.example"), 403},
		{"a page without an origin", header("Origin", "null"), 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			if status, text := d.ask("GET", "/api/v1/agents", "", test.edit); status != test.status {
				t.Errorf("status %d, want %d: %s", status, test.status, text)
			}
		})
	}
}

func TestEndpointsAnswer(t *testing.T) {
	d := newDesk(t)
	d.append(&audit.Record{Type: audit.Refused, At: 1_000_000, Call: "c1", Agent: "agent:bot", Run: "r1", Kind: "tool", Target: "till", Resource: "pay", Effect: "deny", Outcome: "denied"})
	d.append(&audit.Record{Type: audit.Changed, At: 2_000_000, What: "agent.created", By: "admin", Name: "agent:bot"})
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"an agent is registered", "POST", "/api/v1/agents", `{"name":"bot","roles":["dev"],"max_ttl":"2h"}`, 201, `"client_id":"bot"`},
		{"but not twice", "POST", "/api/v1/agents", `{"name":"bot"}`, 409, `"code":"conflict"`},
		{"nor with a name that does not fit", "POST", "/api/v1/agents", `{"name":"Bot!"}`, 400, `"code":"invalid"`},
		{"nor with an unknown field", "POST", "/api/v1/agents", `{"name":"x","admin":true}`, 400, "admin"},
		{"nor with a life that is none", "POST", "/api/v1/agents", `{"name":"x","max_ttl":"long"}`, 400, "max_ttl"},
		{"a body that goes on", "POST", "/api/v1/agents", `{"name":"x"}{"name":"y"}`, 400, "more than one JSON value"},
		{"a body that is too large", "POST", "/api/v1/agents", `{"name":"` + strings.Repeat("x", 70<<10) + `"}`, 400, "too large"},
		{"agents are listed", "GET", "/api/v1/agents", "", 200, `"name":"bot","roles":["role:dev"]`},
		{"one is shown", "GET", "/api/v1/agents/bot", "", 200, `"max_ttl":"2h0m0s"`},
		{"an unknown one is not", "GET", "/api/v1/agents/nobody", "", 404, `"code":"not_found"`},
		{"a token is minted", "POST", "/api/v1/agents/bot/token", `{"ttl":"90m"}`, 200, `"expires_in":5400`},
		{"with a usual life if none is asked for", "POST", "/api/v1/agents/bot/token", "", 200, `"expires_in":300`},
		{"and not beyond the agent's maximum", "POST", "/api/v1/agents/bot/token", `{"ttl":"3h"}`, 400, "at most 2h"},
		{"nor for nobody", "POST", "/api/v1/agents/nobody/token", "", 404, `"code":"not_found"`},
		{"an agent is revoked", "POST", "/api/v1/agents/bot/revoke", "", 200, `"status":"revoked"`},
		{"a revoked one gets no token", "POST", "/api/v1/agents/bot/token", "", 409, `"code":"revoked"`},
		{"an unknown one cannot be revoked", "POST", "/api/v1/agents/nobody/revoke", "", 404, `"code":"not_found"`},
		{"the last record", "GET", "/api/v1/records?last=1", "", 200, `{"records":[{"seq":2,"type":"changed"`},
		{"all records", "GET", "/api/v1/records", "", 200, `"next":3}`},
		{"records to come", "GET", "/api/v1/records?from=3", "", 200, `{"records":[],"next":3}`},
		{"a position that is none", "GET", "/api/v1/records?from=-1", "", 400, `"code":"invalid"`},
		{"calls are found", "GET", "/api/v1/calls?agent=bot&effect=deny", "", 200, `"call":"c1"`},
		{"and not found", "GET", "/api/v1/calls?agent=other", "", 200, "[]"},
		{"by time", "GET", "/api/v1/calls?since=1970-01-01T00:00:02Z", "", 200, "[]"},
		{"by a filter", "GET", "/api/v1/calls?filter=agent+%3D+bot+AND+outcome+%3D+denied", "", 200, `"call":"c1"`},
		{"that nothing fits", "GET", "/api/v1/calls?filter=agent+%3D+bot+AND+outcome+%3D+ok", "", 200, `{"calls":[]}`},
		{"a filter that is none", "GET", "/api/v1/calls?filter=agent+%3D+bot+AND+kind+%3D+tol", "", 400, `filter, letter 24, at \"tol\": kind is one of`},
		{"a page token that is none", "GET", "/api/v1/calls?page_token=x", "", 400, "page_token"},
		{"what led to a call", "GET", "/api/v1/calls/c1/ancestors", "", 200, `"call":"c1"`},
		{"what it led to", "GET", "/api/v1/calls/c1/descendants", "", 200, `"call":"c1"`},
		{"not of one that is none", "GET", "/api/v1/calls/c2/ancestors", "", 404, `"code":"not_found"`},
		{"who made it", "GET", "/api/v1/calls/c1/who", "", 200, `"chain":["agent:bot"]`},
		{"a timeline", "GET", "/api/v1/runs/r1/timeline", "", 200, `"run":"r1","agent":"agent:bot","calls":[{"call":"c1"`},
		{"not of a run that is none", "GET", "/api/v1/runs/r2/timeline", "", 404, `"code":"not_found"`},
		{"a sum", "GET", "/api/v1/rollup?by=agent", "", 200, `[{"by":["agent:bot"],"calls":1,"denied":1`},
		{"by what there is no sum", "GET", "/api/v1/rollup?by=colour", "", 400, "and not by"},
		{"of what there is no sum", "GET", "/api/v1/rollup?filter=token+%3D+x", "", 400, "and not by token"},
		{"what passed", "GET", "/api/v1/coverage?since=1970-01-01T00:00:00Z", "", 200, "[]"},
		{"what is unlike", "GET", "/api/v1/unlike", "", 200, "[]"},
		{"what differs", "GET", "/api/v1/diff?after=c1", "", 200, "was never allowed"},
		{"from nothing", "GET", "/api/v1/diff", "", 400, `\"after\"`},
		{"a parameter that is not known", "GET", "/api/v1/calls?agnet=bot", "", 400, "agnet"},
		{"a parameter that stands twice", "GET", "/api/v1/calls?kind=tool&kind=model", "", 400, "more than once"},
		{"a limit that is too high", "GET", "/api/v1/calls?limit=1001", "", 400, "1 to 1000"},
		{"a call is shown", "GET", "/api/v1/calls/c1", "", 200, `"outcome":"denied"`},
		{"an unknown one is not", "GET", "/api/v1/calls/c2", "", 404, `"code":"not_found"`},
		{"a chain is told by its run", "GET", "/api/v1/chains/r1", "", 200, `"edges":[]`},
		{"an unknown one is not", "GET", "/api/v1/chains/r2", "", 404, `"code":"not_found"`},
		{"servers are listed", "GET", "/api/v1/mcp/servers", "", 200, `"tools":["pay"]`},
		{"a reload says what it changed", "POST", "/api/v1/reload", "", 200, `"changes":["policy b`},
		{"a login begins", "POST", "/api/v1/mcp/servers/till/login", `{"agent":"bot","scopes":["a"]}`, 200, `"id":"l1","server":"till","holder":"agent:bot","state":"waiting","url":"https://as.example/authorize"`},
		{"for one of two", "POST", "/api/v1/mcp/servers/till/login", `{"agent":"bot","user":"ana"}`, 400, `"code":"invalid"`},
		{"not at a server that is none", "POST", "/api/v1/mcp/servers/x/login", "", 404, `"code":"not_found"`},
		{"nor at one that is away, and why is told", "POST", "/api/v1/mcp/servers/away/login", "", 503, "cannot be logged in to: no route"},
		{"a login is over", "GET", "/api/v1/mcp/logins/l1?wait=1ms", "", 200, `"state":"done"`},
		{"a login that is none", "GET", "/api/v1/mcp/logins/l2", "", 404, `"code":"not_found"`},
		{"a wait that is too long", "GET", "/api/v1/mcp/logins/l1?wait=1h", "", 400, "at most 30s"},
		{"logins are listed", "GET", "/api/v1/mcp/logins", "", 200, `[{"id":"","server":"till"`},
		{"all logins end", "POST", "/api/v1/mcp/servers/till/logout", `{"all":true}`, 200, `{"ended":3}`},
		{"but not all and one", "POST", "/api/v1/mcp/servers/till/logout", `{"all":true,"user":"ana"}`, 400, `"code":"invalid"`},
		{"nor where there are none", "POST", "/api/v1/mcp/servers/till/logout", "", 400, "no logins"},
		{"another method", "DELETE", "/api/v1/agents/bot", "", 404, "docs/api.md"},
		{"another path", "GET", "/", "", 404, `"code":"not_found"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, text := d.ask(test.method, test.path, test.body, nil)
			if status != test.status || !strings.Contains(text, test.want) {
				t.Errorf("got %d %s\nwant %d %s", status, text, test.status, test.want)
			}
			if !json.Valid([]byte(text)) {
				t.Errorf("not JSON: %s", text)
			}
		})
	}
}

func TestWhoWaitsForRecordsGetsThemAsTheyCome(t *testing.T) {
	d := newDesk(t)
	got := make(chan string)
	go func() {
		_, text := d.ask("GET", "/api/v1/records?from=1&wait=30s", "", nil)
		got <- text
	}()
	d.append(&audit.Record{Type: audit.Changed, At: 1, What: "gate.started", By: "system"})
	select {
	case text := <-got:
		if !strings.Contains(text, "gate.started") {
			t.Errorf("got %s", text)
		}
	case <-time.After(20 * time.Second):
		t.Error("no answer although there is a record")
	}
}

func TestWhoWaitsAndGoesAwayHarmsNobody(t *testing.T) {
	d := newDesk(t)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	status, text := d.ask("GET", "/api/v1/records?wait=30s", "", func(r *http.Request) { *r = *r.WithContext(gone) })
	if status != 200 || !strings.Contains(text, `"records":[]`) {
		t.Errorf("got %d %s", status, text)
	}
}

type mistakes []string

func (m mistakes) Error() string   { return strings.Join(m, "\n") }
func (m mistakes) Lines() []string { return m }

func TestAReloadThatIsRefusedTellsEachMistake(t *testing.T) {
	d := newDesk(t)
	d.reload = mistakes{"callgate.yaml:1:1: one", "policy.csv:2: two"}
	if status, text := d.ask("POST", "/api/v1/reload", "", nil); status != 422 || !strings.Contains(text, `"details":["callgate.yaml:1:1: one","policy.csv:2: two"]`) {
		t.Errorf("got %d %s", status, text)
	}
	d.reload = errors.New("the disk is full")
	if status, text := d.ask("POST", "/api/v1/reload", "", nil); status != 500 || !strings.Contains(text, "the disk is full") {
		t.Errorf("got %d %s", status, text)
	}
}

func TestRecordsThatCannotBeReadAreAGapAndNotTheEnd(t *testing.T) {
	d := newDesk(t)
	for range 2 { // each in a batch of its own
		r := audit.Record{Type: audit.Changed, At: 1, What: "gate.started"}
		if err := d.ledger.Append(&r).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	head := d.ledger.Head()
	files, _ := filepath.Glob(filepath.Join(d.dir, "ledger", "*.seg"))
	doc, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	doc[bytes.LastIndex(doc, []byte("cgbatch"))+110]++
	if err := os.WriteFile(files[0], doc, 0o600); err != nil {
		t.Fatal(err)
	}
	status, text := d.ask("GET", fmt.Sprintf("/api/v1/records?from=%d", head-1), "", nil)
	want := fmt.Sprintf(`"next":%d,"gaps":[{"first":%d,"last":%d,"reason":"`, head+1, head, head)
	if status != 200 || !strings.Contains(text, `"what":"gate.started"`) || !strings.Contains(text, want) {
		t.Errorf("got %d %s, want %s", status, text, want)
	}
}

func TestReadinessNeedsNoTokenAndGivesReasons(t *testing.T) {
	d := newDesk(t)
	anyone := func(r *http.Request) { r.Header.Del("Authorization") }
	if status, text := d.ask("GET", "/readyz", "", anyone); status != 200 || !strings.Contains(text, `"index_lag":2`) {
		t.Errorf("got %d %s", status, text)
	}
	if _, text := d.ask("GET", "/readyz", "", anyone); strings.Contains(text, `"reach"`) || !strings.Contains(text, `"state"`) {
		t.Errorf("tells more of servers than their state: %s", text)
	}
	d.reasons = []string{"calls cannot be put on record: disk full"}
	if status, text := d.ask("GET", "/readyz", "", anyone); status != 503 || !strings.Contains(text, "disk full") {
		t.Errorf("got %d %s", status, text)
	}
}
