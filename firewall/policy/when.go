package policy

import (
	"errors"

	"callgate/firewall"
)

// NewWhen reads a condition about model calls that is no part of a policy: whether a call
// is one that a target is for. It knows what conditions of a policy know, but for
// arguments, which models have not. What cannot be evaluated is an error.
func NewWhen(text string) (func(*firewall.Call) (bool, error), error) {
	c, err := parseCondition(text)
	switch {
	case err != nil:
		return nil, err
	case c == nil:
		return func(*firewall.Call) (bool, error) { return true, nil }, nil
	case len(c.args) > 0:
		return nil, errors.New("condition: models have no arguments: r.env.args is for tools")
	}
	none := new(Policy)
	return func(call *firewall.Call) (bool, error) {
		q := questions.Get().(*question)
		defer q.done()
		if !q.ask(none, call) {
			return false, errUnknown
		}
		return c.holds(&q.facts)
	}, nil
}
