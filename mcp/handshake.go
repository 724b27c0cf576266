package mcp

import (
	"context"
	"strings"

	"callgate/firewall"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
)

// greeting is what callgate says of itself, or of the one server that is asked
// for, when a client begins.
type greeting struct {
	holding
	server       string // JSON
	instructions string
}

// greet gathers what the caller's servers have and callgate carries.
func (v *visit) greet(ctx context.Context) (greeting, error) {
	if v.only != nil {
		ctx, cancel := context.WithTimeout(ctx, singleWait)
		defer cancel()
		info, err := v.only.InfoFor(ctx, v.client(v.only))
		if err != nil {
			return greeting{}, late(ctx, v.only, err)
		}
		g := greeting{holding: v.has(info), server: string(info.ServerInfo), instructions: info.Instructions}
		if doc := parsed(info.ServerInfo); !doc.Get("name").Exists() || !doc.Get("version").Exists() {
			g.server = `{"name":` + quoted(v.name) + `,"version":"unknown"}`
		}
		return g, nil
	}
	g := greeting{server: `{"name":"callgate","version":` + quoted(v.cfg.Version) + `}`}
	var said []string
	for _, a := range v.holdings(ctx) {
		h := a.val
		g.tools, g.prompts, g.resources = g.tools || h.tools, g.prompts || h.prompts, g.resources || h.resources
		g.completions, g.logging, g.subscribe = g.completions || h.completions, g.logging || h.logging, g.subscribe || h.subscribe
		g.tasks, g.taskList, g.taskCancel = g.tasks || h.tasks, g.taskList || h.taskList, g.taskCancel || h.taskCancel
		if h.info.Instructions != "" && h.any() {
			said = append(said, a.server.Name()+": "+h.info.Instructions)
		}
	}
	g.toolsTold, g.promptsTold, g.resTold = g.tools, g.prompts, g.resources // servers come and go
	g.instructions = strings.Join(said, "\n\n")
	return g, nil
}

// write adds the members that initialize and server/discover have in common.
func (g *greeting) write(doc []byte, modern bool) []byte {
	doc = append(doc, `"capabilities":`...)
	all := []byte{'{'}
	add := func(name string, has bool, can ...string) {
		if !has {
			return
		}
		of := []byte{'{'}
		for _, c := range can {
			if c != "" {
				of = appendMember(of, `"`+c+`"`, "true")
			}
		}
		all = appendMember(all, `"`+name+`"`, string(append(of, '}')))
	}
	add("tools", g.tools, when(g.toolsTold, "listChanged"))
	add("prompts", g.prompts, when(g.promptsTold, "listChanged"))
	add("resources", g.resources, when(g.subscribe, "subscribe"), when(g.resTold, "listChanged"))
	add("completions", g.completions)
	add("logging", g.logging)
	switch {
	case g.tasks && modern:
		all = appendMember(all, `"extensions"`, `{"`+tasksExtension+`":{}}`)
	case g.tasks:
		of := []byte{'{'}
		if g.taskList {
			of = appendMember(of, `"list"`, `{}`)
		}
		if g.taskCancel {
			of = appendMember(of, `"cancel"`, `{}`)
		}
		all = appendMember(all, `"tasks"`, string(appendMember(of, `"requests"`, `{"tools":{"call":{}}}`))+"}")
	}
	doc = append(append(doc, all...), '}')
	if g.instructions != "" {
		doc = append(append(doc, `,"instructions":`...), quoted(g.instructions)...)
	}
	return doc
}

func when(so bool, word string) string {
	if so {
		return word
	}
	return ""
}

// initialize begins a session with a legacy client.
func (v *visit) initialize(ctx context.Context, call *firewall.Call) ([]byte, error) {
	version := parsed(call.Body.JSON).Get("protocolVersion").String()
	if version == "" {
		return nil, firewall.Refuse(firewall.Invalid, "params.protocolVersion is missing")
	}
	if !speaks(version) {
		version = mcpgo.ProtocolVersion20251125 // the client decides whether it speaks that
	}
	g, err := v.greet(ctx)
	if err != nil {
		return nil, err
	}
	g.tasks = g.tasks && version >= mcpgo.ProtocolVersion20251125
	said := parsed(call.Body.JSON).Get("capabilities").Raw
	if able(said, true, false) == "" {
		said = ""
	}
	if v.session != nil { // HTTP+SSE begins with it
		v.sessions.greet(v.session, version, strings.Clone(said))
	} else if v.session, err = v.sessions.open(&call.Caller, v.route, version, strings.Clone(said)); err != nil {
		return nil, err
	}
	call.Hints.Session = v.session.id
	doc := append([]byte(nil), `{"protocolVersion":"`+version+`","serverInfo":`+g.server+`,`...)
	return append(g.write(doc, false), '}'), nil
}

// discover tells a modern client what there is.
func (v *visit) discover(ctx context.Context, _ *firewall.Call) ([]byte, error) {
	g, err := v.greet(ctx)
	if err != nil {
		return nil, err
	}
	doc := append([]byte(nil), `{"supportedVersions":`+quotedList(versions())+`,"_meta":{"`+metaServer+`":`+g.server+`},`...)
	return append(g.write(doc, true), '}'), nil
}

// setLevel notes which log messages a legacy client wants, and tells its servers.
// What servers send beyond it is not passed on.
func (v *visit) setLevel(ctx context.Context, call *firewall.Call) ([]byte, error) {
	level := parsed(call.Body.JSON).Get("level").String()
	if severity(level) < 0 {
		return nil, firewall.Refuse(firewall.Invalid, "params.level must be one of %s", strings.Join(severities[:], ", "))
	}
	v.sessions.setLevel(v.session, level)
	each(ctx, v, v.servers(), func(ctx context.Context, s *Server) (struct{}, error) {
		info, err := s.InfoFor(ctx, v.client(s))
		if err != nil || info.Modern || !info.has("logging") { // a modern one is told with each request
			return struct{}{}, err
		}
		tell := level
		if s.cfg.URL == "" && severity(level) > severity("info") {
			tell = "info" // a process serves all clients: none may silence it for others
		}
		req := Request{Method: call.Method, Params: []byte(`{"level":"` + tell + `"}`)}
		for _, err := range s.Do(ctx, v.client(s), req) {
			if err != nil { // that server's logs are filtered all the same
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	return []byte(`{}`), nil
}
