package mcp

import (
	"strings"
)

// A nameIndex knows names that are accepted, by their looks.
type nameIndex struct {
	advertised map[string]owner  // at /mcp, by kind and look
	own        map[string]string // by server, kind and look
	tools      map[string]string // server of a distinctive name
}

// owner is whose a name is.
type owner struct{ server, name string }

func newNameIndex() nameIndex {
	return nameIndex{make(map[string]owner), make(map[string]string), make(map[string]string)}
}

func (x *nameIndex) add(key bookKey, name string) {
	if key.kind != PinTool && key.kind != PinPrompt {
		return
	}
	for _, look := range looks(advertised(key.server, name)) {
		if at := key.kind + "\x00" + look; x.advertised[at] == (owner{}) {
			x.advertised[at] = owner{key.server, name}
		}
	}
	for _, look := range looks(name) {
		if at := strings.Join([]string{key.server, key.kind, look}, "\x00"); x.own[at] == "" {
			x.own[at] = name
		}
	}
	if key.kind == PinTool && distinctive(name) && x.tools[name] == "" {
		x.tools[name] = key.server
	}
}

// like is another name that a reader may take name for: one of the same server, or
// one that another server's tool has at /mcp.
func (x *nameIndex) like(key bookKey, name string) string {
	for _, look := range looks(name) {
		if other := x.own[strings.Join([]string{key.server, key.kind, look}, "\x00")]; other != "" && other != name {
			return other
		}
	}
	for _, shown := range []string{name, advertised(key.server, name)} {
		for _, look := range looks(shown) {
			if o := x.advertised[key.kind+"\x00"+look]; o.server != "" && o.server != key.server {
				return advertised(o.server, o.name)
			}
		}
	}
	return ""
}
