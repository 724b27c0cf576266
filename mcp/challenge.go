package mcp

import (
	"net/http"
	"slices"
	"strings"
)

// A challenge is what a server says in WWW-Authenticate of the token that it
// wants.
type challenge struct {
	metadata string   // resource_metadata: where to find out more
	scopes   []string // scope
	err      string   // error: insufficient_scope…
}

const maxScopes = 100

// challengeOf is the challenge for Bearer in h, empty if there is none.
func challengeOf(h http.Header) challenge {
	for _, line := range h["Www-Authenticate"] {
		if len(line) > 8<<10 {
			continue
		}
		if params, ok := bearerParams(line); ok {
			return challenge{params["resource_metadata"], scopesOf(params["scope"]), params["error"]}
		}
	}
	return challenge{}
}

// bearerParams reads the parameters of the scheme Bearer in one header, which
// may hold other schemes too.
func bearerParams(line string) (map[string]string, bool) {
	var params map[string]string
	for rest := line; ; {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			return params, params != nil
		}
		end := strings.IndexAny(rest, " \t,=")
		if end < 0 {
			end = len(rest)
		}
		word := rest[:end]
		if !isToken(word) {
			return params, params != nil
		}
		after := strings.TrimLeft(rest[end:], " \t")
		if !strings.HasPrefix(after, "=") { // a scheme
			if params != nil {
				return params, true
			}
			if strings.EqualFold(word, "Bearer") {
				params = make(map[string]string)
			}
			rest = after
			continue
		}
		value, tail, ok := paramValue(strings.TrimLeft(after[1:], " \t"))
		if !ok {
			return params, params != nil
		}
		name := strings.ToLower(word)
		if _, twice := params[name]; params != nil && !twice {
			params[name] = value
		}
		rest = tail
	}
}

// paramValue reads a token or a quoted text, and what comes behind it.
func paramValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, " \t,")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// scopesOf reads scopes with spaces between them. What cannot be a scope is left
// out: they are shown to people, and put into commands.
func scopesOf(s string) []string {
	var list []string
	for _, scope := range strings.Fields(s) {
		if isScope(scope) && len(list) < maxScopes {
			list = append(list, scope)
		}
	}
	return united(list)
}

// isScope says whether s can be a scope: RFC 6749, without the few characters
// that a shell would read.
func isScope(s string) bool {
	return s != "" && len(s) <= 256 && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("\"\\'`$;&|<>(){}!", c) })
}

// united is all scopes of lists, each once, in order.
func united(lists ...[]string) []string {
	var all []string
	for _, list := range lists {
		all = append(all, list...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
