package policy

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// A Suggestion gathers what an agent did, and makes the smallest policy of it that
// allows that again.
type Suggestion struct {
	agent string
	calls int
	did   map[seenAct]*deed
}

// seenAct is who did what to which object. For what an agent does on somebody's
// behalf each of the chain needs a row.
type seenAct struct{ who, object, action string }

// deed is one thing that the agent did, however often.
type deed struct {
	count       int
	first, last time.Time
	args        map[string]*seenArg // by name
}

// seenArg is what an argument was. Once it was something that no condition should
// hold it to, it is free.
type seenArg struct {
	count    int
	sort     sort
	min, max float64
	texts    []string
	yes, no  bool
	free     bool
}

// NewSuggestion returns a Suggestion for an agent, as agent:bot.
func NewSuggestion(agent string) *Suggestion {
	return &Suggestion{agent: agent, did: make(map[seenAct]*deed)}
}

// Add takes a call into account, if the agent made it and it was forwarded.
func (s *Suggestion) Add(past *firewall.Past) {
	c := &past.Call
	if !past.Passed || c.Caller.Agent() != s.agent {
		return
	}
	s.calls++
	for _, who := range c.Caller.Chain() {
		s.add(past, seenAct{who, c.Object(), c.Action()})
	}
}

func (s *Suggestion) add(past *firewall.Past, at seenAct) {
	c := &past.Call
	d := s.did[at]
	if d == nil {
		d = &deed{first: c.At, args: make(map[string]*seenArg)}
		at.who, at.object = strings.Clone(at.who), strings.Clone(at.object)
		s.did[at] = d
	}
	d.count++
	d.last = c.At
	gjson.ParseBytes(c.Args()).ForEach(func(name, v gjson.Result) bool {
		if unrecorded(past, "args."+name.Str) {
			return true // it is as if it was not there, so no condition will be on it
		}
		a := d.args[name.Str]
		if a == nil {
			a = &seenArg{min: math.Inf(1), max: math.Inf(-1)}
			d.args[strings.Clone(name.Str)] = a
		}
		a.see(v)
		return true
	})
}

const (
	mostTexts = 5  // different ones of an argument
	mostText  = 40 // bytes
)

// see takes one value into account.
func (a *seenArg) see(v gjson.Result) {
	is := anySort
	switch v.Type {
	case gjson.Number:
		is, a.min, a.max = number, min(a.min, v.Num), max(a.max, v.Num)
	case gjson.String:
		is = text
		if !slices.Contains(a.texts, v.Str) && len(a.texts) <= mostTexts {
			a.texts = append(a.texts, strings.Clone(v.Str))
		}
		a.free = a.free || len(a.texts) > mostTexts || !plainWord(v.Str)
	case gjson.True:
		is, a.yes = boolean, true
	case gjson.False:
		is, a.no = boolean, true
	}
	a.free = a.free || is == anySort || a.count > 0 && is != a.sort
	a.count++
	a.sort = is
}

// plainWord says whether a text may stand in a policy that people pass around: it
// is short, and does not look like a secret, a name of somebody, or a value that
// is never the same.
func plainWord(s string) bool {
	if s == "" || len(s) > mostText {
		return false
	}
	digits := 0
	for _, r := range s {
		switch {
		case '0' <= r && r <= '9':
			digits++
		case 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '-' || r == '_' || r == '/' || r == ' ':
		default:
			return false
		}
	}
	return digits <= 4
}

// secretive are parts of the names of arguments whose values never stand in a policy.
var secretive = []string{"secret", "token", "passw", "key", "credential", "auth"}

// condition is what the arguments of d always were.
func (d *deed) condition() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(d.args)) {
		a := d.args[name]
		lower := strings.ToLower(name)
		if a.free || a.count < d.count || len(parts) >= 8 || slices.ContainsFunc(secretive, func(s string) bool { return strings.Contains(lower, s) }) {
			continue
		}
		for _, part := range a.parts("r.env.args." + name) {
			if c, err := parseCondition(part); err == nil && c != nil {
				parts = append(parts, part)
			}
		}
	}
	if len(parts) == 0 {
		return always
	}
	return strings.Join(parts, " && ")
}

