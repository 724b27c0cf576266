package mcp

import (
	"context"

	"callgate/firewall"
)

// A server of 2025-11-25 says when the user is done with a page that it had a client
// open. The session that was asked to open it hears of that, once, and nobody else.

const pageDone = "notifications/elicitation/complete"

// A sentTo is what a user was sent to, as one client's session with a server has it.
type sentTo struct{ client, id string }

// onPage has f called when the server says that the user is done with a page. f must
// not block. ok is false where as many are awaited as callgate keeps.
func (s *Server) onPage(at sentTo, f func(Message)) (stop func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pages) >= maxSubscriptions {
		return nil, false
	}
	if s.pages == nil {
		s.pages = make(map[sentTo]map[int]func(Message))
	}
	if s.pages[at] == nil {
		s.pages[at] = make(map[int]func(Message))
	}
	s.next++
	n := s.next
	s.pages[at][n] = f
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if delete(s.pages[at], n); len(s.pages[at]) == 0 {
			delete(s.pages, at)
		}
	}, true
}

// completed tells those who were asked to open a page that the user is done with it.
func (s *Server) completed(client *Client, m Message) {
	at := sentTo{client.key(), parsed(m.Params).Get("elicitationId").Str}
	s.mu.Lock()
	var told []func(Message)
	for _, f := range s.pages[at] {
		told = append(told, f)
	}
	s.mu.Unlock()
	for _, f := range told {
		f(m)
	}
}

// awaits has the client's session told when the user is done with the page that ask is
// about. Only a legacy client of a legacy server can be.
func (p *passage) awaits(ctx context.Context, ask *firewall.Call) (stop func()) {
	doc := parsed(ask.Body.JSON)
	id := doc.Get("elicitationId").Str
	if p.session == nil || ask.Method != "elicitation/create" || doc.Get("mode").Str != "url" || !usable(id) {
		return func() {}
	}
	info, err := p.to.InfoFor(ctx, p.client)
	if err != nil || info.Modern {
		return func() {}
	}
	due, at := p.sessions.pending(p.session), p.to.Name()+" "+pageDone+" "+id
	if due.has(at) {
		return func() {}
	}
	over, ok := p.to.onPage(sentTo{p.client.seenBy(p.to, &info).key(), id}, func(m Message) {
		due.told(m)
		due.end(at)
	})
	if !ok {
		return func() {}
	}
	due.keep(at, over)
	return func() { due.end(at) }
}
