package firewall

import (
	"slices"
	"strings"

	"callgate/audit"

	"github.com/tidwall/gjson"
)

// findOrigins says from where the values come that call acts on, by what its run has met and
// those for which it acts.
func (call *Call) findOrigins() Origins {
	u := call.mets
	var o Origins
	o.Intent = u.intent(call.Resource)
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
			audit.Leaves(raw, func(at, text string) {
				for _, value := range single(text, side.party) {
					from, by := u.origin(value, side.party, o.Intent)
					if from > *side.worst {
						*side.worst = from
					}
					if len(o.Evidence) < maxEvidence {
						e := Evidence{Path: "/" + name + at, Value: clipText(value, 200), Origin: from.String()}
						if by != nil {
							e.Call, e.Tool = by.call, by.tool
						}
						o.Evidence = append(o.Evidence, e)
					}
				}
			})
		}
	}
	return o
}

const maxEvidence = 32

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
func (u mets) origin(value string, party bool, intent Intent) (Origin, *metSource) {
	best, by := OriginComposed, (*metSource)(nil)
	for _, m := range u {
		from, at := m.origin(value, party, intent)
		switch {
		case from <= OriginResolved && (best > OriginResolved || from < best):
			best, by = from, at
		case from == OriginUntrusted && best == OriginComposed:
			best, by = from, at
		}
	}
	return best, by
}

func (m *met) origin(value string, party bool, intent Intent) (Origin, *metSource) {
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
	if w := strings.Trim(plain, "#.,:;!?\"'()"); len(w) <= shortWord && (m.words[w] || m.system[w]) {
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

// described says that plain is what a lookup gave for something that the user described: it
// is a field of a record. Of an object, another field of that has a word of the user's which
// tells it from the records beside it. Of a party the value itself has, or a name beside it,
// and nobody else fits as well.
func (m *met) described(plain string, party bool) bool {
	for _, f := range m.fields[plain] {
		r := &m.records[f.record]
		for i := range r.members {
			if party && int32(i) != f.at && !nameLike(r.members[i].name) {
				continue
			}
			if slices.ContainsFunc(m.telling(r, r.members[i].text, party), func(w string) bool {
				return !party || !m.rival(w, plain)
			}) {
				return true
			}
		}
	}
	return false
}

// telling are the words of a field that the user has said, and that do not stand in half of
// the records beside it.
func (m *met) telling(r *metRecord, text string, party bool) (list []string) {
	local := text
	if at := strings.IndexByte(text, '@'); at > 0 {
		local = text[:at] // a domain tells nobody from another
	}
	eachToken(local, func(w string) {
		if len(w) < 3 && !numeric(w) || !m.words[w] || idle[w] {
			return
		}
		beside, with := 0, 0
		if !party {
			for i := range m.records {
				if o := &m.records[i]; o.source == r.source && len(o.members) == len(r.members) {
					beside++
					if o.has(w) {
						with++
					}
				}
			}
		}
		if beside < 3 || 2*with <= beside {
			list = append(list, w)
		}
	})
	return list
}

func (r *metRecord) has(word string) (found bool) {
	for i := range r.members {
		eachToken(r.members[i].text, func(w string) { found = found || w == word })
	}
	return found
}

// rival says that a word of the user's fits another party as well.
func (m *met) rival(word, plain string) bool {
	for text := range m.fields {
		if text == plain || !strings.Contains(text, word) || strings.IndexByte(text, '@') < 0 {
			continue
		}
		found := false
		eachToken(text[:strings.IndexByte(text, '@')], func(w string) { found = found || w == word })
		if found {
			return true
		}
	}
	return false
}

// nameLike says that a member of a record is what a party is called.
func nameLike(name string) bool {
	return strings.Contains(name, "name") || name == "from" || name == "sender" || name == "title" || name == "contact" || name == "user" || name == "author" || name == "owner"
}

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
