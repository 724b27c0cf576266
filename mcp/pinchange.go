package mcp

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/sjson"
)

// A change is what comes of one list.
type change struct {
	pins    *Pins
	key     bookKey
	now     time.Time
	first   bool
	listed  map[string]bool // names that are in the list
	put     map[pinKey]*Pin // a nil Pin is forgotten
	notes   []note
	fresh   []string // names of tools that are accepted now
	took    int      // accepted with the first list
	drifted bool
	gone    map[string]string // accepted names that are not in the list, by the rest of their definition
}

// note is a record in the making.
type note struct{ what, by, name, state string }

// definition judges one item of the list.
func (c *change) definition(d *Definition, sum string, r *reading) {
	p, raw := c.pins, string(d.Raw)
	pin := p.book(c.key).pins[d.Name]
	var findings []Finding
	found := func() []Finding {
		if findings == nil {
			if r == nil {
				left := maxSchemasRead
				r = newReading(c.key.kind, raw, &left)
			}
			findings = append([]Finding{}, p.findings(c.key, d.Name, r, c.listed)...)
		}
		return findings
	}
	grave := func() bool { return slices.ContainsFunc(found(), func(f Finding) bool { return f.Grade == High }) }
	v := p.verdict(c.key, d.Name, sum, grave)
	next := Pin{Server: c.key.server, View: c.key.view, Kind: c.key.kind, Name: strings.Clone(d.Name)}
	if pin != nil {
		next.Accepted, next.Waiting = pin.Accepted, pin.Waiting
	}
	switch {
	case v.by != "":
		said := &Said{SHA256: sum, Raw: strings.Clone(raw), At: c.now, By: v.by, Findings: found()}
		c.accepted(&next, said)
	case v.why != "" && pin != nil && pin.Waiting.is(sum):
		d.Held = next.held()
		return // it is known to wait
	case v.why != "":
		next.Waiting = &Said{SHA256: sum, Raw: strings.Clone(raw), At: c.now, Why: v.why, Findings: found()}
		if v.why == WaitsNew {
			next.Waiting.Like = c.like(raw)
		}
		if next.Accepted != nil && v.why == WaitsChanged {
			c.drifted = true
		}
		c.waits(&next)
		d.Held = next.held()
	case pin != nil && pin.Waiting.is(sum): // it was withheld under another trust
		next.Waiting = nil
	default:
		d.Held = pin.unusable()
		return
	}
	if d.Held == "" {
		d.Held = next.unusable()
	}
	c.put[next.key()] = &next
}

// accepted notes that a definition may be used.
func (c *change) accepted(next *Pin, said *Said) {
	old := next.Accepted
	next.Accepted, next.Waiting = said, nil
	c.pins.names.add(c.key, next.Name)
	if c.key.kind == PinTool && old == nil && distinctive(next.Name) {
		c.fresh = append(c.fresh, next.Name)
	}
	by := "server:" + c.key.server
	switch {
	case old != nil && !old.is(said.SHA256):
		was := Pin{Kind: next.Kind, Accepted: old, Waiting: said}
		what := "mcp.pinned"
		if said.By == ByOpen {
			what = "mcp.drift"
		}
		c.note(note{what, by, next.Object(), "accepted (" + said.By + "); " + was.words()})
	case next.Kind == PinInstructions && said.Raw == "":
	case !c.first:
		c.note(note{"mcp.pinned", by, next.Object(), "accepted (" + said.By + "); sha256 " + said.SHA256})
	default:
		c.took++
	}
	if len(said.Findings) > 0 {
		c.note(note{"mcp.flagged", by, next.Object(), "accepted (" + said.By + "), although " + found(said.Findings)})
	}
}

// waits notes that a definition is withheld.
func (c *change) waits(next *Pin) {
	what := "mcp.drift"
	if next.Waiting.Why == WaitsFound || next.Waiting.Why == WaitsUnlocked && next.Accepted == nil {
		what = "mcp.quarantined"
	}
	next.Waiting.Words = next.words()
	c.note(note{what, "server:" + c.key.server, next.Object(), next.Waiting.Words})
}

func (c *change) note(n note) { c.notes = append(c.notes, n) }

// words says in few words what waits, for a record.
func (p *Pin) words() string {
	s := p.Grade().String() + ": "
	switch {
	case p.Accepted != nil && p.Accepted.SHA256 != p.Waiting.SHA256:
		var all []string
		for _, c := range p.Changes() {
			all = append(all, c.Text)
		}
		s += strings.Join(all, "; ")
	case p.Waiting.Why == WaitsUnlocked:
		s += "it does not stand in the lock file"
	case p.Waiting.Why == WaitsFound:
		s += "seen for the first time"
	default:
		s += "it is new"
		if p.Waiting.Like != "" {
			s += ", and like " + named(p.Waiting.Like) + ", which is gone, but for its name"
		}
	}
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + "…"
	}
	if list := p.unseen(); len(list) > 0 {
		s += "; " + found(list)
	}
	s += "; sha256 " + p.Waiting.SHA256
	if p.Accepted != nil {
		s += " instead of " + p.Accepted.SHA256
	}
	return s
}

// found is findings in few words, the gravest first.
func found(list []Finding) string {
	list = slices.SortedStableFunc(slices.Values(list), func(a, b Finding) int { return int(b.Grade) - int(a.Grade) })
	var all []string
	for _, f := range list[:min(len(list), 3)] {
		all = append(all, f.Grade.String()+": "+f.Text+" ("+cmp.Or(f.At, "the text")+")")
	}
	if n := len(list) - 3; n > 0 {
		all = append(all, fmt.Sprintf("and %d more", n))
	}
	return "found " + strings.Join(all, "; ")
}

