package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"callgate/test/program"
)

// The suite is a client that logs in at callgate's authorization server. It prints
// where a person has to go, and waits; a person goes there, and allows it.
func TestTheAuthorizationServer(t *testing.T) {
	needSuite(t)
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			url, data, port := login(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out := t.TempDir()
			cmd := exec.CommandContext(ctx, mustAbs(t, "node_modules/.bin/conformance"), "authorization", "--url", url,
				"--client-id", "suite", "--port", port, "--resource", url+"/mcp", "--spec-version", version, "-o", out)
			says, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			person, log := program.NewPerson(t, data), new(strings.Builder)
			for lines := bufio.NewScanner(says); lines.Scan(); {
				fmt.Fprintln(log, lines.Text())
				if strings.HasPrefix(lines.Text(), url+"/oauth/authorize?") {
					person.Follow(person.Allow(lines.Text()))
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v\n%s", err, log)
			}
			want := scenarios(t)
			if len(want) < 2 {
				t.Fatalf("the suite has the scenarios %v", want)
			}
			for _, name := range want {
				files, err := filepath.Glob(filepath.Join(out, "authorization-server-"+name+"-*", "checks.json"))
				must(t, err)
				if len(files) != 1 {
					t.Errorf("%s ran %d times\n%s", name, len(files), log)
					continue
				}
				text, err := os.ReadFile(files[0])
				must(t, err)
				var checks []check
				must(t, json.Unmarshal(text, &checks))
				if len(checks) == 0 {
					t.Errorf("%s checks nothing", name)
				}
				for _, c := range checks {
					t.Logf("%s: %s %s", name, c.Status, c.ID)
					if c.Status != "SUCCESS" {
						t.Errorf("%s: %s is %s: %s", name, c.ID, c.Status, c.Message)
					}
				}
			}
		})
	}
}

// scenarios are those for authorization servers that the suite has.
func scenarios(t *testing.T) (names []string) {
	t.Helper()
	said, err := exec.Command(mustAbs(t, "node_modules/.bin/conformance"), "list").CombinedOutput()
	must(t, err)
	_, after, _ := strings.Cut(string(said), "Authorization server scenarios")
	for _, m := range regexp.MustCompile(`(?m)^ +- (authorization-\S+)`).FindAllStringSubmatch(after, -1) {
		names = append(names, m[1])
	}
	return names
}

const loginConfig = `
listen: 127.0.0.1:%s
data: %s
admin: {listen: "127.0.0.1:%s"}
identity:
  default_agent: bot
  clients:
    - {id: suite, name: "The suite", redirect_uris: ["http://127.0.0.1/callback"]}
policy: [policy.csv]
`

// login starts callgate for a client that logs in: its URL, its data folder, and a
// port for the client.
func login(t *testing.T) (url, data, port string) {
	t.Helper()
	dir, at := t.TempDir(), program.FreePort(t)
	data = filepath.Join(dir, "data")
	must(t, os.WriteFile(filepath.Join(dir, "policy.csv"), []byte(policy), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "callgate.yaml"), fmt.Appendf(nil, loginConfig, at, data, program.FreePort(t)), 0o644))
	program.Start(t, program.Program{Args: []string{binary, "serve", "-c", filepath.Join(dir, "callgate.yaml")}, Dir: dir, Log: filepath.Join(dir, "callgate.log"), Clean: true})
	program.WaitFor(t, "http://127.0.0.1:"+at+"/healthz")
	program.Command(t, binary, data, "agent", "create", "bot")
	return "http://127.0.0.1:" + at, data, program.FreePort(t)
}
