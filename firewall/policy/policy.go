// Package policy answers from rules who may do what. Rules are rows of Casbin's
// CSV under one built-in model; docs/policy.md describes them for people.
//
// Casbin is the law: what a policy means is what Casbin v2 makes of its rows.
// Casbin reads all rows for every call, though, so [Load] compiles them into an
// index that finds the few rows a call can meet and judges them as Casbin would,
// in the same order, with the same parser and evaluation of conditions. What it
// answers is what [Policy.Plain], which asks Casbin itself, answers; the tests
// hold one to the other.
//
// Load is strict, because Casbin is not: a row that Casbin would quietly read
// otherwise than its author meant is refused, with its place and what to write.
package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"callgate/firewall"
	"callgate/identity"

	"github.com/casbin/casbin/v2/model"
)

// A Policy decides by rows. It never changes, and many goroutines may use it.
type Policy struct {
	digest  string
	files   []Source
	model   model.Model // the rows, as Casbin holds them; only read
	verdict *index      // of p
	duties  *index      // of p2
	classes map[string][]string
	members map[string]links // by tenant
	custom  *custom          // under another model; then there is no index
}

var _ firewall.Policy = (*Policy)(nil)

// byIdentity is the rule of calls that need an identity and nothing more.
const byIdentity = firewall.ByIdentity

// Load makes a Policy of all rows of sources, which may be none: then every call
// is denied. The error is [Problems], all that must be put right.
func Load(sources ...Source) (*Policy, error) {
	c := check(sources)
	if errs := c.problems.only(Error); errs != nil {
		return nil, errs
	}
	p, err := c.compile()
	if err != nil {
		return nil, err
	}
	p.files = sources
	return p, nil
}

// Check finds all that is wrong with the policy that sources make together, in
// the order of its rows.
func Check(sources ...Source) []Problem {
	c := check(sources)
	if c.shape == nil && c.problems.only(Error) == nil { // links have no cycles then
		c.shadowed()
		c.sort(sources)
	}
	return c.problems
}

// Digest names the policy: rows and model, not the files and comments around them.
func (p *Policy) Digest() string { return p.digest }

// compile makes a Policy of what c has checked.
func (c *checker) compile() (*Policy, error) {
	if c.shape != nil {
		u, err := (&custom{shape: c.shape, model: c.shape.model.Copy()}).fresh(c.rows)
		if err != nil {
			return nil, err
		}
		return &Policy{digest: c.shape.digest(c.rows), model: u.model, members: c.members, custom: u}, nil
	}
	m, err := newModel(c.rows)
	if err != nil {
		return nil, err
	}
	return compile(m, c)
}

// Traces says whether a row may ask from where a call's values come.
func (p *Policy) Traces() bool {
	if p.custom != nil {
		return true
	}
	for _, kind := range []string{"p", "p2"} {
		for _, row := range p.model["p"][kind].Policy {
			if c := row[colCondition]; strings.Contains(c, "r.env.origin.") || strings.Contains(c, "r.env.intent") {
				return true
			}
		}
	}
	return false
}

// ByCasbin says whether Casbin itself decides, because the model is another than
// the built-in one, and how many decisions it has made.
func (p *Policy) ByCasbin() (decided uint64, yes bool) {
	if p.custom == nil {
		return 0, false
	}
	return p.custom.decided.Load(), true
}

// compile makes the indexes of m, whose rows c has checked.
func compile(m model.Model, c *checker) (*Policy, error) {
	p := &Policy{digest: digest(c.rows), model: m, classes: make(map[string][]string), members: c.members}
	first := builder{buckets: make(map[place]*bucket)}
	for _, r := range m["p"]["p"].Policy {
		u, err := c.compiled(r, r[colID])
		if err != nil {
			return nil, err
		}
		u.deny = r[colEffect] != "allow"
		first.add(place{r[colTenant], r[colSubject]}, r[colObject], u)
	}
	second := builder{buckets: make(map[place]*bucket)}
	for _, r := range m["p"]["p2"].Policy {
		u, err := c.compiled(r, r[colDutyID])
		if err != nil {
			return nil, err
		}
		o, err := parseObligation(r[colDuty], u.id)
		if err != nil {
			return nil, err
		}
		u.duty = (*duty)(&o)
		second.add(place{r[colTenant], r[colSubject]}, r[colObject], u)
	}
	p.verdict, p.duties = first.build(c.members), second.build(c.members)
	for object := range c.classes {
		p.classes[object] = c.classes.closure(object)[1:]
	}
	return p, nil
}

