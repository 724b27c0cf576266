package providers

import (
	"bytes"
	"context"

	"callgate/firewall"
)

// named looks at what objects at a provider a request names. A response that it goes on
// with must be its caller's, and says which provider it must go to; a file must not be
// known to be somebody else's. Files that the operator has uploaded are nobody's.
func (h *Handler) named(ctx context.Context, call *firewall.Call) (provider string, err error) {
	doc := call.Body.JSON
	if call.Method == "responses" || call.Method == "input_tokens" || call.Method == "compact" {
		if id := at(doc, "previous_response_id").Str; id != "" {
			o, err := h.owned(ctx, call, ofResponse, id)
			if err != nil {
				return "", err
			}
			provider = o.Target
		}
		if c := at(doc, "conversation"); c.Exists() && c.Raw != "null" {
			return "", firewall.Refuse(firewall.NotFound, "there is no such conversation that %s has made through this gate: go on with previous_response_id", call.Caller.Agent())
		}
	}
	if !bytes.Contains(doc, []byte("file_id")) && !bytes.Contains(doc, []byte(`\u00`)) { // a name may be escaped
		return provider, nil
	}
	eachFile(&cursor{doc: doc}, false, func(id string) {
		if err != nil {
			return
		}
		var others bool
		if others, err = h.others(ctx, call, ofFile, id); err == nil && others {
			err = firewall.Refuse(firewall.NotFound, "there is no file %s that %s has made through this gate", clip(id), call.Caller.Agent())
		}
	})
	return provider, err
}

// keptBy is the refusal of a request that goes on with a response of one provider at
// another.
func keptBy(provider string) error {
	return firewall.Refuse(firewall.Invalid, "previous_response_id is kept by provider %s: go on with one of its models", provider)
}

// eachFile finds the ids of files in the value that comes next, which is one itself, or
// has some.
func eachFile(c *cursor, is bool, found func(id string)) {
	switch c.kind() {
	case '"':
		if id := c.str(); is {
			found(id)
		}
	case '{':
		c.members(func(name string) { eachFile(c, name == "file_id" || name == "file_ids", found) })
	case '[':
		c.items(func() { eachFile(c, is, found) })
	default:
		c.skip()
	}
}
