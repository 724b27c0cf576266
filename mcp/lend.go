package mcp

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"callgate/firewall"
	"callgate/identity"
)

// credentials are what a server is shown: headers with each request, and what its
// process, or its authorization server, has got already. Each use of the server is
// one of all of them.
type credentials struct {
	names   []string // of headers, canonical
	headers []*identity.Header
	others  []identity.Credential
}

func (c *ServerConfig) credentials() credentials {
	var all credentials
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		all.names = append(all.names, http.CanonicalHeaderKey(name))
		all.headers = append(all.headers, identity.NewHeader(c.Headers[name], ""))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Secrets)) {
		all.others = append(all.others, c.Secrets[name])
	}
	if c.OAuth != nil && c.OAuth.ClientSecret != nil {
		all.others = append(all.others, c.OAuth.ClientSecret)
	}
	return all
}

// A lent is a header for one request.
type lent struct {
	name  string
	value []string
	loan  identity.Loan
}

// lend is the headers for one request on behalf of who, nil for callgate itself. note
// is told what was used; it may be nil. The error says that who may not use the
// server's credentials, or that they cannot be had.
func (s *Server) lend(ctx context.Context, who *identity.Principal, note func(identity.Loan)) ([]lent, error) {
	all := &s.credentials
	for _, c := range all.others {
		loan, err := c.Use(ctx, who)
		if err != nil {
			return nil, firewall.Withheld(ctx, err)
		}
		if note != nil {
			note(loan)
		}
	}
	if len(all.headers) == 0 {
		return nil, nil
	}
	list := make([]lent, 0, len(all.headers))
	for i, h := range all.headers {
		value, loan, err := h.Use(ctx, who)
		if err != nil {
			return nil, firewall.Withheld(ctx, err)
		}
		if note != nil {
			note(loan)
		}
		list = append(list, lent{all.names[i], value, loan})
	}
	return list, nil
}

// carry makes a request with the headers in hand, or else with those of the link's
// client, and once more where the server does not take them and there are others by
// now.
func (s *httpLink) carry(ctx context.Context, hand []lent, note func(identity.Loan), request func([]lent) *http.Request) (*http.Response, error) {
	w := s.wire
	if hand == nil {
		var err error
		if hand, err = w.lend(ctx, s.client.principal(), note); err != nil {
			return nil, err
		}
	}
	if s.account != nil {
		return s.roundTrip(ctx, func() *http.Request { return request(hand) })
	}
	resp, err := w.client.RoundTrip(request(hand))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	if !slices.ContainsFunc(hand, func(l lent) bool { return l.loan.Refused(ctx) }) {
		return resp, nil
	}
	_ = resp.Body.Close()
	if hand, err = w.lend(ctx, s.client.principal(), note); err != nil {
		return nil, err
	}
	return w.client.RoundTrip(request(hand))
}

// A ledge is where it is noted which credentials were used for a call, by whichever
// goroutine carries it.
type ledge struct {
	mu    sync.Mutex
	loans []identity.Loan
}

func (l *ledge) note(loan identity.Loan) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loans = append(l.loans, loan)
}

// tell puts what was noted on the call's record.
func (l *ledge) tell(call *firewall.Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, loan := range l.loans {
		call.Lent(loan)
	}
	l.loans = l.loans[:0]
}

// furnished is the environment that the process gets, and which secrets are in it.
func (c *ServerConfig) furnished(ctx context.Context) (map[string]string, map[string]identity.Secret, error) {
	if len(c.Secrets) == 0 {
		return c.Env, nil, nil
	}
	env, held := maps.Clone(c.Env), make(map[string]identity.Secret, len(c.Secrets))
	if env == nil {
		env = make(map[string]string)
	}
	for name, s := range c.Secrets {
		loan, err := s.Use(ctx, nil)
		if err != nil {
			return nil, nil, firewall.Withheld(ctx, err)
		}
		env[name], held[name] = loan.Value.Reveal(), loan.Value
		if strings.ContainsRune(env[name], 0) {
			return nil, nil, errors.New("the variable " + name + " has a zero byte")
		}
	}
	return env, held, nil
}

const holdOut = 30 * time.Second // that a process which is in use keeps a secret that has changed

// outdated ends the pipe of a process that was started with a secret which is another
// one by now, so that the next one is started with that. It waits for a moment when
// nobody uses it, but not for ever. It says whether it has ended it.
func (w *runner) outdated(ctx context.Context, p *pipe) bool {
	line, ok := p.line.(*process)
	if !ok || len(line.held) == 0 {
		return false
	}
	changed := false
	for name, old := range line.held {
		loan, err := w.cfg.Secrets[name].Use(ctx, nil)
		changed = changed || err == nil && loan.Value != old
	}
	if !changed {
		return false
	}
	now := time.Now()
	since := line.outdated.Load()
	if since == nil {
		since = &now
		line.outdated.Store(since)
	}
	if w.idle(now) < 0 && now.Sub(*since) < holdOut {
		return false
	}
	p.fail(errors.New("its secrets have changed"))
	return true
}
