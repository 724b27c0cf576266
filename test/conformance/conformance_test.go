// Package conformance runs the MCP project's own conformance suite against callgate.
// The suite cannot know what a server behind a gate would have said, so it runs
// twice for each version of the protocol: straight against a server that it is
// wholly content with (package fixture), and through callgate in front of the same
// server. What is green straight must be green through callgate.
//
//	go test ./test/conformance -run Diff -v
//
// prints what each scenario came to. Environment:
//
//	CONFORMANCE_SCENARIO  run this scenario alone, and show all of its checks
//	CONFORMANCE_VERSION   run this version alone
//	CONFORMANCE_OUT       keep the suite's files, and what callgate logged, in this folder
//	CONFORMANCE_REPORT    write a table of what is red to this file
//	CONFORMANCE_CALLGATE  run this binary in place of one that is built here
//
// .ci/run installs the suite; without it the tests say so and are skipped.
package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/test/conformance/fixture"
	"callgate/test/program"

	"github.com/goccy/go-yaml"
)

const suite = "node_modules/@modelcontextprotocol/conformance"

var versions = []string{fixture.Legacy, fixture.Modern}

// binary is callgate; "" where the suite is not installed.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		node, err := filepath.Abs("node_modules/.bin")
		if err != nil {
			panic(err)
		}
		if _, err := os.Stat(suite); err != nil {
			return m.Run() // each test says why it is skipped
		}
		os.Setenv("PATH", node+":"+os.Getenv("PATH")) // the suite starts node by its name
		if binary = os.Getenv("CONFORMANCE_CALLGATE"); binary != "" {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "callgate-conformance-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		if binary, err = program.Build(dir, true); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func needSuite(t *testing.T) {
	t.Helper()
	if binary == "" {
		t.Skip("SKIPPED: node_modules is missing in test/conformance; .ci/run installs it (npm ci)")
	}
}

// The eras of the server behind callgate. Clients of both eras must find the same
// there, whatever it speaks itself.
var behind = []struct {
	name string
	eras fixture.Eras
}{
	{"a server of both eras", fixture.Both},
	{"a legacy server", fixture.LegacyOnly},
	{"a modern server", fixture.ModernOnly},
}

// excuses are the checks that cannot be green, with the reason. One that is green
// all the same, or all of a pattern, is an error: take it out.
var excuses = []excuse{
	{fixture.Modern, []fixture.Eras{fixture.LegacyOnly}, "input-required-result-basic-elicitation sep-2322-elicitation-incomplete",
		"a request of a legacy server has no key, and the suite wants a certain one"},
	{fixture.Modern, []fixture.Eras{fixture.LegacyOnly}, "input-required-result-basic-elicitation sep-2322-elicitation-complete",
		"does not run where the one before is red"},
	{fixture.Modern, []fixture.Eras{fixture.LegacyOnly}, "input-required-result-ignore-extra-params sep-2322-ignore-unexpected-params",
		"the suite answers before it was asked, and a legacy server takes no answers to what it has not asked"},
	{fixture.Modern, []fixture.Eras{fixture.LegacyOnly}, "input-required-result-multiple-input-requests sep-2322-multiple-inputs-incomplete",
		"the legacy server asks for one thing after the other, and the suite wants all at once"},
	{fixture.Modern, []fixture.Eras{fixture.LegacyOnly}, "input-required-result-multiple-input-requests sep-2322-multiple-inputs-complete",
		"does not run where the one before is red"},
	{fixture.Modern, []fixture.Eras{fixture.LegacyOnly}, "tasks-* *",
		"the legacy server has no tasks of this era, and callgate makes none up: its tools answer when they are done"},
	{fixture.Modern, []fixture.Eras{fixture.LegacyOnly}, "server-stateless sep-2575-server-rejects-undeclared-capability",
		"the legacy era has no code for it: the server's own error passes"},
	{fixture.Modern, []fixture.Eras{fixture.LegacyOnly}, "server-stateless sep-2575-missing-capability-http-400",
		"the legacy era has no code for it: the server's own error passes"},
}

