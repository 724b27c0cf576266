package mcp

import (
	"strings"

	"callgate/identity"

	"github.com/tidwall/gjson"
)

// A Client is on whose behalf a server is asked: a principal, by what its program
// can do for servers. A nil Client is callgate itself, which does nothing for them.
type Client struct {
	identity.Principal
	Can string // its capabilities, as the server is to know them: a JSON object; "" for none

	named string // its key, where that is known
}

// key names the client. What a server keeps for one key is never used for another.
func (c *Client) key() string {
	switch {
	case c == nil:
		return ""
	case c.named != "":
		return c.named
	}
	return c.owner() + "\x00\x00" + c.Can
}

// owner names the principal, "" for callgate itself.
func (c *Client) owner() string {
	if c == nil || c.Subject == "" {
		return ""
	}
	return principalKey(&c.Principal)
}

// principal is on whose behalf the client asks, nil for callgate itself.
func (c *Client) principal() *identity.Principal {
	if c == nil || c.Subject == "" {
		return nil
	}
	return &c.Principal
}

// can is what the client can do, as a server is told it.
func (c *Client) can() string {
	if c == nil || c.Can == "" {
		return "{}"
	}
	return c.Can
}

// answers says whether the client takes requests from servers.
func (c *Client) answers() bool { return c != nil && c.Can != "" }

// seenBy is c as far as the server can tell it from others. A process that serves
// all at once, because its era has no sessions or its operator says so, cannot
// tell principals apart.
func (c *Client) seenBy(s *Server, info *Info) *Client {
	if c == nil || s.cfg.URL != "" || !info.Modern && !s.cfg.Shared {
		return c
	}
	if c.Can == "" || info.Modern {
		return nil
	}
	return &Client{Can: c.Can}
}

// principalKey names whom a request is for. Principals with the same key are the
// same: the agent and all for whom it acts.
func principalKey(p *identity.Principal) string {
	if len(p.Actors) == 0 {
		return p.Tenant + "\x00" + p.Subject
	}
	return p.Tenant + "\x00" + strings.Join(p.Chain(), "\x00")
}

const maxCan = 8 << 10 // bytes of capabilities that are passed on

const tasksExtension = "io.modelcontextprotocol/tasks"

// able is which of the capabilities that a client declared a server may count on:
// all but those that callgate does not carry between the two, and sampling, where
// the policy lets the server have none of it. Bytes stay where nothing is left out.
func able(said string, sampling, tasks bool) string {
	doc := gjson.Parse(said)
	if !doc.IsObject() || len(said) > maxCan {
		return ""
	}
	out := []byte{'{'}
	whole := true
	doc.ForEach(func(name, value gjson.Result) bool {
		raw := value.Raw
		switch name.Str {
		case "sampling":
			if !sampling {
				whole = false
				return true
			}
		case "tasks": // of requests to the client, which are asked at once
			whole = false
			return true
		case "extensions":
			if ext := value.Get(gjson.Escape(tasksExtension)); ext.Exists() && !tasks {
				raw, whole = without(value, tasksExtension), false
			}
		}
		out = appendMember(out, name.Raw, raw)
		return true
	})
	switch {
	case len(out) == 1:
		return ""
	case whole:
		return said
	}
	return string(append(out, '}'))
}

// without is an object but for one of its members.
func without(object gjson.Result, member string) string {
	out := []byte{'{'}
	object.ForEach(func(name, value gjson.Result) bool {
		if name.Str != member {
			out = appendMember(out, name.Raw, value.Raw)
		}
		return true
	})
	return string(append(out, '}'))
}
