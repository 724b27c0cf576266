// Package console is the gate's side for people: the admin API that the commands
// speak. docs/api.md tells its endpoints. It is served on a listener of its own,
// never on the agents'.
package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"callgate/audit"
	"callgate/cmd/callgate/internal/store"
	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/identity"
	"callgate/mcp"
	"callgate/providers"
)

// Config is what a Console needs. All fields are required.
type Config struct {
	Token     identity.Secret // of the admin
	Registry  *identity.Registry
	Authority *identity.Authority
	Secrets   *identity.Vault
	Revoked   *identity.Revocations
	Ledger    *audit.Ledger
	Index     *store.Index
	Payloads  *audit.Payloads
	Sealer    *audit.Sealer
	Holds     *audit.Holds
	Record    func(what, by, name, state string) error               // a change of state
	Lineage   func(ctx context.Context, id string) (*Lineage, error) // of a call; nil if there is none
	Flows     func(ctx context.Context, from, to string, since time.Time) (*Flows, error)
	Travels   func(ctx context.Context, value string, since time.Time) (*Travels, error)
	Expected  func(agent string) []Expectation // of agents; of all where none is named
	Policies  *policy.Versions
	Approvals *firewall.Approvals
	Approve   func(ctx context.Context, id string, v firewall.Vote) (firewall.Approval, error)
	Pins      func(ctx context.Context, server string) ([]mcp.Pin, error) // what servers are held to, once they were asked what they say now
	Accept    func(ctx context.Context, a mcp.Acceptance) (mcp.Pin, error)
	Reload    func(ctx context.Context) (Reloaded, error) // an error that is a Refusal tells each mistake
	Servers   func(ctx context.Context) []Server          // state of the MCP servers
	Providers func() []providers.State                    // of models
	Status    func(ctx context.Context) Status            // state of the gate

	BeginLogin func(ctx context.Context, server string, n NewLogin) (Login, error) // at an MCP server; the error is a firewall.Error
	Login      func(ctx context.Context, id string) (Login, bool)                  // when it is over, or ctx ends
	Logins     func() []Login                                                      // those that are good for something
	EndLogin   func(ctx context.Context, server string, n OldLogin) (int, error)   // how many it ended
}

// A Refusal is a configuration that was not taken, and each thing that is wrong
// with it.
type Refusal interface {
	error
	Lines() []string
}

// A Console serves the admin API. It is used by many goroutines at once.
type Console struct{ cfg Config }

// New returns a Console.
func New(cfg Config) *Console { return &Console{cfg} }

