package login

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
)

// TestMCPsOwnSDKsLogIn has the official TypeScript SDKs, unmodified, find out where to
// log in, register, and come back with tokens that they renew.
func TestMCPsOwnSDKsLogIn(t *testing.T) {
	parts, err := filepath.Abs("../acceptance")
	if err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(parts, "node_modules", ".bin", "node")
	if _, err := os.Stat(node); err != nil {
		t.Skip("SKIPPED: the npm parts are not installed: cd test/acceptance && npm ci")
	}
	shop := filepath.Join(t.TempDir(), "shop.txt")
	g := newGate(t, `
mcp: {servers: {shop: {command: ["`+node+`", "`+filepath.Join(parts, "shop.mjs")+`", "`+shop+`"]}}}
`)
	for _, sdk := range []string{"v1", "v2"} {
		t.Run(sdk, func(t *testing.T) {
			redirect, came := back(t)
			cmd := exec.CommandContext(within(t), node, filepath.Join(parts, "login.mjs"), sdk, g.url+"/mcp/shop", redirect)
			cmd.Stderr = os.Stderr
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Wait() })
			type said struct {
				Go, Error, Text string
				Tools           []string
				Renewed         bool
			}
			lines := bufio.NewReader(out)
			next := func() (s said) {
				t.Helper()
				line, err := lines.ReadBytes('\n')
				if err == nil {
					err = json.Unmarshal(line, &s)
				}
				if err != nil || s.Error != "" {
					t.Fatalf("%s %v", line, err)
				}
				return s
			}
			p := newPerson(t)
			p.logsIn(next().Go)
			p.answers("#allow")
			p.does("be back", chromedp.WaitVisible(chromedp.CSS("#back")))
			if _, err := io.WriteString(in, (<-came).Encode()+"\n"); err != nil {
				t.Fatal(err)
			}
			want := said{Tools: []string{"refund"}, Text: "refunded 5", Renewed: true}
			if diff := cmp.Diff(want, next()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
