package firewall

import (
	"slices"
	"strings"
	"unicode"

	"callgate/audit"

	"github.com/tidwall/gjson"
)

// findOrigins says from where the values come that call acts on, by what its run has met and
// those for which it acts.
func (call *Call) findOrigins() Origins {
	u := call.mets
	var o Origins
	o.Intent = u.intent(call.Resource)
	makes := makesNew(call.Resource)
	for _, side := range []struct {
		names []string
		worst *Origin
		party bool
	}{{call.Acting.To, &o.To, true}, {call.Acting.Object, &o.Object, false}} {
		for _, name := range side.names {
			raw := argument(call.Args(), name)
			if raw == nil {
				continue
			}
			about := append(wordsOf(call.Resource), wordsOf(name)...)
			audit.Leaves(raw, func(at, text string) {
				for _, value := range single(text, side.party) {
					from, by := u.origin(value, side.party, o.Intent, about)
					if from == OriginComposed && !side.party && !(makes && !idName(name)) {
						from = OriginUntrusted // it exists, so that somebody has told it
					}
					*side.worst = max(*side.worst, from)
					o.note("/"+name+at, value, from, by)
				}
			})
		}
	}
	switch {
	case o.To != OriginNone:
		call.leads(&o)
	case o.Object == OriginNone:
		call.bare(&o)
	}
	return o
}

const maxEvidence = 32

// note keeps from where a value comes.
func (o *Origins) note(path, value string, from Origin, by *metSource) {
	if len(o.Evidence) < maxEvidence {
		e := Evidence{Path: path, Value: clipText(value, 200), Origin: from.String()}
		if by != nil {
			e.Call, e.Tool = by.call, by.tool
		}
		o.Evidence = append(o.Evidence, e)
	}
}

// shown is the evidence about call as people may see it: a value that a guard has
// masked is not told.
func (call *Call) shown() []Evidence {
	list := slices.Clone(call.Origins().Evidence)
	for i := range list {
		stands := false
		audit.Leaves(call.Args(), func(_, text string) { stands = stands || strings.Contains(text, list[i].Value) })
		if !stands {
			list[i].Value = ""
		}
	}
	return list
}

// leads finds the links in what is sent to somebody: they say where the reader is led, and so
// are parties, too.
func (call *Call) leads(o *Origins) {
	audit.Leaves(call.Args(), func(at, text string) {
		for _, value := range audit.Notable(text) {
			if !strings.Contains(value, "://") && !strings.HasPrefix(strings.ToLower(value), "www.") {
				continue
			}
			if from, by := call.mets.origin(value, false, o.Intent, nil); from == OriginUntrusted {
				o.To = max(o.To, from)
				o.note(at, value, from, by)
			}
		}
	})
}

// bare finds the origins of a call that names nobody and nothing, or of a tool of which
// nobody says which arguments do: it acts on what its short arguments say, all of them.
func (call *Call) bare(o *Origins) {
	own, said := true, false
	audit.Leaves(call.Args(), func(at, value string) {
		if len(value) > maxField || strings.IndexFunc(value, unicode.IsLetter) < 0 {
			return
		}
		from, by := call.mets.origin(value, false, o.Intent, nil)
		o.Object = max(o.Object, from)
		own, said = own && from == OriginUser, true
		o.note(at, value, from, by)
	})
	if len(call.Acting.To)+len(call.Acting.Object) > 0 {
		return
	}
	own = own && said
	names := call.mets.named(call.Resource)
	switch {
	case own && names == IntentAsked:
		o.Intent = IntentAsked
	case o.Intent == IntentAsked && names == IntentUnasked && !own:
		o.Intent = IntentUnasked
	}
}

// idName says that an argument is called as what has the id of something.
func idName(name string) bool {
	name = strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
	return name == "id" || name == "ids" || strings.HasSuffix(name, "_id") || strings.HasSuffix(name, "_ids") || strings.HasSuffix(name, "number")
}

// single are the values in a text that may name several parties.
func single(text string, party bool) []string {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	if !party {
		return []string{text}
	}
	var list []string
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ';' || r == '\n' }) {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// origin is from where one value comes: the best of the places that have it. What the run
// was told by the one it acts for is what that one has met.
func (u mets) origin(value string, party bool, intent Intent, about []string) (Origin, *metSource) {
	best, by := OriginComposed, (*metSource)(nil)
	for _, m := range u {
		from, at := m.origin(value, party, intent, about)
		switch {
		case from <= OriginResolved && (best > OriginResolved || from < best):
			best, by = from, at
		case from == OriginUntrusted && best == OriginComposed:
			best, by = from, at
		}
	}
	return best, by
}

func (m *met) origin(value string, party bool, intent Intent, about []string) (Origin, *metSource) {
	m.mu.Lock()
	defer m.mu.Unlock()
	plain := normal(value)
	best, by := OriginComposed, (*metSource)(nil)
	better := func(from Origin, source *metSource) {
		switch {
		case from == OriginComposed:
		case best == OriginComposed, from < best:
			best, by = from, source
		}
	}
	if w := strings.Trim(plain, "#.,:;!?\"'()"); len(w) <= shortWord && (m.says(w) || m.system[w]) && (about == nil || party || len(w) > 2 || !numeric(w) || m.numbered(w, about)) {
		better(OriginUser, nil)
	}
	for _, found := range m.line.Find(value) {
		s := &m.sources[found.Source]
		from := s.from
		if found.Method == "passage" && from != OriginUntrusted {
			continue // some of its words only
		}
		if found.Method != "exact" && found.Method != "joined" && from == OriginUser {
			from = OriginUntrusted // nobody writes in base64
		}
		better(from, s)
	}
	for _, f := range m.fields[plain] {
		s := &m.sources[m.records[f.record].source]
		better(s.from, s)
	}
	if best != OriginUntrusted {
		return best, by
	}
	if intent != IntentUnasked && m.described(plain, party) {
		return OriginResolved, by
	}
	return best, by
}

// shortWord is the most bytes of a value that is looked for among words: numbers of lines,
// initials.
const shortWord = 12

func numeric(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// idle are words that everybody says.
var idle = func() map[string]bool {
	m := make(map[string]bool)
	for w := range strings.FieldsSeq(`the and for with from this that have has had are was were will would can could should please all any some each every not you your mine our their his her its him them they who what when where which
		about into onto over under after before then than also just only now today tomorrow yesterday new last next first there here out more most other another same one two three new get got let make made need want send sent read check
		me my we us to of in on at by an as is it be or if do so no up am pm hi hello dear thanks thank best regards email mail message messages file files list page web com org net www http https
		der die das und für mit von den dem ein eine bitte alle les des pour avec une dans sur est los las por para con una que del`) {
		m[w] = true
	}
	return m
}()

func clipText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// argument is the value of an argument, or of a member of one: message.to.
func argument(args []byte, path string) []byte {
	v := gjson.ParseBytes(args)
	for name := range strings.SplitSeq(path, ".") {
		found := gjson.Result{}
		v.ForEach(func(key, value gjson.Result) bool {
			if key.Str == name {
				found = value
			}
			return key.Str != name
		})
		if v = found; !v.Exists() {
			return nil
		}
	}
	return []byte(v.Raw)
}