type excuse struct {
	version string
	eras    []fixture.Eras // of the server behind callgate
	check   string         // scenario and id, as a pattern of path.Match
	why     string
}

func (e *excuse) isPattern() bool { return strings.Contains(e.check, "*") }

// excused is why a check may be red through callgate; nil if it may not.
func excused(version string, eras fixture.Eras, scenario, id string) *excuse {
	for i, e := range excuses {
		if ok, _ := path.Match(e.check, scenario+" "+id); ok && e.version == version && slices.Contains(e.eras, eras) {
			return &excuses[i]
		}
	}
	return nil
}

func TestDiffStraightAndThroughCallgate(t *testing.T) {
	needSuite(t)
	table := new(strings.Builder)
	for _, version := range versions {
		if only := os.Getenv("CONFORMANCE_VERSION"); only != "" && only != version {
			continue
		}
		straight := runs(t, version, serve(t, fixture.Both)+"/mcp", "straight")
		for _, b := range behind {
			t.Run(version+" before "+b.name, func(t *testing.T) {
				url := gate(t, serve(t, b.eras))
				through := runs(t, version, url, strings.ReplaceAll(b.name, " ", "-"))
				for _, scenario := range warned(version, b.eras, straight, through) {
					t.Logf("%s warns through callgate: once more, by itself", scenario)
					if once := runsOf(t, version, url, "again", scenario); once[scenario] != nil {
						through[scenario] = once[scenario]
					}
				}
				compare(t, table, version, b.name, b.eras, straight, through)
			})
		}
	}
	if file := os.Getenv("CONFORMANCE_REPORT"); file != "" {
		must(t, os.WriteFile(file, []byte(table.String()), 0o644))
	}
}

// warned are scenarios with a check that only warns through callgate and is green straight.
// The suite warns of what did not come within a second or two, which on a machine that does
// something else besides may be its own fault.
func warned(version string, eras fixture.Eras, straight, through map[string][]check) (list []string) {
	for scenario, checks := range straight {
		for _, pair := range paired(checks, through[scenario]) {
			if s, c := pair[0], pair[1]; s != nil && c != nil && s.Status == "SUCCESS" && c.Status == "WARNING" && excused(version, eras, scenario, s.ID) == nil {
				list = append(list, scenario)
				break
			}
		}
	}
	return list
}

// A check is one line of a scenario's checks.json.
type check struct {
	ID      string          `json:"id"`
	Name    string          `json:"name"`
	Status  string          `json:"status"`
	Message string          `json:"errorMessage"`
	About   string          `json:"description"`
	Details json.RawMessage `json:"details"`
}

// runs has the suite look at url and returns the checks of each scenario.
func runs(t *testing.T, version, url, name string) map[string][]check {
	t.Helper()
	return runsOf(t, version, url, name, os.Getenv("CONFORMANCE_SCENARIO"))
}

// runsOf is runs of one scenario, where one is said.
func runsOf(t *testing.T, version, url, name, scenario string) map[string][]check {
	t.Helper()
	out := t.TempDir()
	if keep := os.Getenv("CONFORMANCE_OUT"); keep != "" {
		out = filepath.Join(keep, version, name)
		must(t, os.RemoveAll(out))
		must(t, os.MkdirAll(out, 0o755))
	}
	args := []string{"server", "--url", url, "-o", out}
	if scenario != "" {
		args = append(args, "--scenario", scenario, "--spec-version", version, "--force") // extensions are of no version
	} else {
		args = append(args, "--requirements", version)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, mustAbs(t, "node_modules/.bin/conformance"), args...)
	said, err := cmd.CombinedOutput() // its exit code says that something is red, which is seen below
	if cmd.ProcessState == nil || ctx.Err() != nil {
		t.Fatalf("conformance %s: %v\n%s", strings.Join(args, " "), err, said)
	}
	got := map[string][]check{}
	files, err := filepath.Glob(filepath.Join(out, "*", "checks.json"))
	must(t, err)
	for _, file := range files {
		// server-ping-2026-11-23T16-08-14-183Z
		dir := filepath.Base(filepath.Dir(file))
		scenario := strings.TrimPrefix(dir[:max(0, len(dir)-len("-2006-01-02T15-04-05-000Z"))], "server-")
		text, err := os.ReadFile(file)
		must(t, err)
		var checks []check
		if err := json.Unmarshal(text, &checks); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		got[scenario] = checks
	}
	if len(got) == 0 && scenario == "" {
		t.Fatalf("conformance %s: no checks\n%s", strings.Join(args, " "), said)
	}
	return got
}