// parts is what the argument at path always was.
func (a *seenArg) parts(path string) []string {
	switch {
	case a.sort == number:
		var parts []string
		if a.min < 0 || a.min == a.max {
			parts = append(parts, path+" >= "+number64(a.min))
		}
		return append(parts, path+" <= "+number64(a.max))
	case len(a.texts) == 1:
		return []string{path + " == '" + a.texts[0] + "'"}
	case len(a.texts) > 1:
		return []string{path + " in ('" + strings.Join(slices.Sorted(slices.Values(a.texts)), "', '") + "')"}
	case a.yes && !a.no:
		return []string{path}
	case a.no && !a.yes:
		return []string{"!" + path}
	}
	return nil
}

func number64(f float64) string { return strconv.FormatFloat(f+0, 'f', -1, 64) } // + 0, so that -0 is 0

const manyResources = 8 // of one server, that become one row

// Rows is the policy, as a file to be reviewed, and how many calls it is made of.
func (s *Suggestion) Rows(since, until time.Time) (file []byte, calls int) {
	did := s.joined()
	var b bytes.Buffer
	fmt.Fprintf(&b, "# What %s did from %s to %s: %d calls that were allowed.\n", s.agent, day(since), day(until), s.calls)
	b.WriteString("# Conditions are ranges that were seen, which is not to say that they are right: review each row.\n")
	order := func(x, y seenAct) int {
		return cmp.Or(cmp.Compare(x.who, y.who), cmp.Compare(x.object, y.object), cmp.Compare(x.action, y.action))
	}
	for i, at := range slices.SortedFunc(maps.Keys(did), order) {
		d := did[at]
		fmt.Fprintf(&b, "\n# %d calls, %s to %s\n", d.count, day(d.first), day(d.last))
		row := joinRow("p", at.who, anywhere, at.object, at.action, d.condition(), "allow", "S"+strconv.Itoa(i+1))
		if Problems(Check(Source{Name: "row", Text: []byte(row)})).only(Error) != nil {
			fmt.Fprintf(&b, "# no row can say this: %q\n", row)
			continue
		}
		b.WriteString(row + "\n")
	}
	return b.Bytes(), s.calls
}

// joinRow is a row of fields, with those in double quotes that need them.
func joinRow(fields ...string) string {
	for i, f := range fields {
		if strings.ContainsAny(f, `,"`) {
			fields[i] = `"` + strings.ReplaceAll(f, `"`, `""`) + `"`
		}
	}
	return strings.Join(fields, ", ")
}

// joined is what was done, where many resources of a server are one pattern.
func (s *Suggestion) joined() map[seenAct]*deed {
	of := make(map[seenAct][]seenAct) // by server
	for at := range s.did {
		if server, _, ok := strings.Cut(at.object, "|"); ok && strings.HasPrefix(server, "resource:") {
			group := seenAct{at.who, server, at.action}
			of[group] = append(of[group], at)
		}
	}
	did := maps.Clone(s.did)
	for group, acts := range of {
		if len(acts) < manyResources {
			continue
		}
		all := &deed{}
		begin := acts[0].object
		for _, at := range acts {
			d := s.did[at]
			delete(did, at)
			all.count += d.count
			if all.first.IsZero() || d.first.Before(all.first) {
				all.first = d.first
			}
			if d.last.After(all.last) {
				all.last = d.last
			}
			for !strings.HasPrefix(at.object, begin) {
				begin = begin[:len(begin)-1]
			}
		}
		group.object = begin[:strings.LastIndexAny(begin, "/|")+1] + "*" // whole parts only
		did[group] = all
	}
	return did
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }
