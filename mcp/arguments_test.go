package mcp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/mcp"

	"github.com/tidwall/gjson"
)

// seesArgs is a policy that allows all, and keeps the arguments that it judged.
type seesArgs struct {
	rules
	args atomic.Pointer[string]
}

func (s *seesArgs) Decide(call *firewall.Call) firewall.Decision {
	if call.Kind == firewall.Tool {
		args := string(call.Args())
		s.args.Store(&args)
	}
	return s.rules.Decide(call)
}

// told is why a call of a tool was refused, in a result or an error, and the code
// of the error.
func told(r *answer) (reason string, code int64) {
	if r.last("result.isError").Bool() {
		return r.last("result.content.0.text").Str, 0
	}
	return r.last("error.message").Str, r.last("error.code").Int()
}

func TestArgumentsFitTheInputSchema(t *testing.T) {
	up := shop()
	up.results["tools/list"] = `{"tools":[
		{"name":"refund","inputSchema":{"type":"object","properties":{"n":{"type":"integer","maximum":9},"deep":{"type":"object","properties":{"code":{"type":"string","pattern":"^[A-Z]+$"}}}},"required":["n"],"additionalProperties":false}},
		{"name":"free"},{"name":"any","inputSchema":true},
		{"name":"remote","inputSchema":{"$ref":"` + "REMOTE" + `"}},
		{"name":"remote-out","inputSchema":{"type":"object"},"outputSchema":{"properties":{"a":{"$ref":"REMOTE#/a"}}}},
		{"name":"file","inputSchema":{"$ref":"file:///etc/passwd"}}]}`
	fetched := atomic.Bool{}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched.Store(true) }))
	defer elsewhere.Close()
	up.results["tools/list"] = strings.ReplaceAll(up.results["tools/list"], "REMOTE", elsewhere.URL)
	up.results["tools/call"] = `{"content":[]}`
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	for _, version := range eras {
		a := h.visit(t, "/mcp").speak(version)
		for _, tt := range []struct{ name, params, want, outcome string }{ // want "" passes
			{"what fits", `{"name":"shop__refund","arguments":{"n":3}}`, "", ""},
			{"a tool without a schema", `{"name":"shop__free","arguments":{"x":[1]}}`, "", ""},
			{"a schema that takes all", `{"name":"shop__any","arguments":{"x":[1]}}`, "", ""},
			{"none at all", `{"name":"shop__refund"}`, `"/n", by the keyword "required"`, "invalid"},
			{"a wrong type", `{"name":"shop__refund","arguments":{"n":"hunter2"}}`, `"/n", by the keyword "type"`, "invalid"},
			{"too much", `{"name":"shop__refund","arguments":{"n":12345}}`, `"/n", by the keyword "maximum"`, "invalid"},
			{"what is not known", `{"name":"shop__refund","arguments":{"n":1,"extra":"hunter2"}}`, `"/extra", by the keyword "additionalProperties"`, "invalid"},
			{"deep down", `{"name":"shop__refund","arguments":{"n":1,"deep":{"code":"hunter2"}}}`, `"/deep/code", by the keyword "pattern"`, "invalid"},
			{"a schema from elsewhere", `{"name":"shop__remote","arguments":{}}`, "input schema of remote refers to another document", "unavailable"},
			{"a schema from the disk", `{"name":"shop__file","arguments":{}}`, "input schema of file refers to another document", "unavailable"},
			{"a schema of results from elsewhere", `{"name":"shop__remote-out","arguments":{}}`, "output schema of remote-out refers to another document", "unavailable"},
		} {
			t.Run(version+" "+tt.name, func(t *testing.T) {
				a.t = t
				calls, records := len(up.got("tools/call")), len(h.log.Records())
				r := a.ask("tools/call", tt.params, "")
				calls = len(up.got("tools/call")) - calls
				if tt.want == "" {
					if calls != 1 || !r.last("result.content").Exists() || r.last("result.isError").Bool() {
						t.Errorf("%s, %d calls", r.body, calls)
					}
					return
				}
				reason, code := told(r)
				if !strings.Contains(reason, tt.want) || strings.Contains(r.body, "hunter2") || strings.Contains(r.body, "12345") || calls != 0 {
					t.Errorf("%s, %d calls; want %s", r.body, calls, tt.want)
				}
				if want := int64(-32602); tt.outcome == "invalid" && (code == want) != (version < "2025-11-25") {
					t.Errorf("code %d for %s", code, version)
				}
				added := h.log.Records()[records:]
				if len(added) != 1 || added[0].Type != audit.Refused || added[0].Outcome != tt.outcome || added[0].Args != nil || added[0].Agent != "agent:bot" {
					t.Errorf("records %+v", added)
				}
			})
		}
	}
	if fetched.Load() {
		t.Error("a schema was fetched")
	}
}

