package identity

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"
)

// CapType is the type of a [Cap] among authorization_details (RFC 9396).
const CapType = "callgate_call"

// A Cap is a part of what a grant allows: these actions on these objects, with such
// arguments, so often. What no cap of a grant allows the grant does not allow. A grant
// without caps allows all that policy does.
type Cap struct {
	Type      string           `json:"type"`                // CapType
	Actions   []string         `json:"actions,omitempty"`   // in the words of policy: call, generate, read…; none: all
	Locations []string         `json:"locations"`           // objects of policy: tool:shop/refund; a * only at the end, after / : or |
	Arguments map[string]Bound `json:"arguments,omitempty"` // by path: amount, to.address. An argument that is bound must be there.
	Limits    Limits           `json:"limits,omitzero"`     // of all that the cap allows, together
}

// A Bound is what one argument may be. All that it says must hold.
type Bound struct {
	Min    *float64 `json:"min,omitempty"`
	Max    *float64 `json:"max,omitempty"`
	OneOf  []string `json:"one_of,omitempty"` // texts
	Prefix string   `json:"prefix,omitempty"` // of a text, in which no .. leads out again
}

// Limits are how much a cap allows while its grant lives; 0 is no limit.
type Limits struct {
	Calls        int64 `json:"calls,omitempty"`
	Tokens       int64 `json:"tokens,omitempty"`        // of models
	CostMicroUSD int64 `json:"cost_microusd,omitempty"` // millionths of a US dollar
	NotAfter     int64 `json:"not_after,omitempty"`     // seconds since 1970
	Depth        *int  `json:"depth,omitempty"`         // how often it may be delegated further
}

// Bounds of what is read as caps.
const (
	maxCaps      = 32
	maxInCap     = 64 // actions, locations, arguments, or texts of one
	maxCapText   = 512
	maxCapsBytes = 16 << 10
)

// actionWords are the actions that a cap can name.
var actionWords = []string{"call", "generate", "embed", "store", "read", "get", "subscribe"}

