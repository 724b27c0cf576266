package policy

import (
	"fmt"
	"strings"

	"callgate/firewall"
	"callgate/identity"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	"github.com/casbin/casbin/v2/persist"
	"github.com/tidwall/gjson"
)

// law is the Casbin model that every policy is written for. p decides, p2 adds
// obligations to what p allows. Cheap tests stand before g, and eval last.
const law = `
[request_definition]
r = sub, dom, obj, act, env

[policy_definition]
p  = sub, dom, obj, act, cond, eft, id
p2 = sub, dom, obj, act, cond, eft, obl, id

[role_definition]
g  = _, _, _
g2 = _, _

[policy_effect]
e  = some(where (p.eft == allow)) && !some(where (p.eft == deny))
e2 = some(where (p.eft == allow))

[matchers]
m  = (p.dom == '*' || p.dom == r.dom) && (p.act == '*' || p.act == r.act) && (objMatch(r.obj, p.obj) || g2(r.obj, p.obj)) && g(r.sub, p.sub, r.dom) && (p.cond == 'true' || eval(p.cond))
m2 = (p2.dom == '*' || p2.dom == r.dom) && (p2.act == '*' || p2.act == r.act) && (objMatch(r.obj, p2.obj) || g2(r.obj, p2.obj)) && g(r.sub, p2.sub, r.dom) && (p2.cond == 'true' || eval(p2.cond))
`

// Columns of p and p2 rows as the model has them, without the type.
const (
	colSubject = iota
	colTenant
	colObject
	colAction
	colCondition
	colEffect
	colID         // of p
	colDuty   = 6 // of p2
	colDutyID = 7 // of p2
)

// newModel is the law with rows, as Casbin holds them.
func newModel(rows []row) (model.Model, error) {
	m, err := model.NewModelFromString(law)
	if err != nil {
		return nil, fmt.Errorf("built-in model: %w", err)
	}
	for _, r := range rows {
		if err := addRow(m, r); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func addRow(m model.Model, r row) error {
	if err := persist.LoadPolicyArray(r.fields, m); err != nil {
		return fmt.Errorf("%s: %w", r.at(), err)
	}
	return nil
}

// objMatch is equality, or the same beginning where the pattern ends in *.
func objMatch(args ...any) (any, error) {
	object, pattern := args[0].(string), args[1].(string)
	begin, ok := strings.CutSuffix(pattern, "*")
	return object == pattern || ok && strings.HasPrefix(object, begin), nil
}

// Plain asks Casbin itself what [Policy.Decide] answers from its index: the law,
// to hold the index to. It costs what Casbin costs, so it has no place on a
// call's way. The error is Casbin's own, where it has one; the call is denied then.
func (p *Policy) Plain(call *firewall.Call) (firewall.Decision, error) {
	d := firewall.Decision{Policy: p.digest}
	var q question
	if !known(&call.Caller) || !q.ask(p, call) || len(p.model["p"]["p"].Policy) == 0 { // where there is no rule, eval would be an error
		return d, nil
	}
	e, err := enforcerOf(p.model, q.caller)
	if err != nil {
		return d, err
	}
	env := environment(&q)
	for hop := range q.hops() {
		ok, why, err := e.EnforceEx(q.hop(hop), q.caller.Tenant, string(q.object), call.Action(), env)
		if err != nil || !ok {
			d.Rule = ""
			if len(why) > colID {
				d.Rule = why[colID]
			}
			return d, err
		}
		if hop == 0 {
			d.Rule = why[colID]
		}
	}
	d.Effect = firewall.Allow
	// EnforceEx names one row, so each obligation is asked for alone.
	second := casbin.EnforceContext{RType: "r", PType: "p2", EType: "e2", MType: "m2"}
	for _, r := range p.model["p"]["p2"].Policy {
		e.GetModel()["p"]["p2"].Policy = [][]string{r}
		hops := uint64(0)
		for hop := range q.hops() {
			ok, err := e.Enforce(second, q.hop(hop), q.caller.Tenant, string(q.object), call.Action(), env)
			if ok || err != nil {
				hops |= 1 << min(hop, lastHop)
			}
		}
		if hops != 0 {
			o, err := parseObligation(r[colDuty], r[colDutyID])
			if err != nil {
				return d, err
			}
			(*duty)(&o).join(&d, hops)
		}
	}
	return d, nil
}

// enforcerOf is Casbin with the rows of m and, as links, what is known of caller.
func enforcerOf(m model.Model, caller *identity.Principal) (*casbin.Enforcer, error) {
	m = m.Copy()
	known := func(member, of string) {
		r := []string{member, of, caller.Tenant}
		if g := m["g"]["g"]; g == nil {
			return
		} else if strings.Count(g.Value, "_") == 2 { // of another model, without tenants
			r = r[:2]
		}
		if ok, err := m.HasPolicy("g", "g", r); err == nil && !ok {
			_ = m.AddPolicy("g", "g", r) // fails only where the model has no g
		}
	}
	for hop, name := range caller.Chain() {
		known(name, everyone)
		for _, role := range caller.Held(hop) {
			if prefixed(role, held) {
				known(name, role)
			}
		}
	}
	e, err := casbin.NewEnforcer(m)
	if err != nil {
		return nil, err
	}
	e.AddFunction("objMatch", objMatch)
	return e, e.BuildRoleLinks()
}

// environment is r.env, whole.
func environment(q *question) map[string]any {
	env := map[string]any{"args": gjson.ParseBytes(q.call.Args()).Value()}
	for name := range attributes {
		v, err := q.get(name)
		if err != nil { // the price of a model, and nothing else: to Casbin it is missing, which is an error too
			continue
		}
		group, member, ok := strings.Cut(name, ".")
		if !ok {
			env[name] = v
			continue
		}
		if env[group] == nil {
			env[group] = map[string]any{}
		}
		env[group].(map[string]any)[member] = v
	}
	return env
}
