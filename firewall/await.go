package firewall

import (
	"context"
	"errors"
)

// await waits, no longer than the gate has patience, until people have decided about
// call, which was refused as pending. What they agreed to is judged anew, since it may
// have lost its rights meanwhile.
func (g *Gate) await(ctx context.Context, law *Law, call *Call, refused error) error {
	limited, cancel := context.WithTimeout(ctx, g.cfg.Patience)
	defer cancel()
	if !g.cfg.Approvals.decided(limited, call.Approval) {
		var cut *Error
		if errors.As(context.Cause(ctx), &cut) { // what it may was taken from it
			return cut
		}
		return refused
	}
	if g.law.Load().Policy != law.Policy { // which it was asked under
		return refused
	}
	if call.During == nil {
		if _, err := g.Authenticate(ctx, call.Token, call.Route); err != nil {
			return err
		}
	}
	call.Decision = call.Decision.And(call.Within(g.judge(law, call)))
	if d := call.Decision; d.Effect == Deny {
		return &Error{Code: Denied, Rule: d.Rule, Reason: d.Reason}
	}
	if err := g.halted(call); err != nil {
		return err
	}
	return g.cfg.Approvals.pass(ctx, call)
}

// pending says whether err is that people have not decided yet.
func pending(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == Pending
}

// decided waits until an approval is not open any more, and says whether that was
// before ctx ended.
func (s *Approvals) decided(ctx context.Context, id string) bool {
	for {
		s.mu.Lock()
		a := s.all[id]
		if a == nil || a.state(s.now()) != ApprovalAsked {
			s.mu.Unlock()
			return true
		}
		if s.news == nil {
			s.news = make(chan struct{})
		}
		news := s.news
		s.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}
