package firewall

import "context"

// A ClientTool is what an operator says of a tool that is not behind the gate: a function
// of the agent's own program. The gate sees that its model asks for it, and what it
// answered when the model is told. The zero ClientTool says nothing.
type ClientTool struct {
	Acting  *Acting // what it acts on; nil: it does nothing for anybody
	Trusted bool    // what it answers is as good as what the user says
	Brings  Labels  // that its answers have
}

// answersOf calls each with the answers of tools of the agent's own program that h tells
// of, by what is said of these tools in own. Some dialects name a tool only where it is
// asked for.
func answersOf(own map[string]ClientTool, h *History, each func(i int, t ClientTool)) {
	if len(own) == 0 || h == nil {
		return
	}
	names := make(map[string]string) // by the id of what was asked for
	name := ""                       // of the tool that answers
	for i := range h.Said {
		s := &h.Said[i]
		if s.Kind == SaidUse && s.ID != "" {
			names[s.ID] = s.Name
		}
		switch s.Kind {
		case SaidResult:
			if name = s.Name; name == "" {
				name = names[s.ID]
			}
		case SaidPart: // of the answer before
		default:
			continue
		}
		if t, ok := own[name]; ok {
			each(i, t)
		}
	}
}

// carries notes what the answers that call tells its model bring into its run.
func (c *Call) carries(law *Law) {
	if c.Kind != Model || c.During != nil {
		return
	}
	answersOf(law.Client, c.History, func(_ int, t ClientTool) {
		c.Brings |= t.Brings
		c.Labels |= t.Brings
	})
}

// veto is why the agent of call may not make the call own that its model asks for, of a
// tool of the agent's own program: a rule forbids it, or people must agree first. What
// they have agreed to is used up when the model asks for it again. nil: it is the
// agent's own affair.
func (g *Gate) veto(ctx context.Context, law *Law, call, own *Call) *Error {
	own.Client, own.Acting = true, law.Client[own.Resource].Acting
	own.came, own.argsHash = own.Args(), HashArgs(own.Args())
	own.Decision = g.asked(law, call, own)
	if own.Decision.Effect == Ask && g.cfg.Approvals.carry(own) {
		own.Decision = g.asked(law, call, own)
	}
	switch d := own.Decision; d.Effect {
	case Deny:
		if d.Rule == "" { // of a model that does not know what is left to the client
			return nil
		}
		return &Error{Code: Denied, Rule: d.Rule, Reason: d.Reason}
	case Ask:
		if err := g.cfg.Approvals.pass(ctx, own); err != nil {
			return asError(err)
		}
	}
	return nil
}
