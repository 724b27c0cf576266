package mcp

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/tidwall/gjson"
)

// A ParamHeader is an argument that a modern client mirrors in a header.
type ParamHeader struct {
	Header string // X of Mcp-Param-X
	Path   string // gjson path within the arguments
}

// Value is the argument as its header says it, and whether args have it.
// Strings that a header cannot carry as they are are encoded; an integer is
// written without fraction or exponent.
func (p ParamHeader) Value(args []byte) (string, bool) {
	arg := parsed(args).Get(p.Path)
	switch arg.Type {
	case gjson.String:
		return mcpgo.EncodeHeaderValue(arg.Str)
	case gjson.True, gjson.False:
		return arg.Raw, true
	case gjson.Number:
		if !strings.ContainsAny(arg.Raw, ".eE") {
			return arg.Raw, true
		}
		if arg.Num == math.Trunc(arg.Num) && math.Abs(arg.Num) < 1<<53 {
			return strconv.FormatInt(int64(arg.Num), 10), true
		}
	}
	return "", false
}

const maxParamHeaders = 64 // of one tool

var errParamHeader = errors.New("its x-mcp-header annotations are not valid")

// paramHeaders collects the annotations of an input schema: of properties of
// simple types, which are reached by "properties" only.
func paramHeaders(schema gjson.Result) ([]ParamHeader, error) {
	if !strings.Contains(schema.Raw, "x-mcp-header") {
		return nil, nil
	}
	var found []ParamHeader
	if err := collect(schema, "", &found); err != nil {
		return nil, err
	}
	return found, nil
}

// collect adds the annotations below a schema, whose own place in the arguments
// is path. Its depth is bounded, because the message's is.
func collect(schema gjson.Result, path string, found *[]ParamHeader) error {
	var err error
	schema.Get("properties").ForEach(func(name, property gjson.Result) bool {
		if !property.IsObject() {
			return true
		}
		at := gjson.Escape(name.Str)
		if path != "" {
			at = path + "." + at
		}
		if header := property.Get("x-mcp-header"); header.Exists() {
			if !isToken(header.Str) || !isSimple(property.Get("type")) || taken(*found, header.Str) || len(*found) >= maxParamHeaders {
				err = errParamHeader
				return false
			}
			*found = append(*found, ParamHeader{header.Str, at})
		}
		err = collect(property, at, found)
		return err == nil
	})
	return err
}

// isToken says whether s can be part of a header's name.
func isToken(s string) bool {
	const marks = "!#$%&'*+-.^_`|~"
	for _, c := range []byte(s) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte(marks, c) < 0 {
			return false
		}
	}
	return s != ""
}

// isSimple says whether a schema's type allows only what a header can carry.
func isSimple(kind gjson.Result) bool {
	kinds := kind.Array() // a single name is an array of one
	for _, k := range kinds {
		if k.Str != "string" && k.Str != "integer" && k.Str != "boolean" {
			return false
		}
	}
	return len(kinds) > 0
}

func taken(found []ParamHeader, header string) bool {
	for _, p := range found {
		if strings.EqualFold(p.Header, header) {
			return true
		}
	}
	return false
}

// mirror is the headers that a modern server may route a call by: those that it
// asked for, computed from the arguments as they were judged, and those of the
// client that it did not ask for.
func (s *Server) mirror(ctx context.Context, client *Client, req Request) map[string]string {
	if req.Method != "tools/call" {
		return nil
	}
	h := make(map[string]string)
	for name, value := range req.Header {
		if name = http.CanonicalHeaderKey(name); strings.HasPrefix(name, mcpgo.HeaderParamPrefix) {
			h[name] = value
		}
	}
	tools := s.believed(client, "tools/list")
	if tools == nil {
		var err error
		if tools, err = s.listing(ctx, client, "tools/list"); err != nil {
			return h // the server says itself what it misses
		}
	}
	call := parsed(req.Params)
	i, ok := tools.byName[call.Get("name").String()]
	if !ok {
		return h
	}
	args := []byte(call.Get("arguments").Raw)
	for _, p := range tools.defs[i].Headers {
		name := http.CanonicalHeaderKey(mcpgo.HeaderParamPrefix + p.Header)
		delete(h, name)
		if value, ok := p.Value(args); ok {
			h[name] = value
		}
	}
	return h
}