// ParseCaps reads authorization_details: a list of objects of type callgate_call. It
// takes nothing that it does not understand, since that might be a restriction.
func ParseCaps(doc []byte) ([]Cap, error) {
	if len(doc) > maxCapsBytes {
		return nil, fmt.Errorf("authorization_details are longer than %d bytes", maxCapsBytes)
	}
	if !jsontext.Value(doc).IsValid() { // no name twice, valid UTF-8
		return nil, fmt.Errorf("authorization_details must be a list of JSON objects, without a name twice")
	}
	if why := unknownIn(gjson.ParseBytes(doc)); why != "" {
		return nil, fmt.Errorf("authorization_details: %s", why)
	}
	var caps []Cap
	if err := json.Unmarshal(doc, &caps); err != nil {
		return nil, fmt.Errorf("authorization_details are not as callgate reads them: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	for i := range caps {
		if err := caps[i].check(); err != nil {
			return nil, fmt.Errorf("authorization_details[%d]: %w", i, err)
		}
	}
	if len(caps) == 0 || len(caps) > maxCaps {
		return nil, fmt.Errorf("authorization_details: want 1 to %d objects", maxCaps)
	}
	return caps, nil
}

// unknownIn finds what encoding/json would pass over, or take in another spelling.
func unknownIn(list gjson.Result) (why string) {
	known := map[string][]string{
		"":          {"type", "actions", "locations", "arguments", "limits"},
		"limits":    {"calls", "tokens", "cost_microusd", "not_after", "depth"},
		"arguments": {"min", "max", "one_of", "prefix"},
	}
	names := func(in string, o gjson.Result) {
		o.ForEach(func(name, v gjson.Result) bool {
			if !slices.Contains(known[in], name.Str) {
				why = fmt.Sprintf("%.40q is not understood here", name.Str)
			} else if v.Type == gjson.Null {
				why = fmt.Sprintf("%s is null: leave it away", name.Str)
			}
			return why == ""
		})
	}
	if !list.IsArray() {
		return "want a list of objects"
	}
	list.ForEach(func(_, c gjson.Result) bool {
		if !c.IsObject() {
			why = "want a list of objects"
			return false
		}
		names("", c)
		names("limits", c.Get("limits"))
		c.Get("arguments").ForEach(func(_, b gjson.Result) bool {
			if !b.IsObject() {
				why = "what bounds an argument is an object: {\"max\": 100}"
			}
			names("arguments", b)
			return why == ""
		})
		return why == ""
	})
	return why
}

func (c *Cap) check() error {
	if c.Type != CapType {
		return fmt.Errorf("type %.40q: there is only %s", c.Type, CapType)
	}
	if len(c.Locations) == 0 || max(len(c.Locations), len(c.Actions), len(c.Arguments)) > maxInCap {
		return fmt.Errorf("want 1 to %d locations, and at most %d actions and arguments", maxInCap, maxInCap)
	}
	for _, l := range c.Locations {
		kind, rest, ok := strings.Cut(l, ":")
		body, starred := strings.CutSuffix(l, "*")
		switch {
		case !ok || rest == "" || !slices.Contains([]string{"tool", "model", "resource", "prompt"}, kind) || len(l) > maxCapText:
			return fmt.Errorf("location %.80q: write an object as policy does: tool:shop/refund, model:openai/*", l)
		case strings.Contains(body, "*") || starred && !strings.ContainsAny(body[len(body)-1:], "/:|"):
			return fmt.Errorf("location %.80q: a * stands at the end, after / : or |", l)
		}
	}
	for _, a := range c.Actions {
		if !slices.Contains(actionWords, a) {
			return fmt.Errorf("action %.40q: there are %s", a, strings.Join(actionWords, ", "))
		}
	}
	for path, b := range c.Arguments {
		if err := b.check(path); err != nil {
			return err
		}
	}
	l := c.Limits
	if min(l.Calls, l.Tokens, l.CostMicroUSD, l.NotAfter) < 0 || max(l.Calls, l.Tokens, l.CostMicroUSD, l.NotAfter) > maxSeconds || l.Depth != nil && (*l.Depth < 0 || *l.Depth > maxDepth) {
		return fmt.Errorf("limits: want whole numbers from 0, and a depth of at most %d", maxDepth)
	}
	return nil
}

func (b *Bound) check(path string) error {
	for _, word := range strings.Split(path, ".") {
		if !isWord(word) || len(path) > maxCapText {
			return fmt.Errorf("argument %.80q: write a path of plain names: amount, to.address", path)
		}
	}
	if b.Min == nil && b.Max == nil && len(b.OneOf) == 0 && b.Prefix == "" {
		return fmt.Errorf("argument %s: say min, max, one_of or prefix", path)
	}
	if len(b.OneOf) > maxInCap || len(b.Prefix) > maxCapText || slices.ContainsFunc(b.OneOf, func(s string) bool { return len(s) > maxCapText }) {
		return fmt.Errorf("argument %s: too much in its bound", path)
	}
	if climbs(b.Prefix) {
		return fmt.Errorf("argument %s: no .. in a prefix", path)
	}
	return nil
}

// Names says whether c is about an action on an object, whatever its arguments and
// limits say.
func (c *Cap) Names(action, object string) bool {
	if len(c.Actions) > 0 && !slices.Contains(c.Actions, action) {
		return false
	}
	return slices.ContainsFunc(c.Locations, func(l string) bool { return within(l, object) })
}

// Permits says whether c allows an action on an object with arguments, at a time.
// How often and how much is for who counts.
func (c *Cap) Permits(action, object string, args []byte, at time.Time) bool {
	if !c.Names(action, object) || c.Limits.NotAfter != 0 && at.Unix() >= c.Limits.NotAfter {
		return false
	}
	for path, b := range c.Arguments {
		if !b.holds(gjson.GetBytes(args, path)) {
			return false
		}
	}
	return true
}

// holds says whether v is in the bound. What is not there is not.
func (b *Bound) holds(v gjson.Result) bool {
	if b.Min != nil || b.Max != nil {
		if v.Type != gjson.Number || math.IsNaN(v.Num) || b.Min != nil && v.Num < *b.Min || b.Max != nil && v.Num > *b.Max {
			return false
		}
	}
	if len(b.OneOf) > 0 && (v.Type != gjson.String || !slices.Contains(b.OneOf, v.Str)) {
		return false
	}
	return b.Prefix == "" || v.Type == gjson.String && strings.HasPrefix(v.Str, b.Prefix) && !climbs(v.Str)
}

// climbs says whether .. is a segment of path.
func climbs(path string) bool {
	return slices.Contains(strings.FieldsFunc(path, func(c rune) bool { return c == '/' || c == '\\' }), "..")
}

// within says whether location, which may end in a *, holds all of object, which may
// too.
func within(location, object string) bool {
	begin, starred := strings.CutSuffix(location, "*")
	if !starred {
		return location == object
	}
	body, _ := strings.CutSuffix(object, "*")
	return strings.HasPrefix(body, begin)
}

// covered says whether each of narrow is within one of wide, so that no call passes
// narrow that does not pass wide. Where wide is nil everything is. A cap that only
// several of wide cover together is not covered: that is safe, and simple.
func covered(narrow, wide []Cap) bool {
	if len(wide) == 0 {
		return true
	}
	return len(narrow) > 0 && !slices.ContainsFunc(narrow, func(n Cap) bool {
		return !slices.ContainsFunc(wide, func(w Cap) bool { return n.inside(&w) })
	})
}

// inside says whether c allows nothing that w does not.
func (c *Cap) inside(w *Cap) bool {
	if len(w.Actions) > 0 && (len(c.Actions) == 0 || slices.ContainsFunc(c.Actions, func(a string) bool { return !slices.Contains(w.Actions, a) })) {
		return false
	}
	for _, l := range c.Locations {
		if !slices.ContainsFunc(w.Locations, func(wide string) bool { return within(wide, l) }) {
			return false
		}
	}
	for path, bound := range w.Arguments {
		mine, ok := c.Arguments[path]
		if !ok || !mine.inside(&bound) {
			return false
		}
	}
	less := func(mine, its int64) bool { return its == 0 || mine > 0 && mine <= its }
	return less(c.Limits.Calls, w.Limits.Calls) && less(c.Limits.Tokens, w.Limits.Tokens) &&
		less(c.Limits.CostMicroUSD, w.Limits.CostMicroUSD) && less(c.Limits.NotAfter, w.Limits.NotAfter)
}

// inside says whether every value that b takes w takes too.
func (b *Bound) inside(w *Bound) bool {
	if w.Min != nil && (b.Min == nil || *b.Min < *w.Min) || w.Max != nil && (b.Max == nil || *b.Max > *w.Max) {
		return false
	}
	if len(w.OneOf) > 0 && (len(b.OneOf) == 0 || slices.ContainsFunc(b.OneOf, func(s string) bool { return !slices.Contains(w.OneOf, s) })) {
		return false
	}
	return w.Prefix == "" || strings.HasPrefix(b.Prefix, w.Prefix)
}

// depthOf is how often caps may be delegated further, at most most.
func depthOf(caps []Cap, most int) int {
	for i := range caps {
		if d := caps[i].Limits.Depth; d != nil {
			most = min(most, *d)
		}
	}
	return most
}

// ScopeCaps are the caps that a scope stands for: mcp:<server> is all of a server,
// model:<provider> all of its models. The error is [ErrScope].
func ScopeCaps(scope string) ([]Cap, error) {
	if scope == "" {
		return nil, nil
	}
	c := Cap{Type: CapType}
	for _, word := range strings.Fields(scope) {
		kind, name, _ := strings.Cut(word, ":")
		switch {
		case !isWord(name) || len(c.Locations) > maxInCap:
		case kind == "mcp":
			c.Locations = append(c.Locations, "tool:"+name+"/*", "resource:"+name+"|*", "prompt:"+name+"/*")
			continue
		case kind == "model":
			c.Locations = append(c.Locations, "model:"+name+"/*")
			continue
		}
		return nil, &mistake{ErrScope, fmt.Sprintf("scope %.80q: write mcp:SERVER or model:PROVIDER, or leave scope away: then policy alone says what the agent may do", word)}
	}
	if len(c.Locations) == 0 {
		return nil, nil
	}
	return []Cap{c}, nil
}
