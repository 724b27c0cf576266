package mcp_test

import (
	"slices"
	"strings"
	"testing"

	"callgate/firewall"
	"callgate/identity"
	"callgate/mcp"
)

// What a model calls a tool is its client's name for it: callgate's own, with something
// before it, or, at /mcp/<server>, the server's.
func TestWhatAModelMeansByTheNameOfATool(t *testing.T) {
	files := shop()
	files.results["tools/list"] = `{"tools":[{"name":"read.file","inputSchema":{"type":"object"}},{"name":"refund","inputSchema":{"type":"object"}},{"name":"` + strings.Repeat("long", 20) + `","inputSchema":{"type":"object"}}]}`
	guarded := started(t, mcp.ServerConfig{Name: "disk-1", URL: files.start(t), Tools: map[string]mcp.ToolConfig{
		"write": {Arguments: map[string]mcp.Mark{"path": {Class: mcp.PathClass, Within: []string{"/srv"}}}},
	}})
	h := open(t, rules{"tool:disk-1/refund"}, map[string]*mcp.Server{"shop": behind(t, "shop", shop().start(t)), "disk-1": guarded})
	h.visit(t, "/mcp").modern().ask("tools/list", `{}`, "")
	bot := &identity.Principal{Tenant: "default", Subject: "agent:bot"}
	for name, want := range map[string]string{
		"shop__refund":                 "tool:shop/refund",
		"mcp__callgate__shop__refund":  "tool:shop/refund",
		"gate.shop__refund":            "tool:shop/refund",
		"mcp__gate__disk_1__read_file": "tool:disk-1/read.file",
		"disk-1__read.file":            "tool:disk-1/read.file",
		"shop__gone":                   "tool:shop/gone",
		"disk-1__gone":                 "tool:disk-1/gone",
		"disk-1__refund":               "tool:disk-1/refund",
		"refund":                       "tool:shop/refund", // of the other one bot knows nothing
		"mcp__shop__read-file":         "tool:disk-1/read.file",
		"Bash":                         "",
		"rerefund":                     "",
		"xshop__refund":                "tool:shop/refund", // ends in refund
		"shop__":                       "",
		"":                             "",
		"mcp__x__disk-1__" + strings.Repeat("long", 20): "tool:disk-1/" + strings.Repeat("long", 20),
	} {
		var got []string
		for _, m := range h.door.Meant(bot, firewall.Want{Name: name}) {
			got = append(got, m.Call.Object())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s means %v, want %s", name, got, want)
		}
	}

	// the name that a list has for one that is too long
	var cut string
	for _, tool := range h.visit(t, "/mcp").modern().ask("tools/list", `{}`, "").last("result.tools.#.name").Array() {
		if strings.HasPrefix(tool.Str, "disk-1__long") {
			cut = tool.Str
		}
	}
	if m := h.door.Meant(bot, firewall.Want{Name: "mcp__gate__" + cut}); len(m) != 1 || m[0].Call.Resource != strings.Repeat("long", 20) {
		t.Errorf("%s means %v", cut, m)
	}
}

// The call that is meant is judged as the door would: by canonical arguments, if they
// are what they may be.
func TestWhatIsMeantHasCanonicalArguments(t *testing.T) {
	s := started(t, mcp.ServerConfig{Name: "disk", URL: shop().start(t), Tools: map[string]mcp.ToolConfig{
		"write": {Arguments: map[string]mcp.Mark{"path": {Class: mcp.PathClass, Within: []string{"/srv"}}}},
	}})
	h := open(t, rules{}, map[string]*mcp.Server{"disk": s})
	bot := &identity.Principal{Tenant: "default", Subject: "agent:bot"}
	for args, want := range map[string]string{
		`{"path":"/srv/../srv//a"}`:     `{"path":"/srv/a"}`,
		`{"path":"/srv/a"}`:             `{"path":"/srv/a"}`,
		`{"path":"/srv/../etc/shadow"}`: "refused",
		`"{\"path\":"`:                  "refused",
		`{"a":1,"a":2}`:                 "refused",
	} {
		meant := h.door.Meant(bot, firewall.Want{Name: "disk__write", Args: []byte(args)})
		if len(meant) != 1 || !meant[0].Open {
			t.Fatalf("%s means %v", args, meant)
		}
		got := string(meant[0].Call.Args())
		if meant[0].Err != nil {
			got = "refused"
		}
		if got != want {
			t.Errorf("%s is %s, want %s (%v)", args, got, want, meant[0].Err)
		}
	}
	if open := slices.ContainsFunc(h.door.Meant(bot, firewall.Want{Name: "disk__read"}), func(m firewall.Meaning) bool { return m.Open }); open {
		t.Error("a tool without marks depends on its arguments")
	}
}
