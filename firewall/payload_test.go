package firewall_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
)

// keeper notes what it is to keep.
type keeper struct {
	kept []string
	err  error
}

func (k *keeper) Put(run string, doc []byte, keep bool) (audit.Payload, error) {
	if k.err != nil {
		return audit.Payload{}, k.err
	}
	k.kept = append(k.kept, fmt.Sprint(keep, " ", string(doc)))
	return audit.Payload{Size: int64(len(doc)), Kept: keep, Digest: fmt.Sprint(len(k.kept))}, nil
}

func TestWhatPassesIsKeptByTheFirstRuleThatFits(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules []firewall.KeepRule
		want  []string
	}{
		{"no rules", nil, []string{`true {"name":"refund","arguments":{"a":1}}`, "true {\"one\":1}\n{\"two\":2}"}},
		{"of the agent", []firewall.KeepRule{{Agent: "agent:other", Keep: firewall.KeepNone}, {Agent: "agent:b*", Keep: firewall.KeepDigests}, {Keep: firewall.KeepNone}}, []string{`false {"name":"refund","arguments":{"a":1}}`, "false {\"one\":1}\n{\"two\":2}"}},
		{"of the object", []firewall.KeepRule{{Object: "tool:shop/*", Keep: firewall.KeepNone}}, nil},
		{"of another object", []firewall.KeepRule{{Object: "tool:bank/*", Keep: firewall.KeepNone}}, []string{`true {"name":"refund","arguments":{"a":1}}`, "true {\"one\":1}\n{\"two\":2}"}},
		{"of very few runs", []firewall.KeepRule{{Percent: 1e-9}}, []string{`false {"name":"refund","arguments":{"a":1}}`, "false {\"one\":1}\n{\"two\":2}"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log audit.Memory
			k := new(keeper)
			cfg := config(&log)
			cfg.Payloads = k
			g := firewall.New(cfg, &firewall.Law{Policy: rules{"tool:shop/refund": firewall.Allow}})
			if c.rules != nil {
				g.SetKeep(c.rules)
			}
			up := &replies{events: []firewall.Event{event(`{"one":1}`, false), event(`{"two":2}`, true)}}
			if err := g.Do(context.Background(), toolCall("refund", `{"a":1}`), up, func(firewall.Event) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(k.kept) != fmt.Sprint(c.want) {
				t.Errorf("kept %q, want %q", k.kept, c.want)
			}
			for _, r := range log.Records() {
				if p := map[audit.Type]*audit.Payload{audit.Opened: r.Sent, audit.Closed: r.Got}[r.Type]; (p != nil) != (c.want != nil) {
					t.Errorf("%s says %v", r.Type, p)
				}
			}
		})
	}
}

func TestARequestThatCannotBeKeptIsRefused(t *testing.T) {
	var log audit.Memory
	cfg := config(&log)
	cfg.Payloads = &keeper{err: errors.New("disk full")}
	g := firewall.New(cfg, &firewall.Law{Policy: rules{"tool:shop/refund": firewall.Allow}})
	up := &replies{events: []firewall.Event{event(`{}`, true)}}
	err := g.Do(context.Background(), toolCall("refund", `{}`), up, func(firewall.Event) error { return nil })
	var e *firewall.Error
	if !errors.As(err, &e) || e.Code != firewall.Unavailable || up.asked != 0 {
		t.Errorf("%v, and the target was asked %d times", err, up.asked)
	}
}

// With a window, who only reads does not wait, and who acts does.
func TestAWindowIsForWhoOnlyReads(t *testing.T) {
	log, err := audit.Open(t.TempDir(), audit.Config{Patience: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cfg := config(log)
	cfg.Window = true
	g := firewall.New(cfg, &firewall.Law{Policy: rules{"tool:shop/refund": firewall.Allow, "model:openai/gpt": firewall.Allow}})
	do := func(call *firewall.Call) (durable uint64) {
		up := &replies{events: []firewall.Event{event(`{}`, true)}}
		if err := g.Do(context.Background(), call, up, func(firewall.Event) error { durable = log.Head(); return nil }); err != nil {
			t.Fatal(err)
		}
		return durable
	}
	if n := do(modelCall()); n != 0 {
		t.Errorf("%d records of a model call were durable before its reply went down", n)
	}
	if n := do(toolCall("refund", `{}`)); n != 4 { // with those before
		t.Errorf("%d records were durable before the reply of a tool went down, want 4", n)
	}
}
