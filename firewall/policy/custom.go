package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"callgate/firewall"
	"callgate/identity"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/constant"
	"github.com/casbin/casbin/v2/model"
)

// confExtension is what the name of a file ends in that replaces the model.
const confExtension = ".conf"

// A custom is a policy under another model than the built-in one. There is no
// index of it: Casbin itself decides, with all that this costs.
type custom struct {
	model   model.Model // with its rows; only read
	shape   *shape
	decided atomic.Uint64

	mu        sync.Mutex
	enforcers map[string]*enforcer // by caller
}

// enforcer is Casbin for one caller. Casbin does not say that many may ask it at
// once, so they do not.
type enforcer struct {
	mu sync.Mutex
	*casbin.Enforcer
}

// maxEnforcers bounds the callers whose enforcers are kept. Each holds all rows.
const maxEnforcers = 64

// A shape is what a model wants of requests and rows.
type shape struct {
	model  model.Model // without rows
	text   string      // in a form that does not depend on how it was written
	file   string
	fields []string // of a request: sub, dom, obj, act, env
	id     int      // column of p that is the rule's id, -1 if none is
	effect int      // column of p that is the effect, -1 if none is
	duties bool     // p2 rows are obligations
	reads  bool     // a condition may read r.env
}

// parseShape reads a model. It answers nil for the built-in one, however it is
// written.
func parseShape(s Source) (*shape, error) {
	m, err := model.NewModelFromString(string(s.Text))
	if err != nil {
		return nil, fmt.Errorf("not a model of Casbin: %w", err)
	}
	builtIn, err := model.NewModelFromString(law)
	if err != nil {
		return nil, fmt.Errorf("built-in model: %w", err)
	}
	text := canonical(m)
	if text == canonical(builtIn) {
		return nil, nil
	}
	h := &shape{model: m, text: text, file: s.Name}
	return h, h.check()
}

// canonical is a model's definitions in order, without the space in them.
func canonical(m model.Model) string {
	var b strings.Builder
	for _, section := range []string{"r", "p", "g", "e", "m"} {
		for _, key := range slices.Sorted(maps.Keys(m[section])) {
			b.WriteString(key + "=" + spaceless(m[section][key].Value) + "\n")
		}
	}
	return b.String()
}