// required lists the server scenarios that count for a version.
func required(t *testing.T, version string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(suite, "requirements", version+".yaml"))
	must(t, err)
	var set struct {
		Server []string `yaml:"server"`
	}
	must(t, yaml.Unmarshal(text, &set))
	if len(set.Server) == 0 {
		t.Fatalf("no server scenarios are required for %s", version)
	}
	return set.Server
}

func (c check) red() bool { return c.Status == "FAILURE" || c.Status == "WARNING" }

// paired puts checks of the same id and name beside each other, in order.
func paired(straight, through []check) [][2]*check {
	var pairs [][2]*check
	left := slices.Clone(through)
	for _, s := range straight {
		pair := [2]*check{&s, nil}
		if i := slices.IndexFunc(left, func(c check) bool { return c.ID == s.ID && c.Name == s.Name }); i >= 0 {
			found := left[i]
			pair[1] = &found
			left = slices.Delete(left, i, i+1)
		}
		pairs = append(pairs, pair)
	}
	for _, c := range left {
		pairs = append(pairs, [2]*check{nil, &c})
	}
	return pairs
}

// compare fails if what counts is not green straight, or if what is green straight
// is not through callgate and has no excuse, and adds the latter to table.
func compare(t *testing.T, table *strings.Builder, version, name string, eras fixture.Eras, straight, through map[string][]check) {
	t.Helper()
	counts := required(t, version)
	scenarios := slices.Sorted(func(yield func(string) bool) {
		for scenario := range straight {
			if !yield(scenario) {
				return
			}
		}
	})
	only := os.Getenv("CONFORMANCE_SCENARIO")
	if only == "" {
		for _, scenario := range counts {
			if straight[scenario] == nil {
				t.Errorf("%s did not run straight", scenario)
			}
		}
	}
	fmt.Fprintf(table, "\n%s before %s\n\n| scenario | straight | through | first that differs |\n| --- | --- | --- | --- |\n", version, name)
	lines, red := new(strings.Builder), 0
	needed := map[*excuse]bool{}
	for _, scenario := range scenarios {
		var first string
		for _, pair := range paired(straight[scenario], through[scenario]) {
			s, c := pair[0], pair[1]
			if s != nil && s.red() && slices.Contains(counts, scenario) {
				t.Errorf("%s: %s is %s straight: %s", scenario, s.ID, s.Status, s.Message)
			}
			if only != "" {
				show(t, s, c)
			}
			if s == nil || s.Status != "SUCCESS" {
				continue
			}
			why := excused(version, eras, scenario, s.ID)
			if c != nil && !c.red() { // an INFO through callgate for a SUCCESS: the check has nothing to look at
				if why != nil {
					needed[why] = needed[why] || !why.isPattern() // which is said here
				}
				if why != nil && !why.isPattern() {
					t.Errorf("%s: %s has an excuse and needs none", scenario, s.ID)
				}
				continue
			}
			came := "is missing"
			if c != nil {
				came = c.Status + ": " + cut(c.Message)
			}
			if why != nil {
				came += " (excused: " + why.why + ")"
				needed[why] = true
			}
			if first == "" {
				first = s.ID + " " + came
			}
			if why != nil {
				continue
			}
			t.Errorf("%s: %s (%s) is green straight, and through callgate %s", scenario, s.ID, s.Name, came)
		}
		if first != "" {
			red++
			fmt.Fprintf(table, "| %s | %s | %s | %s |\n", scenario, tally(straight[scenario]), tally(through[scenario]), strings.NewReplacer("|", "\\|", "\n", " ").Replace(first))
		}
		fmt.Fprintf(lines, "%-50s %-10s %-10s %s\n", scenario, tally(straight[scenario]), tally(through[scenario]), first)
	}
	for why, is := range needed {
		if !is && only == "" {
			t.Errorf("%s has an excuse, and none of it is red", why.check)
		}
	}
	t.Logf("%d of %d scenarios are red through callgate alone\n%-50s %-10s %-10s %s\n%s", red, len(scenarios), "scenario", "straight", "through", "first that differs", lines)
}

