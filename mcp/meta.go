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

// forUpstream is params as a server of version needs them: the metadata of the
// hop in the form of its era, and id in place of the client's progress token,
// which is returned. All else stays as it is, byte for byte.
func forUpstream(req Request, version, clientInfo string, id uint64) (params []byte, token json.RawMessage, err error) {
	modern := isModern(version)
	doc := parsed(req.Params)
	if req.Params != nil && !doc.IsObject() {
		return nil, nil, firewall.Refuse(firewall.Invalid, "params must be an object")
	}
	var old gjson.Result // the client's _meta
	empty := true
	doc.ForEach(func(name, value gjson.Result) bool {
		empty = false
		if name.Str == "_meta" {
			old = value
		}
		return true
	})
	if !modern && !old.Exists() {
		return req.Params, nil, nil
	}
	if old.Exists() && !old.IsObject() {
		return nil, nil, firewall.Refuse(firewall.Invalid, "_meta must be an object")
	}

	meta := metaWriter{out: make([]byte, 0, len(req.Params)+256)}
	switch {
	case old.Exists():
		meta.out = append(meta.out, req.Params[:old.Index]...)
	case req.Params == nil:
		meta.out = append(meta.out, `{"_meta":`...)
	default:
		meta.out = append(append(meta.out, req.Params[:doc.Index+1]...), `"_meta":`...)
	}
	changed := modern
	client, capabilities := false, false
	meta.out = append(meta.out, '{')
	old.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "progressToken":
			if value.Type != gjson.String && value.Type != gjson.Number {
				err = firewall.Refuse(firewall.Invalid, "progressToken must be a string or an integer")
				return false
			}
			token = json.RawMessage(value.Raw)
			meta.add(name.Raw, strconv.FormatUint(id, 10))
			changed = true
			return true
		case metaVersion:
			changed = true
			return true
		case metaClient, metaCapabilities:
			if !modern || !req.Modern {
				changed = true
				return true
			}
			client = client || name.Str == metaClient
			capabilities = capabilities || name.Str == metaCapabilities
		case metaLogLevel:
			if !modern {
				changed = true
				return true
			}
		}
		meta.add(name.Raw, value.Raw)
		return true
	})
	if err != nil || !changed {
		return req.Params, nil, err
	}
	if modern {
		meta.add(`"`+metaVersion+`"`, `"`+version+`"`)
		if !client {
			meta.add(`"`+metaClient+`"`, clientInfo)
		}
		if !capabilities {
			meta.add(`"`+metaCapabilities+`"`, `{}`)
		}
	}
	meta.out = append(meta.out, '}')
	switch {
	case old.Exists():
		return append(meta.out, req.Params[old.Index+len(old.Raw):]...), token, nil
	case req.Params == nil:
		return append(meta.out, '}'), nil, nil
	case !empty:
		meta.out = append(meta.out, ',')
	}
	return append(meta.out, req.Params[doc.Index+1:]...), nil, nil
}

// metaWriter writes the members of an object.
type metaWriter struct {
	out  []byte
	some bool
}

func (w *metaWriter) add(name, value string) {
	if w.some {
		w.out = append(w.out, ',')
	}
	w.some = true
	w.out = append(append(append(w.out, name...), ':'), value...)
}

// restore puts the client's own progress token back into a progress
// notification.
func restore(m Message, token json.RawMessage, lim firewall.Limits) (Message, error) {
	at := parsed(m.Raw).Get("params.progressToken")
	raw := make([]byte, 0, len(m.Raw)+len(token))
	raw = append(raw, m.Raw[:at.Index]...)
	raw = append(raw, token...)
	raw = append(raw, m.Raw[at.Index+len(at.Raw):]...)
	return parseMessage(raw, lim)
}
