package mcp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"
)

// A Pin is what callgate holds a server to, of one thing that the server says of
// itself: what was accepted of it, and what it says now, where that waits for a
// person. It is never changed once made.
type Pin struct {
	Server   string `json:"server"`
	View     string `json:"view,omitempty"` // for whom the server says it, where it says different things; see [Pins]
	Kind     string `json:"kind"`           // [PinTool], [PinPrompt], [PinTemplate], [PinResource] or [PinInstructions]
	Name     string `json:"name,omitempty"` // name, uriTemplate or uri; "" of instructions
	Accepted *Said  `json:"accepted,omitempty"`
	Waiting  *Said  `json:"waiting,omitempty"` // withheld until a person accepts it
}

// Said is one thing that a server said of itself.
type Said struct {
	SHA256   string    `json:"sha256"`            // of Raw, in hexadecimal
	Raw      string    `json:"raw"`               // the item as it came; of instructions the text
	At       time.Time `json:"at"`                // when it was first seen, or accepted
	By       string    `json:"by,omitempty"`      // who accepted it: [ByFirstUse], [ByLock], [ByOpen] or user:ana
	Note     string    `json:"note,omitempty"`    // of the person who accepted it
	Why      string    `json:"why,omitempty"`     // why it waits: [WaitsChanged], [WaitsNew], [WaitsFound] or [WaitsUnlocked]
	Like     string    `json:"like,omitempty"`    // of a new one: the name of one that is gone, and was the same otherwise
	Findings []Finding `json:"found,omitempty"`   // what the scan saw in it
	Words    string    `json:"changes,omitempty"` // a change in a few words, as it is on record
}

// Kinds of a [Pin].
const (
	PinTool         = "tool"
	PinPrompt       = "prompt"
	PinTemplate     = "template"
	PinResource     = "resource" // only of one in which the scan found something
	PinInstructions = "instructions"
)

// Who accepts a definition, if it is not a person.
const (
	ByFirstUse = "first-use" // it was there when the server was first asked
	ByLock     = "lock"      // the lock file has it
	ByOpen     = "open"      // the server is trusted to change what it says
)

// Why a definition waits for a person.
const (
	WaitsChanged  = "changed"  // it is another than the one that was accepted
	WaitsNew      = "new"      // the server lists it only since its definitions are pinned
	WaitsFound    = "found"    // the scan found something in it when it was first seen
	WaitsUnlocked = "unlocked" // it does not stand in the lock file
)

// State says in a word how it stands: pinned, changed, quarantined or, of a tool that
// is accepted and cannot be called all the same, unusable.
func (p *Pin) State() string {
	switch {
	case p.Waiting == nil && p.unusable() != "":
		return "unusable"
	case p.Waiting == nil:
		return "pinned"
	case p.Accepted == nil || p.Accepted.SHA256 == p.Waiting.SHA256:
		return "quarantined"
	}
	return "changed"
}

// Object names it as records do: tool:shop/refund.
func (p *Pin) Object() string {
	switch p.Kind {
	case PinTool, PinPrompt:
		return p.Kind + ":" + p.Server + "/" + p.Name
	case PinInstructions:
		return p.Kind + ":" + p.Server
	}
	return p.Kind + ":" + p.Server + "|" + p.Name
}

// Changes is how what waits differs from what was accepted, the gravest first.
// There are none where nothing was accepted.
func (p *Pin) Changes() []Change {
	if p.Waiting == nil || p.Accepted == nil {
		return nil
	}
	return Diff(p.Kind, p.Accepted.Raw, p.Waiting.Raw)
}

// Grade is how grave what waits is: by its changes and by what was found in it
// and not in what was accepted.
func (p *Pin) Grade() Grade {
	if p.Waiting == nil {
		return Low
	}
	g := Medium // something new to read
	if p.Accepted != nil {
		g = Low
		for _, c := range p.Changes() {
			g = max(g, c.Grade)
		}
	}
	for _, f := range p.unseen() {
		g = max(g, f.Grade)
	}
	return g
}

// unseen is what was found in what waits and not in what was accepted.
func (p *Pin) unseen() []Finding {
	if p.Accepted == nil {
		return p.Waiting.Findings
	}
	known := make(map[Finding]bool)
	for _, f := range p.Accepted.Findings {
		known[f] = true
	}
	var list []Finding
	for _, f := range p.Waiting.Findings {
		if !known[f] {
			list = append(list, f)
		}
	}
	return list
}

// byPerson says whether a person accepted it.
func (s *Said) byPerson() bool { return s != nil && strings.HasPrefix(s.By, "user:") }

func (s *Said) is(sum string) bool { return s != nil && s.SHA256 == sum }

func sumOf(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return hex.EncodeToString(sum[:])
}

// pinKey is which pin.
type pinKey struct{ server, view, kind, name string }

func (p *Pin) key() pinKey { return pinKey{p.Server, p.View, p.Kind, p.Name} }

// String is the key in the store.
func (k pinKey) String() string {
	return strings.Join([]string{k.server, k.view, k.kind, k.name}, "\x00")
}

// isBaseline says that the pin is none of an item, but marks that the server was
// asked for items of the kind.
func (p *Pin) isBaseline() bool { return p.Name == "" && p.Kind != PinInstructions }

// A PinStore keeps pins: documents by keys, both texts.
type PinStore interface {
	// Pins is all documents that are kept.
	Pins(ctx context.Context) ([]string, error)
	// PutPins keeps documents in the place of those with their keys, or forgets
	// those for which the document is empty: all of it or nothing.
	PutPins(ctx context.Context, docs map[string]string) error
}

// MemoryPins is a [PinStore] that keeps pins as long as the process lives. The
// zero MemoryPins is empty.
type MemoryPins struct {
	mu   sync.Mutex
	docs map[string]string
}

// Pins implements [PinStore].
func (m *MemoryPins) Pins(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []string
	for _, doc := range m.docs {
		list = append(list, doc)
	}
	return list, nil
}

// PutPins implements [PinStore].
func (m *MemoryPins) PutPins(_ context.Context, docs map[string]string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.docs == nil {
		m.docs = make(map[string]string)
	}
	maps.Copy(m.docs, docs)
	maps.DeleteFunc(m.docs, func(_, doc string) bool { return doc == "" })
	return nil
}

// document is the pin as it is stored.
func (p *Pin) document() (string, error) {
	doc, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("store the pin of %s: %w", p.Object(), err)
	}
	return string(doc), nil
}

// pinOf reads a document. A definition that is not the one that its hash is of
// cannot be compared with any more; the hash counts.
func pinOf(doc string) (*Pin, error) {
	p := new(Pin)
	if err := json.Unmarshal([]byte(doc), p); err != nil {
		return nil, fmt.Errorf("read a pin: %w", err)
	}
	for _, s := range []*Said{p.Accepted, p.Waiting} {
		if s != nil && sumOf(s.Raw) != s.SHA256 {
			s.Raw = ""
		}
	}
	return p, nil
}