// tally is how many checks of those that pass or do not passed.
func tally(checks []check) string {
	if checks == nil {
		return "-"
	}
	good, all := 0, 0
	for _, c := range checks {
		if c.Status == "SUCCESS" {
			good++
		}
		if c.Status == "SUCCESS" || c.red() {
			all++
		}
	}
	return fmt.Sprintf("%d/%d", good, all)
}

func show(t *testing.T, straight, through *check) {
	t.Helper()
	about := func(c *check) string {
		if c == nil {
			return "missing"
		}
		return fmt.Sprintf("%s %s\n    %.3000s", c.Status, c.Message, c.Details)
	}
	c := cmp.Or(straight, through)
	t.Logf("%s (%s): %s\n  straight: %s\n  through: %s", c.ID, c.Name, c.About, about(straight), about(through))
}

func cut(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 600 {
		s = s[:600] + "…"
	}
	return cmp.Or(s, "(no message)")
}

// serve starts the fixture.
func serve(t *testing.T, eras fixture.Eras) string {
	t.Helper()
	f := fixture.New(eras)
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		f.Close()
		server.CloseClientConnections() // callgate keeps some
		server.Close()
	})
	return server.URL
}

const config = `
listen: 127.0.0.1:%s
data: %s
admin: {listen: "127.0.0.1:%s"}
mcp:
  servers:
    fixture: {url: "%s/mcp"}
policy: [policy.csv]
`

const policy = `# everything that the suite does
p, role:suite,     *, tool:*,                call, true, allow, TOOLS
p, role:suite,     *, prompt:*,              get,  true, allow, PROMPTS
p, role:suite,     *, resource:*,            *,    true, allow, RESOURCES
p, server:fixture, *, model:client/sampling, *,    true, allow, SAMPLING
`

// gate starts callgate before the server at url, and what gives the suite's
// requests a token. It returns the URL for the suite.
func gate(t *testing.T, url string) string {
	t.Helper()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	port := program.FreePort(t)
	must(t, os.WriteFile(filepath.Join(dir, "policy.csv"), []byte(policy), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "callgate.yaml"), []byte(fmt.Sprintf(config, port, data, program.FreePort(t), url)), 0o644))
	log := filepath.Join(dir, "callgate.log")
	if keep := os.Getenv("CONFORMANCE_OUT"); keep != "" {
		log = filepath.Join(keep, strings.NewReplacer("/", " ", " ", "-").Replace(t.Name())+".log")
	}
	program.Start(t, program.Program{Args: []string{binary, "serve", "-c", filepath.Join(dir, "callgate.yaml")}, Dir: dir, Log: log, Clean: true})
	program.WaitFor(t, "http://127.0.0.1:"+port+"/healthz")
	program.Command(t, binary, data, "agent", "create", "suite", "--role", "suite")
	token := strings.TrimSpace(program.Command(t, binary, data, "token", "suite", "--ttl", "15m"))
	return bearer(t, "http://127.0.0.1:"+port, token) + "/mcp/fixture"
}

// bearer starts a proxy that adds a token and leaves all else as it is, the names
// of host and origin too.
func bearer(t *testing.T, to, token string) string {
	t.Helper()
	target, err := url.Parse(to)
	must(t, err)
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		FlushInterval: -1, // at once
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.Out.Header.Set("Authorization", "Bearer "+token)
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }, // the suite goes when it has seen enough
	})
	t.Cleanup(func() {
		proxy.CloseClientConnections()
		proxy.Close()
	})
	return proxy.URL
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	must(t, err)
	return abs
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
