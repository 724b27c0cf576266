package mcp

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"callgate/firewall"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/tidwall/gjson"
)

const keepAlive = 25 * time.Second // between signs of life on a stream

// changes are what a stream tells of lists.
var changes = [...]string{"notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed"}

// listen opens the stream on which a legacy client hears that a list of its
// servers changed, or a resource that it subscribed to. It ends with the session,
// or when its token does.
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
	free, err := v.streams.open(&v.caller)
	if err != nil {
		f := v.fault(err, "")
		f.status = http.StatusTooManyRequests
		v.refuse(ctx, nil, f)
		return
	}
	defer free()
	if last := v.r.Header.Get("Last-Event-Id"); last != "" {
		v.rejoin(ctx, last)
		return
	}
	ctx, done := v.sessions.hear(ctx, v.session)
	defer done()
	out := &reply{w: v.w, sse: true}
	call := v.blank(firewall.Session, "session/listen")
	all := [len(changes)]bool{true, true, true}
	err = v.gate.Do(ctx, call, &news{v, v.sessions.pending(v.session), all}, func(ev firewall.Event) error {
		v.about(call.ID)
		if ev.Name != "" {
			return out.notify(ev.Name, ev.Body.JSON, ev.More)
		}
		out.open()
		return out.raw(ev.Frame, false)
	})
	if err != nil && !out.streaming && ctx.Err() == nil {
		v.deny(new(Message), v.fault(err, call.Method), &reply{w: v.w, json: true})
	}
}

// listenModern opens the subscription of a modern client: it hears what it asked
// for, as far as there is such a thing and the policy lets it.
func (v *visit) listenModern(ctx context.Context, m *Message, out *reply) {
	call := v.blank(firewall.Session, listenMethod)
	call.Body = m.Body()
	id := `"_meta":{"` + metaSubscription + `":` + string(m.ID) + `}`
	due := newPending()
	defer due.stop()
	filter := parsed(m.Params).Get("notifications")
	if !filter.IsObject() || !out.sse {
		f := invalid("params.notifications must be an object, and the client must take text/event-stream")
		f.Error = v.onRecord(ctx, call, f)
		v.deny(m, f, out)
		return
	}
	free, err := v.streams.open(&v.caller)
	if err != nil {
		f := v.fault(err, listenMethod)
		f.Error = v.onRecord(ctx, call, f)
		v.deny(m, f, out)
		return
	}
	defer free()
	n := &news{v, due, [len(changes)]bool{}}
	err = v.gate.Do(ctx, call, n.opened(func(ctx context.Context) []byte { return v.grant(ctx, filter, n) }), func(ev firewall.Event) error {
		v.about(call.ID)
		switch {
		case ev.Name == "":
			out.open()
			return out.raw(ev.Frame, false)
		case ev.Body.JSON == nil:
			return out.notify(ev.Name, []byte(`{`+id+`}`), ev.More)
		}
		return out.notify(ev.Name, marked(ev.Body.JSON, string(m.ID)), ev.More)
	})
	switch {
	case ctx.Err() != nil:
	case err != nil && !out.streaming:
		v.deny(m, v.fault(err, listenMethod), out)
	case out.streaming: // the server ends it: the client may ask again
		_ = out.succeeded(m.ID, []byte(`{"resultType":"complete",`+id+`}`))
	}
}

// marked is the parameters of a notification with the subscription that they
// belong to.
func marked(params []byte, id string) []byte {
	doc := parsed(params)
	meta := []byte{'{'}
	out := []byte{'{'}
	doc.ForEach(func(name, value gjson.Result) bool {
		if name.Str != "_meta" {
			out = appendMember(out, name.Raw, value.Raw)
			return true
		}
		value.ForEach(func(name, value gjson.Result) bool {
			if name.Str != metaSubscription {
				meta = appendMember(meta, name.Raw, value.Raw)
			}
			return true
		})
		return true
	})
	meta = append(appendMember(meta, `"`+metaSubscription+`"`, id), '}')
	return append(appendMember(out, `"_meta"`, string(meta)), '}')
}

const maxWanted = 100 // resources of one subscription

// grant takes up what a modern client asked for, and is the part of it that it
// will hear of.
func (v *visit) grant(ctx context.Context, filter gjson.Result, n *news) []byte {
	g, err := v.greet(ctx)
	granted := []byte{'{'}
	for i, what := range [...]struct {
		member string
		told   bool
	}{{"toolsListChanged", g.toolsTold}, {"promptsListChanged", g.promptsTold}, {"resourcesListChanged", g.resTold}} {
		if filter.Get(what.member).Bool() && (what.told || err != nil) {
			n.wanted[i] = true
			granted = appendMember(granted, `"`+what.member+`"`, "true")
		}
	}
	var uris []string
	filter.Get("resourceSubscriptions").ForEach(func(_, uri gjson.Result) bool {
		if uri.Type == gjson.String && len(uris) < maxWanted && v.subscribeTo(ctx, uri.Str, n.due) == nil {
			uris = append(uris, uri.Str)
		}
		return true
	})
	if filter.Get("resourceSubscriptions").Exists() {
		granted = appendMember(granted, `"resourceSubscriptions"`, quotedList(uris))
	}
	return append(granted, '}')
}

