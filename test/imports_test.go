// Package test holds the tests of callgate as a whole: what may import what, and
// scripts that drive the real binary.
package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "callgate/"

// never is what the packages below a path must not import directly. A name
// stands for itself and everything below it.
var never = []struct {
	in   string
	not  []string
	free []string // packages that the rule does not hold for
}{
	{in: "callgate/identity", not: []string{"callgate/audit", "callgate/firewall", "callgate/mcp", "callgate/providers", "callgate/cmd"}},
	{in: "callgate/audit", not: []string{"callgate/identity", "callgate/firewall", "callgate/mcp", "callgate/providers", "callgate/cmd", "net/http"}},
	{in: "callgate/firewall", not: []string{"callgate/mcp", "callgate/providers", "callgate/cmd", "net/http", "github.com/mark3labs/mcp-go"}},
	{in: "callgate/mcp", not: []string{"callgate/providers", "callgate/cmd"}},
	{in: "callgate/providers", not: []string{"callgate/mcp", "callgate/cmd"}},
	{in: "callgate/cmd/callgate/internal/store", not: []string{"callgate/mcp", "callgate/providers"}},
	// one place each, and tests alone
	{in: "callgate", not: []string{"github.com/casbin"}, free: []string{"callgate/firewall/policy"}},
	{in: "callgate", not: []string{"database/sql", "modernc.org/sqlite", "github.com/pressly/goose/v3"}, free: []string{"callgate/cmd/callgate/internal/store"}},
	{in: "callgate", not: []string{"github.com/modelcontextprotocol/go-sdk", "callgate/test"}, free: []string{"callgate/test"}},
}

// vague names say nothing of what a package is about.
var vague = []string{"config", "types", "util", "utils", "common", "middleware", "manager", "session", "db", "metrics", "mocks"}

type pkg struct {
	ImportPath string
	Name       string
	Imports    []string
}

// packages is every package of the module, without its tests.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Imports", module+"...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func TestPackagesImportOnlyWhatTheDesignAllows(t *testing.T) {
	for _, p := range packages(t) {
		for _, rule := range never {
			if !under(p.ImportPath, rule.in) || slices.ContainsFunc(rule.free, func(f string) bool { return under(p.ImportPath, f) }) {
				continue
			}
			for _, imported := range p.Imports {
				if i := slices.IndexFunc(rule.not, func(not string) bool { return under(imported, not) }); i >= 0 {
					t.Errorf("%s imports %s: packages under %s must not import %s", p.ImportPath, imported, rule.in, rule.not[i])
				}
			}
		}
	}
}

func TestPackagesAreNamedForWhatTheyAreAbout(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range []string{p.Name, path.Base(p.ImportPath)} {
			if slices.Contains(vague, name) {
				t.Errorf("package %s: %q says nothing; put its code where the noun it is about lives", p.ImportPath, name)
			}
		}
	}
}

// under says whether path is root or below it.
func under(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}
