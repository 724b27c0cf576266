package mcp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"callgate/mcp"

	"github.com/google/go-cmp/cmp"
	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/tidwall/gjson"
	"pgregory.net/rapid"
)

func TestEveryClientCanUseEveryServer(t *testing.T) {
	const args = `{"n":123456789012345678901234567890, "f":1.50e-7,"u":"é\u0041","x":[null,{}]}`
	eachServer(t, func(t *testing.T, s *mcp.Server, modern bool) {
		h := open(t, rules{"tool:files/wipe"}, map[string]*mcp.Server{"files": s})
		for _, version := range eras {
			for _, path := range []string{"/mcp", "/mcp/files"} {
				t.Run(version+" "+path, func(t *testing.T) {
					c, prefix := h.visit(t, path).speak(version), ""
					if path == "/mcp" {
						prefix = "files__"
					}
					r := c.ask("tools/list", `{}`, "")
					if got := strings.Join(names(r.last("result.tools")), " "); !strings.HasPrefix(got, prefix+"echo "+prefix+"plain ") || strings.Contains(got, "wipe") {
						t.Errorf("tools = %s of %s", got, r.body)
					}
					if version == "2026-07-28" {
						c = c.with("Mcp-Param-Region", "", "Mcp-Param-Else", "kept")
					}
					r = c.ask("tools/call", `{"name":"`+prefix+`echo","x-more":[1.0],"arguments":`+args+`}`, `"claudecode/toolUseId":"toolu_1","x-meta":1.0`)
					sent := r.last("result.structuredContent")
					for at, want := range map[string]string{
						"result.content.0.n":                          `1e400`,
						"result.x-big":                                `123456789012345678901234567890`,
						"result.structuredContent.arguments":          args,
						"result.structuredContent.x-more":             `[1.0]`,
						"result.structuredContent.name":               `"echo"`,
						"result.structuredContent._meta.x-meta":       `1.0`,
						"result.structuredContent._meta.claudecode/*": `"toolu_1"`,
					} {
						if got := r.last(at).Raw; got != want {
							t.Errorf("%s = %s, want %s in %s", at, got, want, r.body)
						}
					}
					if has := sent.Get("_meta.io\\.modelcontextprotocol/protocolVersion").Exists(); has != modern {
						t.Errorf("the server got %s", sent.Raw)
					}
					if version == "2026-07-28" && r.last("result.resultType").Str != "complete" {
						t.Errorf("result = %s", r.body)
					}

					r = c.ask("tools/call", `{"name":"`+prefix+`nothing of the kind"}`, "")
					if r.last("error.data.big").Raw != "98765432109876543210" || r.last("error.data.x").Raw != "null" {
						t.Errorf("an error of the server: HTTP %d %s", r.status, r.body)
					}
					records := h.log.Records()
					if last := records[len(records)-1]; last.Outcome != "fault" || last.Fault != "rpc "+r.last("error.code").Raw {
						t.Errorf("record = %+v", last)
					}

					if strings.Contains(t.Name(), "without_streams") {
						return
					}
					r = c.ask("tools/call", `{"name":"`+prefix+`progress","arguments":{"n":5,"who":"me"}}`, `"progressToken":"t-\u00e9"`)
					all := r.messages()
					if len(all) != 6 {
						t.Fatalf("%d messages, want 5 of progress and the response: %s", len(all), r.body)
					}
					for i, m := range all[:5] {
						if p := gjson.Get(m, "params"); p.Get("progress").Int() != int64(i) || p.Get("progressToken").Raw != `"t-\u00e9"` || p.Get("big").Raw != "12345678901234567890" {
							t.Errorf("message %d = %s", i, m)
						}
					}
					if version != "2026-07-28" {
						r = c.with("Accept", "application/json").ask("tools/call", `{"name":"`+prefix+`progress","arguments":{"n":5,"who":"me"}}`, `"progressToken":1`)
						if r.header.Get("Content-Type") != "application/json" || r.last("result.content.0.text").Str != "done" {
							t.Errorf("to who takes no streams: %v %s", r.header, r.body)
						}
					}

				})
			}
		}
	})
}

