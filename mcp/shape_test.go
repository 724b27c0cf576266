package mcp_test

import (
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
	"callgate/mcp"
)

// asks is a policy that lets tools be called when a person has agreed.
type asks struct{ rules }

func (asks) Decide(call *firewall.Call) firewall.Decision {
	d := firewall.Decision{Effect: firewall.Allow, Policy: "p1"}
	if call.Kind == firewall.Tool {
		d.Effect, d.Rule, d.Reason = firewall.Ask, "R1", "it needs approval"
		d.Obligations = []firewall.Obligation{{Do: firewall.RequireApproval, With: "group:finance", Rule: "R1"}}
	}
	return d
}

func (asks) Names(*identity.Principal, string, string) bool { return false }

func (asks) Member(_, subject, _ string) bool { return subject == "user:ana" }

// What people agree to is a call of the tool as it is defined then.
func TestAnApprovalIsOfAToolAsItIsDefined(t *testing.T) {
	f := newFickle(t, true)
	f.tool(refund)
	server := started(t, mcp.ServerConfig{Name: "shop", URL: f.url, Timeout: 20 * time.Second})
	h := open(t, asks{}, map[string]*mcp.Server{"shop": server})
	a := h.visit(t, "/mcp/shop").modern()
	try := func(passes bool) (approval string) {
		t.Helper()
		heard, records := len(f.got("tools/call")), len(h.log.Records())
		r := a.ask("tools/call", `{"name":"refund","arguments":{"order":"1"}}`, "")
		added := h.log.Records()[records:]
		if sent := len(f.got("tools/call")) - heard; passes != (sent == 1) || passes != (added[0].Type == audit.Opened) || !passes && added[0].Outcome != "pending" {
			t.Errorf("%d calls, records %s: %s", sent, types(added), r.body)
		}
		return added[0].Approval
	}
	agree := func(id string) {
		t.Helper()
		if _, err := h.gate.Approve(t.Context(), id, firewall.Vote{By: "user:ana", Yes: true}, func(firewall.Approval) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	first := try(false)
	agree(first)
	if id := try(true); id != first {
		t.Errorf("approval %s, not %s", id, first)
	}
	agree(try(false))
	for _, tool := range []string{
		strings.Replace(refund, "Pays back.", "Pays back!", 1),
		strings.Replace(refund, `"readOnlyHint":true`, `"readOnlyHint":false`, 1),
		strings.Replace(refund, `"outputSchema":{"type":"object"}`, `"outputSchema":{"type":"object","title":"x"}`, 1),
	} {
		f.tool(tool)
		server.Forget()
		again := try(false)
		if again == first {
			t.Error("it is the approval of another definition")
		}
		agree(again)
		if id := try(true); id != again {
			t.Errorf("approval %s, not %s", id, again)
		}
	}
}
