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
	"sync"
	"sync/atomic"
	"time"

	"callgate/firewall"

	"github.com/tidwall/sjson"
)

// Trust is how far a server may choose what it says of itself. The zero Trust is
// [TrustFirstUse].
type Trust string

// Trusts.
const (
	TrustFirstUse Trust = "first-use" // what it lists when it is first asked is accepted; a person accepts what it adds or changes later
	TrustLocked   Trust = "locked"    // only what stands in the lock file, or what a person accepted, may be used
	TrustOpen     Trust = "open"      // nothing is withheld; what changes is on record
)

// Pins holds servers to what they first said of themselves: tools, prompts,
// resource templates and instructions. It judges each list when it has arrived,
// not each call. What differs from what was accepted is withheld until a person
// accepts it. It is used by many goroutines at once.
//
// A server may list other things for clients with other capabilities. Each such
// view has pins of its own: what its first list adds is accepted as any first list
// is. What another view knows by the name must be the same here, so that nothing is
// changed by having it asked for in a new view.
type Pins struct {
	cfg PinsConfig

	mu    sync.Mutex // held while something changes, and while that is recorded and stored
	lock  *Lock
	books map[bookKey]*book
	names nameIndex

	trust atomic.Pointer[map[string]Trust] // nil before Configure
}

// PinsConfig is what Pins need.
type PinsConfig struct {
	Store   PinStore
	Record  func(what, by, name, state string) error // puts a change on record, before it takes effect
	Changed func()                                   // told when a definition that was usable is withheld; may be nil
	Now     func() time.Time
}

// bookKey is whose definitions, and of which kind.
type bookKey struct{ server, view, kind string }

// A book is the pins of a server of one kind in one view, by name.
type book struct {
	pins  map[string]*Pin
	begun bool // the server was asked
	bytes int
}

const (
	maxPins     = 2 * maxItems // in a book
	maxPinBytes = 64 << 20     // in a book
	maxViews    = 32           // of a server
	maxNotes    = 20           // records of one list; what is more is one record
	maxWords    = 400          // bytes of a change in a record
)

// What is wrong with what [Pins.Accept] was asked for.
var (
	ErrNoPin    = errors.New("there is no such definition")
	ErrAccepted = errors.New("nothing waits to be approved")
	ErrMoved    = errors.New("the definition changed again since you saw it")
)

// OpenPins returns the Pins of a store.
func OpenPins(ctx context.Context, cfg PinsConfig) (*Pins, error) {
	docs, err := cfg.Store.Pins(ctx)
	if err != nil {
		return nil, fmt.Errorf("open pins: %w", err)
	}
	p := &Pins{cfg: cfg, books: make(map[bookKey]*book)}
	for _, doc := range docs {
		pin, err := pinOf(doc)
		if err != nil {
			return nil, fmt.Errorf("open pins: %w", err)
		}
		p.keep(pin)
	}
	p.index()
	return p, nil
}

// Configure says which servers there are and how far each is trusted, and what
// stands in the lock file; nil is none. Lists that were judged before stay as they
// are: the caller has servers forget them.
func (p *Pins) Configure(trust map[string]Trust, lock *Lock) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trust.Store(&trust)
	p.lock = lock
	p.index()
}

// trusted says how far a server is trusted, and whether it is there at all: before
// [Pins.Configure] each is.
func (p *Pins) trusted(server string) (Trust, bool) {
	m := p.trust.Load()
	if m == nil {
		return TrustFirstUse, true
	}
	trust, there := (*m)[server]
	return trust, there
}

// keep takes up a pin. It needs mu, as all that follows.
func (p *Pins) keep(pin *Pin) {
	b := p.book(bookKey{pin.Server, pin.View, pin.Kind})
	b.begun = true
	if pin.isBaseline() {
		return
	}
	if old := b.pins[pin.Name]; old != nil {
		b.bytes -= old.size()
	}
	b.pins[pin.Name] = pin
	b.bytes += pin.size()
}

func (p *Pin) size() int {
	n := 0
	for _, s := range []*Said{p.Accepted, p.Waiting} {
		if s != nil {
			n += len(s.Raw) + 512
		}
	}
	return n
}

func (p *Pins) book(key bookKey) *book {
	b := p.books[key]
	if b == nil {
		b = &book{pins: make(map[string]*Pin)}
		p.books[key] = b
	}
	return b
}

// index makes the names anew of what is accepted of the servers that there are.
func (p *Pins) index() {
	p.names = newNameIndex()
	for key, b := range p.books {
		if _, there := p.trusted(key.server); !there {
			continue
		}
		for name, pin := range b.pins {
			if pin.Accepted != nil {
				p.names.add(key, name)
			}
		}
	}
}

