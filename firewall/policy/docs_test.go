package policy_test

import (
	"os"
	"strings"
	"testing"

	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/identity"
)

// examples are the csv blocks of docs/policy.md, in order.
func examples(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, part := range strings.Split(string(text), "```csv\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		blocks = append(blocks, block)
	}
	return blocks
}

func TestTheExamplesOfTheDocumentDoWhatItSays(t *testing.T) {
	blocks := examples(t)
	if len(blocks) != 4 {
		t.Fatalf("%d examples, this test knows 4", len(blocks))
	}
	forAna := identity.Principal{Tenant: "default", Subject: "user:ana", Actors: []string{"agent:bot"}}
	for _, tt := range []struct {
		name  string
		block int
		call  *firewall.Call
		want  string
	}{
		{"support may use models", 0, request(by("agent:a", "role:support"), firewall.Model, "anthropic", "sonnet", ""), "allow M1"},
		{"a small refund", 0, tool(by("agent:a", "role:support"), "shop", "refund", `{"amount":50}`), "allow T1"},
		{"a larger refund", 0, tool(by("agent:a", "role:support"), "shop", "refund", `{"amount":51}`), "ask O1 require_approval:group:finance by O1"},
		{"a refund too large", 0, tool(by("agent:a", "role:support"), "shop", "refund", `{"amount":101}`), "deny T2"},
		{"a refund of nothing", 0, tool(by("agent:a", "role:support"), "shop", "refund", `{}`), "error T2"},
		{"two conditions", 1, tool(by("agent:a", "role:pay"), "stripe", "refund", `{"amount":1,"currency":"EUR"}`), "allow C1"},
		{"a list", 1, tool(by("agent:a", "role:pay"), "stripe", "payout", `{"country":"FR"}`), "allow C2"},
		{"a flag", 1, tool(by("agent:a", "role:dev"), "git", "push", `{"force":true}`), "deny"},
		{"an hour", 1, tool(by("agent:a", "role:dev"), "deploy", "web", `{}`), "allow C4"},
		{"an argument that is a list", 1, tool(by("agent:a", "role:dev"), "mail", "send", `{"to":["x","all@example.com"]}`), "deny C5"},
		{"a model", 1, request(by("agent:a", "role:dev"), firewall.Model, "openai", "gpt-5", ""), "allow C6"},
		{"another model", 1, request(by("agent:a", "role:dev"), firewall.Model, "openai", "gpt-5-pro", ""), "deny"},
		{"depth", 1, tool(forAna, "bank", "pay", ""), "deny C7"},
		{"what a person must agree to", 2, tool(by("agent:a", "role:support"), "shop", "refund", `{"amount":101}`), "ask P2 require_approval:group:finance by P2"},
		{"what nobody needs to", 2, tool(by("agent:a", "role:support"), "shop", "refund", `{"amount":100}`), "allow P1"},
		{"what cannot be told", 2, tool(by("agent:a", "role:support"), "shop", "refund", `{}`), "ask P2 require_approval:group:finance by P2"},
		{"a role of a role", 3, tool(by("agent:archivist"), "files", "read_text_file", ""), "allow F1"},
		{"a class", 3, tool(by("agent:archivist"), "files", "move_file", ""), "deny F3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := policy.Source{Name: "docs/policy.md", Text: []byte(blocks[tt.block])}
			if problems := policy.Check(src); len(problems) > 0 {
				t.Errorf("Check: %s", told(problems))
			}
			p := load(t, blocks[tt.block])
			if got := said(p.Decide(tt.call)); got != tt.want {
				t.Errorf("Decide = %q, want %q", got, tt.want)
			}
			agrees(t, p, tt.call)
		})
	}
}

func TestWhatTheDocumentRefusesIsRefused(t *testing.T) {
	for _, row := range []string{
		"p, role:a, *, tool:*/read, call, true, deny, R", "p, role:a, *, tool:x/y, call, true, block, R", "p, admin, *, tool:x/y, call, true, deny, R",
		"p, role:a, *, tool:x/y, call, r.env.args.s == '9:00AM', deny, R", "p, role:a, *, tool:x/y, call, r.env.args.s == '/r.txt', deny, R",
		"p, role:a, *, tool:x/y, call, r.env.depth == '1', deny, R", "p, role:a, *, tool:shell, call, true, deny, R",
	} {
		refused(t, row)
	}
}
