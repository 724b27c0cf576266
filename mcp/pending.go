package mcp

import (
	"slices"
	"strings"
	"sync"

	"callgate/firewall"
)

// pending is what a client is still to be told, and what it is told of.
type pending struct {
	wake chan struct{} // holds a token when there is anything to tell

	mu        sync.Mutex
	due       [len(changes)]bool
	resources []Message         // notifications that a resource changed, one for each; and of pages
	stops     map[string]func() // end the subscriptions, by server and URI
	over      bool
}

const maxDue = 1000 // resources that changed and are not told

func newPending() *pending { return &pending{wake: make(chan struct{}, 1)} }

func (p *pending) hear(servers []*Server) (stop func()) {
	var stops []func()
	for _, s := range servers {
		stops = append(stops, s.OnNotice(func(m Message) { p.add(m.Method) }))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

func (p *pending) add(names ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		if i := slices.Index(changes[:], name); i >= 0 {
			p.due[i] = true
		}
	}
	p.ring()
}

// updated notes that a resource changed.
func (p *pending) updated(m Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	uri := uriOf(&m)
	p.resources = slices.DeleteFunc(p.resources, func(old Message) bool { return uriOf(&old) == uri })
	if len(p.resources) < maxDue {
		p.resources = append(p.resources, m)
	}
	p.ring()
}

// told notes what the client is to be told once, of a page that its user is done with.
func (p *pending) told(m Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.resources) < maxDue && !p.over {
		p.resources = append(p.resources, m)
	}
	p.ring()
}

func uriOf(m *Message) string { return parsed(m.Params).Get("uri").Str }

// ring needs mu.
func (p *pending) ring() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take is what is due, lists first.
func (p *pending) take() []firewall.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	var told []firewall.Event
	for i, due := range p.due {
		if due {
			told = append(told, firewall.Event{Name: changes[i]})
		}
	}
	for i := range p.resources {
		m := &p.resources[i]
		told = append(told, firewall.Event{Name: m.Method, Body: m.Body()})
	}
	p.due, p.resources = [len(changes)]bool{}, nil
	return told
}

func (p *pending) has(at string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stops[at] != nil
}

// keep notes how a subscription is ended.
func (p *pending) keep(at string, stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.stops[at] != nil {
		stop()
		return
	}
	if p.stops == nil {
		p.stops = make(map[string]func())
	}
	p.stops[at] = stop
}

// end ends what keep noted.
func (p *pending) end(at string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if stop := p.stops[at]; stop != nil {
		stop()
		delete(p.stops, at)
	}
}

// drop ends the subscriptions to a URI.
func (p *pending) drop(uri string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at, stop := range p.stops {
		if _, of, _ := strings.Cut(at, " "); of == uri {
			stop()
			delete(p.stops, at)
		}
	}
}

// stop ends all subscriptions, and those to come.
func (p *pending) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	for _, stop := range p.stops {
		stop()
	}
	p.stops = nil
}