// Handler is the admin API under /api/v1, and /readyz, which needs no token.
func (c *Console) Handler() http.Handler {
	api := http.NewServeMux()
	for pattern, handle := range map[string]http.HandlerFunc{
		"GET /api/v1/status":                       c.status,
		"GET /api/v1/agents":                       c.agents,
		"POST /api/v1/agents":                      c.createAgent,
		"GET /api/v1/agents/{name}":                c.agent,
		"PATCH /api/v1/agents/{name}":              c.changeAgent,
		"POST /api/v1/agents/{name}/suspend":       c.step(c.cfg.Registry.Suspend),
		"POST /api/v1/agents/{name}/resume":        c.step(c.cfg.Registry.Resume),
		"POST /api/v1/agents/{name}/retire":        c.step(c.cfg.Registry.Retire),
		"POST /api/v1/agents/{name}/rotate":        c.rotateAgent,
		"GET /api/v1/identity/reuse":               c.reuse,
		"GET /api/v1/users":                        c.users,
		"GET /api/v1/users/{name}":                 c.user,
		"POST /api/v1/users/{name}/suspend":        c.stepUser(c.cfg.Registry.SuspendUser),
		"POST /api/v1/users/{name}/resume":         c.stepUser(c.cfg.Registry.ResumeUser),
		"POST /api/v1/users/{name}/offboard":       c.offboard,
		"GET /api/v1/groups":                       c.groups,
		"POST /api/v1/agents/{name}/revoke":        c.revokeAgent,
		"POST /api/v1/agents/{name}/token":         c.mintToken,
		"GET /api/v1/secrets":                      c.secrets,
		"POST /api/v1/secrets":                     c.putSecret,
		"GET /api/v1/secrets/{name}":               c.secret,
		"POST /api/v1/secrets/{name}/rotate":       c.rotateSecret,
		"POST /api/v1/secrets/{name}/scope":        c.scopeSecret,
		"DELETE /api/v1/secrets/{name}":            c.removeSecret,
		"GET /api/v1/keys":                         c.signingKeys,
		"POST /api/v1/keys/rotate":                 c.rotateKeys,
		"DELETE /api/v1/keys/{kid}":                c.dropKey,
		"GET /api/v1/revocations":                  c.revocations,
		"POST /api/v1/revocations":                 c.revoke,
		"DELETE /api/v1/revocations":               c.restore,
		"GET /api/v1/calls":                        c.ask("calls", callParameters, c.calls),
		"GET /api/v1/calls/{id}":                   c.ask("call", nil, c.call),
		"GET /api/v1/calls/{id}/ancestors":         c.ask("ancestors", nil, chainOf(c.cfg.Index.Ancestors)),
		"GET /api/v1/calls/{id}/descendants":       c.ask("descendants", nil, chainOf(c.cfg.Index.Descendants)),
		"GET /api/v1/calls/{id}/who":               c.ask("who", nil, c.who),
		"GET /api/v1/runs/{run}/timeline":          c.ask("timeline", []string{"limit", "page_token"}, c.timeline),
		"GET /api/v1/rollup":                       c.ask("rollup", []string{"by", "filter", "since", "until", "limit"}, c.rollup),
		"GET /api/v1/coverage":                     c.ask("coverage", []string{"agent", "since", "until"}, c.coverage),
		"GET /api/v1/unlike":                       c.ask("unlike", []string{"agent", "since", "until", "limit"}, c.unlike),
		"GET /api/v1/holds":                        c.holds,
		"POST /api/v1/holds":                       c.hold,
		"DELETE /api/v1/holds":                     c.release,
		"GET /api/v1/drift":                        c.ask("drift", []string{"agent", "run", "since", "until", "limit"}, c.drift),
		"GET /api/v1/drift/expected":               c.expected,
		"GET /api/v1/diff":                         c.ask("diff", []string{"after", "before"}, c.diff),
		"GET /api/v1/calls/{id}/request":           c.payload(func(call *audit.Call) *audit.Payload { return call.Asks }),
		"GET /api/v1/calls/{id}/reply":             c.payload(func(call *audit.Call) *audit.Payload { return call.Got }),
		"GET /checkpoint":                          c.checkpoint,
		"GET /tile/{level}/{rest...}":              c.tile,
		"GET /api/v1/calls/{id}/lineage":           c.lineage,
		"POST /api/v1/travels":                     c.travels,
		"GET /api/v1/flows":                        c.flows,
		"POST /api/v1/payloads/erase":              c.erase,
		"GET /api/v1/spends":                       c.ask("spends", []string{"by", "agent", "since", "until"}, c.spends),
		"GET /api/v1/chains/{id}":                  c.ask("chain", nil, chainOf(c.cfg.Index.Chain)),
		"GET /api/v1/records":                      c.records,
		"GET /api/v1/mcp/servers":                  c.servers,
		"GET /api/v1/providers":                    c.providers,
		"GET /api/v1/mcp/pins":                     c.pins,
		"POST /api/v1/mcp/pins":                    c.accept,
		"POST /api/v1/mcp/servers/{name}/login":    c.beginLogin,
		"POST /api/v1/mcp/servers/{name}/logout":   c.endLogin,
		"GET /api/v1/mcp/logins":                   c.logins,
		"GET /api/v1/mcp/logins/{id}":              c.login,
		"GET /api/v1/policies":                     c.policies,
		"POST /api/v1/policies":                    c.addPolicy,
		"GET /api/v1/policies/{version}":           c.policy,
		"POST /api/v1/policies/{version}/activate": c.activate,
		"POST /api/v1/policies/{version}/shadow":   c.rehearse,
		"POST /api/v1/policies/rollback":           c.rollback,
		"DELETE /api/v1/policies/shadow":           c.endRehearsal,
		"GET /api/v1/approvals":                    c.approvals,
		"GET /api/v1/approvals/{id}":               c.approval,
		"POST /api/v1/approvals/{id}":              c.decide,
		"POST /api/v1/reload":                      c.reload,
	} {
		api.HandleFunc(pattern, handle)
	}
	api.Handle("GET /metrics", c.metrics())
	api.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "not_found", "there is no %s %s in the admin API; docs/api.md lists what there is", r.Method, r.URL.Path)
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", c.ready)
	mux.Handle("/", c.guard(api))
	return forHere(mux)
}

func (c *Console) status(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, c.cfg.Status(r.Context()))
}

// ready tells a load balancer whether to send agents here. It says nothing that
// needs a token.
func (c *Console) ready(w http.ResponseWriter, r *http.Request) {
	s := c.cfg.Status(r.Context())
	code := http.StatusOK
	if !s.Ready {
		code = http.StatusServiceUnavailable
	}
	type server struct { // and no more: nobody has shown a token
		Name  string `json:"name"`
		State string `json:"state"`
	}
	servers := make([]server, len(s.Servers))
	for i, x := range s.Servers {
		servers[i] = server{x.Name, x.State}
	}
	answer(w, code, struct {
		Ready   bool     `json:"ready"`
		Reasons []string `json:"reasons,omitempty"`
		Policy  string   `json:"policy"`
		Window  string   `json:"audit_window,omitempty"` // that records of what only reads may be lost of
		Lag     uint64   `json:"index_lag"`              // records that are not in the index yet
		Servers []server `json:"mcp_servers,omitempty"`
	}{s.Ready, s.Reasons, s.Policy, s.Window, s.Head - min(s.Head, s.Indexed), servers})
}

func (c *Console) servers(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, c.cfg.Servers(r.Context()))
}

func (c *Console) providers(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, c.cfg.Providers())
}

func (c *Console) reload(w http.ResponseWriter, r *http.Request) {
	var nothing struct{}
	if !read(w, r, &nothing) {
		return
	}
	done, err := c.cfg.Reload(r.Context())
	var refusal Refusal
	switch {
	case errors.As(err, &refusal):
		answer(w, http.StatusUnprocessableEntity, map[string]Failure{"error": {
			Code: "invalid", Message: "nothing was changed: the new configuration has mistakes", Details: refusal.Lines()}})
	case err != nil:
		refuse(w, http.StatusInternalServerError, "internal", "nothing was changed: %v", err)
	default:
		answer(w, http.StatusOK, done)
	}
}
