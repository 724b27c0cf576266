package main

import (
	"encoding/json"
	"net/http"
	"strings"

	"callgate/firewall"
)

// A dialect is how errors look to those who come by a path: what parts of the gate
// refuse that are before its doors.
type dialect int

const (
	plainJSON dialect = iota
	openAI
	anthropic
	jsonRPC
	oauth
)

func dialectOf(path string) dialect {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch {
	case first == "mcp", first == "sse":
		return jsonRPC
	case first == "v1" && (rest == "messages" || strings.HasPrefix(rest, "messages/")):
		return anthropic
	case first == "v1":
		return openAI
	case first == "oauth":
		return oauth
	}
	return plainJSON
}

// route is what the record says of a path: nothing that a stranger made up.
func route(path string) string {
	switch first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/"); first {
	case "v1", "oauth", ".well-known", "mcp", "sse":
		return "/" + first
	}
	return "/"
}

// write answers a request with an error, of a type that OpenAI and Anthropic have
// in common.
func (d dialect) write(w http.ResponseWriter, status int, kind string, e *firewall.Error) {
	if e.Call != "" {
		w.Header().Set("Callgate-Call", e.Call)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Connection", "close") // what else comes on it is not wanted
	w.WriteHeader(status)
	w.Write(append(d.body(status, kind, e), '\n')) // whom it is for may be gone
}

func (d dialect) body(status int, kind string, e *firewall.Error) []byte {
	type object = map[string]any
	code := e.Code.String()
	var doc object
	switch d {
	case jsonRPC:
		number := -32600 // Invalid Request
		if status == http.StatusForbidden {
			number = http.StatusForbidden
		}
		doc = object{"jsonrpc": "2.0", "id": nil, "error": object{"code": number, "message": e.Reason, "data": object{"call": e.Call}}}
	case anthropic:
		doc = object{"type": "error", "error": object{"type": kind, "message": e.Reason}, "request_id": e.Call}
	case openAI:
		doc = object{"error": object{"message": e.Reason, "type": kind, "param": nil, "code": code}}
	case oauth:
		doc = object{"error": "invalid_request", "error_description": e.Reason}
	default:
		doc = object{"error": object{"type": kind, "code": code, "message": e.Reason}}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return text
}