// others is the books of the same server and kind in other views.
func (p *Pins) others(key bookKey) []*book {
	var list []*book
	for k, b := range p.books {
		if k.server == key.server && k.kind == key.kind && k.view != key.view {
			list = append(list, b)
		}
	}
	return list
}

// A verdict is what comes of a definition that was just seen.
type verdict struct {
	by  string // accepted by; "" if it is not, or was already
	why string // it waits; "" if it does not
}

// verdict judges a definition with the hash sum. grave says whether the scan found
// something that withholds it.
func (p *Pins) verdict(key bookKey, name, sum string, grave func() bool) verdict {
	b := p.book(key)
	trust, _ := p.trusted(key.server)
	pin := b.pins[name]
	if key.kind == PinInstructions && sum == sumOf("") { // who says nothing needs no leave
		if pin == nil {
			return verdict{by: ByFirstUse}
		}
		return verdict{}
	}
	if pin == nil {
		pin = &Pin{}
	}
	locked := p.lock.has(key.server, key.kind, name, sum)
	switch {
	case trust == TrustOpen:
		if pin.Accepted.is(sum) && pin.Waiting == nil || key.kind == PinResource && pin.Accepted == nil && !grave() {
			return verdict{}
		}
		return verdict{by: ByOpen}
	case pin.Accepted.is(sum) && (trust != TrustLocked || pin.Accepted.byPerson() || locked):
		return verdict{}
	case locked:
		return verdict{by: ByLock}
	case key.kind == PinResource: // resources come and go
		if grave() {
			return verdict{why: WaitsFound}
		}
		return verdict{}
	}
	elsewhere := false // another view knows it by another hash
	for _, other := range p.others(key) {
		known := other.pins[name]
		if known == nil || known.Accepted == nil {
			continue
		}
		if known.Accepted.is(sum) && known.Accepted.byPerson() {
			return verdict{by: known.Accepted.By}
		}
		if known.Accepted.is(sum) && pin.Accepted == nil && trust != TrustLocked {
			return verdict{by: known.Accepted.By}
		}
		elsewhere = true
	}
	switch {
	case trust == TrustLocked:
		return verdict{why: WaitsUnlocked}
	case pin.Accepted != nil, elsewhere, p.lock.names(key.server, key.kind, name):
		return verdict{why: WaitsChanged}
	case pin.Waiting.is(sum):
		return verdict{why: pin.Waiting.Why}
	case b.begun:
		return verdict{why: WaitsNew}
	case grave():
		return verdict{why: WaitsFound}
	}
	return verdict{by: ByFirstUse}
}

// judge says of each definition of a list why it is withheld, if it is. What is
// accepted, and what is withheld, is on record and stored when it returns.
func (p *Pins) judge(ctx context.Context, key bookKey, defs []Definition) error {
	sums := make([]string, len(defs))
	for i := range defs {
		sums[i] = sumOf(string(defs[i].Raw))
	}
	read := make(map[int]*reading, len(defs))
	for _, i := range p.unsettled(key, defs, sums) { // read while nobody waits
		read[i] = newReading(key.kind, string(defs[i].Raw))
	}
	p.mu.Lock()
	c, err := p.take(ctx, key, defs, sums, read)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	if c.drifted && p.cfg.Changed != nil {
		p.cfg.Changed()
	}
	return nil
}

// unsettled is which definitions must be read to be judged.
func (p *Pins) unsettled(key bookKey, defs []Definition, sums []string) []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.book(key)
	var list []int
	for i := range defs {
		pin := b.pins[defs[i].Name]
		if pin == nil || !pin.Accepted.is(sums[i]) && !pin.Waiting.is(sums[i]) {
			list = append(list, i)
		}
	}
	return list
}

// take judges a list with mu held.
func (p *Pins) take(ctx context.Context, key bookKey, defs []Definition, sums []string, read map[int]*reading) (*change, error) {
	b := p.book(key)
	if !b.begun && p.views(key.server) > maxViews {
		delete(p.books, key)
		return nil, errors.New("the server was asked in more views than callgate keeps apart")
	}
	c := &change{pins: p, key: key, now: p.cfg.Now(), first: !b.begun && key.kind != PinResource && key.kind != PinInstructions, put: make(map[pinKey]*Pin), listed: make(map[string]bool, len(defs))}
	for i := range defs {
		c.listed[defs[i].Name] = true
	}
	for i := range defs {
		c.definition(&defs[i], sums[i], read[i])
	}
	if err := c.commit(ctx); err != nil {
		p.index() // without what was not accepted after all
		return nil, err
	}
	return c, nil
}

