package mcp

import (
	"context"
	"net/url"
	"strings"
	"time"

	"callgate/firewall"
	"callgate/identity"

	"github.com/tidwall/gjson"
)

// What a server asks of the client in the course of a call is a call, too: by the
// server, to the client, judged and recorded as any other. To the policy the
// client's model is model:client/sampling, its user tool:client/elicitation, and
// its folders resource:client|roots.

const askTime = 10 * time.Minute // for a client, and who sits before it, to answer

// client is the visitor as a server is to know it.
func (v *visit) client(s *Server) *Client {
	c := &Client{Principal: v.caller}
	if v.said != "" {
		c.Can = able(v.said, v.maySample(s), v.modern)
	}
	c.named = c.key()
	return c
}

// maySample says whether a server may ask for the client's model at all.
func (v *visit) maySample(s *Server) bool {
	server := identity.Principal{Tenant: v.caller.Tenant, Subject: "server:" + s.Name()}
	return v.gate.May(&server, firewall.Model, "client", "sampling") != firewall.No
}

// question makes a request by the server a call. It is nil if servers cannot ask
// for that.
func (p *passage) question(call *firewall.Call, method string, body firewall.Body) *firewall.Call {
	ask := &firewall.Call{Target: "client", Method: method, Body: body, ArgsAt: "@this", Route: call.Route, During: call}
	ask.Hints.Session = call.Hints.Session
	switch method {
	case "sampling/createMessage":
		ask.Kind, ask.Resource = firewall.Model, "sampling"
		ask.Estimate.Tokens = parsed(body.JSON).Get("maxTokens").Int() + int64(len(body.JSON)/4)
	case "elicitation/create":
		ask.Kind, ask.Resource = firewall.Tool, "elicitation"
	case "roots/list":
		ask.Kind, ask.Resource = firewall.Resource, "roots"
	default:
		return nil
	}
	return ask
}

// ask passes a request by the server to the client by way of to, and gives the
// answer to got.
func (p *passage) ask(ctx context.Context, call *firewall.Call, method string, body firewall.Body, to firewall.Upstream, got func(firewall.Event)) error {
	if body.JSON == nil {
		body.JSON = []byte("{}")
	}
	body, err := p.asTask(body)
	if err != nil {
		return err
	}
	ask := p.question(call, method, body)
	if ask == nil {
		return firewall.Refuse(firewall.NotFound, "method %q is not one that a server may ask a client for", clip(method))
	}
	if err := p.mayAsk(ask); err != nil {
		return p.gate.Refuse(ctx, ask, err)
	}
	if err := p.phishing(ask); err != nil {
		return p.gate.Refuse(ctx, ask, err)
	}
	return p.gate.Do(ctx, ask, to, func(ev firewall.Event) error {
		got(ev)
		return nil
	})
}

// secrets are words for what no form may ask for.
var secrets = [...]string{"password", "passwd", "passphrase", "passcode", "secret", "apikey", "accesstoken", "refreshtoken", "privatekey", "creditcard", "cardnumber", "cvv", "cvc", "ssn", "socialsecurity", "pincode", "otp", "seedphrase", "mnemonic"}

// phishing refuses to ask the user for a secret, which MCP forbids in forms, or
// to send the user to a place that is not the server's own.
func (p *passage) phishing(ask *firewall.Call) error {
	if ask.Method != "elicitation/create" {
		return nil
	}
	doc := parsed(ask.Body.JSON)
	if doc.Get("mode").Str == "url" {
		u, err := url.Parse(doc.Get("url").Str)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
			return firewall.Refuse(firewall.Denied, "server %s asks to open what is not an https URL", p.to.Name())
		}
		if !p.to.mayOpen(u.Hostname()) {
			return firewall.Refuse(firewall.Denied, "server %s asks to open a page of %s, which is not its own: its operator can allow that with mcp.servers.%s.opens", p.to.Name(), clip(u.Hostname()), p.to.Name())
		}
	}
	var asked string
	doc.Get("requestedSchema.properties").ForEach(func(name, field gjson.Result) bool {
		for _, text := range [...]string{name.Str, field.Get("title").Str} {
			word := letters(text)
			for _, s := range secrets {
				if len(s) > 3 && strings.Contains(word, s) || word == s {
					asked = name.Str
				}
			}
		}
		if field.Get("format").Str == "password" {
			asked = name.Str
		}
		return asked == ""
	})
	if asked != "" {
		return firewall.Refuse(firewall.Denied, "server %s asks the user for %q in a form, and forms must not ask for secrets", p.to.Name(), clip(asked))
	}
	return nil
}