func TestWhoMayNotCallAToolLearnsNothingOfItsSchema(t *testing.T) {
	up := shop()
	up.results["tools/list"] = `{"tools":[{"name":"drop","inputSchema":{"type":"object","required":["n"]}}]}`
	h := open(t, rules{"tool:shop/drop"}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	reason, _ := told(h.visit(t, "/mcp").modern().ask("tools/call", `{"name":"shop__drop","arguments":{}}`, ""))
	if !strings.Contains(reason, "no rule allows") || strings.Contains(reason, "required") {
		t.Error(reason)
	}
}

func TestResultsFitTheOutputSchema(t *testing.T) {
	for _, version := range eras {
		for _, tt := range []struct{ name, result, want string }{ // want "" passes
			{"what fits", `{"content":[],"structuredContent":{"n":1}}`, ""},
			{"a failure", `{"content":[{"type":"text","text":"no"}],"isError":true}`, ""},
			{"nothing", `{"content":[]}`, "there is no structuredContent"},
			{"a wrong type", `{"content":[],"structuredContent":{"n":"hunter2"}}`, `at "/n", by the keyword "type"`},
			{"one that says isError wrongly", `{"content":[],"structuredContent":{"n":"hunter2"},"isError":"true"}`, `at "/n", by the keyword "type"`},
		} {
			t.Run(version+" "+tt.name, func(t *testing.T) {
				up := shop()
				up.results["tools/list"] = `{"tools":[{"name":"refund","inputSchema":{"type":"object"},"outputSchema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}}]}`
				up.results["tools/call refund"] = tt.result
				h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
				r := h.visit(t, "/mcp").speak(version).ask("tools/call", `{"name":"shop__refund","arguments":{}}`, "")
				if len(up.got("tools/call")) != 1 {
					t.Fatal("it was not called")
				}
				records := h.log.Records()
				last := records[len(records)-1]
				if tt.want == "" {
					if got := r.last("result.isError").Bool(); got != strings.Contains(tt.result, `"isError":true`) || last.Type != audit.Closed || last.Outcome == "unavailable" {
						t.Errorf("%s, record %+v", r.body, last)
					}
					return
				}
				reason, _ := told(r)
				if !strings.Contains(reason, "server shop answered with what does not fit its own output schema: "+tt.want) || strings.Contains(r.body, "hunter2") {
					t.Errorf("%s, want %s", r.body, tt.want)
				}
				if last.Type != audit.Closed || last.Outcome != "unavailable" || last.Bytes != 0 {
					t.Errorf("record %+v", last)
				}
			})
		}
	}
}

func TestMarkedArgumentsReachPolicyAndServerInOneForm(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"docs", "secret"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret", filepath.Join(root, "docs/out")); err != nil {
		t.Fatal(err)
	}
	docs := filepath.ToSlash(filepath.Join(root, "docs"))
	up := shop()
	up.results["tools/list"] = `{"tools":[{"name":"refund","inputSchema":{"type":"object","properties":{"file":{"type":"string","x-mcp-header":"File"},"n":{"type":"integer"}}}},{"name":"drop"}]}`
	lookups := atomic.Int64{}
	server := started(t, mcp.ServerConfig{Name: "shop", URL: up.start(t), Timeout: 20 * time.Second,
		Tools: map[string]mcp.ToolConfig{
			"*":      {Arguments: map[string]mcp.Mark{"file": {Class: mcp.PathClass, Within: []string{docs}}, "page.url": {Class: mcp.URLClass}}},
			"refund": {Arguments: map[string]mcp.Mark{"to.paths": {Class: mcp.PathClass}, "local": {Class: mcp.URLClass, Private: true}}},
			"drop":   {Arguments: map[string]mcp.Mark{"file": {Class: mcp.PathClass}}},
		},
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			lookups.Add(1)
			switch host {
			case "example.com":
				return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
			case "rebound.example":
				return []netip.Addr{netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("169.254.169.254")}, nil
			}
			return nil, errors.New("no such host")
		}})
	policy := &seesArgs{rules: rules{"tool:shop/never"}}
	h := open(t, policy, map[string]*mcp.Server{"shop": server})
	for _, tt := range []struct {
		name, tool, args string
		passes           string // the arguments as the policy and the server get them
		want             string // of the reason
		records          string
	}{
		{"nothing to judge", "refund", `{ "n" : 1 }`, `{ "n" : 1 }`, "", ""},
		{"null", "refund", `{"file":null,"n":1}`, "", `"/file", by the keyword "type"`, "refused:invalid"},
		{"a path and its surroundings", "refund", `{"a":"\u00e9","file":"` + docs + `/x/.././/a.txt" , "n": 1.0}`, `{"a":"\u00e9","file":"` + docs + `/a.txt" , "n": 1.0}`, "", ""},
		{"lists of paths deep down", "refund", `{"to":[{"paths":["/a/../b","/c"]},{"paths":"/d//e"}]}`, `{"to":[{"paths":["/b","/c"]},{"paths":"/d/e"}]}`, "", ""},
		{"two texts of one path", "refund", `{"x":"/a/../b","to":{"paths":"/a/../b"}}`, `{"x":"/a/../b","to":{"paths":"/b"}}`, "", ""},
		{"an escaped name", "refund", `{"t\u006f":{"paths":"/a/../b"}}`, `{"t\u006f":{"paths":"/b"}}`, "", ""},
		{"a URL", "drop", `{"page":{"url":"HTTP://Example.COM.:080/a"}}`, `{"page":{"url":"http://example.com:80/a"}}`, "", ""},
		{"an address of the machine, where it is allowed", "refund", `{"local":"http://0x7f.1:3000/"}`, `{"local":"http://127.0.0.1:3000/"}`, "", ""},
		{"what is said of a tool itself", "drop", `{"file":"/etc/../opt"}`, `{"file":"/opt"}`, "", ""},
		{"up and out", "refund", `{"file":"` + docs + `/../.ssh/id"}`, "", "argument file of tool refund is refused: it must be in " + docs, "refused:denied"},
		{"encoded", "refund", `{"file":"` + docs + `/%2e%2e/x"}`, "", "argument file of tool refund is refused: the path has an encoded slash", "refused:invalid"},
		{"a link out", "refund", `{"file":"` + docs + `/out/key"}`, "", "a link on the way leads out", "refused:denied"},
		{"no text", "refund", `{"to":{"paths":{"path":"/x"}}}`, "", "argument to.paths of tool refund is refused: it must be a text", "refused:invalid"},
		{"no object on the way", "refund", `{"to":"/x"}`, "", "argument to.paths of tool refund is refused: it is to be in an object", "refused:invalid"},
		{"another case", "refund", `{"File":"/etc/passwd"}`, "", "argument file of tool refund is refused: its name must be written in the same case", "refused:invalid"},
		{"too many", "refund", `{"to":{"paths":[` + strings.Repeat(`"/x",`, 1000) + `"/y"]}}`, "", "more than 1000 texts", "refused:invalid"},
		{"metadata", "drop", `{"page":{"url":"http://2852039166/latest"}}`, "", "where a cloud gives credentials", "refused:denied"},
		{"this machine", "drop", `{"page":{"url":"http://localhost:8701/"}}`, "", "in a private network or on this machine", "refused:denied"},
		{"a name with a private address", "drop", `{"page":{"url":"http://rebound.example/"}}`, "", "where a cloud gives credentials", "opened closed:denied"},
		{"a name without an address", "drop", `{"page":{"url":"http://nowhere.example/"}}`, "", "no address was found", "opened closed:unavailable"},
	} {
		for _, version := range []string{"2025-06-18", "2026-07-28"} {
			t.Run(version+" "+tt.name, func(t *testing.T) {
				a := h.visit(t, "/mcp").speak(version)
				if file := gjson.Get(tt.args, "file"); file.Type == gjson.String && version == "2026-07-28" && tt.tool == "refund" {
					a = a.with("Mcp-Param-File", file.Str)
				}
				calls, records := len(up.got("tools/call")), len(h.log.Records())
				r := a.ask("tools/call", `{"name":"shop__`+tt.tool+`","arguments":`+tt.args+`}`, "")
				sent := up.got("tools/call")[calls:]
				if tt.passes != "" {
					if len(sent) != 1 || sent[0].Get("params.arguments").Raw != tt.passes || *policy.args.Load() != tt.passes {
						t.Fatalf("sent %v, judged %s, want %s: %s", sent, *policy.args.Load(), tt.passes, r.body)
					}
					return
				}
				added := h.log.Records()[records:]
				reason, _ := told(r)
				if len(sent) != 0 || !strings.Contains(reason, tt.want) || types(added) != tt.records {
					t.Errorf("sent %v, %s, records %s; want %s, %s", sent, r.body, types(added), tt.want, tt.records)
				}
			})
		}
	}
	t.Run("what is denied is not looked up", func(t *testing.T) {
		before := lookups.Load()
		reason, _ := told(h.visit(t, "/mcp").modern().ask("tools/call", `{"name":"shop__never","arguments":{"page":{"url":"http://secret.example/"}}}`, ""))
		if !strings.Contains(reason, "no rule allows") || lookups.Load() != before {
			t.Errorf("%s, %d look-ups", reason, lookups.Load()-before)
		}
	})
}

