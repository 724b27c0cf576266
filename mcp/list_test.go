package mcp_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"callgate/audit"
	"callgate/mcp"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

// names is what items of a list are called.
func names(items gjson.Result) []string {
	var all []string
	for _, item := range items.Array() {
		for _, at := range []string{"uri", "uriTemplate", "name"} {
			if name := item.Get(at); name.Exists() {
				all = append(all, name.Str)
				break
			}
		}
	}
	return all
}

func TestAListShowsWhatACallWouldAllow(t *testing.T) {
	up := shop()
	h := open(t, rules{"tool:shop/drop", "prompt:shop/secret", "resource:shop|shop://keys", "resource:shop|shop://order/*", "tool:none/*", "prompt:none/*", "resource:none|*"},
		map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t)), "none": behind(t, "none", shop().start(t))})
	for _, version := range eras {
		for path, prefix := range map[string]string{"/mcp": "shop__", "/mcp/shop": ""} {
			a := h.visit(t, path).speak(version)
			for method, want := range map[string][]string{
				"tools/list":               {prefix + "refund"},
				"prompts/list":             {prefix + "greet"},
				"resources/list":           {"shop://orders"},
				"resources/templates/list": nil,
			} {
				t.Run(version+" "+path+" "+method, func(t *testing.T) {
					before := len(h.log.Records())
					r := a.ask(method, `{}`, "")
					result := r.last("result")
					var items gjson.Result
					result.ForEach(func(name, value gjson.Result) bool {
						if value.IsArray() {
							items = value
						}
						return true
					})
					if d := cmp.Diff(want, names(items)); d != "" || !items.Exists() {
						t.Errorf("%s in %s", d, r.body)
					}
					modern := version == "2026-07-28"
					if modern != (result.Get("cacheScope").Str == "private") || modern != result.Get("ttlMs").Exists() || modern != (result.Get("resultType").Str == "complete") {
						t.Errorf("result = %s", result.Raw)
					}
					records := h.log.Records()[before:]
					if types(records) != "closed:ok" || records[0].Kind != "list" || records[0].Method != method {
						t.Errorf("records = %+v", records)
					}
				})
			}
		}
	}
}

