package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"callgate/cmd/callgate/internal/console"
	"callgate/firewall/policy"
	"callgate/mcp"
	"callgate/providers"
)

// checkSandbox makes one, and says whom it matters to if that does not work.
func checkSandbox(ctx context.Context, x *patient) []symptom {
	err := mcp.TrySandbox(ctx)
	if err == nil {
		return well(nil, "bubblewrap makes one")
	}
	f := symptom{State: skipped, What: fmt.Sprintf("no server asks for one; %v", err)}
	for _, name := range x.servers() {
		s := x.cfg.MCP.Servers[name]
		switch c := s.Process.confinement(); {
		case !s.Process.boxed():
		case c.Sandbox == mcp.SandboxRequired, c.Offline, len(c.Readable)+len(c.Writable) > 0:
			return []symptom{{State: failed, What: fmt.Sprintf("server %s does not start without one: %v", name, err), Why: "what its process asks for cannot be kept"}}
		default:
			f = symptom{State: warning, What: fmt.Sprintf("server %s runs without one: %v", name, err), Why: "it sees all that callgate's user sees"}
		}
	}
	return []symptom{f}
}

func (x *patient) servers() []string { return slices.Sorted(maps.Keys(x.cfg.MCP.Servers)) }

// checkProcesses tries what each server that is a program needs to start, and looks
// at what it may see.
func checkProcesses(ctx context.Context, x *patient) []symptom {
	if x.wrong != nil {
		return []symptom{{State: skipped, What: "the configuration has mistakes"}}
	}
	var list []symptom
	for _, name := range x.servers() {
		cfg := x.cfg.reached(name, slog.New(slog.DiscardHandler), unlent)
		if len(cfg.Command) == 0 {
			continue
		}
		check, before := "process "+name, len(list)
		for _, o := range cfg.Try(ctx) {
			state := warning
			if o.Grave {
				state = failed
			}
			list = append(list, symptom{Check: check, State: state, What: o.What, Mend: o.Mend})
		}
		list = append(list, x.exposed(check, &cfg)...)
		if len(list) == before {
			list = append(list, symptom{Check: check, State: fine, What: cfg.Command[0] + " can be started"})
		}
	}
	return well(list, "no server is a program")
}

// exposed says what a server's process may see that it should not.
func (x *patient) exposed(check string, cfg *mcp.ServerConfig) []symptom {
	var list []symptom
	data := absolute([]Folder{x.cfg.Data})[0]
	c := &cfg.Confine
	for _, path := range slices.Concat(c.Readable, c.Writable) {
		if strings.HasPrefix(data+"/", path+"/") {
			list = append(list, symptom{Check: check, State: failed, What: fmt.Sprintf("callgate's data folder %s is in %s, which process shows the server", data, path), Why: "it is hidden there, and one renamed folder away from being shown", Mend: "name a smaller folder, or move data"})
		}
	}
	boxed := c.Sandbox != "" && c.Sandbox != mcp.SandboxOff
	if !boxed && c.User == "" {
		list = append(list, symptom{Check: check, State: warning, What: "it runs as callgate's own user, in no sandbox", Why: "it can read the keys, the admin's token and the record, and change them", Mend: "write process.user (callgate is root then) or process.sandbox: required"})
	}
	if boxed && c.User == "" && os.Getuid() == 0 && len(c.Readable) == 0 {
		list = append(list, symptom{Check: check, State: warning, What: "it runs as root in a sandbox that shows the machine", Why: "it can read all of it but for homes and what is known to be secret", Mend: "write process.user, or name what it needs in process.readable"})
	}
	return list
}

// checkPolicy looks for rows that do not do what they seem to.
func checkPolicy(_ context.Context, x *patient) []symptom {
	if len(x.cfg.Policy) == 0 {
		return []symptom{{State: warning, What: "no files: a gate without a policy denies everything", Mend: "write one, and name it with policy (docs/policy.md)"}}
	}
	known := policy.Known{Servers: x.servers(), Providers: slices.Sorted(maps.Keys(x.cfg.Providers)), Tools: make(map[string][]string)}
	if objects, err := x.program.schemas(filepath.Join(string(x.cfg.Data), toolbookFile)); err == nil { // else nothing was listed yet
		for object := range objects {
			server, tool, _ := strings.Cut(strings.TrimPrefix(object, "tool:"), "/")
			known.Tools[server] = append(known.Tools[server], tool)
		}
	}
	var list []symptom
	for _, problem := range policy.Check(x.cfg.sources()...) {
		list = append(list, symptom{State: warning, What: problem.String()})
	}
	for _, problem := range policy.CheckNames(known, x.cfg.sources()...) {
		list = append(list, symptom{State: warning, What: problem.String(), Why: "a deny of what does not exist denies nothing; an allow is taken by who gets the name", Mend: "write the name as callgate mcp list has it, or take the row out"})
	}
	return well(list, "no warnings")
}

// checkGate asks the gate that runs, if one does.
func checkGate(ctx context.Context, x *patient) []symptom {
	if x.gate == nil {
		return []symptom{{State: skipped, What: x.absent.Error()}}
	}
	var servers []console.Server
	if err := x.gate.call(ctx, http.MethodGet, "/mcp/servers", nil, &servers); err != nil {
		return []symptom{{State: failed, What: err.Error()}}
	}
	list := []symptom{{State: fine, What: "answers at " + x.gate.base}}
	for _, s := range servers {
		f := symptom{Check: "server " + s.Name, State: fine, What: fmt.Sprintf("MCP %s, tools: %d", s.Version, len(s.Tools))}
		if s.State != "ready" {
			f.State, f.What, f.Mend = failed, s.Error, "see the gate's log for what the server said"
		}
		list = append(list, f)
	}
	var models []providers.State
	if err := x.gate.call(ctx, http.MethodGet, "/providers", nil, &models); err != nil {
		return append(list, symptom{State: failed, What: err.Error()})
	}
	for _, m := range models {
		list = append(list, sick(&m)...)
	}
	return list
}

// sick says what is the matter with a provider and its keys.
func sick(m *providers.State) []symptom {
	var list []symptom
	check := "provider " + m.Name
	if m.Resting {
		list = append(list, symptom{Check: check, State: warning, What: "it failed five times in a row, and rests", Why: "calls that can go elsewhere do", Mend: "see the gate's log for how it fails"})
	}
	for _, k := range m.Keys {
		of := ""
		if k.Model != "" {
			of = " for model " + k.Model
		}
		switch k.State {
		case "dead":
			list = append(list, symptom{Check: check, State: warning, What: fmt.Sprintf("its key %s is refused%s: HTTP %d", k.Name, of, k.Status), Why: "it is not used until " + local(k.Until) + ", where there is another one", Mend: "put a key there that the provider takes, or pay its bill"})
		case "hot":
			list = append(list, symptom{Check: check, State: warning, What: fmt.Sprintf("its key %s is used too much%s", k.Name, of), Why: "it rests until " + local(k.Until) + ", where there is another one", Mend: "add a key under api_key, or have the vendor raise its limits"})
		}
	}
	return well(list, "its keys are taken, as far as they were used: %d", len(m.Keys))
}
