package mcp

import (
	"callgate/firewall"
	"callgate/identity"
)

// Meant is what a model may mean by a tool call that it asks for on behalf of caller: it
// is [firewall.Config.Tools]. A model knows tools by the names that its client gives
// them, which puts its own before the one that a list of callgate has, and may write
// every sign as an underscore. So a name that ends in <prefix>__<tool> is that tool, and
// one that ends in a tool's own name may be it, of each server that lets caller use one
// of that name: at /mcp/<server> tools have no prefix. Of these nothing is meant where
// caller may use none: it was never told of it, and has a tool of its own of that name.
// A name with the prefix of a server that lists no such tool is the least likely.
//
// Definitions are those that are known at the time; no server is asked.
func (h *Handler) Meant(caller *identity.Principal, w firewall.Want) []firewall.Meaning {
	var sure, perhaps, doubtful []firewall.Meaning
	for _, s := range h.behind.Load().servers {
		l := s.lists.latest("tools/list", principalKey(caller))
		tool, listed := s.toolNamed(l, w.Name)
		switch {
		case tool != "" && (listed || l == nil):
			sure = append(sure, h.meaning(caller, s, l, tool, w.Args))
			continue
		case tool != "":
			doubtful = append(doubtful, h.meaning(caller, s, l, tool, w.Args))
		}
		if l == nil || len(sure) > 0 {
			continue
		}
		for i := range l.defs {
			if tool := l.defs[i].Name; firewall.EndsInName(w.Name, tool) && h.gate.May(caller, firewall.Tool, s.Name(), tool) != firewall.No {
				perhaps = append(perhaps, h.meaning(caller, s, l, tool, w.Args))
			}
		}
	}
	switch {
	case len(sure) > 0:
		return sure
	case len(perhaps) > 0:
		return perhaps
	}
	return doubtful
}

// toolNamed is the tool of s that a name with the server's prefix names, and whether it
// is on the list l, which may be nil. It is "" where the name has no such prefix.
func (s *Server) toolNamed(l *listing, name string) (tool string, listed bool) {
	with := s.Prefix() + joint
	if l != nil {
		for i := range l.defs {
			tool := l.defs[i].Name
			if len(with)+len(tool) > maxAdvertised && firewall.EndsInName(name, advertised(s.Prefix(), tool)) {
				return tool, true
			}
		}
	}
	for at := 0; at+len(with) < len(name); at++ {
		if !firewall.EndsInName(name[:at+len(with)], with) {
			continue
		}
		tool = name[at+len(with):]
		if l == nil {
			return tool, false
		}
		for i := range l.defs {
			if on := l.defs[i].Name; len(on) == len(tool) && firewall.EndsInName(tool, on) {
				return on, true
			}
		}
		return tool, false
	}
	return "", false
}

// meaning is the call of a tool of s as it would come in at the door. args may be nil.
func (h *Handler) meaning(caller *identity.Principal, s *Server, l *listing, tool string, args []byte) firewall.Meaning {
	call := &firewall.Call{Kind: firewall.Tool, Target: s.Name(), Method: "tools/call", Resource: tool, ArgsAt: "arguments"}
	var def *Definition
	if l != nil {
		if i, ok := l.byName[tool]; ok {
			def = &l.defs[i]
			call.Impact = def.Impact
		}
	}
	s.label(call, def)
	m := firewall.Meaning{Call: call, Open: len(s.marks(tool)) > 0}
	switch {
	case args == nil:
		return m
	case args[0] != '{':
		m.Err = firewall.Refuse(firewall.Invalid, "its arguments are no JSON object")
		return m
	}
	var err error
	if call.Body, err = firewall.ParseBody([]byte(`{"name":`+quoted(tool)+`,"arguments":`+string(args)+`}`), firewall.Limits{}); err != nil {
		m.Err = firewall.Refuse(firewall.Invalid, "its arguments cannot be read: %v", err)
		return m
	}
	m.Err = h.canonical(caller, s, call)
	return m
}

// canonical makes the marked arguments of call canonical, or says why one may not be what
// it is. A call that is denied whatever they are stays as it is.
func (h *Handler) canonical(caller *identity.Principal, s *Server, call *firewall.Call) error {
	marks := s.marks(call.Resource)
	if len(marks) == 0 || h.gate.May(caller, firewall.Tool, call.Target, call.Resource) == firewall.No {
		return nil
	}
	return canonicalize(call, marks)
}
