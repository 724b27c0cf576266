package firewall

import (
	"bytes"
	"slices"

	"callgate/audit"
)

const (
	maxHosts = 64  // that are noted of one call
	maxHost  = 253 // bytes of one, as DNS has it
)

// findHosts notes the hosts that URLs in the arguments of a tool call name, each once, and
// where there are too many, rather those that known has not.
func (c *Call) findHosts(known *Expected) {
	if c.Kind != Tool {
		return
	}
	args := c.Args()
	c.hosts = c.fewHosts[:0]
	switch {
	case bytes.IndexByte(args, '\\') >= 0: // read them without escapes
		audit.Leaves(args, func(_, text string) { c.noteHosts([]byte(text), known) })
	case bytes.Contains(args, []byte("://")):
		c.noteHosts(args, known)
	}
}

func (c *Call) noteHosts(text []byte, known *Expected) {
	var lower [maxHost]byte
	for {
		var host []byte
		if host, text = nextHost(text); host == nil {
			return
		}
		if len(host) > maxHost {
			host = host[len(host)-maxHost:] // whose it is stands at its end
		}
		low := lower[:0]
		for _, b := range host {
			if 'A' <= b && b <= 'Z' {
				b += 'a' - 'A'
			}
			low = append(low, b)
		}
		if slices.ContainsFunc(c.hosts, func(h string) bool { return h == string(low) }) {
			continue
		}
		name, ok := known.has(low)
		if name == "" {
			name = string(low)
		}
		switch {
		case len(c.hosts) < maxHosts:
			c.hosts = append(c.hosts, name)
		case !ok:
			c.hosts[maxHosts-1] = name
		}
	}
}

// nextHost is the host of the first URL in text, and what follows it; nil if there is
// none.
func nextHost(text []byte) (host, rest []byte) {
	for {
		at := bytes.Index(text, []byte("://"))
		if at < 0 {
			return nil, nil
		}
		schemed := at > 0 && isLetter(text[at-1])
		text = text[at+3:]
		if !schemed {
			continue
		}
		end := bytes.IndexAny(text, "/?#\"\\<> '`|,;(){}\t\r\n")
		if end < 0 {
			end = len(text)
		}
		host, rest = text[:end], text[end:]
		if user := bytes.LastIndexByte(host, '@'); user >= 0 {
			host = host[user+1:]
		}
		if len(host) > 0 && host[0] == '[' { // an IPv6 address
			if close := bytes.IndexByte(host, ']'); close > 0 {
				host = host[1:close]
			}
		} else if port := bytes.IndexByte(host, ':'); port >= 0 {
			host = host[:port]
		}
		if host = bytes.TrimRight(host, "."); len(host) > 0 {
			return host, rest
		}
		text = rest
	}
}

func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' || '0' <= b && b <= '9' }
