// Package abuse is what callgate must survive: to be killed at any time.
package abuse

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/audit"
	"callgate/test/program"
)

var kills = flag.Int("kills", 50, "how often the gate is killed")

// Who got an answer is on record, whenever the gate was killed; and what is on record is
// whole, and what was signed.
func TestKilledAtAnyTime(t *testing.T) {
	dir := t.TempDir()
	bin, err := program.Build(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`)
	}))
	defer model.Close()
	listen, admin, data := program.FreePort(t), program.FreePort(t), filepath.Join(dir, "data")
	for name, text := range map[string]string{
		"callgate.yaml": fmt.Sprintf("listen: %s\nadmin: {listen: %q}\ndata: %s\nproviders: {lab: {kind: openai, base_url: %q, models: [m]}}\npolicy: [policy.csv]\n", addr(listen), addr(admin), data, model.URL+"/v1"),
		"policy.csv":    "p, role:dev, *, model:*, generate, true, allow, M1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var (
		mu       sync.Mutex
		answered = make(map[string]bool)
		token    string
		client   = &http.Client{Timeout: 5 * time.Second}
	)
	for n := range *kills {
		log, err := os.Create(filepath.Join(dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		gate := exec.Command(bin, "serve", "-c", filepath.Join(dir, "callgate.yaml"))
		gate.Stdout, gate.Stderr = log, log
		if err := gate.Start(); err != nil {
			t.Fatal(err)
		}
		program.WaitFor(t, "http://"+addr(listen)+"/healthz")
		if token == "" {
			program.Command(t, bin, data, "agent", "create", "bot", "--role", "dev", "--max-ttl", "24h")
			token = strings.TrimSpace(program.Command(t, bin, data, "token", "bot", "--ttl", "24h"))
		}
		over := make(chan struct{})
		var workers sync.WaitGroup
		for range 8 {
			workers.Go(func() {
				for {
					select {
					case <-over:
						return
					default:
					}
					id, err := ask(client, "http://"+addr(listen)+"/v1/chat/completions", token)
					if err != nil {
						time.Sleep(time.Millisecond)
						continue
					}
					mu.Lock()
					answered[id] = true
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		_ = gate.Process.Kill()
		_ = gate.Wait()
		close(over)
		workers.Wait()
		_ = log.Close()
		if n%10 == 9 {
			verify(t, data)
		}
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("after %d kills; the gate said:\n%s", n+1, said)
		}
	}
	closed := make(map[string]bool)
	for e, err := range audit.Files(filepath.Join(data, "ledger"), time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		var r audit.Record
		if err := json.Unmarshal(e.JSON, &r); err != nil {
			t.Fatalf("record %d is torn: %v", e.Seq, err)
		}
		if r.Type == audit.Closed {
			closed[r.Call] = true
		}
	}
	if len(answered) < *kills {
		t.Errorf("only %d calls were answered", len(answered))
	}
	lost := 0
	for id := range answered {
		if !closed[id] {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d calls that were answered are not on record", lost, len(answered))
	}
	v := verify(t, data)
	t.Logf("killed %d times: %d calls answered, all on record; %d records, %d of them signed by %d checkpoints", *kills, len(answered), v.Records, v.Signed, v.Checkpoints)
}

func verify(t *testing.T, data string) *audit.Verification {
	t.Helper()
	v, err := audit.Verify(filepath.Join(data, "ledger"), audit.VerifyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range v.Flaws {
		t.Errorf("flaw: %s", f)
	}
	return v
}

// ask makes a call, and says which one if it was answered whole.
func ask(client *http.Client, url, token string) (string, error) {
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(`{"model":"lab/m","messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK || !json.Valid(body) {
		return "", errors.New(resp.Status)
	}
	return resp.Header.Get("Callgate-Call"), nil
}

func addr(port string) string {
	if strings.Contains(port, ":") {
		return port
	}
	return "127.0.0.1:" + port
}
