package mcp_test

import (
	"encoding/json"
	"testing"

	"callgate/mcp"
)

// eachServer runs a test against servers of both eras by both transports.
func eachServer(t *testing.T, test func(t *testing.T, s *mcp.Server, modern bool)) {
	for _, modern := range []bool{false, true} {
		era := map[bool]string{false: "legacy", true: "modern"}[modern]
		t.Run(era+" over stdio", func(t *testing.T) { test(t, overStdio(t, era), modern) })
		t.Run(era+" over HTTP", func(t *testing.T) { test(t, overHTTP(t, newWeb(modern, true)), modern) })
		if !modern {
			t.Run(era+" over HTTP+SSE", func(t *testing.T) { test(t, overHTTP(t, newOldWeb()), modern) })
		}
		if !testing.Short() {
			t.Run(era+" over HTTP without streams", func(t *testing.T) { test(t, overHTTP(t, newWeb(modern, false)), modern) })
		}
	}
}

func TestAServerIsDiscovered(t *testing.T) {
	eachServer(t, func(t *testing.T, s *mcp.Server, modern bool) {
		info, err := s.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{false: "2025-11-25", true: "2026-07-28"}[modern]
		if info.Version != want || info.Modern != modern {
			t.Errorf("version %s, modern %v", info.Version, info.Modern)
		}
		if string(info.ServerInfo) != `{"name":"fixture","version":"1"}` || info.Instructions != "be kind" {
			t.Errorf("serverInfo %s, instructions %q", info.ServerInfo, info.Instructions)
		}
		tasks := map[bool]string{false: `"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}`, true: taskExtension}[modern]
		if string(info.Capabilities) != `{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{},"x-unknown":{},`+tasks+`}` {
			t.Errorf("capabilities %s", info.Capabilities)
		}
	})
}

func TestWhatPassesIsKeptByteForByte(t *testing.T) {
	const args = `{"n":123456789012345678901234567890, "f":1.50e-7,"u":"é\u0041","x":[null,{}]}`
	eachServer(t, func(t *testing.T, s *mcp.Server, modern bool) {
		_, m, err := call(t.Context(), s, "bot", `{"name":"echo","x-more":[1.0],"arguments":`+args+`,"_meta":{"claudecode/toolUseId":"toolu_1"}}`)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Content           json.RawMessage
			StructuredContent struct {
				Arguments json.RawMessage
				Meta      map[string]json.RawMessage `json:"_meta"`
				More      json.RawMessage            `json:"x-more"`
			}
			Big json.RawMessage `json:"x-big"`
		}
		if err := json.Unmarshal(m.Result, &got); err != nil {
			t.Fatal(err)
		}
		for _, is := range []struct{ what, got, want string }{
			{"arguments", string(got.StructuredContent.Arguments), args},
			{"an unknown parameter", string(got.StructuredContent.More), "[1.0]"},
			{"the client's metadata", string(got.StructuredContent.Meta["claudecode/toolUseId"]), `"toolu_1"`},
			{"content of an unknown type", string(got.Content), `[{"type":"x-unknown","n":1e400}]`},
			{"an unknown field of the result", string(got.Big), "123456789012345678901234567890"},
		} {
			if is.got != is.want {
				t.Errorf("%s is %s, want %s", is.what, is.got, is.want)
			}
		}
		_, version := got.StructuredContent.Meta["io.modelcontextprotocol/protocolVersion"]
		if version != modern {
			t.Errorf("the request said its version: %v", version)
		}
	})
}
