// Package demo is what callgate demo puts on both sides of a gate: an agent in
// front of it, a model API and an MCP server behind it, all real on the wire.
package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// An Agent does one job with a model and tools. It knows nothing but the gate's
// URL and its own name and secret.
type Agent struct {
	Gate         string // URL
	Name, Secret string
	Model        string
	Say          func(format string, args ...any) // tells what happens, as it happens
}

const maxTurns = 8 // model calls before the agent gives up

// Run does the job and returns the model's last words.
func (a *Agent) Run(ctx context.Context, job string) (string, error) {
	token, err := a.token(ctx)
	if err != nil {
		return "", fmt.Errorf("get a token: %w", err)
	}
	a.Say("agent %s got a token from /oauth/token with its own secret", a.Name)

	shop, err := client.NewStreamableHttpClient(a.Gate+"/mcp", transport.WithHTTPHeaders(map[string]string{"Authorization": "Bearer " + token}))
	if err != nil {
		return "", err
	}
	defer shop.Close()
	if err := shop.Start(ctx); err != nil {
		return "", fmt.Errorf("connect to /mcp: %w", err)
	}
	hello := mcp.InitializeRequest{}
	hello.Params.ProtocolVersion = mcp.LATEST_PROTOCOL_VERSION
	hello.Params.ClientInfo = mcp.Implementation{Name: "demo-agent", Version: "1.0.0"}
	if _, err := shop.Initialize(ctx, hello); err != nil {
		return "", fmt.Errorf("connect to /mcp: %w", err)
	}
	list, err := shop.ListTools(ctx, mcp.ListToolsRequest{})
	if err != nil {
		return "", fmt.Errorf("list tools: %w", err)
	}
	req := chatRequest{Model: a.Model, Stream: true, Messages: []message{{Role: "user", Content: job}}}
	var names []string
	for _, t := range list.Tools {
		schema, err := json.Marshal(t.InputSchema)
		if err != nil {
			return "", err
		}
		offer := tool{Type: "function"}
		offer.Function.Name, offer.Function.Description, offer.Function.Parameters = t.Name, t.Description, schema
		req.Tools = append(req.Tools, offer)
		names = append(names, t.Name)
	}
	a.Say("it sees the tools that policy lets it use: %s", strings.Join(names, ", "))

	for range maxTurns {
		answer, err := a.ask(ctx, token, req)
		if err != nil {
			return "", fmt.Errorf("ask the model: %w", err)
		}
		req.Messages = append(req.Messages, answer)
		if len(answer.ToolCalls) == 0 {
			return answer.Content, nil
		}
		for _, c := range answer.ToolCalls {
			a.Say("model: %q, and asks for %s %s", answer.Content, c.Function.Name, c.Function.Arguments)
			result, err := use(ctx, shop, c)
			if err != nil {
				return "", fmt.Errorf("call %s: %w", c.Function.Name, err)
			}
			a.Say("tool:  %q", result)
			req.Messages = append(req.Messages, message{Role: "tool", ToolCallID: c.ID, Content: result})
		}
	}
	return "", fmt.Errorf("no end after %d model calls", maxTurns)
}

func (a *Agent) token(ctx context.Context) (string, error) {
	form := strings.NewReader("grant_type=client_credentials")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.Gate+"/oauth/token", form)
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(a.Name), url.QueryEscape(a.Secret))
	body, err := do(req)
	if err != nil {
		return "", err
	}
	defer body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		return "", err
	}
	return answer.Token, nil
}

// ask sends the conversation and puts the streamed answer together.
func (a *Agent) ask(ctx context.Context, token string, conversation chatRequest) (message, error) {
	doc, err := json.Marshal(conversation)
	if err != nil {
		return message{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.Gate+"/v1/chat/completions", bytes.NewReader(doc))
	if err != nil {
		return message{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	body, err := do(req)
	if err != nil {
		return message{}, err
	}
	defer body.Close()
	answer := message{Role: "assistant"}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case !ok:
		case data == "[DONE]":
			return answer, nil
		default:
			if err := answer.add(data); err != nil {
				return message{}, err
			}
		}
	}
	return message{}, errors.Join(lines.Err(), io.ErrUnexpectedEOF)
}

// add puts one event of a stream behind what came before.
func (m *message) add(data string) error {
	var event struct {
		Error   *struct{ Message string }
		Choices []struct {
			Delta struct {
				Content   string
				ToolCalls []struct {
					Index int
					toolCall
				} `json:"tool_calls"`
			}
		}
	}
	if err := json.Unmarshal([]byte(data), &event); err != nil {
		return err
	}
	if event.Error != nil {
		return errors.New(event.Error.Message)
	}
	for _, c := range event.Choices {
		m.Content += c.Delta.Content
		for _, d := range c.Delta.ToolCalls {
			if d.Index == len(m.ToolCalls) {
				m.ToolCalls = append(m.ToolCalls, toolCall{ID: d.ID, Type: "function"})
			}
			if d.Index < 0 || d.Index >= len(m.ToolCalls) {
				return fmt.Errorf("tool call %d out of order", d.Index)
			}
			f := &m.ToolCalls[d.Index].Function
			f.Name += d.Function.Name
			f.Arguments += d.Function.Arguments
		}
	}
	return nil
}

// use makes one tool call and returns what the tool, or the gate, said.
func use(ctx context.Context, shop *client.Client, c toolCall) (string, error) {
	req := mcp.CallToolRequest{}
	req.Params.Name, req.Params.Arguments = c.Function.Name, json.RawMessage(c.Function.Arguments)
	result, err := shop.CallTool(ctx, req)
	if err != nil {
		return "", err
	}
	var text []string
	for _, content := range result.Content {
		if t, ok := content.(mcp.TextContent); ok {
			text = append(text, t.Text)
		}
	}
	return strings.Join(text, "\n"), nil
}

// do sends req; any answer but success is an error with its text.
func do(req *http.Request) (io.ReadCloser, error) {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
		return nil, fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(text))
	}
	return res.Body, nil
}
