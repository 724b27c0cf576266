package mcp_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"callgate/mcp"

	"github.com/tidwall/gjson"
)

func TestAListDoesNotWaitForServersInTrouble(t *testing.T) {
	t.Parallel()
	hangs := &upstream{handle: func(_ http.ResponseWriter, r *http.Request, m gjson.Result) bool {
		if m.Get("method").Str == "tools/list" {
			<-r.Context().Done()
		}
		return m.Get("method").Str == "tools/list"
	}}
	h := open(t, rules{}, map[string]*mcp.Server{
		"dead":  started(t, mcp.ServerConfig{Name: "dead", Command: []string{"/nonexistent/server"}}),
		"hangs": behind(t, "hangs", hangs.start(t)),
		"shop":  behind(t, "shop", shop().start(t)),
	})
	c := h.visit(t, "/mcp").modern()
	quick := false
	for n := range 5 {
		began := time.Now()
		r := c.ask("tools/list", `{}`, "")
		if got := names(r.last("result.tools")); !slices.Equal(got, []string{"shop__refund", "shop__drop"}) {
			t.Errorf("the list has %v", got)
		}
		took := time.Since(began)
		if took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		quick = quick || n > 0 && took < 900*time.Millisecond // the door's Wait is a second, and the machine may be busy
	}
	if !quick {
		t.Error("though it was known that one is silent, each list waited for it")
	}
}

func TestAServerThatDiesAgainAndAgainHarmsNoOther(t *testing.T) {
	t.Parallel()
	weak, other := overStdio(t, "legacy", func(c *mcp.ServerConfig) { c.Name = "weak" }), overStdio(t, "legacy", func(c *mcp.ServerConfig) { c.Name = "other" })
	h := open(t, rules{}, map[string]*mcp.Server{"weak": weak, "other": other})
	c := h.visit(t, "/mcp").modern()
	done := make(chan struct{})
	killed := 0
	var all sync.WaitGroup
	all.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, m, err := call(t.Context(), weak, "ana", `{"name":"pid"}`); err == nil {
				_ = syscall.Kill(int(gjson.GetBytes(m.Result, "structuredContent").Int()), syscall.SIGKILL)
				killed++
			}
		}
	})
	for i := range 200 {
		if r := c.ask("tools/call", `{"name":"other__plain","arguments":{}}`, ""); r.last("result.content.0.text").Str != "done" {
			t.Errorf("call %d of the other one: HTTP %d %s", i, r.status, r.body)
		}
	}
	close(done)
	all.Wait()
	if killed == 0 {
		t.Error("the weak one was never killed")
	}
}

func TestAPrefixStandsForItsServer(t *testing.T) {
	t.Parallel()
	up := shop()
	s := started(t, mcp.ServerConfig{Name: "shop", Prefix: "till-2", URL: up.start(t)})
	h := open(t, rules{"tool:shop/drop"}, map[string]*mcp.Server{"shop": s})
	c := h.visit(t, "/mcp").modern()
	if got := names(c.ask("tools/list", `{}`, "").last("result.tools")); !slices.Equal(got, []string{"till-2__refund"}) {
		t.Errorf("the list has %v", got)
	}
	if r := c.ask("tools/call", `{"name":"till-2__refund","arguments":{}}`, ""); r.last("result.content.0.text").Str != "paid" {
		t.Errorf("a call: %s", r.body)
	}
	if r := c.ask("tools/call", `{"name":"till-2__drop","arguments":{}}`, ""); !strings.Contains(r.body, "tool:shop/drop") {
		t.Errorf("a call that the policy denies by the server's name: %s", r.body)
	}
	if r := c.ask("tools/call", `{"name":"shop__refund","arguments":{}}`, ""); !strings.Contains(r.body, "there is no tool") {
		t.Errorf("a call by the server's name: %s", r.body)
	}
	if n := len(up.got("tools/call")); n != 1 {
		t.Errorf("%d calls reached the server", n)
	}
}