// like finds a definition that is gone from the list and was this one by another
// name.
func (c *change) like(raw string) string {
	if c.gone == nil {
		c.gone = make(map[string]string)
		for name, pin := range c.pins.book(c.key).pins {
			if !c.listed[name] && pin.Accepted != nil {
				c.gone[nameless(pin.Accepted.Raw)] = name
			}
		}
	}
	return c.gone[nameless(raw)]
}

func nameless(raw string) string {
	doc, err := sjson.Delete(raw, "name")
	if err != nil {
		return raw
	}
	return doc
}

// commit puts what changes on record, then stores it, and then lets it count.
func (c *change) commit(ctx context.Context) error {
	p := c.pins
	b := p.book(c.key)
	c.flag()
	if c.first {
		marker := &Pin{Server: c.key.server, View: c.key.view, Kind: c.key.kind}
		c.put[marker.key()] = marker
		if n := len(c.listed); n > 0 {
			name := Pin{Server: c.key.server, Kind: c.key.kind, Name: "*"}
			c.notes = append([]note{{"mcp.pinned", "server:" + c.key.server, name.Object(),
				fmt.Sprintf("first list: %d accepted, %d withheld; sha256 of all %s", c.took, n-c.took, c.sum())}}, c.notes...)
		}
	}
	if len(c.put) == 0 {
		return nil
	}
	c.forget()
	if size, bytes := c.after(b); size > maxPins || bytes > maxPinBytes {
		return errors.New("the server has said more than callgate keeps pins of")
	}
	if err := c.record(); err != nil {
		return err
	}
	docs := make(map[string]string, len(c.put))
	for key, pin := range c.put {
		docs[key.String()] = ""
		if pin != nil {
			doc, err := pin.document()
			if err != nil {
				return err
			}
			docs[key.String()] = doc
		}
	}
	if err := p.cfg.Store.PutPins(ctx, docs); err != nil {
		return err
	}
	for key, pin := range c.put {
		if pin != nil {
			p.keep(pin)
			continue
		}
		b.bytes -= b.pins[key.name].size()
		delete(b.pins, key.name)
	}
	b.begun = true
	return nil
}

// sum is the hash of all definitions that come with the first list.
func (c *change) sum() string {
	var sums []string
	for _, pin := range c.put {
		for _, s := range []*Said{pin.Accepted, pin.Waiting} {
			if s != nil {
				sums = append(sums, pin.Name+"\x00"+s.SHA256)
			}
		}
	}
	slices.Sort(sums)
	all := sha256.Sum256([]byte(strings.Join(sums, "\x00")))
	return hex.EncodeToString(all[:])
}

// after is how many pins the book will have, and of how many bytes.
func (c *change) after(b *book) (size, bytes int) {
	size, bytes = len(b.pins), b.bytes
	for key, pin := range c.put {
		if (bookKey{key.server, key.view, key.kind}) != c.key || key.name == "" && c.key.kind != PinInstructions {
			continue
		}
		if old := b.pins[key.name]; old != nil {
			size--
			bytes -= old.size()
		}
		if pin != nil {
			size++
			bytes += pin.size()
		}
	}
	return size, bytes
}

// forget drops what waits, was never accepted and is not listed any more, where
// there is much of it: a server that lists other things each time fills no disk.
func (c *change) forget() {
	b := c.pins.book(c.key)
	if size, bytes := c.after(b); size <= maxItems && bytes <= maxPinBytes/2 {
		return
	}
	for name, pin := range b.pins {
		if pin.Accepted == nil && !c.listed[name] {
			c.put[pin.key()] = nil
		}
	}
}

// record writes the notes, the first ones each by itself.
func (c *change) record() error {
	p := c.pins
	if n := len(c.notes); n > maxNotes {
		rest := c.notes[maxNotes-1:]
		c.notes = c.notes[:maxNotes-1]
		var names []string
		for _, n := range rest {
			names = append(names, n.what+" "+ascii(clip(n.name)))
		}
		all := Pin{Server: c.key.server, Kind: c.key.kind, Name: "*"}
		c.notes = append(c.notes, note{"mcp.drift", "server:" + c.key.server, all.Object(), fmt.Sprintf("and %d more: %s", len(rest), strings.Join(names, ", "))})
	}
	for _, n := range c.notes {
		if err := p.cfg.Record(n.what, n.by, n.name, n.state); err != nil {
			return err
		}
	}
	return nil
}

// flag notes of other servers' definitions that they speak of a tool that is
// accepted only now.
func (c *change) flag() {
	if len(c.fresh) == 0 {
		return
	}
	fresh := make(map[string]bool, len(c.fresh))
	for _, name := range c.fresh {
		fresh[name] = true
	}
	p := c.pins
	for key, b := range p.books {
		if _, there := p.trusted(key.server); !there || key.server == c.key.server {
			continue
		}
		own := p.book(bookKey{key.server, key.view, PinTool}).pins
		for _, pin := range b.pins {
			if pin.Accepted == nil || pin.Accepted.byPerson() {
				continue
			}
			var more []Finding
			for _, word := range words.FindAllString(pin.Accepted.Raw, maxMentions) {
				if fresh[word] && own[word] == nil {
					f := speaksOf(Medium, "", word, c.key.server)
					if !slices.Contains(more, f) && !slices.ContainsFunc(pin.Accepted.Findings, func(g Finding) bool { return g.Text == f.Text }) {
						more = append(more, f)
					}
				}
			}
			if len(more) == 0 || len(pin.Accepted.Findings)+len(more) > maxFindings {
				continue
			}
			said, next := *pin.Accepted, *pin
			said.Findings = append(slices.Clone(said.Findings), more...)
			next.Accepted = &said
			c.put[next.key()] = &next
			c.note(note{"mcp.flagged", "server:" + key.server, next.Object(), found(more)})
		}
	}
}