// compiled is what p and p2 rows have in common. A condition that was not read
// must not pass for none.
func (c *checker) compiled(r []string, id string) (rule, error) {
	cond, read := c.conditions[r[colCondition]]
	acts, known := parseActions(r[colAction])
	if !read || !known {
		return rule{}, fmt.Errorf("rule %s is not as it was checked", id)
	}
	return rule{id: id, acts: acts, cond: cond}, nil
}

// digest is of what decides: the model and the rows in order. Fields hold no
// control characters, so that two policies never look the same.
func digest(rows []row) string {
	h := sha256.New()
	h.Write([]byte(law))
	for _, r := range rows {
		h.Write([]byte(strings.Join(r.fields, "\x1f") + "\n"))
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// Decide answers for call. Every principal of its chain must be allowed; the
// first that is not is named. Roles of the registry are each principal's own, and
// everyone is in group:everyone.
func (p *Policy) Decide(call *firewall.Call) firewall.Decision {
	d := firewall.Decision{Policy: p.digest}
	if !known(&call.Caller) {
		d.Reason = "nothing is allowed to a caller that is not known"
		return d
	}
	if call.Kind == firewall.Session || call.Kind == firewall.List {
		d.Effect, d.Rule = firewall.Allow, byIdentity
		return d
	}
	q := questions.Get().(*question)
	defer q.done()
	if !q.ask(p, call) {
		d.Reason = "the call names nothing that a rule could allow"
		return d
	}
	if p.custom != nil {
		p.custom.decide(q, call.Action(), &d)
		return d
	}
	for hop := range q.hops() {
		o := p.judge(q, hop)
		if call.Client && o == (outcome{}) { // no rule speaks of it
			continue
		}
		if o.answer != firewall.Yes {
			d.Rule, d.Reason = o.explain(q, hop)
			return d
		}
		if hop == 0 {
			d.Rule = o.rule.id
		}
	}
	d.Effect = firewall.Allow
	p.oblige(q, &d)
	return d
}

// Member says whether subject is in a group or role of a tenant by the rows of p.
func (p *Policy) Member(tenant, subject, of string) bool {
	in := func(tenant string) bool { return slices.Contains(p.members[tenant].closure(subject)[1:], of) }
	return of == everyone || in(tenant) || p.custom != nil && in(anywhere) // where its links have no tenants
}

// Groups are those of a tenant that subject is in by the rows of p, itself if it is one,
// but for group:everyone.
func (p *Policy) Groups(tenant, subject string) []string {
	list := p.members[tenant].closure(subject)
	if p.custom != nil { // whose links may have no tenants
		list = append(list, p.members[anywhere].closure(subject)[1:]...)
	}
	return slices.DeleteFunc(list, func(name string) bool { return name == everyone || !strings.HasPrefix(name, "group:") })
}

// Members is the users that are in a group of a tenant by the rows of p, by name.
func (p *Policy) Members(tenant, group string) []string {
	var list []string
	for _, in := range []string{tenant, anywhere} {
		for _, name := range p.members[in].names() {
			if strings.HasPrefix(name, "user:") && !slices.Contains(list, name) && p.Member(tenant, name, group) {
				list = append(list, name)
			}
		}
	}
	slices.Sort(list)
	return list
}

// May answers for caller and an object whose arguments and time are not known
// yet. Depends is also the answer where a person may have to approve.
func (p *Policy) May(caller *identity.Principal, object, action string) firewall.Answer {
	if !known(caller) || object == "" {
		return firewall.No
	}
	q := questions.Get().(*question)
	defer q.done()
	q.caller, q.object, q.classes = caller, append(q.object, object...), p.classes[object]
	q.act, _ = parseActions(action)
	if action == "*" { // no call does everything
		q.act = doUnknown
	}
	if p.custom != nil {
		return p.custom.may(q, action)
	}
	answer := firewall.Yes
	for hop := range q.hops() {
		answer = min(answer, p.judge(q, hop).answer)
	}
	if answer == firewall.Yes {
		d := firewall.Decision{Effect: firewall.Allow}
		if p.oblige(q, &d); d.Effect == firewall.Ask {
			return firewall.Depends
		}
	}
	return answer
}

// Names says whether any rule could speak of what caller does to object.
func (p *Policy) Names(caller *identity.Principal, object, action string) bool {
	if !known(caller) || p.custom != nil {
		return true
	}
	q := questions.Get().(*question)
	defer q.done()
	q.caller, q.object, q.classes = caller, append(q.object, object...), p.classes[object]
	q.act, _ = parseActions(action)
	for hop := range q.hops() {
		if len(p.verdict.candidates(q, hop)) > 0 {
			return true
		}
	}
	return false
}

// known says that every principal of the caller's chain has a name, in a tenant.
func known(caller *identity.Principal) bool {
	for _, actor := range caller.Actors {
		if actor == "" {
			return false
		}
	}
	return caller.Subject != "" && caller.Tenant != ""
}

// An outcome is what the rules say of one hop. The zero outcome is that no rule
// allows it.
type outcome struct {
	answer firewall.Answer
	rule   *rule // that decided, if one did
	err    error // why rule could not be evaluated
}

// judge asks the p rules for one hop, in the order of the rows, as Casbin does:
// the first deny or error ends it, and then the first allow counts. What is not
// known before the call may be either.
func (p *Policy) judge(q *question, hop int) outcome {
	var first *rule
	open, maybe := false, false
	for _, n := range p.verdict.candidates(q, hop) {
		r := &p.verdict.rules[n]
		holds, err := q.holds(r)
		switch {
		case err == errUnknown:
			open, maybe = true, maybe || !r.deny
		case err != nil:
			return outcome{rule: r, err: err}
		case !holds:
		case r.deny:
			return outcome{rule: r}
		case first == nil:
			first = r
		}
	}
	switch {
	case first == nil && !maybe:
		return outcome{}
	case open:
		return outcome{answer: firewall.Depends, rule: first}
	}
	return outcome{answer: firewall.Yes, rule: first}
}

// oblige adds what the p2 rules ask for along with an allowed call. A rule whose
// condition cannot be evaluated applies.
func (p *Policy) oblige(q *question, d *firewall.Decision) {
	var asked []int64 // rule and hop
	for hop := range q.hops() {
		for _, n := range p.duties.candidates(q, hop) {
			if holds, err := q.holds(&p.duties.rules[n]); holds || err != nil {
				asked = append(asked, int64(n)<<hopBits|int64(min(hop, lastHop)))
			}
		}
	}
	slices.Sort(asked)
	for i := 0; i < len(asked); {
		n, hops := asked[i]>>hopBits, uint64(0)
		for ; i < len(asked) && asked[i]>>hopBits == n; i++ {
			hops |= 1 << (asked[i] & lastHop)
		}
		p.duties.rules[n].duty.join(d, hops)
	}
}

// Hops of a chain are told apart up to the last one that has a bit in 64.
const (
	hopBits = 6
	lastHop = 1<<hopBits - 1
)

// unevaluated stands in the reason of a denial for which a condition failed.
const unevaluated = "could not be evaluated for"

// explain says which rule denied the hop, and why.
func (o *outcome) explain(q *question, hop int) (rule, reason string) {
	if o.rule == nil {
		return "", fmt.Sprintf("no rule allows %s to %s", q.who(hop), q.what())
	}
	if o.err != nil {
		return o.rule.id, fmt.Sprintf("rule %s "+unevaluated+" %s, so the call is denied: %v", o.rule.id, q.who(hop), o.err)
	}
	return o.rule.id, fmt.Sprintf("rule %s forbids %s to %s", o.rule.id, q.who(hop), q.what())
}
