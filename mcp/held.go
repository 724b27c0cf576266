package mcp

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"callgate/firewall"
)

// pinned is what the pins of a server say of its own description of itself.
type pinned struct {
	forgot  atomic.Uint64 // how often it was to be asked again
	cleared atomic.Pointer[clearance]
}

// clearance is what clients may have of an Info.
type clearance struct {
	of     *Info
	info   Info
	forgot uint64
}

// judge has the server's pins judge a list that has just arrived.
func (s *Server) judge(ctx context.Context, client *Client, info *Info, which list, l *listing) error {
	if s.cfg.Pins == nil {
		return nil
	}
	if _, err := s.clear(ctx, info); err != nil { // first, so that what a server says later is later
		return err
	}
	return s.unpinned(s.cfg.Pins.judge(ctx, bookKey{s.Name(), viewOf(client), pinKind(which)}, l.defs))
}

// viewOf is the view that a client has of servers: which of the capabilities it has
// by which servers choose what they list. It is one of few, whatever clients say.
func viewOf(client *Client) string {
	if client == nil {
		return ""
	}
	can := parsed([]byte(client.Can))
	var view []string
	for _, name := range [...]string{"elicitation", "extensions", "roots", "sampling"} {
		if can.Get(name).Exists() {
			view = append(view, name)
		}
	}
	return strings.Join(view, " ")
}

// unpinned says that nothing can be said of what a server lists.
func (s *Server) unpinned(err error) error {
	if err == nil {
		return nil
	}
	return s.unavailable("cannot be held to its definitions now, so that nothing of it is used: try again soon", err)
}

// cleared is info as clients may have it.
func (s *Server) cleared(ctx context.Context, info *Info) Info {
	c, err := s.clear(ctx, info)
	if err != nil {
		s.cfg.Logger.ErrorContext(ctx, "what a server says of itself is left out", "error", err)
	}
	return c
}

// clear is info without instructions that are withheld, and without what a server
// says of its own name where something is hidden in it. With an error nothing of
// both is in it.
func (s *Server) clear(ctx context.Context, info *Info) (Info, error) {
	forgot := s.pins.forgot.Load()
	if c := s.pins.cleared.Load(); c != nil && c.of == info && c.forgot == forgot {
		return c.info, nil
	}
	c := &clearance{info, *info, forgot}
	pins := s.cfg.Pins
	if pins == nil {
		return c.info, nil
	}
	c.info.Instructions, c.info.ServerInfo = "", []byte("{}")
	said := []Definition{{Raw: []byte(info.Instructions)}}
	if err := pins.judge(ctx, bookKey{s.Name(), "", PinInstructions}, said); err != nil {
		return c.info, s.unpinned(err)
	}
	for kind, capability := range map[string]string{PinTool: "tools", PinPrompt: "prompts", PinTemplate: "resources"} {
		if !info.has(capability) { // what it lists later was not there at first
			if err := pins.judge(ctx, bookKey{s.Name(), "", kind}, nil); err != nil {
				return c.info, s.unpinned(err)
			}
		}
	}
	if said[0].Held == "" {
		c.info.Instructions = info.Instructions
	}
	if pins.open(s.Name()) || !slices.ContainsFunc(scan(PinTool, string(info.ServerInfo), nil), func(f Finding) bool { return f.Grade == High }) {
		c.info.ServerInfo = info.ServerInfo
	}
	s.pins.cleared.Store(c)
	return c.info, nil
}

// Forget drops what is known of the server's lists, so that they are asked for, and
// judged, again.
func (s *Server) Forget() {
	s.pins.forgot.Add(1)
	for _, name := range changes {
		s.lists.forget(name)
	}
}

// usableOf is definitions without those that are withheld.
func usableOf(defs []Definition) []Definition {
	if !slices.ContainsFunc(defs, func(d Definition) bool { return d.Held != "" }) {
		return defs
	}
	return slices.DeleteFunc(slices.Clone(defs), func(d Definition) bool { return d.Held != "" })
}

// find looks up what is to be called, once, and refuses what is withheld and, where
// the server is held to its definitions, what is not known. A server hears nothing of
// a call that the policy denies anyway; should the policy change its mind before the
// gate asks it, the call ends all the same.
func (p *passage) find(ctx context.Context, call *firewall.Call) *fault {
	if p.barred = p.gate.May(&p.caller, call.Kind, call.Target, call.Resource) == firewall.No; p.barred {
		return nil
	}
	pins := p.to.cfg.Pins
	pinned, wait := pins != nil && !pins.open(p.to.Name()), singleWait // nothing else waits with it
	if !pinned {
		if call.Kind != firewall.Tool {
			return nil
		}
		wait = p.cfg.Wait
	}
	var err error
	if call.Kind == firewall.Resource {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		err = late(ctx, p.to, p.to.allowsURI(ctx, p.client, call.Resource))
	} else {
		p.def, err = p.defined(ctx, call, wait)
	}
	if err == nil || p.def == nil && !pinned {
		return nil
	}
	return p.fault(err, call.Method)
}

// defined is the definition of what is to be called, and why that must not be. It
// waits only where the server must be asked.
func (p *passage) defined(ctx context.Context, call *firewall.Call, wait time.Duration) (*Definition, error) {
	method := call.Kind.String() + "s/list"
	l := p.to.believed(p.client, method)
	if l == nil {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		var err error
		if l, err = p.to.listed(ctx, p.client, method); err != nil {
			return nil, late(ctx, p.to, err)
		}
	}
	i, ok := l.byName[call.Resource]
	if !ok {
		return nil, firewall.Refuse(firewall.NotFound, "server %s does not list %s %q: use a name of its list", p.to.Name(), call.Kind, clip(call.Resource))
	}
	d := &l.defs[i]
	if d.Held != "" {
		return d, refusal(d.Held)
	}
	return d, nil
}

func errBarred() error {
	return firewall.Refuse(firewall.Unavailable, "the policy changed while the call was judged: try again")
}

// allowsURI says why a resource must not be read: it is withheld itself, or comes
// only of templates that are. Resources that a server does not list come and go,
// and are the policy's to judge.
func (s *Server) allowsURI(ctx context.Context, client *Client, uri string) error {
	d, ok, err := s.Find(ctx, client, "resources/list", uri)
	switch {
	case err != nil:
		return err
	case ok && d.Held != "":
		return refusal(d.Held)
	case ok:
		return nil
	}
	templates, err := s.List(ctx, client, "resources/templates/list")
	if err != nil {
		return err
	}
	held := ""
	for i := range templates {
		if t := &templates[i]; t.Name == uri || matches(t.Name, uri) {
			if t.Held == "" {
				return nil
			}
			held = t.Held
		}
	}
	if held != "" {
		return refusal(held)
	}
	return nil
}
