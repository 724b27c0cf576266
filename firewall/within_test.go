package firewall_test

import (
	"context"
	"errors"
	"testing"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
)

func TestAnAgentIsKeptToWhatItIsRegisteredFor(t *testing.T) {
	limits := []identity.Within{{Models: []string{"model:lab/*"}, Servers: []string{"server:shop"}}}
	caller := identity.Principal{Tenant: "default", Subject: "agent:bot", Within: limits}
	for _, test := range []struct {
		name     string
		kind     firewall.Kind
		target   string
		resource string
		passes   bool
	}{
		{"a model of its provider", firewall.Model, "lab", "phi", true},
		{"a model of another", firewall.Model, "labs", "phi", false},
		{"a tool of its server", firewall.Tool, "shop", "refund", true},
		{"a tool of a server whose name begins like it", firewall.Tool, "shop2", "refund", false},
		{"a resource of its server", firewall.Resource, "shop", "file:///a|b", true},
		{"a resource of another", firewall.Resource, "till", "shop|x", false},
		{"a prompt of another", firewall.Prompt, "till", "shop", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			object := firewall.Object(test.kind, test.target, test.resource)
			log := new(audit.Memory)
			cfg := config(log)
			cfg.Verify = func(context.Context, string, string) (identity.Principal, error) { return caller, nil }
			g := firewall.New(cfg, &firewall.Law{Policy: rules{object: firewall.Allow}})
			call := &firewall.Call{Kind: test.kind, Target: test.target, Resource: test.resource, Token: "t"}
			err := g.Do(t.Context(), call, &replies{}, func(firewall.Event) error { return nil })
			var e *firewall.Error
			if passed := err == nil; passed != test.passes {
				t.Fatalf("got %v", err)
			} else if !passed && (!errors.As(err, &e) || e.Code != firewall.Denied || e.Rule != firewall.ByIdentity) {
				t.Errorf("got %v by %q", err, e.Rule)
			}
			if may := g.May(&caller, test.kind, test.target, test.resource) != firewall.No; may != test.passes {
				t.Error("a list would show something else than the call allows")
			}
			if !test.passes && len(log.Records()) == 0 {
				t.Error("the denial is not on record")
			}
		})
	}
}

func TestPeopleOfTheRegistryDecideAboutApprovals(t *testing.T) {
	for _, test := range []struct {
		name   string
		groups []string
		gone   error
		want   error
	}{
		{"somebody of the group", []string{"group:finance"}, nil, nil},
		{"somebody of another", []string{"group:ops"}, nil, firewall.ErrMayNot},
		{"somebody of the group who has left", []string{"group:finance"}, identity.ErrEnded, firewall.ErrMayNot},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := config(new(audit.Memory))
			cfg.Person = func(name string) ([]string, error) { return test.groups, test.gone }
			g := firewall.New(cfg, &firewall.Law{Policy: everything})
			err := g.Do(t.Context(), toolCall("pay", `{}`), &replies{}, func(firewall.Event) error { return nil })
			var e *firewall.Error
			if !errors.As(err, &e) || e.Code != firewall.Pending {
				t.Fatal(err)
			}
			_, err = g.Approve(t.Context(), e.Approval, firewall.Vote{By: "user:ana", Yes: true}, func(firewall.Approval) error { return nil })
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestNoLimitCostsNothing(t *testing.T) {
	call := toolCall("refund", `{}`)
	call.Caller = identity.Principal{Tenant: "default", Subject: "agent:bot"}
	d := firewall.Decision{Effect: firewall.Allow}
	if n := testing.AllocsPerRun(100, func() { d = call.Within(d) }); n != 0 {
		t.Errorf("%v allocations for an agent without limits", n)
	}
}
