package providers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
	"callgate/providers"
)

// A back is a vendor as it answers, whatever its clients speak.
type back struct {
	name, model string
	answer      func(t turn, streamed bool) (kind, reply string)
}

// vendorsBehind are the dialects that models are behind in.
func vendorsBehind() []back {
	list := []back{
		{"bedrock", "bedrock/anthropic.claude", func(said turn, streamed bool) (string, string) {
			plain, stream := bedrockSays(said)
			if streamed {
				return "application/vnd.amazon.eventstream", string(stream)
			}
			return "application/json", plain
		}},
	}
	for _, s := range surfaces {
		if s.name == "responses" {
			continue // asked at chat by others
		}
		list = append(list, back{s.name, map[string]string{"chat": "lab/m", "messages": "anthropic/m", "gemini": "gemini/m"}[s.name], func(said turn, streamed bool) (string, string) {
			if streamed {
				return "text/event-stream", strings.Join(s.stream(said), "")
			}
			return "application/json", s.plain(said)
		}})
	}
	return list
}

// bedrockSays is a turn in Converse.
func bedrockSays(said turn) (plain string, stream []byte) {
	content, stop := `{"text":`+js(said.text)+`}`, "end_turn"
	add := func(name, payload string) { stream = append(stream, framedAs(name, payload)...) }
	add("messageStart", `{"role":"assistant"}`)
	for _, piece := range []string{said.text[:len(said.text)/2], said.text[len(said.text)/2:]} {
		add("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":`+js(piece)+`}}`)
	}
	add("contentBlockStop", `{"contentBlockIndex":0}`)
	for i, c := range said.calls {
		stop = "tool_use"
		content += fmt.Sprintf(`,{"toolUse":{"toolUseId":"t%d","name":%s,"input":%s}}`, i, js(c[0]), c[1])
		add("contentBlockStart", fmt.Sprintf(`{"contentBlockIndex":%d,"start":{"toolUse":{"toolUseId":"t%d","name":%s}}}`, i+1, i, js(c[0])))
		add("contentBlockDelta", fmt.Sprintf(`{"contentBlockIndex":%d,"delta":{"toolUse":{"input":%s}}}`, i+1, js(c[1])))
		add("contentBlockStop", fmt.Sprintf(`{"contentBlockIndex":%d}`, i+1))
	}
	add("messageStop", `{"stopReason":"`+stop+`"}`)
	add("metadata", `{"usage":{"inputTokens":3,"outputTokens":2}}`)
	return `{"output":{"message":{"role":"assistant","content":[` + content + `]}},"stopReason":"` + stop + `","usage":{"inputTokens":3,"outputTokens":2}}`, stream
}

// rationed is a policy that lets one model be asked once.
type rationed struct{ srv }

func (p rationed) Decide(call *firewall.Call) firewall.Decision {
	d := p.srv.Decide(call)
	if call.Resource == "limited" && d.Effect == firewall.Allow {
		d.Obligations = []firewall.Obligation{{Do: firewall.LimitTo, With: "calls=1/1h", Rule: "L1", Limit: firewall.Limit{Of: firewall.Calls, Amount: 1, Window: time.Hour, Per: firewall.PerAgent}}}
	}
	return d
}

// counted is a guard that says how much it has read.
type counted struct{ mask }

func (g counted) Request(ctx context.Context, call *firewall.Call) (firewall.Decision, error) {
	call.Checks = append(call.Checks, audit.Check{Guard: "counted", Request: int64(len(call.Body.JSON))})
	return g.mask.Request(ctx, call)
}

// TestEverySurfacePassesEveryCheck is the table: each dialect in front of each behind,
// plain and streamed, by each thing that stands between them.
func TestEverySurfacePassesEveryCheck(t *testing.T) {
	for _, front := range surfaces {
		for _, behind := range vendorsBehind() {
			for _, streamed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s before %s, streamed=%v", front.name, behind.name, streamed), func(t *testing.T) {
					s := newScene(t, front, behind, streamed)
					s.who()
					s.policy()
					s.stopped()
					s.limit()
					s.guards()
					s.toolCalls()
					s.hosted()
					s.audit()
				})
			}
		}
	}
}

// A scene is one cell of the table.
type scene struct {
	*testing.T
	house
	front    surface
	behind   back
	streamed bool
	url      string
	stops    *identity.Revocations
	mu       sync.Mutex
	says     turn
	asked    []string // what the vendor got
}

func newScene(t *testing.T, front surface, behind back, streamed bool) *scene {
	s := &scene{T: t, front: front, behind: behind, streamed: streamed, says: turn{"Well, hush now.", nil}}
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.asked = append(s.asked, string(b))
		said := s.says
		s.mu.Unlock()
		kind, reply := behind.answer(said, streamed)
		answer(200, kind, reply)(w, r)
	}))
	vendor, _, _ := strings.Cut(behind.model, "/")
	var err error
	if s.stops, err = identity.OpenRevocations(t.Context(), new(identity.MemoryRevocations), time.Hour, time.Now, func(string, string, string, string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	gate := firewall.New(firewall.Config{Stops: s.stops, Tools: files,
		Verify: verify, Log: &s.log, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now), Approvals: firewall.NewApprovals(new(firewall.Memory), 0, time.Now), Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}, &firewall.Law{Policy: rationed{srv{except{"tool:files/delete": true, "model:" + vendor + "/secret": true, "tool:" + vendor + "/web_search": true, "tool:" + vendor + "/google_search": true}}}, Guards: []firewall.Guard{counted{mask{"hush"}}}})
	s.door = providers.New(providers.Config{Challenge: func(string, error) string { return "Bearer" }, Logger: slog.New(slog.DiscardHandler)}, gate)
	if err := s.door.SetProviders(map[string]providers.Provider{
		"lab":       {Kind: "openai-compatible", BaseURL: up + "/v1", Models: []string{"m"}},
		"anthropic": {BaseURL: up + "/v1", Models: []string{"n"}},
		"gemini":    {BaseURL: up + "/v1beta", Models: []string{"o"}},
		"bedrock":   {BaseURL: up, APIKey: identity.NewSecret("bedrock-key-0"), Params: map[string]string{"region": "eu-central-1"}, Models: []string{"anthropic.claude"}},
	}, nil); err != nil {
		t.Fatal(err)
	}
	s.url = s.house.url(t)
	return s
}

// ask asks the model of a name at the vendor, with more members in the body, and is how
// many requests reached the vendor.
func (s *scene) ask(model, more string, header ...string) (*http.Response, string, int) {
	s.Helper()
	path, body := s.front.ask(s.streamed)
	own := map[string]string{"chat": "gpt", "responses": "gpt", "messages": "claude", "gemini": "flash"}[s.front.name]
	path, body = strings.Replace(path, "/"+own+":", "/"+model+":", 1), strings.Replace(body, `"model":"`+own+`"`, `"model":"`+model+`"`, 1)
	if more != "" {
		body = strings.TrimSuffix(body, "}") + "," + more + "}"
	}
	s.mu.Lock()
	before := len(s.asked)
	s.mu.Unlock()
	resp, got := post(s.T, s.url, path, strings.Replace(body, `"hi"`, `"say hush"`, 1), header...)
	s.busy.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return resp, got, len(s.asked) - before
}

// at is a model of the vendor by another name.
func (s *scene) at(name string) string {
	provider, _, _ := strings.Cut(s.behind.model, "/")
	return provider + "/" + name
}

func (s *scene) refused(what string, status int, model, more string, header ...string) {
	s.Helper()
	resp, got, reached := s.ask(model, more, header...)
	if resp.StatusCode != status || reached != 0 || !strings.Contains(got, "error") {
		s.Errorf("%s: %d %s, and %d requests reached the vendor", what, resp.StatusCode, got, reached)
	}
	if r := s.log.Records(); r[len(r)-1].Type != audit.Refused {
		s.Errorf("%s: on record is %s", what, types(r[len(r)-1:]))
	}
}

func (s *scene) who()    { s.refused("without a token", 401, s.behind.model, "", "Authorization", "") }
func (s *scene) policy() { s.refused("a model that is denied", 403, s.at("secret"), "") }
func (s *scene) stopped() {
	if err := s.stops.Revoke(s.Context(), identity.RevokedObject, "model:"+s.at("stopped"), "user:ana"); err != nil {
		s.Fatal(err)
	}
	s.refused("a model that is stopped", 403, s.at("stopped"), "")
}

func (s *scene) limit() {
	if resp, got, reached := s.ask(s.at("limited"), ""); resp.StatusCode != 200 || reached != 1 {
		s.Errorf("within its limit: %d %s", resp.StatusCode, got)
	}
	s.refused("beyond its limit", 429, s.at("limited"), "")
}

func (s *scene) guards() {
	resp, got, reached := s.ask(s.behind.model, "")
	if resp.StatusCode != 200 || reached != 1 {
		s.Fatalf("%d %s", resp.StatusCode, got)
	}
	if sent := s.asked[len(s.asked)-1]; strings.Contains(sent, "hush") || !strings.Contains(sent, "[masked]") {
		s.Errorf("the guard did not edit what the vendor got: %s", sent)
	}
	if texts, _, _ := s.front.read(s.T, s.streamed, got); texts != "Well, [masked] now." {
		s.Errorf("the guard did not edit what the client got: %q", texts)
	}
}

func (s *scene) toolCalls() {
	s.says.calls = [][2]string{{"files__delete", `{"path":"/"}`}}
	_, got, _ := s.ask(s.behind.model, "")
	if texts, calls, _ := s.front.read(s.T, s.streamed, got); len(calls) != 0 || !strings.Contains(texts, "callgate refused the tool call files__delete") {
		s.Errorf("a tool call that is denied: %q %v", texts, calls)
	}
	s.says.calls = nil
}

func (s *scene) hosted() {
	s.refused("a tool that the vendor runs", 403, s.behind.model, map[string]string{
		"chat": `"tools":[{"type":"web_search"}]`, "responses": `"tools":[{"type":"web_search"}]`, "messages": `"tools":[{"type":"web_search_20250305","name":"web_search"}]`, "gemini": `"tools":[{"googleSearch":{}}]`,
	}[s.front.name])
}

func (s *scene) audit() {
	records := s.log.Records()
	var opened, closed *audit.Record
	for i := range records {
		switch r := &records[i]; r.Type {
		case audit.Opened:
			opened = r
		case audit.Closed:
			closed = r
		}
	}
	if opened.Agent != "agent:bot" || "model:"+opened.Target+"/"+opened.Resource != "model:"+s.behind.model || closed.Outcome != "ok" || closed.Usage == nil || len(closed.Checks) != 1 || closed.Checks[0].Request == 0 || closed.Bytes == 0 {
		s.Errorf("on record are %+v and %+v", opened, closed)
	}
	s.log.Fail(errors.New("the disk is full"))
	resp, got, _ := s.ask(s.behind.model, "")
	if resp.StatusCode != 503 || strings.Contains(got, "Well") {
		s.Errorf("what cannot be recorded: %d %s", resp.StatusCode, got)
	}
}

// TestEveryPathAsksWhoAndWhether asks each path that docs/models.md tells of without a
// token, and with one that may do nothing: none answers, and all is on record.
func TestEveryPathAsksWhoAndWhether(t *testing.T) {
	docs, err := os.ReadFile("../docs/models.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(docs), "## ")
	paths := regexp.MustCompile("/v1[^` ?…]*").FindAllString(table, -1)
	if len(paths) < 25 {
		t.Fatalf("docs/models.md tells of %d paths", len(paths))
	}
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s reached the vendor", r.Method, r.URL)
	}))
	h := newHouseBy(t, nothing{}, up)
	url := h.url(t)
	for _, path := range paths {
		path = strings.NewReplacer("<id>", "x", "<name>", "gpt", "<model>", "flash").Replace(path)
		for _, method := range []string{"GET", "POST", "DELETE"} {
			for _, with := range []string{"", "Bearer " + token} {
				before := len(h.records())
				body := `{"model":"gpt","messages":[],"input":"hi","prompt":"hi"}`
				if strings.HasPrefix(path, "/v1beta") {
					body = `{"contents":[]}`
				}
				req, err := http.NewRequest(method, url+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				resp, got := do(t, req, "Authorization", with)
				list := with != "" && method == "GET" && resp.StatusCode == 200 && (strings.HasSuffix(path, "/models") || strings.HasSuffix(path, "/files") || strings.HasSuffix(path, "/batches"))
				switch {
				case with == "" && resp.StatusCode != 401:
					t.Errorf("%s %s without a token: %d %s", method, path, resp.StatusCode, got)
				case with != "" && resp.StatusCode < 400 && !list:
					t.Errorf("%s %s by who may do nothing: %d %s", method, path, resp.StatusCode, got)
				}
				if r := h.records(); len(r) == before {
					t.Errorf("%s %s is not on record", method, path)
				}
			}
		}
	}
}

// nothing is a policy that allows nothing.
type nothing struct{ except }

func (nothing) Decide(*firewall.Call) firewall.Decision {
	return firewall.Decision{Rule: "R0", Reason: "rule R0 denies it"}
}

func (nothing) May(*identity.Principal, string, string) firewall.Answer { return firewall.No }
