package policy

import (
	"slices"
	"strings"
)

// Known is what there is for rows to be about.
type Known struct {
	Servers   []string
	Providers []string
	Tools     map[string][]string // by server; one that is not here may have any
}

// CheckNames finds rows about servers, providers and tools that do not exist. What
// there is changes, so that what it finds keeps no policy from being loaded.
func CheckNames(known Known, sources ...Source) []Problem {
	c := check(sources)
	if c.shape != nil || c.problems.only(Error) != nil {
		return nil // Check tells what is wrong
	}
	c.problems = nil
	for _, r := range c.rows {
		object := ""
		switch r.fields[0] {
		case "p", "p2":
			object = r.fields[1+colObject]
		case "g2":
			object = r.fields[1]
		default:
			continue
		}
		if why := known.lacks(object); why != "" {
			c.warn(r, "%s", why)
		}
	}
	c.sort(sources)
	return c.problems
}

// lacks says what an object is about that does not exist, "" for nothing.
func (k *Known) lacks(object string) string {
	kind, rest, _ := strings.Cut(object, ":")
	joint, what, owners := "/", "server", k.Servers
	switch kind {
	case "tool", "prompt":
	case "resource":
		joint = "|"
	case "model":
		what, owners = "provider", k.Providers
	default:
		return ""
	}
	owner, name, whole := strings.Cut(rest, joint)
	if !whole {
		begin, _ := strings.CutSuffix(owner, "*")
		if slices.ContainsFunc(owners, func(o string) bool { return strings.HasPrefix(o, begin) }) {
			return ""
		}
		return "there is no " + what + " whose name begins with " + quote(begin)
	}
	if !slices.Contains(owners, owner) {
		return "there is no " + what + " " + quote(owner)
	}
	tools, listed := k.Tools[owner]
	if kind != "tool" || !listed {
		return ""
	}
	begin, pattern := strings.CutSuffix(name, "*")
	switch {
	case pattern && begin != "" && !slices.ContainsFunc(tools, func(t string) bool { return strings.HasPrefix(t, begin) }):
		return "server " + owner + " has no tool whose name begins with " + quote(begin)
	case !pattern && !slices.Contains(tools, name):
		return "server " + owner + " has no tool " + quote(name)
	}
	return ""
}
