package providers

import (
	"net/url"
	"strings"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// maxHosted bounds the tools of a request that are judged one by one.
const maxHosted = 128

// tools reads which tools of a request the provider would run by itself. All that is no
// function of the client's, nor known to be carried out there, is one.
func (r *request) tools(c *cursor) {
	if c.kind() == '{' { // Google takes one that stands alone
		r.googleTools(gjson.ParseBytes(c.raw()))
		return
	}
	if !c.enter('[') {
		c.skip()
		return
	}
	for c.more() {
		c.kind()
		from := c.at
		switch kind, _, _ := block(c, "name"); {
		case kind == "":
			r.googleTools(gjson.ParseBytes(c.doc[from:c.at]))
		case !atClient(kind):
			r.host(kind, gjson.ParseBytes(c.doc[from:c.at]))
		}
	}
}

// host notes a tool that the provider runs. Versions of a kind (_20250305) are one.
func (r *request) host(kind string, tool gjson.Result) {
	name, remote := kind, false
	if at := len(kind) - len("_20060102"); at > 0 && kind[at] == '_' && strings.Trim(kind[at+1:], "0123456789") == "" {
		name = kind[:at]
	}
	if kind == "mcp" {
		name, remote = "mcp/"+hostOf(tool.Get("server_url").Str, tool.Get("connector_id").Str), true
	}
	r.hosts(firewall.Hosted{Name: strings.Clone(name), Remote: remote})
}

// servers reads the MCP servers that the provider would ask by itself.
func (r *request) servers(c *cursor) {
	gjson.ParseBytes(c.raw()).ForEach(func(_, server gjson.Result) bool {
		r.hosts(firewall.Hosted{Name: "mcp/" + hostOf(server.Get("url").Str, ""), Remote: true})
		return true
	})
}

// atClient says whether tools of a kind are carried out by the client: functions, and
// those that a vendor has only defined.
func atClient(kind string) bool {
	switch kind {
	case "", "function", "custom", "namespace", "local_shell", "apply_patch", "computer_use_preview", "computer":
		return true
	}
	return hasPrefix(kind, "bash_", "text_editor_", "computer_", "memory_")
}

// hostOf is the host of a server's URL, or what stands for it, as policies name it.
func hostOf(address, connector string) string {
	if address == "" {
		return connector
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "?"
	}
	return strings.ToLower(u.Host)
}