func (p *Pins) views(server string) int {
	seen := make(map[string]bool)
	for key, b := range p.books {
		if key.server == server && b.begun {
			seen[key.view] = true
		}
	}
	return len(seen)
}

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
				r = newReading(c.key.kind, raw)
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
		return
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

// List is the pins of a server, or of all where server is "", in order.
func (p *Pins) List(server string) []Pin {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := []Pin{}
	for key, b := range p.books {
		if server != "" && key.server != server {
			continue
		}
		if _, there := p.trusted(key.server); !there {
			continue
		}
		for _, pin := range b.pins {
			if pin.Kind == PinInstructions && pin.Waiting == nil && pin.Accepted.Raw == "" {
				continue // it has none
			}
			list = append(list, *pin)
		}
	}
	slices.SortFunc(list, func(a, b Pin) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(kindOrder(a.Kind), kindOrder(b.Kind)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.View, b.View))
	})
	return list
}

func kindOrder(kind string) int {
	return slices.Index([]string{PinInstructions, PinTool, PinPrompt, PinTemplate, PinResource}, kind)
}

// An Acceptance is a person's word that a definition may be used.
type Acceptance struct {
	Server, Kind, Name string
	SHA256             string // of the definition that the person saw
	By                 string // user:ana
	Note               string
}

// Accept lets the definition that waits be used, in each view in which it waits.
// What the scan found in it does not withhold it any more. The servers must forget
// their lists then. It errs with [ErrNoPin], [ErrAccepted] or [ErrMoved], or if
// that cannot be recorded or stored.
func (p *Pins) Accept(ctx context.Context, a Acceptance) (Pin, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !strings.HasPrefix(a.By, "user:") {
		return Pin{}, fmt.Errorf("%q is no person", a.By)
	}
	known, waiting := false, false
	var next []*Pin
	for key, b := range p.books {
		pin := b.pins[a.Name]
		if key.server != a.Server || key.kind != a.Kind || pin == nil {
			continue
		}
		known, waiting = true, waiting || pin.Waiting != nil
		if pin.Waiting.is(a.SHA256) {
			said, done := *pin.Waiting, *pin
			said.At, said.By, said.Note, said.Why = p.cfg.Now(), a.By, a.Note, ""
			done.Accepted, done.Waiting = &said, nil
			next = append(next, &done)
		}
	}
	switch {
	case !known:
		return Pin{}, ErrNoPin
	case len(next) == 0 && waiting:
		return Pin{}, ErrMoved
	case len(next) == 0:
		return Pin{}, ErrAccepted
	}
	state := next[0].Accepted.Words
	if a.Note != "" {
		state = a.Note + "; " + state
	}
	if err := p.cfg.Record("mcp.approved", a.By, next[0].Object(), state); err != nil {
		return Pin{}, err
	}
	docs := make(map[string]string, len(next))
	for _, pin := range next {
		doc, err := pin.document()
		if err != nil {
			return Pin{}, err
		}
		docs[pin.key().String()] = doc
	}
	if err := p.cfg.Store.PutPins(ctx, docs); err != nil {
		return Pin{}, fmt.Errorf("store that %s is approved: %w", next[0].Object(), err)
	}
	for _, pin := range next {
		p.keep(pin)
		p.names.add(bookKey{pin.Server, pin.View, pin.Kind}, pin.Name)
	}
	return *next[0], nil
}

// open says whether nothing of a server is withheld.
func (p *Pins) open(server string) bool {
	trust, _ := p.trusted(server)
	return trust == TrustOpen
}

// held is why what waits is withheld, in words for an agent.
func (p *Pin) held() string {
	what, target := p.Kind+" "+clip(p.Name)+" of server "+p.Server, p.Server+"/"+clip(p.Name)
	switch p.Kind {
	case PinTemplate: // its name is the server's word, and the agent may not know it
		what, target = "a resource template of server "+p.Server, p.Server
	case PinResource:
		what, target = "this resource of server "+p.Server, p.Server
	case PinInstructions:
		what, target = "the instructions of server "+p.Server, p.Server
	}
	how := "the definition of " + what + " changed and waits for approval"
	switch p.Waiting.Why {
	case WaitsNew:
		how = what + " is new since the server's definitions were pinned, and waits for approval"
	case WaitsFound:
		how = "the definition of " + what + " holds what a person should see first, and waits for approval"
	case WaitsUnlocked:
		how = "the definition of " + what + " is not the one in the lock file, and waits for approval"
	}
	return how + ": an operator can see it with callgate mcp pins and accept it with callgate mcp approve " + target
}

