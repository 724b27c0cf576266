package mcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"callgate/firewall"
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
	left := maxSchemasRead
	for _, i := range p.unsettled(key, defs, sums) { // read while nobody waits
		read[i] = newReading(key.kind, string(defs[i].Raw), &left)
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
