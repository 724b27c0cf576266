package firewall

import (
	"context"
	"slices"
	"strings"
	"time"

	"callgate/identity"
)

// A Property is something that an agent has had made at a target and that stays there, to
// be named in later calls: a file, a batch, a response. It is its owner's alone.
type Property struct {
	Owner   string // see [OwnerOf]
	Kind    string // in the words of the front door
	ID      string // the target's
	Target  string
	Model   string    // that it is of, or is for; "" for none
	Path    string    // of the calls that it holds
	Purpose string    // that it was made for
	Calls   int64     // that it holds
	Input   int64     // tokens that they were estimated to take
	Output  int64     // and to bring
	Until   time.Time // when it is forgotten; zero is never
}

// A PropertyStore keeps whose properties are. One is known by owner, kind and id.
type PropertyStore interface {
	// PutProperty adds a property, or puts it in the place of what it was.
	PutProperty(ctx context.Context, p Property) error
	// Properties are those of a kind and an id, of all owners.
	Properties(ctx context.Context, kind, id string) ([]Property, error)
	// DropProperty forgets a property.
	DropProperty(ctx context.Context, owner, kind, id string) error
	// DropProperties forgets those that are to be forgotten before a time.
	DropProperties(ctx context.Context, before time.Time) error
}

// OwnerOf is whose that is which a caller makes: an agent that acts for somebody is
// another owner than the same agent for somebody else.
func OwnerOf(p *identity.Principal) string {
	return p.Tenant + "\x1f" + strings.Join(p.Chain(), "\x1f")
}

// PutProperty implements [PropertyStore].
func (m *Memory) PutProperty(_ context.Context, p Property) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.properties == nil {
		m.properties = make(map[[2]string][]Property)
	}
	key := [2]string{p.Kind, p.ID}
	m.properties[key] = append(slices.DeleteFunc(m.properties[key], func(o Property) bool { return o.Owner == p.Owner }), p)
	return nil
}

// Properties implements [PropertyStore].
func (m *Memory) Properties(_ context.Context, kind, id string) ([]Property, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.properties[[2]string{kind, id}]), nil
}

// DropProperty implements [PropertyStore].
func (m *Memory) DropProperty(_ context.Context, owner, kind, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [2]string{kind, id}
	m.properties[key] = slices.DeleteFunc(m.properties[key], func(p Property) bool { return p.Owner == owner })
	return nil
}

// DropProperties implements [PropertyStore].
func (m *Memory) DropProperties(_ context.Context, before time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, list := range m.properties {
		m.properties[key] = slices.DeleteFunc(list, func(p Property) bool { return !p.Until.IsZero() && p.Until.Before(before) })
	}
	return nil
}
