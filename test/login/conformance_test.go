package login

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"callgate/test/program"
)

// TestTheMCPProjectsSuiteAgainstTheAuthorizationServer runs the scenarios that the MCP
// project has for authorization servers, with a person who allows what they ask for.
func TestTheMCPProjectsSuiteAgainstTheAuthorizationServer(t *testing.T) {
	parts, err := filepath.Abs("../conformance/node_modules/.bin")
	if err != nil {
		t.Fatal(err)
	}
	suite := filepath.Join(parts, "conformance")
	if _, err := os.Stat(suite); err != nil {
		t.Skip("SKIPPED: the conformance suite is not installed: cd test/conformance && npm ci")
	}
	g := newGate(t)
	const client = "cli"
	for _, version := range []string{"2025-11-25", "2026-07-28"} {
		t.Run(version, func(t *testing.T) {
			cmd := exec.CommandContext(within(t), suite, "authorization", "--url", g.url, "--client-id", client,
				"--resource", g.url+"/mcp", "--port", program.FreePort(t), "--spec-version", version, "--output-dir", t.TempDir())
			cmd.Env = append(os.Environ(), "PATH="+parts+":"+os.Getenv("PATH"))
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stderr = cmd.Stdout
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			asked := false
			for lines := bufio.NewScanner(out); lines.Scan(); {
				said.WriteString(lines.Text() + "\n")
				if strings.HasPrefix(lines.Text(), g.url+"/oauth/authorize?") {
					asked = true
					p := newPerson(t)
					p.logsIn(lines.Text())
					p.answers("#allow")
				}
			}
			if err := cmd.Wait(); err != nil || strings.Contains(said.String(), "FAILURE") || strings.Contains(said.String(), "WARNING") {
				t.Errorf("%v\n%s", err, said.String())
			}
			if !asked || !strings.Contains(said.String(), "Total: 3 passed, 0 failed") {
				t.Errorf("a person was asked: %v\n%s", asked, said.String())
			}
		})
	}
}
