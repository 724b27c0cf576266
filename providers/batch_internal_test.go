package providers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"

	"github.com/tidwall/gjson"
)

// onlyGPT is a policy that allows one model.
type onlyGPT struct{}

func (onlyGPT) Decide(call *firewall.Call) firewall.Decision {
	if call.Object() != "model:openai/gpt" {
		return firewall.Decision{Rule: "R9", Reason: "no"}
	}
	return firewall.Decision{Effect: firewall.Allow}
}

func (onlyGPT) Member(_, _, _ string) bool                              { return false }
func (onlyGPT) Groups(_, _ string) []string                             { return nil }
func (onlyGPT) Names(*identity.Principal, string, string) bool          { return false }
func (onlyGPT) May(*identity.Principal, string, string) firewall.Answer { return firewall.Yes }

// FuzzLines reads what may be a file of calls. One that is taken has nothing but calls of
// the one model that is allowed, as a strict parser reads them.
func FuzzLines(f *testing.F) {
	f.Add([]byte(`{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt","messages":[]}}`))
	f.Add([]byte("\r\n" + `{"body":{"input":"x","model":"openai\/gpt"},"custom_id":"a","method":"POST","url":"/v1/embeddings"}` + "\r\n"))
	f.Add([]byte(`{"custom_id":"a","method":"POST","url":"/v1/chat/completions","bo\u0064y":{"model":"gpt"}}`))
	f.Add([]byte(`{"custom_id":"a","method":"POST","url":"/v1/responses","body":{"model":"gpt","previous_response_id":"r"}}`))
	f.Add([]byte(`{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"mod\u0065l":"gpt","Model":"other"}}`))
	gate := firewall.New(firewall.Config{
		Stops: new(identity.Revocations), Log: new(audit.Memory), Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now),
		Approvals: firewall.NewApprovals(new(firewall.Memory), 0, time.Now), Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}, &firewall.Law{Policy: onlyGPT{}})
	h := New(Config{Logger: slog.New(slog.DiscardHandler)}, gate)
	if err := h.SetProviders(map[string]Provider{"openai": {Models: []string{"gpt"}}}, nil); err != nil {
		f.Fatal(err)
	}
	behind := h.behind.Load()
	f.Fuzz(func(t *testing.T, file []byte) {
		var o firewall.Property
		call := &firewall.Call{Caller: identity.Principal{Tenant: "default", Subject: "agent:bot"}}
		out, err := h.judgeLines(context.Background(), call, &exchange{cfg: &h.cfg, to: behind.byName["openai"]}, &o, behind, file)
		if err != nil {
			var e *firewall.Error
			if !errors.As(err, &e) || e.Code == firewall.Internal {
				t.Fatalf("%v is no refusal", err)
			}
			return
		}
		n := int64(0)
		for line := range bytes.Lines(out) {
			n++
			if _, err := firewall.ParseBody(bytes.TrimSpace(line), firewall.Limits{}); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if gjson.GetBytes(line, "body.model").Str != "gpt" || gjson.GetBytes(line, "method").Str != "POST" || gjson.GetBytes(line, "url").Str != o.Path {
				t.Fatalf("%q is for another model, or goes elsewhere", line)
			}
		}
		if n != o.Calls || o.Model != "gpt" || n == 0 {
			t.Fatalf("%d lines: %+v", n, o)
		}
	})
}

// TestLinesAreCutAtAnyRead reads a body byte by byte, in halves and at once.
func TestLinesAreCutAtAnyRead(t *testing.T) {
	text := "a\n\nbc\r\n" + strings.Repeat("x", 40_000) + "\nend"
	for name, src := range map[string]io.Reader{
		"at once": strings.NewReader(text), "by bytes": iotest.OneByteReader(strings.NewReader(text)),
		"by halves": iotest.HalfReader(strings.NewReader(text)), "with the error": iotest.DataErrReader(strings.NewReader(text)),
	} {
		l := lines{src: src}
		var got []string
		for {
			line, err := l.next()
			got = append(got, string(line))
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if s := strings.Join(got, "|"); s != strings.ReplaceAll(text, "\n", "\n|") {
			t.Errorf("%s: %d lines, %.60q", name, len(got), s)
		}
	}
}
