package mcp

import (
	"context"
	"encoding/json"
	"iter"

	"callgate/firewall"
	"callgate/identity"
)

// A Message is one JSON-RPC message as it came. Its parts alias Raw.
type Message struct {
	Raw    []byte
	ID     json.RawMessage // nil for a notification
	Method string          // "" for a response
	Params json.RawMessage
	Result json.RawMessage // of a response that succeeded
	Error  json.RawMessage // of a response that failed: {code, message, data}
}

// A Request is what a [Server] is asked for on behalf of a caller.
type Request struct {
	Method string
	Params json.RawMessage // an object, as it was judged; nil for none
	Modern bool            // the client speaks 2026-07-28 or later: Params has its own _meta
	Header map[string]string // Mcp-Param-* headers that the client sent and that agree with Params
}

// A Definition is what a server says of one tool, prompt, resource or resource
// template.
type Definition struct {
	Name    string          // name, uri or uriTemplate
	Raw     json.RawMessage // the item, as it came
	Impact  firewall.Impact // of a tool, where the operator trusts the server's word; else unknown
	Headers []ParamHeader   // of a tool: arguments that are mirrored in headers (x-mcp-header)
}

// A ParamHeader is an argument that a modern client mirrors in a header.
type ParamHeader struct {
	Header string // X of Mcp-Param-X
	Path   string // gjson path within the arguments
}

// Info is what a server said of itself when it was discovered.
type Info struct {
	Version      string          // protocol version that callgate speaks with it
	Modern       bool            // Version is 2026-07-28 or later
	Capabilities json.RawMessage // as it came
	ServerInfo   json.RawMessage // as it came
	Instructions string
}

// A Server is one MCP server behind callgate, by any transport.
type Server struct{}

// Name is the server's name in the config.
func (s *Server) Name() string { panic("not built") }

// Info waits until the server is discovered, or ctx ends.
func (s *Server) Info(ctx context.Context) (Info, error) { panic("not built") }

// Do sends one request for caller and yields the notifications that belong to
// it, as they come, and at last its response. Breaking the loop, or the end of
// ctx, cancels the request at the server.
func (s *Server) Do(ctx context.Context, caller *identity.Principal, req Request) iter.Seq2[Message, error] {
	panic("not built")
}

// List is all that the server has of one kind for caller, over all pages:
// method is tools/list, prompts/list, resources/list or resources/templates/list.
// It is cached until the server says that it changed, or for a minute.
func (s *Server) List(ctx context.Context, caller *identity.Principal, method string) ([]Definition, error) {
	panic("not built")
}
