package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"callgate/cmd/callgate/internal/console"
	"callgate/mcp"
)

const (
	askTimeout  = 5 * time.Second        // for a server to say what it has
	peekTimeout = 200 * time.Millisecond // for it to say that it is there
)

// status is the state of the gate. Ready means that calls can be decided and put
// on record; a server that does not answer harms only the calls to it.
func (h *house) status(ctx context.Context) console.Status {
	h.mu.Lock()
	cfg, told := h.cfg, h.exports.states()
	h.mu.Unlock()
	standing := h.versions.Standing()
	s := console.Status{
		Version: thisVersion().Version, Started: h.started.UTC(), PublicURL: string(h.public), Config: cfg.file, Policy: standing.Active.Digest(), PolicyVersion: standing.Version, PolicyBy: standing.By,
		Agents: h.registry.Count(), Providers: slices.Sorted(maps.Keys(cfg.Providers)),
		Head: h.ledger.Head(), Indexed: h.index.Indexed(), Exports: told, Ready: true,
	}
	if cfg.Audit.Window > 0 {
		s.Window = cfg.Audit.Window.String()
	}
	s.Checked, s.Differed = h.shadow.Counts()
	s.Engine = "index"
	if decided, yes := standing.Active.ByCasbin(); yes {
		s.Engine, s.ByCasbin = "casbin", decided
	}
	if r := h.rehearsal.Load(); r != nil {
		s.Candidate = standing.Candidate
		s.Rehearsed, s.Otherwise = r.Counts()
	}
	if standing.Broken != nil {
		s.Ready, s.Reasons = false, append(s.Reasons, "the policy cannot be loaded, so that every call is denied: "+standing.Broken.Error())
	}
	if err := h.ledger.Ready(); err != nil {
		s.Ready, s.Reasons = false, append(s.Reasons, "calls cannot be put on record: "+err.Error())
	}
	s.Servers = h.ask(ctx, peekTimeout, false)
	return s
}

// states is what each MCP server says of itself.
func (h *house) states(ctx context.Context) []console.Server { return h.ask(ctx, askTimeout, true) }

// ask asks all servers at once.
func (h *house) ask(ctx context.Context, timeout time.Duration, tools bool) []console.Server {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	h.mu.Lock()
	servers, specs := h.servers, h.cfg.MCP.Servers
	h.mu.Unlock()
	names := slices.Sorted(maps.Keys(servers))
	states := make([]console.Server, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		spec := specs[name]
		states[i] = console.Server{
			Name: name, Reach: string(spec.URL), Identity: "server:" + name, Owner: ownerOf(spec.Owner), Purpose: spec.Purpose, Credential: spec.credential(),
		}
		if len(spec.Command) > 0 {
			states[i].Reach = spec.Command[0]
		}
		all.Go(func() { say(ctx, &states[i], servers[name], tools) })
	}
	all.Wait()
	return states
}

// say fills in what the server answers until ctx ends.
func say(ctx context.Context, state *console.Server, server *mcp.Server, tools bool) {
	load := server.Load() // before this adds to it
	state.Breaker, state.InFlight, state.Waiting = load.Breaker, load.InFlight, load.Waiting
	state.Restarts = load.Restarts
	if !load.Seen.IsZero() {
		seen := load.Seen.UTC()
		state.LastSeen = &seen
	}
	info, err := server.Info(ctx)
	if err == nil {
		err = server.Down()
	}
	if err == nil && tools {
		var list []mcp.Definition
		list, err = server.List(ctx, nil, "tools/list")
		for _, d := range list {
			if d.Held != "" {
				state.Held = append(state.Held, d.Name)
				continue
			}
			state.Tools = append(state.Tools, d.Name)
			if state.Labels == nil {
				state.Labels = make(map[string]console.ToolLabels)
			}
			state.Labels[d.Name] = labels(server.Labelling(&d))
		}
	}
	state.State, state.Version = "ready", info.Version
	if err != nil {
		state.State, state.Error = "unavailable", err.Error()
	}
}

// credential is the kind of what callgate shows the server of itself.
func (s *Server) credential() string {
	secret := func(values map[string]Value) bool {
		for name, v := range values {
			if v.Ref != "" || secretive.MatchString(name) {
				return true
			}
		}
		return false
	}
	switch {
	case s.OAuth.given:
		return "oauth " + cmp.Or(s.OAuth.Grant, mcp.GrantCode) + " per " + cmp.Or(s.OAuth.Per, mcp.PerGate)
	case secret(s.Headers):
		return "headers"
	case secret(s.Env):
		return "environment"
	}
	return "none"
}

// ownerOf is an owner as the registry writes it.
func ownerOf(s string) string {
	if s != "" && !strings.Contains(s, ":") {
		return "user:" + s
	}
	return s
}