// A guard that edits a path after it was judged cannot make it another one.
func TestAMarkedArgumentIsWhatWasJudged(t *testing.T) {
	up := shop()
	server := started(t, mcp.ServerConfig{Name: "shop", URL: up.start(t), Timeout: 20 * time.Second,
		Tools: map[string]mcp.ToolConfig{"refund": {Arguments: map[string]mcp.Mark{"file": {Class: mcp.PathClass, Within: []string{"/no/such"}}}}}})
	h := open(t, rules{}, map[string]*mcp.Server{"shop": server}, becomes{"secret", "../.."})
	r := h.visit(t, "/mcp").modern().ask("tools/call", `{"name":"shop__refund","arguments":{"file":"/no/such/secret/etc"}}`, "")
	if reason, _ := told(r); !strings.Contains(reason, "it must be in /no/such") || len(up.got("tools/call")) != 0 {
		t.Error(r.body)
	}
}

// becomes is a guard that puts one word in the place of another.
type becomes struct{ from, to string }

func (becomes) Name() string { return "becomes" }

func (g becomes) Request(_ context.Context, call *firewall.Call) (firewall.Decision, error) {
	call.Body.Rewrite(func(_ int, s firewall.Span) (string, bool) { return strings.ReplaceAll(s.Text, g.from, g.to), true })
	return firewall.Decision{Effect: firewall.Allow}, nil
}

