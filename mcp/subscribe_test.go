package mcp_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/mcp"

	"github.com/google/go-cmp/cmp"
)

// subscribe has the client hear of changes of tools and of doc://one, as its era
// does, and returns where it hears.
func (a *byHand) subscribe(t *testing.T) *ear {
	t.Helper()
	if a.version != "2026-07-28" {
		e := a.listen(t)
		if r := a.ask("resources/subscribe", `{"uri":"doc://one"}`, ""); r.last("result").Raw != `{}` {
			t.Fatalf("subscribe: %s", r.body)
		}
		return e
	}
	b, body := a.request("subscriptions/listen", `{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["doc://one","doc://none"]}}`, "")
	ctx, leave := context.WithCancel(t.Context())
	resp, err := b.send(ctx, http.MethodPost, body)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		leave()
		resp.Body.Close()
	})
	return &ear{t, bufio.NewScanner(resp.Body), resp, leave}
}

// until has something happen again and again until the client hears of it: it is
// not known when callgate itself has begun to listen.
func (e *ear) until(what string, happen func(string)) string {
	heard := make(chan struct{})
	defer close(heard)
	go func() {
		for {
			happen(what)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-heard:
				return
			}
		}
	}()
	for {
		got := e.hear(1)
		if got == nil {
			e.t.Fatalf("%s was never heard of", what)
		}
		if strings.Contains(got[0], `"method":"notifications/`+what+`"`) {
			return got[0]
		}
	}
}

func TestEveryClientHearsOfEveryServer(t *testing.T) {
	eachServer(t, func(t *testing.T, s *mcp.Server, modern bool) {
		if strings.Contains(t.Name(), "without_streams") {
			return
		}
		h := open(t, rules{}, map[string]*mcp.Server{"files": s})
		for _, version := range eras {
			for path, prefix := range map[string]string{"/mcp": "files__", "/mcp/files": ""} {
				t.Run(version+" "+path, func(t *testing.T) {
					before := len(h.log.Records())
					c := h.visit(t, path).speak(version)
					e := c.subscribe(t)
					mark := ""
					if version == "2026-07-28" {
						mark = `,"_meta":{"io.modelcontextprotocol/subscriptionId":7}`
						want := `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["doc://one","doc://none"]}` + mark + `}}`
						if path == "/mcp" { // where servers come and go
							want = strings.Replace(want, `true,`, `true,"promptsListChanged":true,`, 1)
						}
						if got := e.hear(1)[0]; path == "/mcp/files" && got != want {
							t.Errorf("acknowledged: %s, want %s", got, want)
						}
					}
					tell := func(what string) {
						c.ask("tools/call", `{"name":"`+prefix+`happen","arguments":{"what":"`+what+`"}}`, "")
					}
					got := []string{e.until("resources/updated", tell), e.until("tools/list_changed", tell)}
					params := ""
					if mark != "" {
						params = `,"params":{` + mark[1:] + `}`
					}
					want := []string{
						`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"doc://one","x":1.0` + mark + `}}`,
						`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"` + params + `}`,
					}
					if version != "2026-07-28" && modern { // the mark of callgate's own subscription stays in what was meant for it
						got[0] = cut(got[0], `,"_meta":`, `}}}`) + "}}"
					}
					if d := cmp.Diff(want, got); d != "" {
						t.Error(d)
					}
					subscribed := 0
					for _, r := range h.log.Records()[before:] {
						if r.Type == audit.Opened && r.Method == "resources/subscribe" && r.Resource == "doc://one" {
							subscribed++
						}
					}
					if subscribed != 1 {
						t.Errorf("%d subscriptions on record", subscribed)
					}
				})
			}
		}
	})
}

func cut(s, from, to string) string {
	before, rest, ok := strings.Cut(s, from)
	if !ok {
		return s
	}
	_, after, _ := strings.Cut(rest, to)
	return before + after
}

func TestWhoMayNotReadMayNotSubscribe(t *testing.T) {
	s := overHTTP(t, newWeb(false, true))
	h := open(t, rules{"resource:files|*"}, map[string]*mcp.Server{"files": s})
	if r := h.visit(t, "/mcp/files").speak("2025-11-25").ask("resources/subscribe", `{"uri":"doc://one"}`, ""); r.last("error.code").Int() != 403 {
		t.Errorf("subscribe: %s", r.body)
	}
	e := h.visit(t, "/mcp/files").modern().subscribe(t)
	if got := e.hear(1)[0]; !strings.Contains(got, `"resourceSubscriptions":[]`) {
		t.Errorf("acknowledged: %s", got)
	}
	if got := types(h.log.Records()); strings.Count(got, "refused:denied") != 3 {
		t.Errorf("on record: %s", got)
	}
}
