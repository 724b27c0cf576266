package mcp

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// What servers say outside of requests: that a list of theirs changed, which all
// callers may know, and that a resource did, which those are told who subscribed
// to it. A modern server says it in the reply to subscriptions/listen, a legacy
// one on the stream of a session, wherever that is.

const (
	listenMethod     = "subscriptions/listen"
	acknowledged     = "notifications/subscriptions/acknowledged"
	resourceUpdated  = "notifications/resources/updated"
	metaSubscription = "io.modelcontextprotocol/subscriptionId"

	maxSubscriptions = 1000 // of one server
)

// OnNotice has f called with each notification that belongs to no request and
// that all callers may see: that a list of the server changed. f must not block.
func (s *Server) OnNotice(f func(Message)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	n := s.next
	s.notices[n] = f
	if len(s.notices) == 1 && !s.closing {
		ctx, cancel := context.WithCancel(s.life)
		s.unwatch = cancel
		heeds, once := make(chan struct{}), new(sync.Once)
		s.heeds = heeds
		s.work.Go(func() { s.watch(ctx, func() { once.Do(func() { close(heeds) }) }) })
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.notices, n)
		if len(s.notices) == 0 && s.unwatch != nil {
			s.unwatch()
			s.unwatch = nil
		}
	}
}

// heed waits, while somebody is on notice, until callgate hears the server itself,
// or cannot.
func (s *Server) heed(ctx context.Context) {
	s.mu.Lock()
	heeds := s.heeds
	s.mu.Unlock()
	if heeds == nil {
		return
	}
	select {
	case <-heeds:
	case <-ctx.Done():
	}
}

// watch listens, while anybody wants to know, for changes of the server's lists.
// ready is told when it hears them, or cannot.
func (s *Server) watch(ctx context.Context, ready func()) {
	defer ready()
	var delay backoff
	for ctx.Err() == nil {
		began := time.Now()
		info, err := s.wire.info(ctx, nil)
		for i := range changes { // what happened while callgate did not listen
			s.lists.forget(changes[i])
		}
		switch {
		case err != nil:
			ready() // nobody waits for a server that is not there
		case !info.told("tools") && !info.told("prompts") && !info.told("resources"):
			return
		case !info.Modern:
			if !s.wire.hearken(ctx, nil, ready) {
				return
			}
		default:
			filter := []byte{'{'}
			for _, what := range [...]string{"tools", "prompts", "resources"} {
				if info.told(what) {
					filter = appendMember(filter, `"`+what+`ListChanged"`, "true")
				}
			}
			s.listen(ctx, nil, append(filter, '}'), func(m Message) {
				if m.Method == acknowledged || m.Error != nil {
					ready()
				}
			})
		}
		rest(ctx, delay.after(time.Since(began)))
	}
}

