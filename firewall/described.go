package firewall

import (
	"iter"
	"slices"
	"strings"
)

// maxDescribed is the most records among which something may be found by its description.
const maxDescribed = 4096

// described says that plain is what a lookup gave for something that the user described: it
// is a member of a record that has words of the user's which tell it from those beside it.
func (m *met) described(plain string, party bool) bool {
	if len(m.records) > maxDescribed {
		return false
	}
	for _, f := range m.fields[plain] {
		if party && (m.called(f, plain) || m.only(f, plain)) || !party && m.fits(f) {
			return true
		}
	}
	return false
}

// fits says that the user has described the record of f, and none beside it by more words.
func (m *met) fits(f field) bool {
	words := m.telling(f)
	if len(words) == 0 {
		return false
	}
	for o := range m.beside(f) {
		if more := m.telling(o); len(more) > len(words) && !slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(more, w) }) {
			return false
		}
	}
	return true
}

// called says that a party is called as the user called it, by itself or by a name beside it,
// and nobody else is.
func (m *met) called(f field, plain string) bool {
	r := &m.records[f.record]
	return slices.ContainsFunc(m.telling(f), func(w string) bool {
		named := saidOf(plain, w)
		for i := range r.members {
			named = named || nameLike(r.members[i].name) && saidOf(r.members[i].text, w)
		}
		return named && !m.rival(w, plain)
	})
}

// rival says that somebody else is called so as well.
func (m *met) rival(word, plain string) bool {
	for i := range m.records {
		r := &m.records[i]
		other := false
		for _, x := range r.members {
			if x.text == plain {
				other = false
				break
			}
			other = other || (nameLike(x.name) || strings.IndexByte(x.text, '@') > 0) && saidOf(x.text, word)
		}
		if other {
			return true
		}
	}
	return false
}

// only says that of all records that could be meant the user has described none but those
// with this party: by what they are about, not by its name. Anybody can write a record that
// fits; nobody can take away the one that was meant.
func (m *met) only(f field, plain string) bool {
	if !slices.ContainsFunc(m.telling(f), func(w string) bool { return !numeric(w) && !saidOf(plain, w) }) {
		return false
	}
	name := m.records[f.record].members[f.at].name
	for i := range m.records {
		for at, x := range m.records[i].members {
			if x.name == name && x.text != plain && !m.records[i].holds(plain) && len(m.telling(field{int32(i), int32(at)})) > 0 {
				return false
			}
		}
	}
	return true
}

// beside are the records of the same answer that are of the same kind: they have a member
// of the same name.
func (m *met) beside(f field) iter.Seq[field] {
	r := &m.records[f.record]
	name := r.members[f.at].name
	return func(yield func(field) bool) {
		first := int(f.record) // those of one answer stand behind each other
		for first > 0 && m.records[first-1].source == r.source {
			first--
		}
		for i := first; i < len(m.records) && m.records[i].source == r.source; i++ {
			o := &m.records[i]
			if i == int(f.record) || o.holds(r.members[f.at].text) {
				continue
			}
			if at := slices.IndexFunc(o.members, func(x member) bool { return x.name == name }); at >= 0 && !yield(field{int32(i), int32(at)}) {
				return
			}
		}
	}
}

// telling are the words of a record that the user has said, and that do not stand in most
// of the records beside it.
func (m *met) telling(f field) (list []string) {
	r := &m.records[f.record]
	for i := range r.members {
		eachToken(local(r.members[i].text), func(w string) {
			if len(w) < 3 || !m.says(w) || idle[w] || orders(w) || slices.Contains(list, w) {
				return
			}
			others, with := 0, 0
			for o := range m.beside(f) {
				others++
				if m.records[o.record].has(w) {
					with++
				}
			}
			if 2*with <= others {
				list = append(list, w)
			}
		})
	}
	return list
}

// orders says that a word is of what is to be done, and of no thing: send, share, delete, change.
func orders(word string) bool {
	return slices.ContainsFunc(actsOf(userWords, word), func(g int) bool { return !actsKnown[g].makes && g != paying })
}

// local is an address without its domain, which tells nobody from another.
func local(text string) string {
	if at := strings.IndexByte(text, '@'); at > 0 && !strings.Contains(text, " ") {
		return text[:at]
	}
	return text
}

// saidOf says that text, but for the domain of an address, has the word.
func saidOf(text, word string) (found bool) {
	if !strings.Contains(text, word) {
		return false
	}
	eachToken(local(text), func(w string) { found = found || w == word })
	return found
}

func (r *metRecord) holds(text string) bool {
	return slices.ContainsFunc(r.members, func(x member) bool { return x.text == text })
}

func (r *metRecord) has(word string) bool {
	return slices.ContainsFunc(r.members, func(x member) bool { return saidOf(x.text, word) })
}

// nameLike says that a member of a record is what a party is called.
func nameLike(name string) bool {
	switch name {
	case "from", "sender", "title", "contact", "user", "author", "owner", "":
		return true
	}
	return strings.Contains(name, "name")
}

// numbered says that the user has named something by its number: behind a word for it, or for
// numbers. Two people, at 7, are no ids.
func (m *met) numbered(number string, about []string) (found bool) {
	names := false
	eachToken(string(m.text), func(w string) {
		switch {
		case w == number && names:
			found = true
		case numeric(w) || idle[w] && len(w) <= 3 && names: // 7, 8 and 9
		default:
			names = slices.Contains(numbering, w) || slices.ContainsFunc(about, func(a string) bool {
				return len(a) >= 3 && len(w) >= 3 && (strings.HasSuffix(a, w) || strings.HasPrefix(w, a) || strings.HasSuffix(strings.TrimSuffix(a, "s"), strings.TrimSuffix(w, "s")))
			})
		}
	})
	return found
}

var numbering = strings.Fields("id ids no nr num number numbers nummer número numéro numero № item order #")