// everything is a server made with mcp-go, which speaks both eras.
func everything() http.Handler {
	s := server.NewMCPServer("everything", "1", server.WithToolCapabilities(true), server.WithPromptCapabilities(true), server.WithResourceCapabilities(false, true), server.WithLogging())
	s.AddTool(mcpgo.NewTool("add", mcpgo.WithNumber("a"), mcpgo.WithNumber("b")), func(_ context.Context, r mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultText(fmt.Sprint(r.GetFloat("a", 0) + r.GetFloat("b", 0))), nil
	})
	s.AddTool(mcpgo.NewTool("region", mcpgo.WithString("where", func(p map[string]any) { p["x-mcp-header"] = "Where" })), func(_ context.Context, r mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultText(r.GetString("where", "")), nil
	})
	s.AddTool(mcpgo.NewTool("fail"), func(context.Context, mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultError("out of order"), nil
	})
	s.AddTool(mcpgo.NewTool("drop"), func(context.Context, mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		return nil, errors.New("this must not be called")
	})
	s.AddPrompt(mcpgo.NewPrompt("hello"), func(context.Context, mcpgo.GetPromptRequest) (*mcpgo.GetPromptResult, error) {
		return mcpgo.NewGetPromptResult("", []mcpgo.PromptMessage{mcpgo.NewPromptMessage(mcpgo.RoleUser, mcpgo.NewTextContent("hi"))}), nil
	})
	read := func(_ context.Context, r mcpgo.ReadResourceRequest) ([]mcpgo.ResourceContents, error) {
		return []mcpgo.ResourceContents{mcpgo.TextResourceContents{URI: r.Params.URI, Text: "text of " + r.Params.URI}}, nil
	}
	s.AddResource(mcpgo.NewResource("doc://one", "one"), read)
	s.AddResourceTemplate(mcpgo.NewResourceTemplate("doc://many/{id}", "many"), func(ctx context.Context, r mcpgo.ReadResourceRequest) ([]mcpgo.ResourceContents, error) {
		return read(ctx, r)
	})
	return server.NewStreamableHTTPServer(s)
}

