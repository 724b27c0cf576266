package policy

import (
	"errors"
	"fmt"
	"strings"

	"callgate/firewall"
)

const (
	everyone = "group:everyone" // every subject is in it
	anywhere = "*"              // the tenant of a row that holds in all
)

// actions is a set of what can be done to an object.
type actions uint16

const (
	doCall actions = 1 << iota
	doGenerate
	doEmbed
	doRead
	doList
	doSubscribe
	doGet
	doDelegate
	doApprove
	doAdmin
	doStore
	doUnknown // an action that no row can name
)

const doAnything actions = 1<<16 - 1 // written *

// parseActions is the set that an action column means, or that a call needs.
func parseActions(s string) (actions, bool) {
	switch s {
	case "*":
		return doAnything, true
	case "call":
		return doCall, true
	case "generate":
		return doGenerate, true
	case "embed":
		return doEmbed, true
	case "store":
		return doStore, true
	case "read":
		return doRead, true
	case "list":
		return doList, true
	case "subscribe":
		return doSubscribe, true
	case "get":
		return doGet, true
	case "delegate":
		return doDelegate, true
	case "approve":
		return doApprove, true
	case "admin":
		return doAdmin, true
	}
	return doUnknown, false
}

const actionNames = "call, generate, embed, store, read, subscribe, get, delegate, approve, admin, list or *"

// fits is what can be done to objects with prefix, and what to write. Rows that
// ask for something else could never decide.
func fits(prefix string) (actions, string) {
	switch prefix {
	case "tool:":
		return doCall | doApprove | doList, "call"
	case "model:":
		return doGenerate | doEmbed | doStore | doApprove | doList, "generate, embed or store"
	case "resource:":
		return doRead | doSubscribe | doApprove | doList, "read or subscribe"
	case "prompt:":
		return doGet | doApprove | doList, "get"
	case "agent:":
		return doDelegate | doCall | doApprove | doList, "delegate"
	case "admin:":
		return doAdmin | doApprove | doList, "admin"
	}
	return doAnything, "" // class: holds objects of all kinds
}

func checkAction(action, object string) error {
	set, ok := parseActions(action)
	if !ok {
		return fmt.Errorf("unknown action %s: write %s", quote(action), actionNames)
	}
	prefix := object[:strings.IndexByte(object, ':')+1]
	if can, write := fits(prefix); set != doAnything && set&can == 0 {
		return fmt.Errorf("%s is never done to %s objects: write %s", action, prefix, write)
	}
	return nil
}

var (
	subjects = []string{"user:", "agent:", "group:", "role:", "server:"}
	objects  = []string{"model:", "tool:", "resource:", "prompt:", "agent:", "class:", "admin:"}
	held     = []string{"role:", "group:"} // what a subject can be a member of
)

func prefixed(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return len(s) > len(p)
		}
	}
	return false
}

func oneOf(prefixes []string) string {
	return strings.Join(prefixes[:len(prefixes)-1], ", ") + " or " + prefixes[len(prefixes)-1]
}

func checkSubject(s string) error {
	if strings.Contains(s, "*") {
		return fmt.Errorf("subject %s: subjects have no wildcards; write %s for all", quote(s), everyone)
	}
	if !prefixed(s, subjects) {
		return fmt.Errorf("subject %s: write it with %s before the name", quote(s), oneOf(subjects))
	}
	if strings.ContainsAny(s, " \t;,") {
		return fmt.Errorf("subject %s: a name holds no space, comma or semicolon", quote(s))
	}
	return nil
}

func checkHeld(s string) error {
	if err := checkSubject(s); err != nil {
		return err
	}
	if !prefixed(s, held) {
		return fmt.Errorf("%s has no members: what a row gives is a role: or group: with its name", quote(s))
	}
	return nil
}

// checkObject checks an object or, with wild, a pattern of objects.
func checkObject(s string, wild bool) error {
	name, isPattern := strings.CutSuffix(s, "*")
	switch {
	case strings.Contains(name, "*"):
		return fmt.Errorf("object %s: a * stands only at the end, so this would not mean what it says; write the name out, or a class", quote(s))
	case isPattern && !wild:
		return fmt.Errorf("object %s: a class holds whole names; write one row for each", quote(s))
	case s == "*":
		return errors.New("object *: each kind wants a row of its own: tool:*, model:*, resource:* or prompt:* is its object")
	case !prefixed(s, objects):
		return fmt.Errorf("object %s: write it with %s before the name", quote(s), oneOf(objects))
	case strings.HasPrefix(s, "class:") && isPattern:
		return fmt.Errorf("object %s: a class has no wildcard; write its name", quote(s))
	}
	if isPattern {
		return nil
	}
	for _, kind := range []struct{ prefix, sign, shape string }{
		{"model:", "/", "model:<provider>/<name>"},
		{"tool:", "/", "tool:<server>/<name>"},
		{"prompt:", "/", "prompt:<server>/<name>"},
		{"resource:", "|", "resource:<server>|<uri>"},
	} {
		if rest, ok := strings.CutPrefix(s, kind.prefix); ok {
			if of, name, ok := strings.Cut(rest, kind.sign); !ok || of == "" || name == "" {
				return fmt.Errorf("object %s is nothing's name: write %s, or a * at its end", quote(s), kind.shape)
			}
		}
	}
	return nil
}

func checkTenant(s string) error {
	if s != anywhere && strings.ContainsAny(s, "* \t;,") {
		return fmt.Errorf("tenant %s: write * for all, or a tenant's name: default where there is only one", quote(s))
	}
	return nil
}

const maxID = 64 // bytes

func checkID(s string) error {
	if s == byIdentity {
		return fmt.Errorf("id %s is callgate's own: write another", quote(s))
	}
	if len(s) > maxID || strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_' || r == '.' || r == '/' || r == ':')
	}) {
		return fmt.Errorf("id %s: write letters, digits and -_./: only, at most %d of them", quote(s), maxID)
	}
	return nil
}

// appendObject appends the name of what c acts on, as [firewall.Call.Object] has
// it, without an allocation. It answers false where c names no single thing.
func appendObject(dst []byte, c *firewall.Call) ([]byte, bool) {
	sign := byte('/')
	switch c.Kind {
	case firewall.Model:
		dst = append(dst, "model:"...)
	case firewall.Tool:
		dst = append(dst, "tool:"...)
	case firewall.Resource:
		dst = append(dst, "resource:"...)
		sign = '|'
	case firewall.Prompt:
		dst = append(dst, "prompt:"...)
	default:
		return dst, false
	}
	if c.Target == "" || c.Resource == "" || strings.IndexByte(c.Target, sign) >= 0 {
		return dst, false
	}
	dst = append(dst, c.Target...)
	dst = append(dst, sign)
	return append(dst, c.Resource...), true
}