func (becomes) Reply(_ context.Context, _ *firewall.Call, events firewall.Events) firewall.Events {
	return events
}

func TestWhatIsSaidOfToolsIsChecked(t *testing.T) {
	for _, tt := range []struct {
		name string
		path string
		mark mcp.Mark
		want string
	}{
		{"no class", "a", mcp.Mark{}, "class: want path or url"},
		{"an empty name", "a..b", mcp.Mark{Class: mcp.PathClass}, "single dots"},
		{"within for a URL", "a", mcp.Mark{Class: mcp.URLClass, Within: []string{"/x"}}, "within and windows are for"},
		{"windows for a URL", "a", mcp.Mark{Class: mcp.URLClass, Windows: true}, "within and windows are for"},
		{"a directory of Windows with backslashes", "a", mcp.Mark{Class: mcp.PathClass, Windows: true, Within: []string{`C:\srv`}}, "in lower case and with slashes"},
		{"hosts for a path", "a", mcp.Mark{Class: mcp.PathClass, Hosts: []string{"x"}}, "hosts and private are for"},
		{"a directory with ..", "a", mcp.Mark{Class: mcp.PathClass, Within: []string{"/x/../y"}}, "write each directory plainly"},
		{"a directory with a slash at its end", "a", mcp.Mark{Class: mcp.PathClass, Within: []string{"/x/"}}, "write each directory plainly"},
		{"a host with a port", "a", mcp.Mark{Class: mcp.URLClass, Hosts: []string{"example.com:80"}}, "hosts: write each name"},
		{"a host in capitals", "a", mcp.Mark{Class: mcp.URLClass, Hosts: []string{"Example.com"}}, "hosts: write each name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := mcp.ServerConfig{Name: "x", URL: "https://example.com", Tools: map[string]mcp.ToolConfig{"t": {Arguments: map[string]mcp.Mark{tt.path: tt.mark}}}}.Check()
			if err == nil || !strings.Contains(err.Error(), "tools.t.arguments."+tt.path+": ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

func TestALargeResultIsRefused(t *testing.T) {
	const want = "answered with a message of more than 33554432 bytes, which is more than it may: ask for less at a time"
	large := `{"content":[{"type":"text","text":"` + strings.Repeat("x", 50<<20) + `"}]}`
	up := shop()
	up.results["tools/call refund"] = large
	events := shop()
	events.handle = func(w http.ResponseWriter, _ *http.Request, m gjson.Result) bool {
		if m.Get("method").Str != "tools/call" {
			return false
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "id: 1\ndata: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\n\n", m.Get("id").Raw, large)
		return true
	}
	for name, server := range map[string]*mcp.Server{"plain": behind(t, "shop", up.start(t)), "events": behind(t, "shop", events.start(t))} {
		t.Run(name, func(t *testing.T) {
			h := open(t, rules{}, map[string]*mcp.Server{"shop": server})
			r := h.visit(t, "/mcp").modern().ask("tools/call", `{"name":"shop__refund","arguments":{}}`, "")
			records := h.log.Records()
			if reason, _ := told(r); !strings.Contains(reason, want) || types(records[len(records)-2:]) != "opened closed:unavailable" {
				t.Errorf("%.300s, %s", r.body, types(records))
			}
		})
	}
	t.Run("stdio", func(t *testing.T) {
		h := open(t, rules{}, map[string]*mcp.Server{"files": overStdio(t, "modern", func(c *mcp.ServerConfig) { c.Limits.Bytes = 1 << 20 })})
		r := h.visit(t, "/mcp").modern().ask("tools/call", `{"name":"files__huge","arguments":{"n":2000000}}`, "")
		if reason, _ := told(r); !strings.Contains(reason, "more than 1048576 bytes") {
			t.Errorf("%.300s", r.body)
		}
	})
}

func TestAToolHasATimeoutOfItsOwn(t *testing.T) {
	held := make(chan struct{})
	up := shop()
	up.hold(func() { <-held })
	server := started(t, mcp.ServerConfig{Name: "shop", URL: up.start(t), Timeout: time.Hour, Tools: map[string]mcp.ToolConfig{"*": {Timeout: time.Hour}, "refund": {Timeout: 20 * time.Millisecond}}})
	h := open(t, rules{}, map[string]*mcp.Server{"shop": server})
	r := h.visit(t, "/mcp").modern().ask("tools/call", `{"name":"shop__refund","arguments":{}}`, "")
	close(held)
	if reason, _ := told(r); !strings.Contains(reason, "did not answer in time") {
		t.Error(r.body)
	}
}

func TestTenThousandTools(t *testing.T) {
	var list strings.Builder
	list.WriteString(`{"tools":[`)
	for i := range 10_000 {
		if i > 0 {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, `{"name":"t%d","inputSchema":{"type":"object","properties":{"n":{"type":"integer","multipleOf":%d}}}}`, i, i+1)
	}
	list.WriteString(`]}`)
	up := shop()
	up.results["tools/list"], up.results["tools/call"] = list.String(), `{"content":[]}`
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	a := h.visit(t, "/mcp").modern()
	if r := a.ask("tools/call", `{"name":"shop__t9999","arguments":{"n":20000}}`, ""); r.last("result.isError").Bool() || len(up.got("tools/call")) != 1 {
		t.Error(r.body)
	}
	if reason, _ := told(a.ask("tools/call", `{"name":"shop__t9999","arguments":{"n":20001}}`, "")); !strings.Contains(reason, `"/n", by the keyword "multipleOf"`) {
		t.Error(reason)
	}
}
