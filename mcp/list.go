package mcp

import (
	"context"
	"encoding/base64"
	"strings"
	"sync"

	"callgate/firewall"
)

const maxPage = 4 << 20 // bytes of items; a longer list has more than one page

// kindOf is what the items of a list are.
func kindOf(which list) firewall.Kind {
	switch which.items {
	case "tools":
		return firewall.Tool
	case "prompts":
		return firewall.Prompt
	}
	return firewall.Resource
}

// shown is the items of one server that the caller may use, as far as is known
// before it does.
func (v *visit) shown(ctx context.Context, s *Server, which list) ([]Definition, error) {
	defs, err := s.List(ctx, v.client(s), which.method)
	if err != nil {
		return nil, late(ctx, s, err)
	}
	kind := kindOf(which)
	var may []Definition // the list is shared and stays as it is
	for i := range defs {
		if defs[i].Held == "" && v.gate.May(&v.caller, kind, s.Name(), defs[i].Name) != firewall.No {
			may = append(may, defs[i])
		}
	}
	return may, nil
}

// list answers what the caller may use of one kind, as its servers list it and in
// their order. A server that does not answer is left out, and the result says so.
func (v *visit) list(ctx context.Context, call *firewall.Call, which list) ([]byte, error) {
	after, err := cursorOf(call.Body.JSON)
	if err != nil {
		return nil, err
	}
	answers := each(ctx, v, v.servers(), func(ctx context.Context, s *Server) ([]Definition, error) {
		return v.shown(ctx, s, which)
	})
	page := page{v: v, which: which, after: after, found: after == cursor{}}
	page.out = append(page.out, `{"`+which.items+`":[`...)
	var silent []string
	for _, a := range answers {
		if a.err != nil {
			if v.only != nil {
				return nil, a.err
			}
			v.cfg.Logger.WarnContext(ctx, "server left out of a list", "server", a.server.Name(), "list", which.method, "call", call.ID, "error", a.err)
			silent = append(silent, a.server.Name())
			if a.server.Name() == after.server {
				return nil, a.err
			}
			continue
		}
		page.add(a.server, a.val)
	}
	if !page.found {
		return nil, firewall.Refuse(firewall.Invalid, "the list has changed since this cursor: list from the beginning")
	}
	page.out = append(page.out, ']')
	if page.full {
		page.out = append(append(page.out, `,"nextCursor":`...), quoted(page.last.String())...)
	}
	if silent != nil {
		page.out = append(append(page.out, `,"_meta":{"callgate/unavailable":`...), quotedList(silent)+"}"...)
	}
	return append(page.out, '}'), ctx.Err()
}

// page is one page of a list in the making.
type page struct {
	v     *visit
	which list
	after cursor // the last item of the page before
	found bool   // after was passed
	full  bool   // there is more than the page holds
	some  bool
	last  cursor
	out   []byte
}

// add takes the items of one server that are behind the page before, and fit.
func (p *page) add(s *Server, defs []Definition) {
	server := s.Name()
	if !p.found && server != p.after.server {
		return
	}
	renamed := p.v.only == nil && p.which.name == "name"
	taken := make(map[string]bool, len(defs))
	for i := range defs {
		name, raw := defs[i].Name, defs[i].Raw
		if renamed {
			name = advertised(s.Prefix(), name)
			if taken[name] {
				continue // a cut name that two have is the first one's; see byName
			}
			taken[name] = true
		}
		if !p.found {
			p.found = defs[i].Name == p.after.item
			continue
		}
		if p.full = p.full || p.some && len(p.out)+len(raw) > maxPage; p.full {
			return
		}
		if p.some {
			p.out = append(p.out, ',')
		}
		p.some, p.last = true, cursor{server, defs[i].Name}
		if !renamed {
			p.out = append(p.out, raw...)
			continue
		}
		at := parsed(raw).Get("name")
		p.out = append(p.out, raw[:at.Index]...)
		p.out = append(p.out, quoted(name)...)
		p.out = append(p.out, raw[at.Index+len(at.Raw):]...)
	}
}

