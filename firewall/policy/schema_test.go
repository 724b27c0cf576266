package policy_test

import (
	"encoding/json"
	"strings"
	"testing"

	"callgate/firewall/policy"
)

var shopTools = map[string]json.RawMessage{
	"tool:shop/refund": json.RawMessage(`{"type":"object","properties":{"amount":{"type":"number"},"order":{"type":"object","properties":{"id":{"type":"string"}},"required":["id"],"additionalProperties":false},"note":{"type":["string","null"]},"any":{}},"required":["amount","order"],"additionalProperties":false}`),
	"tool:shop/look":   json.RawMessage(`{"type":"object","properties":{"id":{"type":"string"}},"required":["id"]}`),
	"tool:shop/open":   json.RawMessage(`{"type":"object","properties":{"id":{"type":"string"}},"additionalProperties":true}`),
	"tool:shop/loose":  json.RawMessage(`{"type":"object"}`),
	"tool:shop/ref": json.RawMessage(`{"$ref":"#/$defs/in","$defs":{"in":{"type":"object","allOf":[{"$ref":"#/$defs/who"}],"properties":{"n":{"anyOf":[{"type":"integer"},{"type":"string"}]}},"required":["n"],"additionalProperties":false},
		"who":{"properties":{"name":{"type":"string"}},"required":["name"]}}}`),
	"tool:shop/loop": json.RawMessage(`{"$ref":"#"}`),
	"tool:shop/far":  json.RawMessage(`{"$ref":"https://example.com/schema"}`),
	"tool:shop/none": nil,
}

func TestConditionsAreHeldToWhatToolsHave(t *testing.T) {
	row := func(object, condition string) string {
		return "p, role:a, *, " + object + ", call, " + condition + ", allow, R1\n"
	}
	for _, tt := range []struct{ name, rows, want string }{
		{"an argument that is there", row("tool:shop/refund", "r.env.args.amount <= 5 && r.env.args.order.id == 'x'"), ""},
		{"one that is not", row("tool:shop/refund", "r.env.args.amout <= 5"), "f:1: error: r.env.args.amout: tool:shop/refund has no argument of this name, so that every call of it is denied"},
		{"one that is not, below one that is", row("tool:shop/refund", "r.env.args.order.name == 'x'"), "f:1: error: r.env.args.order.name: tool:shop/refund has no argument"},
		{"one that need not be there", row("tool:shop/refund", "r.env.args.note == 'x'"), "f:1: warning: r.env.args.note: tool:shop/refund need not have this argument, and a call without it is denied"},
		{"one of another sort", row("tool:shop/look", "r.env.args.id > 5"), "f:1: error: r.env.args.id: it is compared as a number, and tool:shop/look has a string there"},
		{"one of any sort", row("tool:shop/refund", "r.env.args.any > 5"), "f:1: warning: r.env.args.any: tool:shop/refund need not"},
		{"one of several sorts", row("tool:shop/ref", "r.env.args.n > 5"), ""},
		{"one by reference", row("tool:shop/ref", "r.env.args.name == 'x'"), ""},
		{"one that is not, by reference", row("tool:shop/ref", "r.env.args.nam == 'x'"), "f:1: error: r.env.args.nam: tool:shop/ref has no argument"},
		{"a schema that says no more than it says", row("tool:shop/open", "r.env.args.x == 1"), ""},
		{"a schema that says nothing", row("tool:shop/loose", "r.env.args.x == 1"), ""},
		{"a schema that refers to itself", row("tool:shop/loop", "r.env.args.x == 1"), ""},
		{"a schema elsewhere", row("tool:shop/far", "r.env.args.x == 1"), ""},
		{"no schema", row("tool:shop/none", "r.env.args.x == 1"), ""},
		{"a pattern, for some of whose tools it is nonsense", row("tool:shop/re*", "r.env.args.amount <= 5"), "f:1: warning: r.env.args.amount: tool:shop/ref has no argument of this name"},
		{"a class", row("class:c", "r.env.args.amout <= 5") + "g2, tool:shop/refund, class:c\n", "f:1: error: r.env.args.amout: tool:shop/refund has no argument"},
		{"an obligation", row("tool:shop/refund", "true") + "p2, role:a, *, tool:shop/refund, call, r.env.args.amout > 5, allow, limit:calls=1/1h, R2\n", "f:2: error: r.env.args.amout: tool:shop/refund has no argument of this name, so that every call of it is under this row"},
		{"tools that nobody knows, once", row("tool:shop/gone", "r.env.args.a == 1") + "p, role:a, *, tool:bank/*, call, true, allow, R2\np, role:b, *, tool:shop/gone, call, true, allow, R3\n", "f:1: warning: no server that is known has tool:shop/gone, tool:bank/*"},
		{"what is no tool", "p, role:a, *, prompt:x/y, get, r.env.args.a == 1, allow, R1\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := told(policy.CheckTools(shopTools, policy.Source{Name: "f", Text: []byte(tt.rows)}))
			if tt.want == "" && got != "" || !strings.HasPrefix(got, tt.want) || strings.Count(strings.TrimSpace(got), "\n") > 0 {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func FuzzSchema(f *testing.F) {
	for _, s := range shopTools {
		f.Add([]byte(s), "order.id")
	}
	f.Fuzz(func(t *testing.T, schema []byte, path string) { // must not panic, nor go round in circles
		policy.CheckTools(map[string]json.RawMessage{"tool:x/y": schema}, policy.Source{Name: "f", Text: []byte("p, role:a, *, tool:x/y, call, r.env.args." + path + " == 1, allow, R1")})
	})
}
