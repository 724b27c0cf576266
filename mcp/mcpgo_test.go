package mcp_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"callgate/mcp"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/tidwall/gjson"
)

// goServer is a server by mcp-go, which many servers are built with.
func goServer() *server.MCPServer {
	s := server.NewMCPServer("go", "1.0", server.WithToolCapabilities(true), server.WithResourceCapabilities(false, true), server.WithPromptCapabilities(true), server.WithInstructions("be kind"), server.WithPaginationLimit(2))
	for i := range 5 {
		s.AddTool(mcpgo.NewTool(fmt.Sprint("tool-", i), mcpgo.WithString("text")), func(ctx context.Context, r mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
			if meta := r.Params.Meta; meta != nil && meta.ProgressToken != nil {
				_ = server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": meta.ProgressToken, "progress": 1})
			}
			return mcpgo.NewToolResultText(r.GetString("text", "none")), nil
		})
	}
	s.AddResource(mcpgo.NewResource("memo://one", "one"), func(context.Context, mcpgo.ReadResourceRequest) ([]mcpgo.ResourceContents, error) {
		return []mcpgo.ResourceContents{mcpgo.TextResourceContents{URI: "memo://one", Text: "remember"}}, nil
	})
	s.AddPrompt(mcpgo.NewPrompt("greet"), func(context.Context, mcpgo.GetPromptRequest) (*mcpgo.GetPromptResult, error) {
		return mcpgo.NewGetPromptResult("", []mcpgo.PromptMessage{mcpgo.NewPromptMessage(mcpgo.RoleUser, mcpgo.NewTextContent("hello"))}), nil
	})
	return s
}

func TestServersByMCPGoAreReached(t *testing.T) {
	legacy := server.WithStreamableHTTPProtocolVersions(mcpgo.ProtocolVersion20251125, mcpgo.ProtocolVersion20250618)
	tests := []struct {
		name   string
		s      func(t *testing.T) *mcp.Server
		modern bool
	}{
		{"of both eras over HTTP", func(t *testing.T) *mcp.Server { return overHTTP(t, server.NewStreamableHTTPServer(goServer())) }, true},
		{"legacy with sessions over HTTP", func(t *testing.T) *mcp.Server {
			return overHTTP(t, server.NewStreamableHTTPServer(goServer(), legacy, server.WithStateful(true)))
		}, false},
		{"legacy without sessions over HTTP", func(t *testing.T) *mcp.Server {
			return overHTTP(t, server.NewStreamableHTTPServer(goServer(), legacy, server.WithStateLess(true)))
		}, false},
		{"over stdio", func(t *testing.T) *mcp.Server { return overStdio(t, "mcp-go") }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.s(t)
			info, err := s.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if info.Modern != tt.modern || gjson.GetBytes(info.ServerInfo, "name").Str != "go" || info.Instructions != "be kind" {
				t.Errorf("info %+v", info)
			}
			for method, want := range map[string]int{"tools/list": 5, "resources/list": 1, "resources/templates/list": 0, "prompts/list": 1} {
				if defs, err := s.List(t.Context(), agent("ana"), method); err != nil || len(defs) != want {
					t.Errorf("%s has %d items: %v", method, len(defs), err)
				}
			}
			for _, req := range []struct{ method, params, at, want string }{
				{"tools/call", `{"name":"tool-3","arguments":{"text":"hi"}}`, "content.0.text", "hi"},
				{"resources/read", `{"uri":"memo://one"}`, "contents.0.text", "remember"},
				{"prompts/get", `{"name":"greet"}`, "messages.0.content.text", "hello"},
			} {
				var last mcp.Message
				for m, err := range s.Do(t.Context(), agent("ana"), mcp.Request{Method: req.method, Params: []byte(req.params)}) {
					if err != nil {
						t.Fatal(err)
					}
					last = m
				}
				if got := gjson.GetBytes(last.Result, req.at).Str; got != req.want {
					t.Errorf("%s gave %s", req.method, last.Raw)
				}
			}
			if strings.HasPrefix(tt.name, "legacy without") {
				return // it has nowhere to send progress to
			}
			for range 20 {
				got, _, err := call(t.Context(), s, "ana", `{"name":"tool-1","_meta":{"progressToken":"x"}}`)
				if err != nil || len(got) > 1 || len(got) == 1 && gjson.GetBytes(got[0].Params, "progressToken").Str != "x" {
					t.Fatalf("progress %v, %v", got, err)
				}
			}
		})
	}
}