// letters is the letters of a name in lower case: API_Key is apikey.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return -1
	}, s)
}

// mayOpen says whether the server may send users to a host: its own, one below its
// own, or one that its operator names.
func (s *Server) mayOpen(host string) bool {
	host = strings.ToLower(host)
	own := ""
	if u, err := url.Parse(s.cfg.URL); err == nil {
		own = strings.ToLower(u.Hostname())
	}
	for _, of := range append(s.cfg.Opens, own) {
		if of != "" && (host == of || strings.HasSuffix(host, "."+of)) {
			return true
		}
	}
	return false
}

// live asks a legacy client on the stream of its request, and waits.
type live struct{ *passage }

// Read implements [firewall.Upstream].
func (l live) Read(ev *firewall.Event) {
	if ev.Mark == markError {
		ev.Fault = "rpc " + clip(parsed(ev.Body.JSON).Get("code").Raw)
	}
}

// Forward implements [firewall.Upstream].
func (l live) Forward(ctx context.Context, ask *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		if l.session == nil || l.out == nil {
			yield(firewall.Event{}, firewall.Refuse(firewall.Unavailable, "the client has no stream on which it could be asked"))
			return
		}
		id, response, done := l.sessions.ask(l.session)
		defer done()
		if err := l.out.request(id, ask.Method, ask.Body.JSON); err != nil {
			yield(firewall.Event{}, &firewall.Error{Code: firewall.Unavailable, Reason: "the client cannot be asked", Err: err})
			return
		}
		timer := time.NewTimer(askTime)
		defer timer.Stop()
		select {
		case m := <-response:
			yield(event(&m), nil)
		case <-timer.C:
			yield(firewall.Event{}, firewall.Refuse(firewall.Timeout, "the client did not answer"))
		case <-ctx.Done():
			yield(firewall.Event{}, context.Cause(ctx))
		}
	}
}

// answerLive has a legacy client answer a request by a legacy server.
func (p *passage) answerLive(ctx context.Context, call *firewall.Call, m *Message) {
	err := p.ask(ctx, call, m.Method, m.Body(), live{p}, func(ev firewall.Event) {
		m.Answer(ev.Body.JSON, ev.Mark == markError)
	})
	if err != nil {
		m.Answer(declined(m.Method, err))
	}
}

// declined is what a server hears when the client is not asked, or does not
// answer.
func declined(method string, err error) (doc []byte, failed bool) {
	if method == "elicitation/create" {
		return []byte(`{"action":"decline"}`), false
	}
	f := new(visit).fault(err, "")
	code := "-32603"
	switch f.Error.Code {
	case firewall.NotFound:
		code = "-32601"
	case firewall.Denied, firewall.Pending, firewall.Exhausted:
		code = "-1" // as MCP has it for a user who rejects the request
	}
	return []byte(`{"code":` + code + `,"message":` + quoted(f.Reason) + `}`), true
}

// handOver is where a question goes that a modern client answers with its next
// request.
type handOver struct{}

// Read implements [firewall.Upstream].
func (handOver) Read(*firewall.Event) {}

// Forward implements [firewall.Upstream].
func (handOver) Forward(_ context.Context, ask *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		yield(firewall.Event{Body: firewall.Body{JSON: ask.Body.JSON}, Last: true, Mark: markResult}, nil)
	}
}