func TestItemsOfAListStayAsTheyCame(t *testing.T) {
	const schema = `"inputSchema":{"$schema":"x","oneOf":[true,{"not":{}}],"x-more":{"big":123456789012345678901234567890,"f":1.50e-7}} ,"extra":[null,"\u0041"]`
	up := shop()
	up.results["tools/list"] = `{"tools":[ {"title":"é", "n\u0061me":"a\u0062c" ,` + schema + `},{"name":"x"} ]}`
	h := open(t, rules{"tool:shop/x"}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	for path, name := range map[string]string{"/mcp": `"shop__abc"`, "/mcp/shop": `"a\u0062c"`} {
		for _, version := range eras {
			r := h.visit(t, path).speak(version).ask("tools/list", `{}`, "")
			if want := `{"title":"é", "n\u0061me":` + name + ` ,` + schema + `}`; r.last("result.tools.0").Raw != want || r.last("result.tools.#").Int() != 1 {
				t.Errorf("%s %s:\n%s\nwant\n%s", version, path, r.body, want)
			}
		}
	}
}

func TestAllServersAreOne(t *testing.T) {
	a, b := shop(), shop()
	b.results["resources/list"] = `{"resources":[{"uri":"b://only"},{"uri":"shop://orders"}]}`
	b.results["resources/templates/list"] = `{"resourceTemplates":[]}`
	b.results["resources/read b://only"] = `{"contents":[]}`
	h := open(t, rules{"resource:b|shop://keys"}, map[string]*mcp.Server{"b": behind(t, "b", b.start(t)), "a": behind(t, "a", a.start(t))})
	c := h.visit(t, "/mcp").legacy("2025-11-25")
	t.Run("in the order of their names, and in their own", func(t *testing.T) {
		r := c.ask("tools/list", `{}`, "")
		if d := cmp.Diff([]string{"a__refund", "a__drop", "b__refund", "b__drop"}, names(r.last("result.tools"))); d != "" {
			t.Error(d)
		}
	})
	t.Run("a call goes to its server alone", func(t *testing.T) {
		r := c.ask("tools/call", `{"name":"b__refund","arguments":{}}`, "")
		if r.last("result.content.0.text").Str != "paid" || len(a.got("tools/call")) != 0 || b.got("tools/call")[0].Get("params.name").Str != "refund" {
			t.Errorf("%s", r.body)
		}
	})
	t.Run("a resource goes to the server that has it", func(t *testing.T) {
		if r := c.ask("resources/read", `{"uri":"b://only"}`, ""); r.last("result.contents.#").Raw != "0" {
			t.Errorf("%s", r.body)
		}
		if n := len(a.got("resources/read")); n != 0 {
			t.Errorf("%d reads came to the other", n)
		}
	})
	t.Run("a resource of two is not guessed", func(t *testing.T) {
		r := c.ask("resources/read", `{"uri":"shop://orders"}`, "")
		if r.last("error.code").Int() != -32602 || r.last("error.message").Str != "servers a and b both have this resource: read it at /mcp/<server>" {
			t.Errorf("%s", r.body)
		}
	})
	t.Run("what the caller may not have does not stand in the way", func(t *testing.T) {
		if r := c.ask("resources/read", `{"uri":"shop://keys"}`, ""); r.last("result.contents.0.text").Str != "A-1" {
			t.Errorf("%s", r.body)
		}
	})
}

func TestALongNameIsCutAndFoundAgain(t *testing.T) {
	const server = "a-server-with-a-long-name"
	long, other := strings.Repeat("tool", 12), strings.Repeat("tool", 11)+"x"
	umlaut := strings.Repeat("x", 27) + "ü" + strings.Repeat("y", 30)
	exact := strings.Repeat("e", 64-len(server)-2-9) + "_01234567" // looks as if it were cut
	up := shop()
	up.results["tools/list"] = `{"tools":[{"name":"` + long + `"},{"name":"` + other + `"},{"name":"` + umlaut + `"},{"name":"` + exact + `"}]}`
	up.results["tools/call"] = `{"content":[]}`
	url := up.start(t)
	advertised := func(tool string) string {
		full := server + "__" + tool
		if len(full) <= 64 {
			return full
		}
		sum := sha256.Sum256([]byte(full))
		return strings.ToValidUTF8(full[:55], "") + "_" + hex.EncodeToString(sum[:4])
	}
	for _, tool := range []string{long, other, umlaut, exact} {
		h := open(t, rules{}, map[string]*mcp.Server{server: behind(t, server, url)}) // each knows nothing of what was listed before
		c := h.visit(t, "/mcp").legacy("2025-11-25")
		name := advertised(tool)
		if len(name) > 64 {
			t.Fatalf("%d bytes of %s", len(name), name)
		}
		if r := c.ask("tools/call", `{"name":"`+name+`"}`, ""); !r.last("result.content").Exists() {
			t.Errorf("call of %s: %s", name, r.body)
		}
		calls := up.got("tools/call")
		if got := calls[len(calls)-1].Get("params.name").Str; got != tool {
			t.Errorf("%s reached the server as %s", name, got)
		}
		if r := c.ask("tools/list", `{}`, ""); !slices.Contains(names(r.last("result.tools")), name) {
			t.Errorf("%s is not in %s", name, r.body)
		}
		if o := h.log.Records()[1]; o.Type != audit.Opened || o.Resource != tool {
			t.Errorf("record = %+v", o)
		}
	}
}

func TestAServerThatIsNotThereHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	dead := behind(t, "dead", "http://127.0.0.1:1/mcp")
	slow := &upstream{handle: func(_ http.ResponseWriter, r *http.Request, _ gjson.Result) bool {
		<-r.Context().Done()
		return true
	}}
	h := open(t, rules{}, map[string]*mcp.Server{"dead": dead, "shop": behind(t, "shop", shop().start(t)), "slow": behind(t, "slow", slow.start(t))})
	for _, version := range []string{"2025-11-25", "2026-07-28"} {
		c := h.visit(t, "/mcp").speak(version)
		r := c.ask("tools/list", `{}`, "")
		if d := cmp.Diff([]string{"shop__refund", "shop__drop"}, names(r.last("result.tools"))); d != "" {
			t.Error(d)
		}
		if got := r.last("result._meta.callgate/unavailable").Raw; got != `["dead","slow"]` {
			t.Errorf("unavailable = %s", got)
		}
		if r := c.ask("resources/read", `{"uri":"else://x"}`, ""); r.last("error.code").Int() != 503 || !strings.Contains(r.body, "dead, slow") {
			t.Errorf("a resource that one of them may have: %s", r.body)
		}
		if r := c.ask("tools/call", `{"name":"dead__x"}`, ""); !r.last("result.isError").Bool() || r.last("result._meta.callgate/code").Str != "unavailable" {
			t.Errorf("a tool of a dead server: %s", r.body)
		}
	}
	r := h.visit(t, "/mcp/dead").post(hello)
	if r.status != http.StatusOK || r.last("error.code").Int() != 503 {
		t.Errorf("a dead server of one's own: HTTP %d %s", r.status, r.body)
	}
}

func TestALongListHasPages(t *testing.T) {
	t.Parallel()
	var items []string
	for i := range 30 {
		items = append(items, fmt.Sprintf(`{"name":"t%02d","description":%q}`, i, strings.Repeat("x", 300<<10)))
	}
	up := shop()
	up.results["tools/list"] = `{"tools":[` + strings.Join(items, ",") + `]}`
	h := open(t, rules{}, map[string]*mcp.Server{"a": behind(t, "a", up.start(t)), "b": behind(t, "b", shop().start(t))})
	for path, want := range map[string]int{"/mcp": 32, "/mcp/a": 30} {
		c := h.visit(t, path).legacy("2025-11-25")
		var all []string
		params, pages := `{}`, 0
		for {
			r := c.ask("tools/list", params, "")
			pages++
			all = append(all, names(r.last("result.tools"))...)
			next := r.last("result.nextCursor")
			if !next.Exists() {
				break
			}
			params = `{"cursor":` + next.Raw + `}`
		}
		if unique := slices.Compact(slices.Clone(all)); pages != 3 || len(all) != want || len(unique) != want {
			t.Errorf("%s: %d items, %d of their own, on %d pages", path, len(all), len(unique), pages)
		}
	}
}
