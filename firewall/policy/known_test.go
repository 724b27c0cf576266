package policy_test

import (
	"testing"

	"callgate/firewall/policy"

	"github.com/google/go-cmp/cmp"
)

func TestRowsAboutWhatDoesNotExistAreFound(t *testing.T) {
	known := policy.Known{
		Servers: []string{"shop", "files"}, Providers: []string{"openai"},
		Tools: map[string][]string{"shop": {"pay", "refund"}},
	}
	for _, test := range []struct{ name, row, want string }{
		{"a tool that is there", "p, role:a, *, tool:shop/pay, call, true, allow, R", ""},
		{"all tools of a server", "p, role:a, *, tool:shop/*, call, true, allow, R", ""},
		{"tools by the beginning of their names", "p, role:a, *, tool:shop/ref*, call, true, allow, R", ""},
		{"servers by the beginning of their names", "p, role:a, *, tool:sh*, call, true, allow, R", ""},
		{"all tools", "p, role:a, *, tool:*, call, true, allow, R", ""},
		{"a server that has listed nothing yet", "p, role:a, *, tool:files/any, call, true, allow, R", ""},
		{"a resource", "p, role:a, *, resource:files|file:///x/*, read, true, allow, R", ""},
		{"what is no server's", "p, role:a, *, agent:bot, delegate, true, allow, R", ""},
		{"a tool that is not", "p, role:a, *, tool:shop/pai, call, true, deny, R", `x:1: warning: server shop has no tool "pai"`},
		{"none of a beginning", "p, role:a, *, tool:shop/x*, call, true, allow, R", `x:1: warning: server shop has no tool whose name begins with "x"`},
		{"a server that is not", "p, role:a, *, tool:shopp/pay, call, true, allow, R", `x:1: warning: there is no server "shopp"`},
		{"no server of a beginning", "p, role:a, *, tool:git*, call, true, allow, R", `x:1: warning: there is no server whose name begins with "git"`},
		{"a prompt of no server", "p, role:a, *, prompt:gone/hello, get, true, allow, R", `x:1: warning: there is no server "gone"`},
		{"a resource of no server", "p, role:a, *, resource:gone|file:///x, read, true, allow, R", `x:1: warning: there is no server "gone"`},
		{"a model of no provider", "p, role:a, *, model:opena/gpt, generate, true, allow, R", `x:1: warning: there is no provider "opena"`},
		{"a class of what is not there", "g2, tool:shop/delete, class:bad", `x:1: warning: server shop has no tool "delete"`},
		{"a row that is wrong anyway", "p, role:a, *, tool:gone/x", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			for _, x := range policy.CheckNames(known, policy.Source{Name: "x", Text: []byte(test.row + "\n")}) {
				got += x.String()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
