package audit

import (
	"bytes"
	"strings"

	"github.com/tidwall/gjson"
)

// A Field is something that a [Where] can ask for.
type Field struct {
	Name    string
	Type    FieldType
	Means   string   // in a few words, with the unit
	Values  []string // of TypeName: what there is
	Indexed bool     // found by the index; else each call's records are read

	text   func(*Call) string
	list   func(*Call) []string
	number func(*Call) (float64, bool)
}

// A FieldType says which values a [Field] has, and so how it can be asked for.
type FieldType string

// The types of fields.
const (
	TypeText     FieldType = "text"
	TypeName     FieldType = "name" // one of a few
	TypeList     FieldType = "list" // of texts
	TypeNumber   FieldType = "number"
	TypeMoney    FieldType = "US dollars"
	TypeTime     FieldType = "time"
	TypeDuration FieldType = "duration"
	TypeJSON     FieldType = "any"
)

// Fields is all that a [Where] can ask for, in the order of docs/filter.md.
func Fields() []Field { return append([]Field(nil), fields...) }

var fields = []Field{
	{Name: "call", Type: TypeText, Indexed: true, Means: "its id", text: func(c *Call) string { return c.ID }},
	{Name: "seq", Type: TypeNumber, Indexed: true, Means: "position of its first record", number: func(c *Call) (float64, bool) { return float64(c.Seq), true }},
	{Name: "at", Type: TypeTime, Indexed: true, Means: "when it came"},
	{Name: "took", Type: TypeDuration, Indexed: true, Means: "how long it took; none while it is open", number: func(c *Call) (float64, bool) { return float64(c.TookUS), c.Ended != 0 }},

	{Name: "agent", Type: TypeText, Indexed: true, Means: "who acts: agent:bot. Without a colon it is an agent's name", text: func(c *Call) string { return c.Agent }},
	{Name: "subject", Type: TypeText, Indexed: true, Means: "for whom, where that is not the agent itself: user:ana", text: func(c *Call) string { return c.Subject }},
	{Name: "actor", Type: TypeList, Means: "each of the delegation chain", list: func(c *Call) []string { return c.Actors }},
	{Name: "role", Type: TypeList, Means: "of the acting agent: role:dev", list: func(c *Call) []string {
		if c.Env == nil {
			return nil
		}
		return c.Env.Roles
	}},
	{Name: "token", Type: TypeText, Indexed: true, Means: "jti of the token that it came with", text: func(c *Call) string { return c.Token }},
	{Name: "run", Type: TypeText, Indexed: true, Means: "its run", text: func(c *Call) string { return c.Run }},
	{Name: "chain", Type: TypeText, Indexed: true, Means: "the run as the client names it, where it does", text: func(c *Call) string { return c.Chain }},
	{Name: "session", Type: TypeText, Means: "the session as the client names it", text: func(c *Call) string { return c.Session }},
	{Name: "thread", Type: TypeText, Means: "the conversation: id of the model call that began it", text: func(c *Call) string { return c.Thread }},
	{Name: "ip", Type: TypeText, Means: "address that the client called from", text: func(c *Call) string {
		if c.Env == nil {
			return ""
		}
		return c.Env.IP
	}},

	{Name: "kind", Type: TypeName, Indexed: true, Means: "what it acts on", Values: []string{"session", "list", "model", "tool", "resource", "prompt"}, text: func(c *Call) string { return c.Kind }},
	{Name: "target", Type: TypeText, Indexed: true, Means: "MCP server or provider", text: func(c *Call) string { return c.Target }},
	{Name: "method", Type: TypeText, Means: "tools/call, chat…", text: func(c *Call) string { return c.Method }},
	{Name: "resource", Type: TypeText, Indexed: true, Means: "tool, model, prompt or resource, by its name there", text: func(c *Call) string { return c.Resource }},
	{Name: "tool", Type: TypeText, Indexed: true, Means: "SERVER/TOOL, of calls of tools", text: func(c *Call) string { return c.thing("tool") }},
	{Name: "model", Type: TypeText, Indexed: true, Means: "PROVIDER/MODEL, of calls of models", text: func(c *Call) string { return c.thing("model") }},
	{Name: "args", Type: TypeJSON, Means: "a value in the arguments, which are masked: args.order.id; args alone is all of them as text"},
	{Name: "args_hash", Type: TypeText, Indexed: true, Means: "hash of the arguments as they came, in hex", text: func(c *Call) string { return c.ArgsHash }},
	{Name: "request_bytes", Type: TypeNumber, Means: "bytes of the request", number: func(c *Call) (float64, bool) { return float64(c.Sent), true }},
	{Name: "reply_bytes", Type: TypeNumber, Means: "bytes of the reply", number: func(c *Call) (float64, bool) { return float64(c.Received), true }},

	{Name: "effect", Type: TypeName, Indexed: true, Means: "what was decided", Values: []string{"allow", "ask", "deny"}, text: func(c *Call) string { return c.Effect }},
	{Name: "rule", Type: TypeText, Indexed: true, Means: "the row or guard that decided", text: func(c *Call) string { return c.Rule }},
	{Name: "reason", Type: TypeText, Means: "why, as the agent was told", text: func(c *Call) string { return c.Reason }},
	{Name: "policy", Type: TypeText, Indexed: true, Means: "digest of the policy in force", text: func(c *Call) string { return c.Policy }},
	{Name: "otherwise", Type: TypeName, Indexed: true, Means: "what a candidate would have decided, where that is something else", Values: []string{"allow", "ask", "deny"}, text: func(c *Call) string {
		if c.Otherwise == nil {
			return ""
		}
		return c.Otherwise.Effect
	}},
	{Name: "duty", Type: TypeList, Means: "what came along with the decision: require_approval:group:finance", list: func(c *Call) []string { return c.Obligations }},
	{Name: "approval", Type: TypeText, Indexed: true, Means: "id of the approval that it asked for or carried", text: func(c *Call) string { return c.Approval }},
	{Name: "finding", Type: TypeList, Means: "what guards saw: GUARD/RULE", list: func(c *Call) []string {
		var all []string
		for _, f := range c.Findings {
			all = append(all, f.Guard+"/"+f.Rule)
		}
		return all
	}},
	{Name: "signal", Type: TypeList, Indexed: true, Means: "what is not as it should be between models and tools: orphan, args_changed…", list: func(c *Call) []string { return c.Signals }},

	{Name: "outcome", Type: TypeName, Indexed: true, Means: "how it ended", Values: []string{"ok", "fault", "open", "outcome_unknown", "internal", "unauthenticated", "denied", "pending", "exhausted", "invalid", "not_found", "unavailable", "timeout", "canceled"}, text: func(c *Call) string { return c.Outcome }},
	{Name: "fault", Type: TypeText, Means: "the cause, in a few words", text: func(c *Call) string { return c.Fault }},
	{Name: "cost", Type: TypeMoney, Indexed: true, Means: "what it cost; none where no price is known", number: func(c *Call) (float64, bool) {
		if c.Cost == nil {
			return 0, false
		}
		return float64(*c.Cost), true
	}},
	{Name: "tokens", Type: TypeNumber, Indexed: true, Means: "tokens in and out", number: func(c *Call) (float64, bool) {
		if c.Usage == nil {
			return 0, false
		}
		return float64(c.Usage.Input + c.Usage.Output), true
	}},
	{Name: "label", Type: TypeList, Means: "what the run had read before it, and what its reply brought", list: func(c *Call) []string {
		if c.Env == nil {
			return c.Labels
		}
		return append(append([]string(nil), c.Env.Labels...), c.Labels...)
	}},
	{Name: "credential", Type: TypeList, Indexed: true, Means: "which of callgate's own were used: secret:openai@3", list: func(c *Call) []string { return strings.Fields(c.Credential) }},
	{Name: "asked_for", Type: TypeList, Means: "names of the tools that its reply asked for", list: func(c *Call) []string {
		var all []string
		for _, w := range c.Wants {
			all = append(all, w.Name)
		}
		return all
	}},
	{Name: "found", Type: TypeList, Means: "how what led to it was found: tool_use_id, twin, ambiguous…", list: func(c *Call) []string {
		var all []string
		for _, l := range c.Links {
			all = append(all, l.Method)
		}
		return all
	}},
}

// thing is TARGET/RESOURCE of a call of that kind.
func (c *Call) thing(kind string) string {
	if c.Kind != kind {
		return ""
	}
	return c.Target + "/" + c.Resource
}

// json says whether a test of arguments is so.
func (t *Test) json(args []byte) bool {
	if t.Path == "" {
		s := string(bytes.TrimSpace(args))
		return t.text(s)
	}
	v := gjson.GetBytes(args, t.Path)
	switch {
	case !v.Exists():
		return t.Op == IsNot
	case t.Op == Less || t.Op == AtMost || t.Op == More || t.Op == AtLeast:
		return v.Type == gjson.Number && t.compare(v.Num, t.Number)
	case v.IsArray() && t.Op == Has:
		for _, item := range v.Array() {
			if t.matches(item.String()) {
				return true
			}
		}
		return false
	case v.Type == gjson.Number && t.numeric():
		return t.compare(v.Num, t.Number)
	}
	return t.text(v.String())
}
