package mcp_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"callgate/firewall"
	"callgate/mcp"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

func TestAListHasAllPagesAndWithholdsWhatCannotBeJudged(t *testing.T) {
	eachServer(t, func(t *testing.T, s *mcp.Server, modern bool) {
		defs, err := s.List(t.Context(), agent("ana"), "tools/list")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, d := range defs {
			names = append(names, d.Name)
			if gjson.GetBytes(d.Raw, "name").Str != d.Name || !strings.Contains(fixtureTools+`{"name":"last"}`, string(d.Raw)) {
				t.Errorf("%s is not as it came: %s", d.Name, d.Raw)
			}
			if d.Impact != 0 {
				t.Errorf("%s has an impact that nobody trusts", d.Name)
			}
		}
		want := []string{"echo", "wipe", "plain", "bad-header", "last"}
		if modern && strings.Contains(t.Name(), "HTTP") { // its arguments cannot be mirrored
			want = []string{"echo", "wipe", "plain", "last"}
		}
		if d := cmp.Diff(want, names); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]mcp.ParamHeader{{Header: "Region", Path: "region"}, {Header: "Deep-N", Path: "deep.n"}}, defs[0].Headers); d != "" {
			t.Error(d)
		}
		if d, ok, err := s.Find(t.Context(), agent("ana"), "tools/list", "wipe"); err != nil || !ok || d.Name != "wipe" {
			t.Errorf("found %v, %v, %v", d, ok, err)
		}
		if _, ok, err := s.Find(t.Context(), agent("ana"), "tools/list", "safe"); err != nil || ok {
			t.Errorf("found what is withheld: %v", err)
		}
		if defs, err := s.List(t.Context(), agent("ana"), "prompts/list"); err != nil || len(defs) != 0 {
			t.Errorf("prompts of a server that has none: %v, %v", defs, err)
		}
		if _, err := s.List(t.Context(), agent("ana"), "users/list"); code(err) != "invalid" {
			t.Errorf("a list that does not exist: %v", err)
		}
	})
}

func TestATrustedServerSaysWhatItsToolsDo(t *testing.T) {
	s := overStdio(t, "legacy", func(c *mcp.ServerConfig) { c.Trusted = true })
	for name, want := range map[string]firewall.Impact{
		"echo":  firewall.Declared | firewall.ReadOnly,
		"wipe":  firewall.Declared | firewall.Destructive | firewall.OpenWorld,
		"plain": 0,
	} {
		if d, _, err := s.Find(t.Context(), nil, "tools/list", name); err != nil || d.Impact != want {
			t.Errorf("%s has the impact %b, want %b: %v", name, d.Impact, want, err)
		}
	}
}

// lister answers server/discover as a server of tools, and each tools/list by
// page, which is told the number of the request.
func lister(page func(n int32, params gjson.Result) string) (http.Handler, *atomic.Int32) {
	var n atomic.Int32
	f := newFixture(true)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		m := readAll(r)
		rw.Header().Set("Content-Type", "application/json")
		if gjson.Get(m, "method").Str != "tools/list" {
			f.take(m, func(s string) { _, _ = fmt.Fprint(rw, s) })
			return
		}
		_, _ = fmt.Fprintf(rw, `{"jsonrpc":"2.0","id":%s,"result":%s}`, gjson.Get(m, "id").Raw, page(n.Add(1), gjson.Get(m, "params")))
	}), &n
}

func TestManyWhoWantAListAskOnce(t *testing.T) {
	release := make(chan struct{})
	h, n := lister(func(int32, gjson.Result) string { <-release; return `{"tools":[]}` })
	s := overHTTP(t, h)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := s.List(t.Context(), agent("ana"), "tools/list"); err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	all.Wait()
	if n.Load() != 1 {
		t.Errorf("%d requests", n.Load())
	}
}

func TestAListThatChangedIsAskedForAgain(t *testing.T) {
	eachServer(t, func(t *testing.T, s *mcp.Server, _ bool) {
		if strings.Contains(t.Name(), "without_streams") {
			t.Skip("a plain answer has no room for notifications")
		}
		heard := make(chan mcp.Message, 10)
		stop := s.OnNotice(func(m mcp.Message) { heard <- m })
		first, err := s.List(t.Context(), agent("ana"), "tools/list")
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := call(t.Context(), s, "ana", `{"name":"changed"}`)
		if err != nil || len(got) != 0 {
			t.Fatalf("%d notifications came with the request: %v", len(got), err)
		}
		if m := <-heard; m.Method != "notifications/tools/list_changed" {
			t.Errorf("heard %s", m.Raw)
		}
		again, err := s.List(t.Context(), agent("ana"), "tools/list")
		if err != nil || &again[0] == &first[0] {
			t.Errorf("the list is the old one: %v", err)
		}
		stop()
		if _, _, err := call(t.Context(), s, "ana", `{"name":"changed"}`); err != nil || len(heard) > 0 {
			t.Errorf("heard after stop: %v", err)
		}
	})
}

func TestAListThatIsNoneIsAnError(t *testing.T) {
	for name, page := range map[string]func(int32, gjson.Result) string{
		"no items":           func(int32, gjson.Result) string { return `{}` },
		"items in an object": func(int32, gjson.Result) string { return `{"tools":{}}` },
		"the same page":      func(int32, gjson.Result) string { return `{"tools":[],"nextCursor":"x"}` },
		"pages without end":  func(n int32, _ gjson.Result) string { return fmt.Sprintf(`{"tools":[],"nextCursor":"%d"}`, n) },
		"items without end": func(n int32, _ gjson.Result) string {
			return fmt.Sprintf(`{"tools":[{}%s],"nextCursor":"%d"}`, strings.Repeat(`,{"name":"a"}`, 500), n)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _ := lister(page)
			if _, err := overHTTP(t, h).List(t.Context(), agent("ana"), "tools/list"); code(err) != "unavailable" {
				t.Errorf("error %v", err)
			}
		})
	}
}
