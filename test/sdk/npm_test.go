package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestEachNpmSDKWithEachVendor is the same for the vendors' SDKs of npm, which sdks.mjs
// drives.
func TestEachNpmSDKWithEachVendor(t *testing.T) {
	node, err := filepath.Abs("../acceptance/node_modules/.bin/node")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{node, "node_modules/openai"} {
		if _, err := os.Stat(part); err != nil {
			t.Skipf("%s is not there: run npm ci in test/acceptance and test/sdk, as .ci/run does", part)
		}
	}
	stops := map[string][2]string{"openai": {"tool_calls", "stop"}, "anthropic": {"tool_use", "end_turn"}, "google": {"STOP", "STOP"}}
	g := newGate(t, twice)
	for sdk, stop := range stops {
		for model, dialect := range backs {
			for _, streamed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s with %s, streamed %v", sdk, model, streamed), func(t *testing.T) {
					before := len(g.model.Turns())
					var out, errs bytes.Buffer
					cmd := exec.CommandContext(within(t), node, "sdks.mjs", sdk, g.url, g.token, model, fmt.Sprint(streamed))
					cmd.Stdout, cmd.Stderr = &out, &errs
					if err := cmd.Run(); err != nil {
						t.Fatalf("%v\n%s\n%s", err, &out, &errs)
					}
					type reply struct {
						Text, Stop string
						Calls      []struct{ Name, Args string }
						In, Out    int
					}
					var said []reply
					for line := range strings.Lines(out.String()) {
						var r reply
						if err := json.Unmarshal([]byte(line), &r); err != nil {
							t.Fatalf("%v: %s", err, line)
						}
						said = append(said, r)
					}
					if len(said) != 3 {
						t.Fatalf("it printed %s", &out)
					}
					first, second, form := said[0], said[1], said[2]
					if first.Text != "I shall look." || first.Stop != stop[0] || len(first.Calls) != 2 || first.Calls[0].Name != "weather" || compact(t, first.Calls[0].Args) != `{"city":"Bern"}` || compact(t, first.Calls[1].Args) != `{"city":"Basel"}` || first.In == 0 || first.Out == 0 {
						t.Errorf("first it said %+v", first)
					}
					if !strings.HasPrefix(second.Text, "I was told: ") || !strings.Contains(second.Text, "sunny") || !strings.Contains(second.Text, "rain") || second.Stop != stop[1] || len(second.Calls) != 0 {
						t.Errorf("then it said %+v", second)
					}
					if compact(t, form.Text) != `{"city":"Bern"}` {
						t.Errorf("in a form it said %+v", form)
					}
					for _, turn := range g.model.Turns()[before:] {
						if turn.Dialect != dialect || !strings.Contains(string(turn.Body), brief) || !strings.Contains(string(turn.Body), question) {
							t.Errorf("the vendor was asked in %s: %s", turn.Dialect, turn.Body)
						}
					}
				})
			}
		}
	}
}
