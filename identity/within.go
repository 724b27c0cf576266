package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// A Within is what an agent is kept to, whatever policy would allow it besides:
// these models, and these MCP servers. Where a list is empty there is no limit of
// that kind. The zero Within keeps nobody from anything.
type Within struct {
	Models  []string // patterns of objects: "model:openai/*", "model:lab/phi-4"
	Servers []string // "server:files"
}

// NewWithin is a Within of models, as openai/* or model:openai/*, and servers, as
// files or server:files. The error is [ErrInvalid].
func NewWithin(models, servers []string) (w Within, err error) {
	if w.Models, err = reach(models, "model:", isModels); err != nil {
		return w, invalid("models: %v", err)
	}
	if w.Servers, err = reach(servers, "server:", isServer); err != nil {
		return w, invalid("servers: %v", err)
	}
	return w, nil
}

// Permits says whether object, in the words of policy, lies within w. Objects that
// are neither of a model nor of a server do.
func (w *Within) Permits(object string) bool {
	kind, name, _ := strings.Cut(object, ":")
	sign := "/"
	switch kind {
	case "model":
		return len(w.Models) == 0 || slices.ContainsFunc(w.Models, func(p string) bool { return matches(p, object) })
	case "resource":
		sign = "|"
	case "tool", "prompt":
	default:
		return true
	}
	if len(w.Servers) == 0 {
		return true
	}
	server, _, _ := strings.Cut(name, sign)
	return slices.ContainsFunc(w.Servers, func(p string) bool { return strings.TrimPrefix(p, "server:") == server })
}

// matches says whether name is what pattern names, which may end in a *.
func matches(pattern, name string) bool {
	if begin, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, begin)
	}
	return pattern == name
}

// reach is list with prefix before each, sorted, each once.
func reach(list []string, prefix string, fits func(string) bool) ([]string, error) {
	if len(list) > maxWithin {
		return nil, fmt.Errorf("%d of them, want at most %d", len(list), maxWithin)
	}
	var all []string
	for _, given := range list {
		bare := strings.TrimPrefix(given, prefix)
		if !fits(bare) {
			return nil, errors.New(map[string]string{
				"model:":  fmt.Sprintf("%.80q: write PROVIDER/MODEL or PROVIDER/*, as openai/gpt-5", given),
				"server:": fmt.Sprintf("%.80q: write the name of an MCP server", given),
			}[prefix])
		}
		all = append(all, prefix+bare)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// isModels says whether s names a model of a provider, or several by a * at the end.
func isModels(s string) bool {
	s = strings.TrimSuffix(s, "*")
	provider, model, ok := strings.Cut(s, "/")
	return ok && isServer(provider) && len(model) <= 256 && !strings.ContainsFunc(model, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`*|"\`, c)
	})
}

// isServer says whether s may name an MCP server or a provider.
func isServer(s string) bool {
	return s != "" && len(s) <= 32 && s[0] != '-' && s[len(s)-1] != '-' && !strings.Contains(s, "--") &&
		!strings.ContainsFunc(s, func(c rune) bool { return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') })
}

// isKeysURI says whether s may be where a client publishes its keys.
func isKeysURI(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxURI && u.Host != "" && u.User == nil && !strings.Contains(s, "#") &&
		(u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())) &&
		!strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
