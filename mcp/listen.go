package mcp

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"callgate/firewall"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
)

const keepAlive = 25 * time.Second // between signs of life on a stream

// changes are what a stream tells.
var changes = [...]string{"notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed"}

// listen opens the stream on which a legacy client hears that a list of its
// servers changed. It ends with the session, or when its token does.
func (v *visit) listen(ctx context.Context) {
	if v.r.Header.Get(mcpgo.HeaderSessionID) == "" { // some clients ask before they initialize
		v.refuse(ctx, nil, v.notAllowed())
		return
	}
	if f := v.resume(); f != nil {
		v.refuse(ctx, nil, f)
		return
	}
	if _, sse := accepts(v.r.Header["Accept"]); !sse {
		v.refuse(ctx, nil, bad(http.StatusNotAcceptable, mcpgo.INVALID_REQUEST, "send Accept: text/event-stream"))
		return
	}
	ctx, done := v.sessions.hear(ctx, v.session)
	defer done()
	out := &reply{w: v.w, sse: true}
	call := v.blank(firewall.Session, "session/listen")
	err := v.gate.Do(ctx, call, &news{v}, func(ev firewall.Event) error {
		v.about(call.ID)
		if ev.Name != "" {
			return out.notify(ev.Name, nil, ev.More)
		}
		out.open()
		return out.raw(ev.Frame, false)
	})
	if err != nil && !out.streaming && ctx.Err() == nil {
		v.deny(new(Message), v.fault(err, call.Method), &reply{w: v.w, json: true})
	}
}

// news is where a stream has its events from. What happens several times before
// the client has taken it is told once.
type news struct{ *visit }

// Read implements [firewall.Upstream]: there is nothing to note.
func (n *news) Read(*firewall.Event) {}

// Forward implements [firewall.Upstream].
func (n *news) Forward(ctx context.Context, _ *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		due := pending{wake: make(chan struct{}, 1)}
		from := n.behind
		stop := due.hear(n.heard(from))
		defer func() { stop() }()
		alive := firewall.Event{Frame: []byte(":\n\n")}
		if !yield(alive, nil) { // only now, so that a client that sees the stream misses nothing
			return
		}
		tick := time.NewTicker(keepAlive)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if _, err := n.gate.Authenticate(ctx, n.token, n.route); err != nil || !yield(alive, nil) {
					return
				}
			case <-from.gone:
				stop()
				from = n.Handler.behind.Load()
				stop = due.hear(n.heard(from))
				due.add(changes[:]...)
			case <-due.wake:
				told := due.take()
				for i, name := range told {
					if !yield(firewall.Event{Name: name, More: i+1 < len(told)}, nil) {
						return
					}
				}
			}
		}
	}
}

// heard is the servers that the client's endpoint stands for.
func (v *visit) heard(from *behind) []*Server {
	if v.name == "" {
		return from.servers
	}
	if s := from.byName[v.name]; s != nil {
		return []*Server{s}
	}
	return nil
}

// pending is the changes that are still to be told.
type pending struct {
	wake chan struct{} // holds a token when there are any

	mu  sync.Mutex
	due [len(changes)]bool
}

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
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pending) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for i, due := range p.due {
		if due {
			names = append(names, changes[i])
		}
	}
	p.due = [len(changes)]bool{}
	return names
}
