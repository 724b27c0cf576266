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
	"parent":       text,   // for whom the agent acts directly, else empty
	"root":         text,   // on whose behalf all of this happens
	"depth":        number, // of delegation; 0 when an agent acts alone
	"bound":        text,   // to what the token is bound, which the agent has shown: dpop, mtls; empty for nothing
	"time.hour":    number, // 0 to 23, UTC
	"time.weekday": number, // 1 is Monday, 7 is Sunday, UTC
	"time.unix":    number, // seconds

	"tool.readOnly":    boolean, // a trusted server says that the tool changes nothing
	"tool.destructive": boolean, // a tool may destroy something: not said to be harmless by a trusted server

	"acts":          boolean, // the tool does something for a party, or to an object
	"origin.to":     text,    // from where the parties come that a tool acts for: see firewall.Origin
	"origin.object": text,    // from where the objects come that it acts on
	"intent":        text,    // whether the user asked for such an act: asked, unasked, unknown
	"labels":        list,    // of what the run has read
	"orphan":        boolean, // a tool call that no model of the run was seen to ask for
	"loop":          boolean, // a tool call that the conversation makes again and again
	"approved":      boolean, // the call carries the approval of a person
	"session.calls": number,  // of the run before this one
	"session.cost":  number,  // of the run's calls that are over, in US dollars
	"tokens":        number,  // that a model call will take, estimated; else 0
	"cost":          number,  // of these in US dollars; else 0
	"priced":        boolean, // cost is known
	"net.ip":        text,    // that the client calls from
}

const attributeNames = "args.<path>, model, agent, actor, parent, root, depth, bound, time.hour, time.weekday, time.unix, tool.readOnly, tool.destructive, acts, origin.to, origin.object, intent, labels, orphan, loop, approved, session.calls, session.cost, tokens, cost, priced or net.ip"

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
		return 0, errors.New("r.env.taint: the word is labels: 'untrusted' in r.env.labels")
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
	past   *firewall.Past // nil: the call is not one of the record
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
	case "parent":
		return parent(f.caller), nil
	case "root":
		return f.caller.Subject, nil
	case "depth":
		return float64(len(f.caller.Actors)), nil
	case "bound":
		if f.past != nil { // which is not on record
			return nil, errUnknown
		}
		return f.caller.Bound, nil
	}
	if f.call == nil || f.past != nil && unrecorded(f.past, name) {
		return nil, errUnknown
	}
	switch name {
	case "tool.readOnly":
		return f.call.Impact&firewall.ReadOnly != 0, nil
	case "tool.destructive": // what nobody has said is assumed
		return f.call.Kind == firewall.Tool && (f.call.Impact&firewall.Declared == 0 || f.call.Impact&firewall.Destructive != 0), nil
	}
	if v, err, known := f.ofRun(name); known {
		return v, err
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

// parent is for whom the acting agent acts directly.
func parent(caller *identity.Principal) string {
	switch len(caller.Actors) {
	case 0:
		return ""
	case 1:
		return caller.Subject
	}
	return caller.Actors[1]
}

// errPrice is why what a call costs is not known.
var errPrice = errors.New("no price is known for the model")

// ofRun is an attribute that tells of the run, or of what the gate knows of the
// call beside what it asks for.
func (f *facts) ofRun(name string) (value any, err error, known bool) {
	c := f.call
	switch name {
	case "acts":
		return c.Acting != nil, nil, true
	case "origin.to":
		return c.Origins().To.String(), nil, true
	case "origin.object":
		return c.Origins().Object.String(), nil, true
	case "intent":
		return c.Origins().Intent.String(), nil, true
	case "labels":
		return listed[c.Labels&firewall.Labels(len(listed)-1)], nil, true
	case "orphan":
		return c.Kind == firewall.Tool && !firewall.Asked(c.Links), nil, true
	case "loop":
		return slices.Contains(c.Signals, firewall.SignalLoop), nil, true
	case "approved":
		return c.Approval != "", nil, true
	case "session.calls":
		return float64(c.Before.Calls), nil, true
	case "session.cost":
		return c.Before.Spent.USD(), nil, true
	case "tokens":
		return float64(c.Estimate.Tokens), nil, true
	case "cost":
		if c.Kind == firewall.Model && !c.Estimate.Priced {
			return nil, errPrice, true
		}
		return c.Estimate.Cost.USD(), nil, true
	case "priced":
		return c.Kind != firewall.Model || c.Estimate.Priced, nil, true
	case "net.ip":
		return c.From, nil, true
	}
	return nil, nil, false
}

// listed are the values of r.env.labels, made once.
var listed = func() (all [8]any) {
	for l := range all {
		list := []any{}
		for _, name := range firewall.Labels(l).Names() {
			list = append(list, name)
		}
		all[l] = list
	}
	return all
}()

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