// subscribeTo subscribes to one of the resources that a modern client asks for: a
// call of its own.
func (v *visit) subscribeTo(ctx context.Context, uri string, due *pending) error {
	m := Message{Method: "resources/subscribe", Params: json.RawMessage(`{"uri":` + quoted(uri) + `}`)}
	call := v.blank(firewall.Resource, m.Method)
	body, err := firewall.ParseBody(m.Params, v.cfg.Limits)
	if err != nil {
		return err
	}
	call.Body = body
	call, up, f := v.subscription(ctx, &m, call, due)
	if f != nil {
		return v.onRecord(ctx, call, f)
	}
	return v.gate.Do(ctx, call, up, func(firewall.Event) error { return nil })
}

// subscription makes a request to hear of a resource a call.
func (v *visit) subscription(ctx context.Context, m *Message, call *firewall.Call, due *pending) (*firewall.Call, firewall.Upstream, *fault) {
	call, up, f := v.act(ctx, m, call, "uri")
	if f != nil {
		return call, nil, f
	}
	p := up.(*passage)
	return call, local(func(ctx context.Context, call *firewall.Call) ([]byte, error) {
		if p.barred {
			return nil, errBarred()
		}
		at := p.to.Name() + " " + call.Resource
		if due.has(at) {
			return []byte(`{}`), nil
		}
		caller := v.caller
		stop, err := p.to.Subscribe(ctx, p.client, call.Resource, func(m Message) {
			if v.gate.May(&caller, firewall.Resource, p.to.Name(), call.Resource) != firewall.No { // the policy may be another by now
				due.updated(m)
			}
		})
		if err != nil {
			return nil, err
		}
		due.keep(at, stop)
		return []byte(`{}`), nil
	}), nil
}

// unsubscribe ends what a legacy client subscribed to.
func (v *visit) unsubscribe(_ context.Context, call *firewall.Call) ([]byte, error) {
	v.sessions.pending(v.session).drop(parsed(call.Body.JSON).Get("uri").Str)
	return []byte(`{}`), nil
}

// news is where a stream has its events from. What happens several times before
// the client has taken it is told once.
type news struct {
	*visit
	due    *pending
	wanted [len(changes)]bool
}

// opened is news that begin with what was granted.
func (n *news) opened(grant func(context.Context) []byte) firewall.Upstream {
	return &acknowledging{n, grant}
}

type acknowledging struct {
	*news
	grant func(context.Context) []byte
}

// Forward implements [firewall.Upstream].
func (a *acknowledging) Forward(ctx context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		stop := a.due.hear(a.heard(a.behind))
		defer stop()
		a.heed(ctx, a.behind)
		body, err := firewall.ParseBody(append(append([]byte(`{"notifications":`), a.grant(ctx)...), '}'), localLimits)
		if !yield(firewall.Event{Name: acknowledged, Body: body}, err) || err != nil {
			return
		}
		a.news.Forward(ctx, call)(yield)
	}
}

// Read implements [firewall.Upstream]: there is nothing to note.
func (n *news) Read(*firewall.Event) {}

// Forward implements [firewall.Upstream].
func (n *news) Forward(ctx context.Context, _ *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		from := n.behind
		stop := n.due.hear(n.heard(from))
		defer func() { stop() }()
		n.heed(ctx, from)
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
				stop = n.due.hear(n.heard(from))
				n.due.add(changes[:]...)
			case <-n.due.wake:
				told := n.due.take()
				told = slices.DeleteFunc(told, func(ev firewall.Event) bool {
					i := slices.Index(changes[:], ev.Name)
					return i >= 0 && !n.wanted[i]
				})
				for i := range told {
					told[i].More = i+1 < len(told)
					if !yield(told[i], nil) {
						return
					}
				}
			}
		}
	}
}

const heedTime = time.Second // that a client waits for what it is told of

// heed waits until callgate hears the servers of the endpoint itself, but not for
// long: who is told that it listens should miss nothing from then on.
func (v *visit) heed(ctx context.Context, from *behind) {
	ctx, cancel := context.WithTimeout(ctx, heedTime)
	defer cancel()
	for _, s := range v.heard(from) {
		s.heed(ctx)
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