func rest(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// listen opens one subscription with a modern server, and returns when it is over.
// got has what it says besides changes of lists, its acknowledgment first.
func (s *Server) listen(ctx context.Context, client *Client, filter []byte, got func(Message)) {
	req := Request{Method: listenMethod, Params: json.RawMessage(`{"notifications":` + string(filter) + `}`), endless: true}
	err := s.run(ctx, client, req, func(m Message) bool {
		got(m)
		return true
	})
	if err != nil && ctx.Err() == nil {
		s.cfg.Logger.Debug("the server ended a subscription", "error", err)
	}
}

// subscription is a resource as one client sees it.
type subscription struct{ client, uri string }

// Subscribe has f told of changes of a resource until stop is called. f must not
// block. The error is one that the agent may see.
func (s *Server) Subscribe(ctx context.Context, client *Client, uri string, f func(Message)) (stop func(), err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	info, err := s.wire.info(ctx, client)
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	if !parsed(info.Capabilities).Get("resources.subscribe").Bool() {
		return nil, firewall.Refuse(firewall.Invalid, "server %s does not tell of changes of its resources", s.Name())
	}
	if info.Modern {
		return s.subscribeModern(ctx, client, uri, f)
	}
	client = client.seenBy(s, info)
	at := subscription{client.key(), uri}
	s.mu.Lock()
	first := len(s.subscribers[at]) == 0
	if first && len(s.subscribers) >= maxSubscriptions {
		s.mu.Unlock()
		return nil, firewall.Refuse(firewall.Exhausted, "server %s has as many subscriptions as callgate keeps", s.Name())
	}
	if first {
		s.subscribers[at] = make(map[int]func(Message))
	}
	s.next++
	n := s.next
	s.subscribers[at][n] = f
	s.mu.Unlock()
	stop = func() { s.unsubscribe(client, at, n) }
	if !first {
		return stop, nil
	}
	s.wire.hearken(ctx, client, func() {})
	m, err := s.one(ctx, client, Request{Method: "resources/subscribe", Params: json.RawMessage(`{"uri":` + quoted(uri) + `}`)})
	if err == nil && m.Error != nil {
		err = firewall.Refuse(firewall.Unavailable, "server %s refused the subscription", s.Name())
	}
	if err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

func (s *Server) unsubscribe(client *Client, at subscription, n int) {
	s.mu.Lock()
	delete(s.subscribers[at], n)
	last := len(s.subscribers[at]) == 0
	if last {
		delete(s.subscribers, at)
	}
	s.mu.Unlock()
	if last && s.enter() == nil {
		defer s.leave()
		s.wire.tell(client, request(s.ids.Add(1), "resources/unsubscribe", []byte(`{"uri":`+quoted(at.uri)+`}`)))
	}
}

// subscribed is what a client has subscribed to, for a session that is new.
func (s *Server) subscribed(client *Client) []string {
	key := client.key()
	s.mu.Lock()
	defer s.mu.Unlock()
	var uris []string
	for at := range s.subscribers {
		if at.client == key {
			uris = append(uris, at.uri)
		}
	}
	slices.Sort(uris)
	return uris
}

func (s *Server) subscribeModern(ctx context.Context, client *Client, uri string, f func(Message)) (stop func(), err error) {
	life, end := context.WithCancel(s.life)
	answered := make(chan error, 1)
	s.work.Go(func() {
		var delay backoff
		for life.Err() == nil {
			began := time.Now()
			s.listen(life, client, []byte(`{"resourceSubscriptions":[`+quoted(uri)+`]}`), func(m Message) {
				var refused error
				switch {
				case m.Method == resourceUpdated:
					f(m)
					return
				case m.Method == acknowledged:
					granted := false
					parsed(m.Params).Get("notifications.resourceSubscriptions").ForEach(func(_, v gjson.Result) bool {
						granted = granted || v.Str == uri
						return true
					})
					if !granted {
						refused = firewall.Refuse(firewall.Unavailable, "server %s refused the subscription", s.Name())
					}
				case m.Error != nil:
					refused = firewall.Refuse(firewall.Unavailable, "server %s refused the subscription", s.Name())
				default:
					return
				}
				select {
				case answered <- refused:
				default:
				}
			})
			select {
			case answered <- s.unavailable("ended the subscription", nil):
			default:
			}
			rest(life, delay.after(time.Since(began)))
		}
	})
	timer := time.NewTimer(s.cfg.Timeout)
	defer timer.Stop()
	select {
	case err = <-answered:
	case <-timer.C:
		err = &firewall.Error{Code: firewall.Timeout, Reason: "server " + s.Name() + " did not answer in time"}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		end()
		return nil, err
	}
	return end, nil
}

// heard takes a notification that is not about a request of a client, and says
// whether m is one. client is whose stream it came on.
func (s *Server) heard(client *Client, m Message) bool {
	switch {
	case m.Method == "notifications/cancelled": // a request of its own
		return true
	case m.Method == resourceUpdated && subscriptionOf(&m) == 0:
		s.updated(client, m)
		return true
	case m.Method == pageDone:
		s.completed(client, m)
		return true
	case !strings.HasPrefix(m.Method, "notifications/") || !strings.HasSuffix(m.Method, "/list_changed"):
		return false
	}
	s.lists.forget(m.Method)
	s.mu.Lock()
	var told []func(Message)
	for _, f := range s.notices {
		told = append(told, f)
	}
	s.mu.Unlock()
	for _, f := range told {
		f(m)
	}
	return true
}

// updated tells those of a resource's change who subscribed to it, or to what it
// is part of.
func (s *Server) updated(client *Client, m Message) {
	uri := parsed(m.Params).Get("uri").Str
	key := client.key()
	s.mu.Lock()
	var told []func(Message)
	for at, fs := range s.subscribers {
		if at.client == key && strings.HasPrefix(uri, at.uri) {
			for _, f := range fs {
				told = append(told, f)
			}
		}
	}
	s.mu.Unlock()
	for _, f := range told {
		f(m)
	}
}

// subscriptionOf is the subscription that a notification of a modern server
// belongs to, by callgate's id of it; 0 if it says none.
func subscriptionOf(m *Message) uint64 {
	id := parsed(m.Params).Get("_meta." + gjson.Escape(metaSubscription))
	if id.Type == gjson.String {
		return ours(id.Str)
	}
	return ours(id.Raw)
}
