package firewall_test

import (
	"strings"
	"testing"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// taken is the id of a kind that hints hold.
func taken(h *firewall.Hints, is firewall.IDKind) string {
	return map[firewall.IDKind]string{firewall.IDSession: h.Client, firewall.IDThread: h.Thread, firewall.IDParent: h.Parent, firewall.IDToolUse: h.ToolUse}[is]
}

func TestEachIDThatClientsAreKnownToSendIsTaken(t *testing.T) {
	for _, id := range firewall.ClientIDs() {
		name, at, nested := strings.Cut(id.Name, "|")
		for _, said := range []string{"id-1", "bad\x01", strings.Repeat("x", 300)} {
			doc, want := `"`+said+`"`, said
			if nested {
				doc = `{"` + at + `":"` + said + `"}`
			}
			if said != "id-1" {
				want = ""
			}
			var h firewall.Hints
			if id.Kind == firewall.Tool {
				h.FromMeta(name, gjson.Parse(doc))
			} else {
				h.FromHeaders(func(asked string) string {
					if asked != name {
						return ""
					}
					return strings.Trim(doc, `"`)
				})
			}
			if got := taken(&h, id.Is); got != want {
				t.Errorf("%s of %s: %q, want %q", id.Name, id.Client, got, want)
			}
		}
	}
}