// spaceless is s without space that stands outside texts.
func spaceless(s string) string {
	var b strings.Builder
	quote := rune(0)
	for _, r := range s {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote = r
		case quote == 0 && strings.ContainsRune(" \t\r\n\\", r):
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// check finds out what the model wants, and refuses what callgate cannot give it.
func (h *shape) check() error {
	r, p, e := h.model["r"]["r"], h.model["p"]["p"], h.model["e"]["e"]
	if r == nil || p == nil || e == nil || h.model["m"]["m"] == nil {
		return fmt.Errorf("a model needs r, p, e and m")
	}
	for _, token := range r.Tokens {
		name := strings.TrimPrefix(token, "r_")
		if !slices.Contains([]string{"sub", "dom", "obj", "act", "env"}, name) {
			return fmt.Errorf("r has a field %s: a request of callgate has sub, dom, obj, act and env", quote(name))
		}
		h.fields = append(h.fields, name)
	}
	for _, name := range []string{"sub", "obj", "act"} {
		if !slices.Contains(h.fields, name) {
			return fmt.Errorf("r has no field %s: who calls what must be told", name)
		}
	}
	effects := []string{constant.AllowOverrideEffect, constant.DenyOverrideEffect, constant.AllowAndDenyEffect, constant.PriorityEffect, constant.SubjectPriorityEffect}
	if !slices.ContainsFunc(effects, func(s string) bool { return spaceless(s) == spaceless(e.Value) }) {
		return fmt.Errorf("e is none of the effects that Casbin knows, such as some(where (p.eft == allow)) && !some(where (p.eft == deny))")
	}
	h.id, h.effect = slices.Index(p.Tokens, "p_id"), slices.Index(p.Tokens, "p_eft")
	for key, g := range h.model["g"] {
		if n := strings.Count(g.Value, "_"); n != 2 && n != 3 || len(g.ParamsTokens) > 0 {
			return fmt.Errorf("%s: want _, _ or _, _, _", key)
		}
	}
	if p2 := h.model["p"]["p2"]; p2 != nil {
		n := len(p2.Tokens)
		h.duties = h.model["e"]["e2"] != nil && h.model["m"]["m2"] != nil && n > 2 && p2.Tokens[n-2] == "p2_obl" && p2.Tokens[n-1] == "p2_id"
		if !h.duties {
			return fmt.Errorf("p2 needs e2 and m2, and obl and id as its last columns")
		}
	}
	for _, m := range h.model["m"] {
		h.reads = h.reads || slices.Contains(h.fields, "env") && (strings.Contains(m.Value, "r_env") || strings.Contains(m.Value, "eval("))
	}
	return nil
}

// columns are those of each type of row, as they are named in messages.
func (h *shape) columns() map[string]string {
	all := make(map[string]string)
	for key, p := range h.model["p"] {
		names := []string{key}
		for _, token := range p.Tokens {
			names = append(names, strings.TrimPrefix(token, key+"_"))
		}
		all[key] = strings.Join(names, ", ")
	}
	for key, g := range h.model["g"] {
		all[key] = key + ", member, of"
		if strings.Count(g.Value, "_") == 3 {
			all[key] += ", tenant"
		}
	}
	return all
}

// custom checks the rows of a policy under another model, as far as that can be
// done without knowing what it means.
func (c *checker) custom() {
	h := c.shape
	top := row{file: h.file, line: 1}
	c.warn(top, "a model of another shape than the built-in one: Casbin itself decides about every call, which costs more with each row (docs/policy.md)")
	if e := spaceless(h.model["e"]["e"].Value); e == spaceless(constant.DenyOverrideEffect) {
		c.warn(top, "e allows whatever no row denies")
	}
	for _, r := range c.rows {
		switch r.fields[0] {
		case "p":
			if h.effect >= 0 && r.fields[1+h.effect] != "allow" && r.fields[1+h.effect] != "deny" {
				c.fail(r, "unknown effect %s: write allow or deny", quote(r.fields[1+h.effect]))
			}
		case "p2":
			if h.duties {
				n := len(r.fields)
				_, err := parseObligation(r.fields[n-2], r.fields[n-1])
				c.must(r, err)
			}
		case "g":
			tenant := anywhere
			if len(r.fields) == 4 {
				tenant = r.fields[3]
			}
			if c.members[tenant] == nil {
				c.members[tenant] = make(links)
			}
			c.link(r, c.members[tenant], r.fields[1], r.fields[2])
		}
	}
	if c.problems.only(Error) != nil {
		return
	}
	if _, err := (&custom{shape: h, model: h.model.Copy()}).fresh(c.rows); err != nil {
		c.fail(top, "Casbin does not take the policy: %v", err)
	}
}

// fresh puts rows into the model and tries whether Casbin takes it.
func (u *custom) fresh(rows []row) (_ *custom, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it panics: %v", p)
		}
	}()
	for _, r := range rows {
		if err := addRow(u.model, r); err != nil {
			return nil, err
		}
	}
	u.enforcers = make(map[string]*enforcer)
	_, err = u.enforcer(&identity.Principal{Tenant: "default", Subject: "agent:a"})
	return u, err
}

// enforcer is Casbin with what is known of caller.
func (u *custom) enforcer(caller *identity.Principal) (*enforcer, error) {
	known := []string{caller.Tenant}
	for hop, name := range caller.Chain() {
		known = append(append(known, "\x1e"+name), caller.Held(hop)...) // so that no role is taken for a name
	}
	key := strings.Join(known, "\x1f")
	u.mu.Lock()
	defer u.mu.Unlock()
	if e := u.enforcers[key]; e != nil {
		return e, nil
	}
	e, err := enforcerOf(u.model, caller)
	if err != nil {
		return nil, err
	}
	if len(u.enforcers) >= maxEnforcers {
		for old := range u.enforcers { // any: a caller that comes again gets a new one
			delete(u.enforcers, old)
			break
		}
	}
	u.enforcers[key] = &enforcer{Enforcer: e}
	return u.enforcers[key], nil
}

