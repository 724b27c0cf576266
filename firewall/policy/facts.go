package policy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unsafe"

	"callgate/firewall"
	"callgate/identity"

	"github.com/tidwall/gjson"
)

// A sort is what a value in a condition can be.
type sort uint8

const (
	anySort sort = iota // an argument: whatever the call brings
	boolean
	number
	text
	list
)

func (s sort) String() string {
	return [...]string{"value", "true or false", "number", "text", "list"}[s]
}

// attributes are what a condition can read, beside args.<path>.
var attributes = map[string]sort{
	"model":        text,   // provider/name of a model call, else empty
	"agent":        text,   // the acting agent
	"actor":        text,   // who acts for somebody else, else empty
	"root":         text,   // on whose behalf all of this happens
	"depth":        number, // of delegation; 0 when an agent acts alone
	"time.hour":    number, // 0 to 23, UTC
	"time.weekday": number, // 1 is Monday, 7 is Sunday, UTC
	"time.unix":    number, // seconds

	"tool.readOnly":    boolean, // a trusted server says that the tool changes nothing
	"tool.destructive": boolean, // a tool may destroy something: not said to be harmless by a trusted server
}

const attributeNames = "args.<path>, model, agent, actor, root, depth, time.hour, time.weekday, time.unix, tool.readOnly or tool.destructive"

// absent are attributes that a condition cannot read yet, though policies are
// written with them: a row that reads one could only fail.
var absent = map[string]bool{
	"cost": true, "tokens": true, "labels": true, "session": true, "net": true,
	"approved": true, "parent": true, "orphan": true,
}

// checkAttribute is the sort of the attribute path, which is without r.env.
func checkAttribute(path string) (sort, error) {
	if s, ok := attributes[path]; ok {
		return s, nil
	}
	first, rest, _ := strings.Cut(path, ".")
	switch {
	case first == "args" && rest == "":
		return 0, errors.New("r.env.args needs the name of an argument: r.env.args.<path>")
	case first == "args" && strings.Contains("."+rest+".", ".."):
		return 0, fmt.Errorf("r.env.%s has an empty name in it", cut(path))
	case first == "args" && strings.ContainsFunc(rest, notInName):
		return 0, fmt.Errorf("r.env.%s: the name of an argument holds only letters, digits and _", cut(path))
	case first == "args":
		return anySort, nil
	case first == "taint":
		return 0, errors.New("r.env.taint: the word is labels, and this version does not provide r.env.labels yet, so a condition on it could only fail")
	case absent[first]:
		return 0, fmt.Errorf("this version does not provide r.env.%s yet, so a condition on it could only fail", cut(path))
	}
	return 0, fmt.Errorf("unknown attribute r.env.%s: write r.env. and %s", cut(path), attributeNames)
}

func notInName(r rune) bool {
	return !(r == '.' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r))
}

// errUnknown is the answer to a question whose call is not made yet.
var errUnknown = errors.New("not known before the call")

// facts are what a question is about, as conditions read it: attribute by
// attribute, when one asks for it.
type facts struct {
	caller *identity.Principal
	call   *firewall.Call // nil: the call is not made yet
	object []byte
	args   string // of call, once read
	opened bool   // args is read
	seen   []fact // what was asked for, so that many conditions cost one look at args
	fault  error  // why the last condition could not read what it asked for
}

type fact struct {
	name  string
	value any
	err   error
}

// Get is the value of an attribute, for govaluate.
func (f *facts) Get(name string) (any, error) {
	i := slices.IndexFunc(f.seen, func(x fact) bool { return x.name == name })
	if i < 0 {
		v, err := f.get(name)
		i, f.seen = len(f.seen), append(f.seen, fact{name, v, err})
	}
	if err := f.seen[i].err; err != nil {
		f.fault = err
	}
	return f.seen[i].value, f.seen[i].err
}

func (f *facts) get(name string) (any, error) {
	switch name {
	case "model":
		if name, ok := bytes.CutPrefix(f.object, []byte("model:")); ok {
			return string(name), nil
		}
		return "", nil
	case "agent":
		return f.caller.Agent(), nil
	case "actor":
		if len(f.caller.Actors) == 0 {
			return "", nil
		}
		return f.caller.Actors[0], nil
	case "root":
		return f.caller.Subject, nil
	case "depth":
		return float64(len(f.caller.Actors)), nil
	}
	if f.call == nil {
		return nil, errUnknown
	}
	switch name {
	case "tool.readOnly":
		return f.call.Impact&firewall.ReadOnly != 0, nil
	case "tool.destructive": // what nobody has said is assumed
		return f.call.Kind == firewall.Tool && (f.call.Impact&firewall.Declared == 0 || f.call.Impact&firewall.Destructive != 0), nil
	}
	at := f.call.At.UTC()
	switch name {
	case "time.hour":
		return float64(at.Hour()), nil
	case "time.weekday":
		return weekday(at), nil
	case "time.unix":
		return float64(at.Unix()), nil
	}
	return f.arg(strings.TrimPrefix(name, "args."))
}

// weekday is that of ISO 8601, so that working days are those up to 5.
func weekday(t time.Time) float64 { return float64((t.Weekday()+6)%7 + 1) }

// arg is the argument at path, through objects only.
func (f *facts) arg(path string) (any, error) {
	if !f.opened {
		f.opened = true
		if raw := f.call.Args(); len(raw) > 0 {
			f.args = unsafe.String(unsafe.SliceData(raw), len(raw)) // documents are never changed in place
		}
	}
	v := gjson.Result{Type: gjson.JSON, Raw: f.args}
	for rest, more := path, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, ".")
		if !v.IsObject() {
			return nil, fmt.Errorf("the call has no argument %s", path)
		}
		if v = v.Get(name); !v.Exists() {
			return nil, fmt.Errorf("the call has no argument %s", path)
		}
	}
	return v.Value(), nil
}