// cursor is where a page ended. It is opaque to clients, and no secret.
type cursor struct{ server, item string }

func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(c.server + "\x00" + c.item))
}

func cursorOf(params []byte) (cursor, error) {
	if params == nil {
		return cursor{}, nil
	}
	said := parsed(params).Get("cursor")
	if !said.Exists() {
		return cursor{}, nil
	}
	doc, err := base64.RawURLEncoding.DecodeString(said.Str)
	server, item, ok := strings.Cut(string(doc), "\x00")
	if err != nil || !ok {
		return cursor{}, firewall.Refuse(firewall.Invalid, "params.cursor is not one of this gate")
	}
	return cursor{server, item}, nil
}

// A holding is what a server has that callgate carries for the caller.
type holding struct {
	info                            Info
	tools, prompts, resources       bool
	completions, logging, subscribe bool
	tasks                           bool // of the client's kind
	taskList, taskCancel            bool // of 2025-11-25
	toolsTold, promptsTold, resTold bool // changes of the list are told
}

func (h *holding) any() bool { return h.tools || h.prompts || h.resources }

// has is what a server declares that the client can use.
func (v *visit) has(info Info) holding {
	h := holding{
		info: info, tools: info.has("tools"), prompts: info.has("prompts"), resources: info.has("resources"),
		completions: info.has("completions"), logging: info.has("logging"),
		tasks:     info.tasks() && info.Modern == v.modern,
		subscribe: parsed(info.Capabilities).Get("resources.subscribe").Bool(),
		toolsTold: info.told("tools"), promptsTold: info.told("prompts"), resTold: info.told("resources"),
	}
	if h.tasks && !v.modern {
		can := parsed(info.Capabilities).Get("tasks")
		h.taskList, h.taskCancel = can.Get("list").Exists(), can.Get("cancel").Exists()
	}
	return h
}

// told says whether the server declares that it tells when a list changed.
func (i *Info) told(capability string) bool {
	return parsed(i.Capabilities).Get(capability + ".listChanged").Bool()
}

// holdings is what each of the servers has for the caller. One that does not
// answer in time may have anything.
func (v *visit) holdings(ctx context.Context) []answered[holding] {
	return each(ctx, v, v.behind.servers, func(ctx context.Context, s *Server) (holding, error) {
		info, err := s.InfoFor(ctx, v.client(s))
		if err != nil {
			return holding{tools: true, prompts: true, resources: true}, late(ctx, s, err)
		}
		h := v.has(info)
		var all sync.WaitGroup
		see := func(method string, declared bool, seen *bool) {
			if !declared {
				return
			}
			all.Go(func() {
				which, _ := listOf(method)
				defs, err := v.shown(ctx, s, which)
				*seen = err != nil || len(defs) > 0
			})
		}
		var tools, prompts, resources, templates bool
		see("tools/list", h.tools, &tools)
		see("prompts/list", h.prompts, &prompts)
		see("resources/list", h.resources, &resources)
		see("resources/templates/list", h.resources, &templates)
		all.Wait()
		h.tools, h.prompts, h.resources = tools, prompts, resources || templates
		h.tasks, h.taskList, h.taskCancel = h.tasks && h.tools, h.taskList && h.tools, h.taskCancel && h.tools
		h.subscribe = h.subscribe && h.resources
		h.completions = h.completions && (h.prompts || h.resources)
		h.logging = h.logging && h.any()
		return h, nil
	})
}

// usable is the names of the servers of which the caller may use anything, as far
// as they are known.
func (v *visit) usable(ctx context.Context) []string {
	var names []string
	for _, a := range v.holdings(ctx) {
		if a.err == nil && a.val.any() {
			names = append(names, a.server.Name())
		}
	}
	return names
}