// request is the values of r for one hop.
func (u *custom) request(q *question, hop int, action string, env any) []any {
	var values []any
	for _, field := range u.shape.fields {
		switch field {
		case "sub":
			values = append(values, q.hop(hop))
		case "dom":
			values = append(values, q.caller.Tenant)
		case "obj":
			values = append(values, string(q.object))
		case "act":
			values = append(values, action)
		default:
			values = append(values, env)
		}
	}
	return values
}

// decide asks Casbin about every hop of q, and for what an allowed call needs
// besides. What fails denies.
func (u *custom) decide(q *question, action string, d *firewall.Decision) {
	u.decided.Add(1)
	defer func() {
		if p := recover(); p != nil {
			*d = firewall.Decision{Policy: d.Policy, Reason: "the policy failed, so the call is denied"}
		}
	}()
	e, err := u.enforcer(q.caller)
	if err != nil {
		d.Reason = "the policy cannot be evaluated, so the call is denied: " + err.Error()
		return
	}
	env := map[string]any{}
	if q.call != nil {
		env = environment(q)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for hop := range q.hops() {
		ok, why, err := e.EnforceEx(u.request(q, hop, action, env)...)
		if err != nil || !ok {
			d.Rule, d.Reason = u.name(why), fmt.Sprintf("no rule allows %s to %s", q.who(hop), q.what())
			switch {
			case err != nil:
				d.Reason = fmt.Sprintf("the policy could not be evaluated for %s, so the call is denied: %s", q.who(hop), cut(firstLine(err)))
			case d.Rule != "":
				d.Reason = fmt.Sprintf("rule %s forbids %s to %s", d.Rule, q.who(hop), q.what())
			}
			return
		}
		if hop == 0 {
			d.Rule = u.name(why)
		}
	}
	d.Effect = firewall.Allow
	if u.shape.duties {
		u.oblige(q, e, action, env, d)
	}
}

// oblige asks for each p2 row alone, because Casbin names only one.
func (u *custom) oblige(q *question, e *enforcer, action string, env any, d *firewall.Decision) {
	second := casbin.EnforceContext{RType: "r", PType: "p2", EType: "e2", MType: "m2"}
	held := e.GetModel()["p"]["p2"]
	all := held.Policy
	defer func() { held.Policy = all }()
	for _, r := range all {
		held.Policy = [][]string{r}
		hops := uint64(0)
		for hop := range q.hops() {
			if ok, err := e.Enforce(append([]any{second}, u.request(q, hop, action, env)...)...); ok || err != nil {
				hops |= 1 << min(hop, lastHop)
			}
		}
		if hops == 0 {
			continue
		}
		if o, err := parseObligation(r[len(r)-2], r[len(r)-1]); err == nil { // which check has made sure of
			(*duty)(&o).join(d, hops)
		}
	}
}

// name is how a record names the row that explains.
func (u *custom) name(row []string) string {
	if h := u.shape; h.id >= 0 && h.id < len(row) {
		return row[h.id]
	}
	name := strings.Join(row, ", ")
	return strings.ToValidUTF8(name[:min(len(name), maxID)], "")
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// may is what decide would answer before the call is made, as far as can be told.
func (u *custom) may(q *question, action string) firewall.Answer {
	if u.shape.reads {
		return firewall.Depends
	}
	var d firewall.Decision
	u.decide(q, action, &d)
	return map[firewall.Effect]firewall.Answer{firewall.Ask: firewall.Depends, firewall.Allow: firewall.Yes}[d.Effect]
}

// digest is of the model and the rows.
func (h *shape) digest(rows []row) string {
	sum := sha256.New()
	sum.Write([]byte(h.text))
	for _, r := range rows {
		sum.Write([]byte(strings.Join(r.fields, "\x1f") + "\n"))
	}
	return hex.EncodeToString(sum.Sum(nil))[:12]
}
