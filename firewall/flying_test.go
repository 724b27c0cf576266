package firewall_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
)

// A call or stream whose token is bound to a key has shown a proof once, for the
// request that began it. It is not asked for another while it goes on, and it ends
// when the token does.
func TestWhatIsUnderWayByABoundTokenNeedsNoNewProof(t *testing.T) {
	const issuer = "http://127.0.0.1:8700"
	nothing := func(_, _, _, _ string) error { return nil }
	var clock atomic.Int64
	clock.Store(1_800_000_000)
	now := func() time.Time { return time.Unix(clock.Load(), 0) }
	for name, test := range map[string]struct {
		proof  identity.Proof
		bound  identity.MintOptions
		revoke func(*identity.Revocations, *identity.Registry, identity.Token) error
		says   string
	}{
		"by a DPoP key, and the token is revoked": {
			identity.Proof{Thumbprint: "jkt"}, identity.MintOptions{Thumbprint: "jkt"},
			func(s *identity.Revocations, _ *identity.Registry, token identity.Token) error {
				return s.Revoke(context.Background(), identity.RevokedToken, token.ID, "admin")
			}, "revoked",
		},
		"by a certificate, and the agent is suspended": {
			identity.Proof{Certificate: "x5t"}, identity.MintOptions{Certificate: "x5t"},
			func(_ *identity.Revocations, r *identity.Registry, _ identity.Token) error {
				return r.Suspend(context.Background(), "bot", "admin")
			}, "suspended",
		},
	} {
		t.Run(name, func(t *testing.T) {
			registry, err := identity.OpenRegistry(t.Context(), new(identity.Memory))
			if err != nil {
				t.Fatal(err)
			}
			keys, err := identity.OpenKeys(filepath.Join(t.TempDir(), "keys"), identity.Secret{})
			if err != nil {
				t.Fatal(err)
			}
			stops, err := identity.OpenRevocations(t.Context(), new(identity.MemoryRevocations), time.Hour, now, nothing)
			if err != nil {
				t.Fatal(err)
			}
			authority := identity.New(identity.Config{Issuer: issuer, Now: now, Revocations: stops}, keys, registry)
			if _, _, err := registry.Create(t.Context(), identity.Agent{Name: "bot", DPoP: true}); err != nil {
				t.Fatal(err)
			}
			test.bound.TTL = time.Hour
			token, err := authority.Mint(t.Context(), "bot", test.bound)
			if err != nil {
				t.Fatal(err)
			}
			log := new(audit.Memory)
			gate := firewall.New(firewall.Config{
				Verify: authority.Verify, Log: log, Runs: firewall.NewRuns(0, new(firewall.Memory), now), Budgets: firewall.NewBudgets(now), Stops: stops,
				Approvals: firewall.NewApprovals(new(firewall.Memory), 0, now), Now: now, Logger: slog.New(slog.DiscardHandler),
			}, &firewall.Law{Policy: everything})

			call := toolCall("refund", `{}`)
			call.Token, call.Route = token.Access.Reveal(), "/mcp"
			up := hanging(func(context.Context) { t.Error("a bound token is good without its key") })
			var e *firewall.Error
			if err := gate.Do(t.Context(), call, up, func(firewall.Event) error { return nil }); !errors.As(err, &e) || e.Code != firewall.Unauthenticated {
				t.Fatal(err)
			}

			ctx, end := context.WithCancel(identity.WithProof(t.Context(), test.proof))
			defer end()
			stream, done := gate.Attend(ctx, token.Access.Reveal(), "/mcp")
			defer done()
			up = hanging(func(call context.Context) {
				clock.Add(10 * 60) // long after any proof
				if err := stops.Revoke(context.Background(), identity.RevokedObject, "tool:other/x", "admin"); err != nil {
					t.Error(err)
				}
				if call.Err() != nil || stream.Err() != nil {
					t.Error("what is about something else ended it", context.Cause(call), context.Cause(stream))
				}
				if err := test.revoke(stops, registry, token); err != nil {
					t.Error(err)
				}
			})
			call = toolCall("refund", `{}`)
			call.Token, call.Route = token.Access.Reveal(), "/mcp"
			err = gate.Do(ctx, call, up, func(firewall.Event) error { return nil })
			if !errors.As(err, &e) || e.Code != firewall.Unauthenticated || !strings.Contains(e.Reason, test.says) {
				t.Errorf("%v, want …%s…", err, test.says)
			}
			if stream.Err() == nil {
				t.Error("a stream goes on")
			}
		})
	}
}