// refusal is why a definition cannot be used.
func refusal(held string) *firewall.Error {
	return &firewall.Error{Code: firewall.Denied, Rule: "pins", Reason: held}
}

const maxMentions = 2000 // words of a definition that are looked up

// A reading is what was read in a definition, before it is held against others.
type reading struct {
	findings   []Finding
	references []mention // of names at /mcp
	words      []mention // that may be names of tools
}

// mention is a name in a text.
type mention struct{ at, server, name string }

func newReading(kind, raw string) *reading {
	r := new(reading)
	r.findings = scan(kind, raw, func(at, text string) {
		if kind != PinInstructions && at == "name" {
			return // see lookalikes
		}
		if n := maxMentions - len(r.references); strings.Contains(text, joint) && n > 0 {
			for _, m := range references.FindAllStringSubmatch(text, n) {
				r.references = append(r.references, mention{at, m[1], m[2]})
			}
		}
		if n := maxMentions - len(r.words); n > 0 {
			for _, m := range words.FindAllString(text, n) {
				r.words = append(r.words, mention{at: at, name: m})
			}
		}
	})
	return r
}

// findings is what was read, and what comes of holding it against what other
// servers have, and against the server's own names.
func (p *Pins) findings(key bookKey, name string, r *reading, listed map[string]bool) []Finding {
	s := &scanning{kind: key.kind, list: slices.Clone(r.findings)}
	for _, m := range r.references {
		if _, there := p.trusted(m.server); there && p.trust.Load() != nil && m.server != key.server {
			s.found(High, "reference", m.at, "it speaks of "+named(m.server+joint+m.name)+", which is another server's")
		}
	}
	for _, m := range r.words {
		if listed[m.name] || p.book(bookKey{key.server, key.view, PinTool}).pins[m.name] != nil {
			continue
		}
		if of := p.names.tools[m.name]; of != "" && of != key.server {
			s.list = addFinding(s.list, speaksOf(Medium, ascii(clip(m.at)), m.name, of))
		}
	}
	if key.kind == PinTool || key.kind == PinPrompt {
		if mixed(name) {
			s.found(High, "lookalike", "name", "its name has letters of another script among Latin ones: "+named(name))
		}
		if like := p.names.like(key, name); like != "" {
			s.found(High, "lookalike", "name", "its name looks like "+named(like))
		}
	}
	return s.list
}

func addFinding(list []Finding, f Finding) []Finding {
	if len(list) >= maxFindings || slices.ContainsFunc(list, func(g Finding) bool { return g.Text == f.Text }) {
		return list
	}
	return append(list, f)
}

func speaksOf(g Grade, at, tool, server string) Finding {
	return Finding{g, "reference", at, "it speaks of " + named(tool) + ", a tool of server " + server}
}

// A nameIndex knows names that are accepted, by their looks.
type nameIndex struct {
	advertised map[string]owner  // at /mcp, by kind and look
	own        map[string]string // by server, kind and look
	tools      map[string]string // server of a distinctive name
}

// owner is whose a name is.
type owner struct{ server, name string }

func newNameIndex() nameIndex {
	return nameIndex{make(map[string]owner), make(map[string]string), make(map[string]string)}
}

func (x *nameIndex) add(key bookKey, name string) {
	if key.kind != PinTool && key.kind != PinPrompt {
		return
	}
	for _, look := range looks(advertised(key.server, name)) {
		if at := key.kind + "\x00" + look; x.advertised[at] == (owner{}) {
			x.advertised[at] = owner{key.server, name}
		}
	}
	for _, look := range looks(name) {
		if at := strings.Join([]string{key.server, key.kind, look}, "\x00"); x.own[at] == "" {
			x.own[at] = name
		}
	}
	if key.kind == PinTool && distinctive(name) && x.tools[name] == "" {
		x.tools[name] = key.server
	}
}

// like is another name that a reader may take name for: one of the same server, or
// one that another server's tool has at /mcp.
func (x *nameIndex) like(key bookKey, name string) string {
	for _, look := range looks(name) {
		if other := x.own[strings.Join([]string{key.server, key.kind, look}, "\x00")]; other != "" && other != name {
			return other
		}
	}
	for _, shown := range []string{name, advertised(key.server, name)} {
		for _, look := range looks(shown) {
			if o := x.advertised[key.kind+"\x00"+look]; o.server != "" && o.server != key.server {
				return advertised(o.server, o.name)
			}
		}
	}
	return ""
}

// pinKind is what the items of lists are pinned as.
func pinKind(which list) string {
	switch which.items {
	case "tools":
		return PinTool
	case "prompts":
		return PinPrompt
	case "resourceTemplates":
		return PinTemplate
	}
	return PinResource
}