func TestClientsOfMCPGoSeeNoGate(t *testing.T) {
	web := httptest.NewServer(everything())
	defer web.Close()
	h := open(t, rules{"tool:all/drop"}, map[string]*mcp.Server{"all": behind(t, "all", web.URL+"/mcp")})
	for _, era := range []string{"legacy", "modern"} {
		for path, prefix := range map[string]string{"/mcp": "all__", "/mcp/all": ""} {
			t.Run(era+" "+path, func(t *testing.T) {
				ctx := t.Context()
				carrier, err := transport.NewStreamableHTTP(h.url+path, transport.WithHTTPHeaders(map[string]string{"Authorization": "Bearer bot-token"}))
				if err != nil {
					t.Fatal(err)
				}
				var options []client.ClientOption
				if era == "legacy" {
					//lint:ignore SA1019 what such clients see is what is tested
					options = append(options, client.WithLegacyProtocolOnly())
				}
				c := client.NewClient(carrier, options...)
				defer c.Close()
				if err := c.Start(ctx); err != nil {
					t.Fatal(err)
				}
				var hello mcpgo.InitializeRequest
				hello.Params.ProtocolVersion = map[string]string{"legacy": "2025-11-25", "modern": "2026-07-28"}[era]
				hello.Params.ClientInfo = mcpgo.Implementation{Name: "test", Version: "1"}
				welcome, err := c.Initialize(ctx, hello)
				if err != nil {
					t.Fatal(err)
				}
				if want := map[string]string{"/mcp": "callgate", "/mcp/all": "everything"}[path]; welcome.ServerInfo.Name != want || c.ProtocolVersion() != hello.Params.ProtocolVersion {
					t.Errorf("server %s in %s, want %s", welcome.ServerInfo.Name, c.ProtocolVersion(), want)
				}
				tools, err := c.ListTools(ctx, mcpgo.ListToolsRequest{})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, tool := range tools.Tools {
					got = append(got, tool.Name)
				}
				if d := cmp.Diff([]string{prefix + "add", prefix + "fail", prefix + "region"}, got); d != "" {
					t.Error(d)
				}
				use := func(tool string, args any) string {
					var req mcpgo.CallToolRequest
					req.Params.Name, req.Params.Arguments = prefix+tool, args
					r, err := c.CallTool(ctx, req)
					if err != nil {
						return "error: " + err.Error()
					}
					return fmt.Sprint(r.IsError, " ", r.Content[0].(mcpgo.TextContent).Text)
				}
				for _, tt := range []struct {
					tool string
					args any
					want string
				}{
					{"add", map[string]any{"a": 2, "b": 3}, "false 5"},
					{"region", map[string]any{"where": "Zürich"}, "false Zürich"},
					{"fail", nil, "true out of order"},
					{"drop", nil, "true no rule allows agent:bot to use tool:all/drop"},
				} {
					if got := use(tt.tool, tt.args); got != tt.want {
						t.Errorf("%s: %s, want %s", tt.tool, got, tt.want)
					}
				}
				var prompt mcpgo.GetPromptRequest
				prompt.Params.Name = prefix + "hello"
				if p, err := c.GetPrompt(ctx, prompt); err != nil || len(p.Messages) != 1 {
					t.Errorf("prompt: %v %v", p, err)
				}
				for _, uri := range []string{"doc://one", "doc://many/7"} {
					var read mcpgo.ReadResourceRequest
					read.Params.URI = uri
					if r, err := c.ReadResource(ctx, read); err != nil || r.Contents[0].(mcpgo.TextResourceContents).Text != "text of "+uri {
						t.Errorf("%s: %v %v", uri, r, err)
					}
				}
				if era == "legacy" {
					//lint:ignore SA1019 what such clients see is what is tested
					if err := c.Ping(ctx); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	eachServer(t, func(t *testing.T, s *mcp.Server, _ bool) {
		if !strings.Contains(t.Name(), "without_streams") {
			manyClients(t, open(t, rules{}, map[string]*mcp.Server{"files": s}))
		}
	})
}

func manyClients(t *testing.T, h *house) {
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			c := h.visit(t, "/mcp", "Authorization", fmt.Sprintf("Bearer agent%d-token", i%16)).speak(eras[i%4])
			for n := range 5 {
				who := fmt.Sprintf("%d-%d", i, n)
				r := c.ask("tools/call", `{"name":"files__progress","arguments":{"n":3,"who":"`+who+`"}}`, `"progressToken":"`+who+`"`)
				if m := r.messages(); len(m) != 4 || strings.Count(r.body, `"`+who+`"`) != 6 {
					t.Errorf("client %s: %s", who, r.body)
				}
			}
		})
	}
	all.Wait()
}

func TestAnyJSONPassesByteForByte(t *testing.T) {
	var result, sent string
	up := shop()
	up.handle = func(w http.ResponseWriter, _ *http.Request, m gjson.Result) bool {
		if m.Get("method").Str != "tools/call" {
			return false
		}
		sent = m.Get("params.arguments").Raw
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.Get("id").Raw, result)
		return true
	}
	h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	many := h.visit(t, "/mcp").legacy("2025-11-25")
	one := h.visit(t, "/mcp/shop").legacy("2025-11-25")
	rapid.Check(t, func(r *rapid.T) {
		args := anyObject(r, 3)
		result = anyObject(r, 3)
		for name, c := range map[string]*byHand{"shop__refund": many, "refund": one} {
			got := c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + name + `","arguments":` + args + `}}`)
			if raw := got.last("result").Raw; raw != result || sent != args {
				r.Fatalf("arguments %s arrived as %s; result %s as %s", args, sent, result, got.body)
			}
		}
	})
}

// anyObject is an object with names of its own, in any writing.
func anyObject(r *rapid.T, depth int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range rapid.IntRange(0, 4).Draw(r, "members") {
		if i > 0 {
			b.WriteString(rapid.SampledFrom([]string{",", " ,\n", ", \t"}).Draw(r, "comma"))
		}
		fmt.Fprintf(&b, `"k%d%s":%s`, i, rapid.SampledFrom([]string{"", "é", `\u0041`, `\n`, "-x.y*"}).Draw(r, "name"), anyValue(r, depth))
	}
	b.WriteByte('}')
	return b.String()
}

func anyValue(r *rapid.T, depth int) string {
	if depth > 0 {
		switch rapid.IntRange(0, 4).Draw(r, "shape") {
		case 0:
			return anyObject(r, depth-1)
		case 1:
			return "[" + anyValue(r, depth-1) + " , " + anyValue(r, depth-1) + "]"
		}
	}
	return rapid.SampledFrom([]string{"null", "true", "0", "-0", "1.0", "123456789012345678901234567890", "1e400", "1.50E-7", `""`, `"é"`, `"\u00e9\ud83d\ude00"`, `"a\/b"`, "[]", "{}", "[ ]"}).Draw(r, "value")
}
