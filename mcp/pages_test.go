package mcp_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"callgate/mcp"

	"github.com/tidwall/gjson"
)

// paged is a server that has the user open a page before it does a thing. It says so
// with pages, an error's data, once.
func paged(t *testing.T, data string) (*upstream, *mcp.Server) {
	t.Helper()
	up := shop()
	var opened atomic.Bool
	up.handle = func(w http.ResponseWriter, _ *http.Request, m gjson.Result) bool {
		switch m.Get("method").Str {
		case "tools/call", "prompts/get", "resources/read", "completion/complete":
			if opened.Swap(true) {
				opened.Store(false)
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32042,"message":"log in first","data":%s}}`, m.Get("id").Raw, data)
			return true
		}
		return false
	}
	return up, started(t, mcp.ServerConfig{Name: "shop", URL: up.start(t), Opens: []string{"shop.example"}})
}

const (
	goodPage  = `{"mode":"url","message":"Log in.","elicitationId":"e1","url":"https://shop.example/login","x":1.0}`
	otherPage = `{"mode":"url","message":"Pay.","elicitationId":"e2","url":"https://pay.shop.example/"}`
	evilPage  = `{"mode":"url","message":"Log in.","elicitationId":"e3","url":"https://evil.example/"}`
)

func TestAClientLearnsWhichPagesAServerNeedsOpened(t *testing.T) {
	for _, tt := range []struct{ method, params, want string }{
		{"tools/call", `{"name":"refund","arguments":{"n":1}`, "result.content.0.text=paid"},
		{"prompts/get", `{"name":"greet"`, "result.messages.0.content.text=hi"},
		{"resources/read", `{"uri":"shop://orders"`, "result.contents.0.text=A-1"},
	} {
		t.Run(tt.method, func(t *testing.T) {
			up, server := paged(t, `{"elicitations":[`+goodPage+`,`+otherPage+`],"more":1}`)
			h := open(t, rules{}, map[string]*mcp.Server{"shop": server})
			at, want, _ := strings.Cut(tt.want, "=")

			c := h.visit(t, "/mcp/shop").able("2025-11-25")
			r := c.ask(tt.method, tt.params+"}", "")
			if r.last("error.code").Int() != -32042 || r.last("error.message").Str != "log in first" || r.last("error.data.elicitations").Raw != `[`+goodPage+`,`+otherPage+`]` {
				t.Errorf("a client of 2025-11-25 got %s", r.body)
			}
			if r := c.ask(tt.method, tt.params+"}", ""); r.last(at).Str != want {
				t.Errorf("a client of 2025-11-25, after that, got %s", r.body)
			}

			m := h.visit(t, "/mcp/shop").able("2026-07-28")
			state := func() string {
				t.Helper()
				r := m.ask(tt.method, tt.params+"}", "")
				if r.last("result.resultType").Str != "input_required" || r.last("result.inputRequests").Raw != `{"1":{"method":"elicitation/create","params":`+goodPage+`},"2":{"method":"elicitation/create","params":`+otherPage+`}}` {
					t.Errorf("a modern client got %s", r.body)
				}
				return `,"requestState":` + r.last("result.requestState").Raw
			}
			const yes, no = `"1":{"action":"accept"}`, `"1":{"action":"decline"}`
			s := state()
			sent := len(up.got(tt.method))
			if r := m.ask(tt.method, tt.params+`,"inputResponses":{`+no+`,"2":{"action":"accept"}}`+s+"}", ""); !strings.Contains(r.body, "did not agree") {
				t.Errorf("a user who declines got %s", r.body)
			}
			if r := m.ask(tt.method, tt.params+`,"inputResponses":{`+yes+`,"2":{"action":"accept"}}`+s+"}", ""); r.last("error.code").Int() != -32602 {
				t.Errorf("a state that was used got %s", r.body)
			}
			if n := len(up.got(tt.method)) - sent; n != 0 {
				t.Errorf("the server got %d calls that it should not", n)
			}
			m.ask(tt.method, tt.params+"}", "") // the server asks again, with the next
			s = state()
			r = m.ask(tt.method, tt.params+`,"inputResponses":{`+yes+`,"2":{"action":"accept"}}`+s+"}", "")
			if r.last(at).Str != want {
				t.Errorf("a user who agrees got %s", r.body)
			}
			all := up.got(tt.method)
			if last := all[len(all)-1].Raw; strings.Contains(last, "inputResponses") || strings.Contains(last, "requestState") {
				t.Errorf("the server got %s", last)
			}
			if got := types(h.log.Records()); strings.Count(got, "refused:denied") != 1 {
				t.Errorf("on record is %s", got)
			}
		})
	}
}

func TestNobodyIsSentToAPageByAnError(t *testing.T) {
	const noURL, urls = `"capabilities":{"elicitation":{}}`, able
	for _, tt := range []struct{ name, data, can, reason, record string }{
		{"elsewhere", `{"elicitations":[` + evilPage + `]}`, urls, "not its own", "refused:denied"},
		{"elsewhere, after one of its own", `{"elicitations":[` + goodPage + `,` + evilPage + `]}`, urls, "not its own", "refused:denied"},
		{"elsewhere, by a name in another case", `{"Elicitations":[` + evilPage + `]}`, urls, "not its own", "refused:denied"},
		{"by a form", `{"elicitations":[{"message":"evil","requestedSchema":{"type":"object","properties":{}}}]}`, urls, "cannot read", "closed:unavailable"},
		{"by what is no list", `{"elicitations":` + goodPage + `}`, urls, "cannot read", "closed:unavailable"},
		{"by a list of nothing", `{"elicitations":[]}`, urls, "cannot read", "closed:unavailable"},
		{"by too long a list", `{"elicitations":[` + strings.Repeat(goodPage+",", 16) + goodPage + `]}`, urls, "cannot read", "closed:unavailable"},
		{"whose client opens none", `{"elicitations":[` + goodPage + `]}`, noURL, "has not declared", "refused:not_found"},
	} {
		for _, version := range []string{"2025-06-18", "2025-11-25", "2026-07-28"} {
			t.Run(tt.name+" "+version, func(t *testing.T) {
				_, server := paged(t, tt.data)
				h := open(t, rules{}, map[string]*mcp.Server{"shop": server})
				r := h.visit(t, "/mcp/shop").declaring(version, tt.can).ask("tools/call", `{"name":"refund"}`, "")
				if strings.Contains(r.body, "https://") || strings.Contains(r.body, "-32042") || strings.Contains(r.body, "input_required") {
					t.Errorf("the client got %s", r.body)
				}
				if !strings.Contains(r.body, tt.reason) {
					t.Errorf("the client was told %s", r.body)
				}
				if got := types(h.log.Records()); !strings.Contains(got, tt.record) {
					t.Errorf("on record is %s", got)
				}
			})
		}
	}
}

func TestWhereAClientCannotBeAskedToOpenAPageItIsTold(t *testing.T) {
	_, server := paged(t, `{"elicitations":[`+goodPage+`]}`)
	h := open(t, rules{}, map[string]*mcp.Server{"shop": server})
	r := h.visit(t, "/mcp/shop").able("2026-07-28").ask("completion/complete", `{"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"x","value":"y"}}`, "")
	if !strings.Contains(r.last("error.message").Str, "open a page first") || r.last("result").Exists() {
		t.Errorf("the client got %s", r.body)
	}
}
