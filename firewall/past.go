package firewall

import (
	"slices"
	"strings"
	"time"
	"unsafe"

	"callgate/audit"
	"callgate/identity"

	"github.com/tidwall/gjson"
)

// A Past is a call as its record tells it, and what the policy of that time said,
// so that another policy can be asked about it. One Past is used for many records.
type Past struct {
	Call   Call // as it was when it was decided about; it aliases the record
	Effect Effect
	Rule   string   // that decided
	Duties []string // that came with it, as "limit:calls=5/1h"
	Passed bool     // it was forwarded

	NoArgs bool     // its arguments are not on record
	Masked []string // names of arguments that are, but not as they came; * is any
	NoEnv  bool     // nothing of [audit.Env] is on record

	outcome string
	fell    string // what a refusal names as the rule
	guards  []string
}

// noArguments is the hash of {}.
var noArguments = HashArgs(nil)

// Read makes p what the record doc tells. It answers false where doc is not the
// record of a call that a policy decided about, and why in other: "" where it is
// no such record at all, else "refused" where something else refused the call.
func (p *Past) Read(doc []byte) (ok bool, other string) {
	*p = Past{Call: Call{Caller: identity.Principal{Actors: p.Call.Caller.Actors[:0], Roles: p.Call.Caller.Roles[:0]}}, Duties: p.Duties[:0], Masked: p.Masked[:0], guards: p.guards[:0], NoEnv: true}
	c := &p.Call
	var kind, effect, approval string
	known := true
	gjson.Parse(unsafe.String(unsafe.SliceData(doc), len(doc))).ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "type":
			p.Passed = v.Str == "opened"
			known = p.Passed || v.Str == "refused"
		case "at_us":
			c.At = time.UnixMicro(v.Int())
		case "call":
			c.ID = v.Str
		case "tenant":
			c.Caller.Tenant = v.Str
		case "agent":
			if c.Caller.Subject == "" {
				c.Caller.Subject = v.Str
			}
		case "subject":
			c.Caller.Subject = v.Str
		case "actors":
			c.Caller.Actors = list(c.Caller.Actors, v)
		case "run":
			c.Run = v.Str
		case "kind":
			kind = v.Str
		case "target":
			c.Target = v.Str
		case "method":
			c.Method = v.Str
		case "resource":
			c.Resource = v.Str
		case "args":
			c.ArgsAt = "args"
		case "args_hash":
			p.NoArgs = v.Str != noArguments
		case "links":
			c.proposedIn(v)
		case "signals":
			c.Signals = list(c.Signals, v)
		case "env":
			p.NoEnv = false
			c.surround(v)
		case "effect":
			effect = v.Str
		case "rule":
			p.fell = v.Str
		case "policy":
			c.Decision.Policy = v.Str
		case "obligations":
			p.Duties = list(p.Duties, v)
		case "approval":
			approval = v.Str
		case "findings":
			p.masked(v)
		case "checks":
			v.ForEach(func(_, check gjson.Result) bool {
				p.guards = append(p.guards, check.Get("guard").Str)
				return true
			})
		case "outcome":
			p.outcome = v.Str
		}
		return known
	})
	c.Kind, ok = parseKind(kind)
	if !known || !ok || c.Decision.Policy == "" || c.Kind == Session || c.Kind == List {
		return false, ""
	}
	c.Body.JSON = doc
	p.NoArgs = p.NoArgs && c.ArgsAt == ""
	if p.Passed {
		c.Approval = approval
	}
	p.Rule = p.fell
	return p.verdict(effect)
}

// verdict is what the policy said: what it asks for comes only with what it allows.
func (p *Past) verdict(effect string) (ok bool, other string) {
	asked := slices.ContainsFunc(p.Duties, func(d string) bool { return strings.HasPrefix(d, RequireApproval+":") })
	switch {
	case asked:
		p.Effect = Ask
	case p.Passed || len(p.Duties) > 0:
		p.Effect = Allow
	case effect == Deny.String() && p.outcome == Denied.String() && !slices.Contains(p.guards, p.fell) && p.fell != ByIdentity && p.fell != stoppedRule && !strings.HasPrefix(p.fell, "gr_"):
		p.Effect = Deny
	default:
		return false, "refused"
	}
	return true, ""
}

// masked notes the arguments that a guard or an obligation has changed.
func (p *Past) masked(findings gjson.Result) {
	findings.ForEach(func(_, f gjson.Result) bool {
		where := f.Get("where").Str
		if f.Get("action").Str != "mask" {
			return true
		}
		if rest, ok := strings.CutPrefix(where, "request/arguments/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			p.Masked = append(p.Masked, strings.NewReplacer("~1", "/", "~0", "~").Replace(name))
		} else if where == "request" { // there were too many to tell where
			p.Masked = append(p.Masked, "*")
		}
		return true
	})
}

// surround takes over what the record tells of r.env.
func (c *Call) surround(env gjson.Result) {
	env.ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "roles":
			c.Caller.Roles = list(c.Caller.Roles, v)
		case "above":
			v.ForEach(func(_, roles gjson.Result) bool {
				c.Caller.Above = append(c.Caller.Above, list(nil, roles))
				return true
			})
		case "hints":
			for _, hint := range v.Array() {
				bit, _ := ParseImpact(hint.Str)
				c.Impact |= bit
			}
		case "labels":
			for _, label := range v.Array() {
				bit, _ := ParseLabel(label.Str)
				c.Labels |= bit
			}
		case "acts":
			c.Acting = new(Acting)
		case "to", "object", "intent":
			var o Origins
			if c.origins != nil {
				o = *c.origins
			}
			switch name.Str {
			case "to":
				o.To, _ = ParseOrigin(v.Str)
			case "object":
				o.Object, _ = ParseOrigin(v.Str)
			default:
				o.Intent, _ = ParseIntent(v.Str)
			}
			c.SetOrigins(o)
		case "tokens":
			c.Estimate.Tokens = v.Int()
		case "cost_microusd":
			c.Estimate.Cost, c.Estimate.Priced = MicroUSD(v.Int()), true
		case "calls":
			c.Before.Calls = v.Int()
		case "spent_microusd":
			c.Before.Spent = MicroUSD(v.Int())
		case "ip":
			c.From = v.Str
		}
		return true
	})
}

// proposed is what a call needs of its links to be no orphan.
var proposed = []audit.Link{{Kind: "proposed"}}

func (c *Call) proposedIn(links gjson.Result) {
	links.ForEach(func(_, l gjson.Result) bool {
		if l.Get("kind").Str == audit.LinkProposed && l.Get("to").Str == "" && l.Get("method").Str != "args_subset" {
			c.Links = proposed
		}
		return true
	})
}

// list appends the texts of v.
func list(dst []string, v gjson.Result) []string {
	v.ForEach(func(_, item gjson.Result) bool {
		dst = append(dst, item.Str)
		return true
	})
	return dst
}

// parseKind is the kind of a name.
func parseKind(name string) (Kind, bool) {
	i := slices.Index(kinds[1:], name)
	return Kind(i + 1), i >= 0
}
