package mcp

import (
	"encoding/json"
	"strconv"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// Metadata of a modern request that belongs to one hop and is put in anew for
// the next.
const (
	metaVersion      = "io.modelcontextprotocol/protocolVersion"
	metaClient       = "io.modelcontextprotocol/clientInfo"
	metaCapabilities = "io.modelcontextprotocol/clientCapabilities"
	metaLogLevel     = "io.modelcontextprotocol/logLevel"
	metaServer       = "io.modelcontextprotocol/serverInfo"
)

// A hop is what a request needs on its way from callgate to a server.
type hop struct {
	version string // that the server speaks
	client  string // what callgate says of itself, as JSON
	can     string // what the client can do for the server, as JSON
	id      uint64 // of the request; it is its progress token, too
}

// params is the parameters of req as the server needs them: the metadata of the
// hop in the form of the server's era, and an own progress token in place of the
// client's, which is returned. All else stays byte for byte.
func (h hop) params(req Request) (params []byte, token json.RawMessage, err error) {
	if req.Params == nil {
		req.Params = json.RawMessage("{}")
	}
	doc := parsed(req.Params)
	if !doc.IsObject() {
		return nil, nil, firewall.Refuse(firewall.Invalid, "params must be an object")
	}
	old, alone := metaOf(doc)
	if !old.Exists() && !isModern(h.version) {
		return req.Params, nil, nil
	}
	meta, token, err := h.meta(old, req.Modern)
	if err != nil {
		return nil, nil, err
	}
	out := make([]byte, 0, len(req.Params)+len(meta)+16)
	if old.Exists() {
		out = append(append(out, req.Params[:old.Index]...), meta...)
		return append(out, req.Params[old.Index+len(old.Raw):]...), token, nil
	}
	begin := doc.Index + 1
	out = append(append(append(out, req.Params[:begin]...), `"_meta":`...), meta...)
	if !alone {
		out = append(out, ',')
	}
	return append(out, req.Params[begin:]...), token, nil
}

// metaOf is the _meta of params, and whether params have no other member.
func metaOf(params gjson.Result) (meta gjson.Result, alone bool) {
	alone = true
	params.ForEach(func(name, value gjson.Result) bool {
		if name.Str == "_meta" {
			meta = value
		} else {
			alone = false
		}
		return true
	})
	return meta, alone
}

// meta is the client's metadata as it goes on: of the hop's own, a modern server
// gets what callgate says, and what a modern client says of its name; a legacy
// server gets none.
func (h hop) meta(old gjson.Result, modernClient bool) (meta []byte, token json.RawMessage, err error) {
	if old.Exists() && !old.IsObject() {
		return nil, nil, firewall.Refuse(firewall.Invalid, "_meta must be an object")
	}
	modern := isModern(h.version)
	meta = append(make([]byte, 0, len(old.Raw)+256), '{')
	client, able := false, false
	old.ForEach(func(name, value gjson.Result) bool {
		keep := true
		switch name.Str {
		case "progressToken":
			if value.Type != gjson.String && value.Type != gjson.Number {
				err = firewall.Refuse(firewall.Invalid, "progressToken must be a string or an integer")
				return false
			}
			token = json.RawMessage(value.Raw)
			value.Raw = strconv.FormatUint(h.id, 10)
		case metaVersion:
			keep = false
		case metaClient:
			keep = modern && modernClient
			client = keep
		case metaCapabilities:
			keep = modern && modernClient
			able, value.Raw = keep, h.can
		case metaLogLevel:
			keep = modern
		}
		if keep {
			meta = appendMember(meta, name.Raw, value.Raw)
		}
		return true
	})
	if err != nil {
		return nil, nil, err
	}
	if modern {
		meta = appendMember(meta, `"`+metaVersion+`"`, `"`+h.version+`"`)
		if !client {
			meta = appendMember(meta, `"`+metaClient+`"`, h.client)
		}
		if !able {
			meta = appendMember(meta, `"`+metaCapabilities+`"`, h.can)
		}
	}
	return append(meta, '}'), token, nil
}

// appendMember adds a member to an object that is not closed yet.
func appendMember(object []byte, name, value string) []byte {
	if object[len(object)-1] != '{' {
		object = append(object, ',')
	}
	return append(append(append(object, name...), ':'), value...)
}

// progressOf is the request that a progress notification is about, 0 if it is
// none of callgate's.
func progressOf(m *Message) uint64 {
	return ours(parsed(m.Params).Get("progressToken").Raw)
}

// withToken is a progress notification with the client's own token.
func withToken(m Message, token json.RawMessage, lim firewall.Limits) (Message, error) {
	old := parsed(m.Raw).Get("params.progressToken")
	raw := make([]byte, 0, len(m.Raw)+len(token))
	raw = append(append(raw, m.Raw[:old.Index]...), token...)
	raw = append(raw, m.Raw[old.Index+len(old.Raw):]...)
	return parseMessage(raw, lim)
}
