package mcp

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// A Class is what an argument means to the tool that gets it.
type Class string

// The classes of arguments that callgate knows how to judge.
const (
	PathClass Class = "path" // of a file or directory
	URLClass  Class = "url"  // that the tool will ask
)

// A Mark is what the operator says of an argument: what it means, and what it may
// be. The argument is replaced by its canonical text before anything judges it.
type Mark struct {
	Class   Class
	Within  []string // of a path: directories that it must be in or below; none: anywhere
	Windows bool     // of a path: the tool is on Windows
	Hosts   []string // of a URL: hosts that it may name, and those below them; none: any
	Private bool     // of a URL: addresses of private networks and of this machine are allowed
}

// check says what is wrong with m, the mark of the argument at path.
func (m Mark) check(path string) error {
	var errs []error
	if slices.Contains(dotted(path), "") {
		errs = append(errs, errors.New("write the names on the way to the argument with single dots between them"))
	}
	switch m.Class {
	case PathClass:
		if len(m.Hosts) > 0 || m.Private {
			errs = append(errs, errors.New("hosts and private are for arguments of class url"))
		}
		plain, how := canonicalPath, ""
		if m.Windows {
			plain, how = windowsPath, ", in lower case and with slashes, as c:/srv"
		}
		for _, dir := range m.Within {
			if canonical, err := plain(dir); err != nil || canonical != dir {
				errs = append(errs, errors.New("within: write each directory plainly, without . and .. and without a slash at its end"+how))
			}
		}
	case URLClass:
		if len(m.Within) > 0 || m.Windows {
			errs = append(errs, errors.New("within and windows are for arguments of class path"))
		}
		for _, name := range m.Hosts {
			if h, err := parseHost(name); err != nil || h.text != name {
				errs = append(errs, errors.New("hosts: write each name in lower case, in its ASCII form, without a scheme, port or path"))
			}
		}
	default:
		errs = append(errs, errors.New("class: want path or url"))
	}
	return errors.Join(errs...)
}

const maxMarked = 1000 // texts of one call

// mark puts the canonical text of each marked argument into its place, so that
// the policy judges what the server gets, and refuses what may not be. It looks at
// nothing but the text: what a call says leads nowhere before the call is allowed.
func (p *passage) mark(call *firewall.Call) *fault {
	marks := p.to.marks(call.Resource)
	if len(marks) == 0 {
		return nil
	}
	call.Resolve = func(context.Context) (bool, error) { return p.follow(call) }
	if p.gate.May(&p.caller, firewall.Tool, call.Target, call.Resource) == firewall.No {
		return nil // what is denied anyway; see follow
	}
	err := canonicalize(call, marks)
	if err == nil {
		call.Written = p.said
		return nil
	}
	var e *firewall.Error
	if errors.As(err, &e) && e.Code == firewall.Invalid {
		return p.misfit("%s", e.Reason)
	}
	return p.fault(err, call.Method)
}

// canonicalize puts the canonical texts of marked arguments into their places.
func canonicalize(call *firewall.Call, marks map[string]Mark) error {
	canonical := make(map[int]string)
	err := eachMarked(call, marks, func(m Mark, text gjson.Result) error {
		said, err := m.canonical(text.Str)
		canonical[text.Index] = said
		return err
	})
	if err == nil {
		rewrite(call, canonical)
	}
	return err
}

// rewrite puts texts into the places where strings of the call begin.
func rewrite(call *firewall.Call, texts map[int]string) {
	call.Body.Rewrite(func(_ int, s firewall.Span) (string, bool) {
		text, ok := texts[s.At]
		return text, ok
	})
}

// follow sees, when a call is allowed, that its marked arguments are still what they
// may be, whatever guards have edited and whatever law it was judged by, and puts
// where paths lead by the links of this machine into their place. It says whether
// that is anywhere else.
func (p *passage) follow(call *firewall.Call) (bool, error) {
	led := make(map[int]string)
	err := eachMarked(call, p.to.marks(call.Resource), func(m Mark, text gjson.Result) error {
		said, err := m.canonical(text.Str)
		switch {
		case err != nil:
			return err
		case said != text.Str:
			return firewall.Refuse(firewall.Denied, "it is not any more what was decided on: try again")
		case m.Class == PathClass:
			to, err := m.led(p.to, said)
			if to != said {
				led[text.Index] = to
			}
			return err
		}
		return nil
	})
	if err != nil || len(led) == 0 {
		return false, err
	}
	rewrite(call, led)
	return true, nil
}

// vouch sees, when a call is on record and before it leaves, where the hosts are
// that its arguments name.
func (p *passage) vouch(ctx context.Context, call *firewall.Call) error {
	if call.Resolve == nil {
		return nil
	}
	return eachMarked(call, p.to.marks(call.Resource), func(m Mark, text gjson.Result) error {
		if m.Class == URLClass {
			return m.reach(ctx, p.to, text.Str)
		}
		return nil
	})
}

// canonical is what the argument says, in one way of saying it. It errs where the
// argument may not say so.
func (m Mark) canonical(text string) (string, error) {
	if m.Class == PathClass {
		return m.path(text)
	}
	return m.url(text)
}

// eachMarked calls do for each text of call that is marked. Errors name the argument.
func eachMarked(call *firewall.Call, marks map[string]Mark, do func(Mark, gjson.Result) error) error {
	if len(marks) == 0 {
		return nil
	}
	args := parsed(call.Body.JSON).Get("arguments")
	left := maxMarked
	for _, path := range slices.Sorted(maps.Keys(marks)) {
		m := marks[path]
		err := within(args, dotted(path), func(text gjson.Result) error {
			if left--; left < 0 {
				return firewall.Refuse(firewall.Invalid, "it and others are more than %d texts: make several calls", maxMarked)
			}
			return do(m, text)
		})
		var e *firewall.Error
		if errors.As(err, &e) {
			named := *e
			named.Reason = "argument " + path + " of tool " + clip(call.Resource) + " is refused: " + e.Reason
			return &named
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// within calls do for each text at a path below v.
func within(v gjson.Result, path []string, do func(gjson.Result) error) error {
	switch {
	case !v.Exists() || v.Type == gjson.Null:
		return nil
	case v.IsArray():
		var err error
		v.ForEach(func(_, item gjson.Result) bool {
			err = within(item, path, do)
			return err == nil
		})
		return err
	case len(path) == 0 && v.Type == gjson.String:
		return do(v)
	case len(path) == 0:
		return firewall.Refuse(firewall.Invalid, "it must be a text or a list of texts")
	case !v.IsObject():
		return firewall.Refuse(firewall.Invalid, "it is to be in an object, and there is something else")
	}
	var err error
	v.ForEach(func(name, below gjson.Result) bool {
		switch {
		case name.Str == path[0]:
			err = within(below, path[1:], do)
		case strings.EqualFold(name.Str, path[0]): // some servers take it for the same
			err = firewall.Refuse(firewall.Invalid, "its name must be written in the same case")
		}
		return err == nil
	})
	return err
}
