package dialect

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
)

// members calls f for each member of the object v. Those of which f says no are losses
// of l, below path.
func members(v gjson.Result, path string, l *Losses, f func(name string, v gjson.Result) bool) {
	v.ForEach(func(key, v gjson.Result) bool {
		if v.Type != gjson.Null && !f(key.Str, v) {
			l.Add(below(path, key.Str), "callgate does not know it")
		}
		return true
	})
}

// items calls f for each item of the list v.
func items(v gjson.Result, f func(v gjson.Result)) {
	v.ForEach(func(_, v gjson.Result) bool {
		f(v)
		return true
	})
}

func below(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func raw(v gjson.Result) json.RawMessage { return json.RawMessage(bytes.Clone([]byte(v.Raw))) }

func number(v gjson.Result) *float64 {
	f := v.Num
	return &f
}

func whole(v gjson.Result) *int64 {
	n := v.Int()
	return &n
}

func flag(v gjson.Result) *bool {
	b := v.Bool()
	return &b
}

// texts is v, a text or a list of them.
func texts(v gjson.Result) (list []string) {
	if v.Type == gjson.String {
		return []string{v.Str}
	}
	items(v, func(v gjson.Result) { list = append(list, v.Str) })
	return list
}

// arguments are those of a tool's call that a model wrote as a text.
func arguments(text string) json.RawMessage {
	switch {
	case strings.TrimSpace(text) == "":
		return json.RawMessage("{}")
	case gjson.Valid(text):
		return json.RawMessage(text)
	}
	return quoted(text)
}

// written is args as a text, as a model would write them.
func written(args json.RawMessage) string {
	if len(args) == 0 {
		return "{}"
	}
	if args[0] == '"' { // it was no JSON
		return gjson.ParseBytes(args).Str
	}
	return string(args)
}

// encode is v as JSON, without escapes for HTML.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // what is encoded here was read from JSON, or is made of texts and numbers
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func quoted(s string) json.RawMessage { return encode(s) }

// dataURL is the parts of a data URL, and whether s is one.
func dataURL(s string) (kind, data string, ok bool) {
	rest, ok := strings.CutPrefix(s, "data:")
	if !ok {
		return "", "", false
	}
	kind, data, ok = strings.Cut(rest, ";base64,")
	return kind, data, ok
}

// textOf is all texts of parts.
func textOf(parts []Part) string {
	var s strings.Builder
	for i := range parts {
		if parts[i].Kind == Text {
			s.WriteString(parts[i].Text)
		}
	}
	return s.String()
}

// only says whether all parts are of one of kinds.
func only(parts []Part, kinds ...PartKind) bool {
	for i := range parts {
		found := false
		for _, k := range kinds {
			found = found || parts[i].Kind == k
		}
		if !found {
			return false
		}
	}
	return true
}

// extras notes as lost what only the dialect of p knows.
func (p *Prompt) extras(l *Losses, to Name) {
	for name := range p.Extra {
		if !p.carries(name, to) {
			l.Add(name, string(to)+" has no such thing")
		}
	}
}

// carries says whether a member of p.Extra means the same in another dialect.
func (p *Prompt) carries(name string, to Name) bool {
	switch {
	case p.From == to:
		return true
	case p.From == Responses && to == Chat, p.From == Chat && to == Responses:
		return name == "service_tier" || name == "prompt_cache_retention" || name == "verbosity" || name == "metadata" && to == Responses // chat takes it only of what it stores
	}
	return false
}
