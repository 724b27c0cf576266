// Package sdk has the vendors' own SDKs use models through callgate. It is a module of
// its own, so that nothing of them is in callgate's.
package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callgate/test/program"
	"callgate/test/upstream"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
)

var binary string // callgate

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sdk")
	if err == nil {
		binary, err = program.Build(dir, true)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// A gate is callgate before models that say what script says.
type gate struct {
	url, token string
	model      *upstream.Model
}

func newGate(t *testing.T, script func(upstream.Turn) upstream.Say) *gate {
	t.Helper()
	g := &gate{model: &upstream.Model{Script: script, Key: "sk-of-the-gate"}}
	models := httptest.NewServer(g.model)
	t.Cleanup(models.Close)
	dir := t.TempDir()
	data, port, admin := filepath.Join(dir, "data"), program.FreePort(t), program.FreePort(t)
	g.url = "http://127.0.0.1:" + port
	for name, text := range map[string]string{
		"policy.csv": "p, role:dev, *, model:*, generate, true, allow, M1\n",
		"callgate.yaml": fmt.Sprintf(`
listen: 127.0.0.1:%s
data: %s
admin: {listen: "127.0.0.1:%s"}
providers:
  anthropic: {api_key: "env:MODEL_KEY", base_url: "%s/v1"}
  openai: {api_key: "env:MODEL_KEY", base_url: "%s/v1"}
  lab: {kind: openai-compatible, api_key: "env:MODEL_KEY", base_url: "%s/v1"}
  gemini: {api_key: "env:MODEL_KEY", base_url: "%s/v1beta"}
  bedrock: {api_key: "env:MODEL_KEY", base_url: "%s", params: {region: eu-central-1}}
  cohere: {api_key: "env:MODEL_KEY", base_url: "%s"}
identity: {default_agent: bot}
policy: [policy.csv]
`, port, data, admin, models.URL, models.URL, models.URL, models.URL, models.URL, models.URL),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program.Start(t, program.Program{Args: []string{binary, "serve", "-c", filepath.Join(dir, "callgate.yaml")}, Dir: dir, Env: append(os.Environ(), "MODEL_KEY=sk-of-the-gate"), Log: filepath.Join(dir, "callgate.log"), Clean: true})
	program.WaitFor(t, g.url+"/healthz")
	program.Command(t, binary, data, "agent", "create", "bot", "--role", "dev")
	g.token = strings.TrimSpace(program.Command(t, binary, data, "token", "bot", "--ttl", "15m"))
	return g
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (g *gate) openai() openai.Client {
	return openai.NewClient(option.WithBaseURL(g.url+"/v1"), option.WithAPIKey(g.token), option.WithMaxRetries(0))
}

// weather is a model that asks for the weather, and then says what it was told.
func weather(turn upstream.Turn) upstream.Say {
	tool, ok := turn.Find("weather")
	if ok && len(turn.Results) == 0 {
		return upstream.Say{Text: "I shall look.", Calls: []upstream.Call{{Tool: tool, Args: `{"city":"Bern"}`}}}
	}
	said := "nothing"
	if len(turn.Results) > 0 {
		said = turn.Results[0].Text
	}
	return upstream.Say{Text: "I was told: " + said}
}

func ask(model string) responses.ResponseNewParams {
	return responses.ResponseNewParams{
		Model: model, Instructions: openai.String("be brief"),
		Input: responses.ResponseNewParamsInputUnion{OfInputItemList: []responses.ResponseInputItemUnionParam{responses.ResponseInputItemParamOfMessage("how is it in Bern?", responses.EasyInputMessageRoleUser)}},
		Tools: []responses.ToolUnionParam{responses.ToolParamOfFunction("weather", map[string]any{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}}, false)},
	}
}

// TestOpenAIsGoSDK has it do a whole loop of responses with a model of its own vendor and
// with one of another, plain and streamed.
func TestOpenAIsGoSDK(t *testing.T) {
	g := newGate(t, weather)
	for _, model := range []string{"openai/gpt", "anthropic/claude"} {
		for _, streamed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s streamed %v", model, streamed), func(t *testing.T) {
				before := len(g.model.Turns())
				client := g.openai()
				params := ask(model)
				for turn := range 2 {
					var r *responses.Response
					if streamed {
						r = stream(t, client.Responses.NewStreaming(within(t), params))
					} else {
						var err error
						if r, err = client.Responses.New(within(t), params); err != nil {
							t.Fatal(err)
						}
					}
					if r.Status != responses.ResponseStatusCompleted || r.Usage.InputTokens == 0 || r.Usage.TotalTokens != r.Usage.InputTokens+r.Usage.OutputTokens {
						t.Fatalf("turn %d: %s", turn, r.RawJSON())
					}
					if turn == 1 {
						if got := r.OutputText(); !strings.HasPrefix(got, "I was told: ") || !strings.Contains(got, "sunny") {
							t.Errorf("it said %q: %s", got, r.RawJSON())
						}
						break
					}
					last := r.Output[len(r.Output)-1].AsFunctionCall()
					if r.OutputText() != "I shall look." || last.Name != "weather" || last.Arguments != `{"city":"Bern"}` || last.CallID == "" {
						t.Fatalf("turn %d: %s", turn, r.RawJSON())
					}
					result := responses.ResponseInputItemParamOfFunctionCallOutput("sunny")
					result.OfFunctionCallOutput.CallID = openai.String(last.CallID)
					params.Input.OfInputItemList = append(params.Input.OfInputItemList, responses.ResponseInputItemParamOfFunctionCall(last.Arguments, last.CallID, last.Name), result)
				}
				want := map[string]string{"openai/gpt": "responses", "anthropic/claude": "messages"}[model]
				for _, turn := range g.model.Turns()[before:] {
					if turn.Dialect != want {
						t.Errorf("the model was asked in %s", turn.Dialect)
					}
				}
			})
		}
	}
}

