package mcp_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/mcp"

	"github.com/tidwall/gjson"
)

// filed is a policy that decides by the folder that a file is in, and counts how
// often it is asked about a tool.
type filed struct {
	rules
	root string

	mu    sync.Mutex
	asked []string // files that it was asked about
}

func (p *filed) Decide(call *firewall.Call) firewall.Decision {
	d := p.rules.Decide(call)
	if call.Kind != firewall.Tool {
		return d
	}
	file := strings.TrimPrefix(gjson.GetBytes(call.Args(), "file").Str, p.root)
	p.mu.Lock()
	p.asked = append(p.asked, file)
	p.mu.Unlock()
	switch {
	case strings.HasPrefix(file, "/docs/secret"):
		d.Effect, d.Rule, d.Reason = firewall.Deny, "R-secret", "nobody reads secrets"
	case strings.HasPrefix(file, "/docs/payroll"):
		d.Effect, d.Rule, d.Reason = firewall.Ask, "R-payroll", "needs approval"
		d.Obligations = []firewall.Obligation{{Do: firewall.RequireApproval, With: "group:finance", Rule: "R-payroll"}}
	case strings.HasPrefix(file, "/docs/counted"):
		d.Obligations = []firewall.Obligation{{Do: firewall.LimitTo, With: "calls=1/1h", Limit: firewall.Limit{Of: firewall.Calls, Amount: 1, Window: time.Hour, Per: firewall.PerAgent}, Rule: "R-counted"}}
	}
	return d
}

func (p *filed) questions() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := strings.Join(p.asked, " ")
	p.asked = nil
	return list
}

// A link on disk is followed when the law has let the call pass, and not before;
// where it leads elsewhere, the law is asked again, and what it permits is what
// leaves and what is on record.
func TestTheLawIsAskedAgainWhereALinkLeads(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"docs/open", "docs/secret", "docs/payroll", "docs/counted", "docs/worded", "out"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"to-open": "open", "to-secret": "secret", "to-payroll": "payroll", "to-counted": "counted", "to-worded": "worded", "to-out": "../out", "secret/to-out": "../../out", "payroll/to-open": "../open"} {
		if err := os.Symlink(to, filepath.Join(root, "docs", from)); err != nil {
			t.Fatal(err)
		}
	}
	root = filepath.ToSlash(root)
	up := shop()
	up.results["tools/list"] = `{"tools":[{"name":"read","inputSchema":{"type":"object"}}]}`
	up.results["tools/call"] = `{"content":[]}`
	server := started(t, mcp.ServerConfig{Name: "shop", URL: up.start(t), Timeout: 20 * time.Second,
		Tools: map[string]mcp.ToolConfig{"read": {Arguments: map[string]mcp.Mark{"file": {Class: mcp.PathClass, Within: []string{root + "/docs"}}}}}})
	policy := &filed{root: root}
	h := open(t, policy, map[string]*mcp.Server{"shop": server}, refuses("worded"))
	for _, tt := range []struct {
		name, file string
		asked      string // what the law was asked about, in order
		passes     string // what the server gets
		want       string // of the reason
		rule       string
		shows      string // the file on record
	}{
		{"no link", "/docs/./a.txt", "/docs/a.txt", "/docs/a.txt", "", "", "/docs/a.txt"},
		{"a link to what is permitted", "/docs/to-open/a.txt", "/docs/to-open/a.txt /docs/open/a.txt", "/docs/open/a.txt", "by links on this machine the arguments lead elsewhere, to what stands on record", "", "/docs/open/a.txt"},
		{"a link to what is denied", "/docs/to-secret/a.txt", "/docs/to-secret/a.txt /docs/secret/a.txt", "", "by links on this machine the arguments lead elsewhere, and there: nobody reads secrets", "R-secret", "/docs/secret/a.txt"},
		{"a link to what people must approve", "/docs/to-payroll/a.txt", "/docs/to-payroll/a.txt /docs/payroll/a.txt", "", "an approval of its own is needed", "R-payroll", "/docs/payroll/a.txt"},
		{"a link to what is counted", "/docs/to-counted/a.txt", "/docs/to-counted/a.txt /docs/counted/a.txt", "", "other duties come with the call", "", "/docs/counted/a.txt"},
		{"a link to what a guard refuses", "/docs/to-worded/a.txt", "/docs/to-worded/a.txt /docs/worded/a.txt", "", "and there: a guard refuses it", "refuses", "/docs/worded/a.txt"},
		{"a link that leads out", "/docs/to-out/a.txt", "/docs/to-out/a.txt", "", "a link on the way leads out of the directories that are allowed", "", "/docs/to-out/a.txt"},
		{"a link that leads out, below what is denied", "/docs/secret/to-out/a.txt", "/docs/secret/to-out/a.txt", "", "nobody reads secrets", "R-secret", "/docs/secret/to-out/a.txt"},
		{"a link from what people must approve", "/docs/payroll/to-open/a.txt", "/docs/payroll/to-open/a.txt", "", "make the same call again once it is approved", "R-payroll", "/docs/payroll/to-open/a.txt"},
	} {
		for _, version := range []string{"2025-06-18", "2026-07-28"} {
			t.Run(version+" "+tt.name, func(t *testing.T) {
				a := h.visit(t, "/mcp").speak(version)
				policy.questions()
				calls, records := len(up.got("tools/call")), len(h.log.Records())
				args := `{"file":"` + root + tt.file + `"}`
				r := a.ask("tools/call", `{"name":"shop__read","arguments":`+args+`}`, "")
				if got := policy.questions(); got != tt.asked {
					t.Errorf("the law was asked about %s, want %s", got, tt.asked)
				}
				sent, added := up.got("tools/call")[calls:], h.log.Records()[records:]
				first := added[0]
				if got := strings.TrimPrefix(gjson.GetBytes(first.Args, "file").Str, root); got != tt.shows || first.ArgsHash != firewall.HashArgs([]byte(args)) || first.Rule != tt.rule && tt.rule != "" {
					t.Errorf("record of %s, rule %s, hash %s", first.Args, first.Rule, first.ArgsHash)
				}
				if tt.passes != "" {
					if len(sent) != 1 || sent[0].Get("params.arguments.file").Str != root+tt.passes || first.Type != audit.Opened || !strings.Contains(first.Reason, tt.want) {
						t.Errorf("sent %v, record %+v: %s", sent, first, r.body)
					}
					return
				}
				reason, _ := told(r)
				if len(sent) != 0 || !strings.Contains(reason, tt.want) || len(added) != 1 || first.Type != audit.Refused || strings.Contains(reason, root) {
					t.Errorf("sent %v, %s, records %s", sent, r.body, types(added))
				}
			})
		}
	}
}

// refuses is a guard that refuses calls whose body has a word.
type refuses string

func (refuses) Name() string { return "refuses" }

func (g refuses) Request(_ context.Context, call *firewall.Call) (firewall.Decision, error) {
	if strings.Contains(string(call.Body.JSON), "/"+string(g)+"/") {
		return firewall.Decision{Rule: "refuses", Reason: "a guard refuses it"}, nil
	}
	return firewall.Decision{Effect: firewall.Allow}, nil
}

func (refuses) Reply(_ context.Context, _ *firewall.Call, events firewall.Events) firewall.Events {
	return events
}
