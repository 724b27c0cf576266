package mcp

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"callgate/firewall"
)

// A ToolConfig is what the operator says of a tool.
type ToolConfig struct {
	Acting    *firewall.Acting // what it acts on; nil: nothing is said of that
	Trusted   bool             // what it answers is as good as what the user says
	Labels    *firewall.Labels // of what its results bring; nil: those of the server
	Timeout   time.Duration    // of one call without a sign of progress; 0: that of the server
	Arguments map[string]Mark  // by their dotted path in the arguments; lists on the way are gone through
}

// everyTool is the name under which [ServerConfig.Tools] has what is said of all
// tools. What is said of one tool comes first.
const everyTool = "*"

// check says what is wrong with t, which is said of the tool name.
func (t ToolConfig) check(name string) error {
	var errs []error
	if name == "" {
		errs = append(errs, errors.New("tools: a name is missing"))
	}
	if name == everyTool && t.Labels != nil {
		errs = append(errs, errors.New(`tools.*: what the replies of all tools bring is said of the server`))
	}
	for _, path := range slices.Sorted(maps.Keys(t.Arguments)) {
		if err := t.Arguments[path].check(path); err != nil {
			errs = append(errs, fmt.Errorf("tools.%s.arguments.%s: %w", name, path, err))
		}
	}
	return errors.Join(errs...)
}

// tool is what the operator says of the tool name.
func (s *Server) tool(name string) (own, all ToolConfig) {
	return s.cfg.Tools[name], s.cfg.Tools[everyTool]
}

// patience is how long a request may take without a sign of progress.
func (s *Server) patience(req *Request) time.Duration {
	if len(s.cfg.Tools) == 0 || req.Method != "tools/call" {
		return s.cfg.Timeout
	}
	own, all := s.tool(parsed(req.Params).Get("name").Str)
	switch {
	case own.Timeout > 0:
		return own.Timeout
	case all.Timeout > 0:
		return all.Timeout
	}
	return s.cfg.Timeout
}

// brings is the labels that the reply to call has.
func (s *Server) brings(call *firewall.Call) firewall.Labels {
	if call.Kind == firewall.Tool {
		if own, _ := s.tool(call.Resource); own.Labels != nil {
			return *own.Labels
		}
	}
	return s.cfg.Labels
}

// label puts into call what the operator says of its tool; of one that nobody has said
// anything of, what its definition lets one guess, where that is wanted. def may be nil.
func (s *Server) label(call *firewall.Call, def *Definition) {
	call.Brings = s.brings(call)
	if call.Kind != firewall.Tool {
		return
	}
	own, said := s.cfg.Tools[call.Resource]
	call.Acting, call.Trusted = own.Acting, own.Trusted
	if said && own.labelled() || s.cfg.Guess == nil || !s.cfg.Guess() {
		return
	}
	g := Guess(call.Resource, def)
	if call.Acting = g.Acting; s.cfg.Labels == 0 {
		call.Brings = g.Labels
	}
}

// labelled says that the operator has said what the tool reads, or does.
func (t *ToolConfig) labelled() bool { return t.Acting != nil || t.Trusted || t.Labels != nil }

// over is the error of a reply that is over before it is whole, by err.
func (s *Server) over(err error, did string) *firewall.Error {
	if errors.Is(err, errTooLarge) {
		did = fmt.Sprintf("answered with a message of more than %d bytes, which is more than it may: ask for less at a time", messageLimit(s.cfg.Limits))
	}
	return s.unavailable(did, err)
}

// marks is the arguments of a tool that are marked, by path.
func (s *Server) marks(tool string) map[string]Mark {
	own, all := s.tool(tool)
	switch {
	case len(all.Arguments) == 0:
		return own.Arguments
	case len(own.Arguments) == 0:
		return all.Arguments
	}
	both := maps.Clone(all.Arguments)
	maps.Copy(both, own.Arguments)
	return both
}

// dotted is the names that a path has.
func dotted(path string) []string { return strings.Split(path, ".") }