// stream has the SDK put the events of a stream together, and checks that they say what
// the response at the end does.
func stream(t *testing.T, s interface {
	Next() bool
	Current() responses.ResponseStreamEventUnion
	Err() error
}) *responses.Response {
	t.Helper()
	var all responses.ResponseAccumulator
	var end *responses.Response
	for n := 0; s.Next(); n++ {
		event := s.Current()
		if event.SequenceNumber != int64(n) {
			t.Errorf("event %d is number %d: %s", n, event.SequenceNumber, event.RawJSON())
		}
		var server responses.ResponsesServerEventUnion
		if err := json.Unmarshal([]byte(event.RawJSON()), &server); err != nil {
			t.Fatal(err)
		}
		if err := all.AddEvent(server); err != nil {
			t.Fatalf("%v: %s", err, event.RawJSON())
		}
		if event.Type == "response.completed" {
			r := event.AsResponseCompleted().Response
			end = &r
		}
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if end == nil {
		t.Fatal("the stream has no end")
	}
	whole, err := all.ReconstructedResponse()
	if err != nil {
		t.Fatal(err)
	}
	if got := all.Snapshot(); got.TerminalEvent != "response.completed" || got.OutputText() != end.OutputText() || whole.OutputText() != end.OutputText() || len(got.Output) != len(end.Output) {
		t.Errorf("its events say %+v, and the end says %s", got, end.RawJSON())
	}
	return end
}

// TestOpenAIsGoSDKReadsRefusals has callgate's own errors and the provider's reach it as
// such.
func TestOpenAIsGoSDKReadsRefusals(t *testing.T) {
	g := newGate(t, weather)
	client := g.openai()
	params := ask("anthropic/claude")
	params.PreviousResponseID = openai.String("resp_1")
	_, err := client.Responses.New(within(t), params)
	var e *openai.Error
	if !errors.As(err, &e) || e.StatusCode != 404 || !strings.Contains(e.Message, "there is no response resp_1") {
		t.Errorf("%v", err)
	}
	s := client.Responses.NewStreaming(within(t), params)
	if s.Next() || !errors.As(s.Err(), &e) || e.StatusCode != 404 {
		t.Errorf("%v", s.Err())
	}
}
