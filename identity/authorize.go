package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A request is what a client asks a person for, at /oauth/authorize.
type request struct {
	raw       string // the query that it was read from
	client    Client
	redirect  string // "" until it is known to be the client's
	state     string
	challenge string // of PKCE, S256
	wants     MintOptions
}

// readRequest reads what a client asks for. Where the error is that of a client that
// may be told, the request has a redirect. A client's document is fetched only where
// fetch says so.
func (a *Authority) readRequest(ctx context.Context, raw string, fetch bool) (*request, error) {
	q, err := url.ParseQuery(raw)
	if err != nil || len(raw) > maxQuery || len(q["client_id"]) != 1 || len(q["redirect_uri"]) != 1 {
		return nil, badRequest("invalid_request", "want a query of at most %d bytes, with one client_id and one redirect_uri", maxQuery)
	}
	req := &request{raw: raw}
	if req.client, err = a.app(ctx, q.Get("client_id"), fetch); err != nil {
		if errors.Is(err, ErrInvalid) {
			return nil, badRequest("invalid_client", "%v", err)
		}
		return nil, err
	}
	if !leads(req.client.Redirects, q.Get("redirect_uri")) {
		return req, badRequest("invalid_request", "redirect_uri is none of those that the client registered: it must be the same, and only the port of 127.0.0.1, [::1] and localhost may be another")
	}
	req.redirect, req.state = q.Get("redirect_uri"), q.Get("state")
	for name, v := range q {
		switch {
		case len(v) == 1:
		case name == "resource":
			return req, badRequest("invalid_target", "a token is for one resource: ask for one at a time")
		default:
			return req, badRequest("invalid_request", "a parameter stands there more than once")
		}
	}
	req.challenge = q.Get("code_challenge")
	switch method, mode := q.Get("code_challenge_method"), q.Get("response_mode"); {
	case q.Has("request"):
		return req, badRequest("request_not_supported", "send the parameters themselves")
	case q.Has("request_uri"):
		return req, badRequest("request_uri_not_supported", "send the parameters themselves")
	case q.Get("response_type") != "code":
		return req, badRequest("unsupported_response_type", "there is response_type=code")
	case mode != "" && mode != "query":
		return req, badRequest("invalid_request", "there is response_mode=query")
	case req.challenge == "" || method != "S256":
		return req, badRequest("invalid_request", "PKCE is needed: send code_challenge, with code_challenge_method=S256")
	case len(req.challenge) != 43 || strings.ContainsFunc(req.challenge, func(c rune) bool { return !wordly(c) || c == '.' }):
		return req, badRequest("invalid_request", "code_challenge is no SHA-256 in base64url without padding")
	}
	if req.wants, err = wanted(map[string]string{"scope": q.Get("scope"), "resource": q.Get("resource"), "authorization_details": q.Get("authorization_details")}); err != nil {
		return req, err
	}
	_, err = a.root(Agent{Name: "?"}, "", req.wants) // what is wrong with scope and resource is wrong for any agent
	return req, explained(err)
}

// authorize is GET /oauth/authorize: a client asks, a person answers.
func (a *Authority) authorize(w http.ResponseWriter, r *http.Request) {
	one := a.who(r)
	req, err := a.readRequest(r.Context(), r.URL.RawQuery, one != nil)
	switch {
	case errors.Is(err, errNotFetched):
		a.askLogin(w, r, http.StatusOK, goesOn(authorizePath+"?"+r.URL.RawQuery), "")
	case err != nil:
		a.notAsked(w, r, req, err)
	case one == nil:
		a.askLogin(w, r, http.StatusOK, goesOn(authorizePath+"?"+req.raw), "")
	default:
		a.askConsent(w, one, req)
	}
}

// notAsked tells a client that nobody is asked, or only the person, where it is not
// sure who the client is.
func (a *Authority) notAsked(w http.ResponseWriter, r *http.Request, req *request, err error) {
	var f *fault
	if !errors.As(err, &f) {
		a.broke(w, r, err)
		return
	}
	name := "client:?"
	if req != nil {
		name = "client:" + req.client.ID
	}
	a.refused(r, "authorize.refused", name, f.code+": "+f.text)
	p := page{Title: "This cannot be done", Text: f.text + "."}
	switch {
	case req == nil || req.redirect == "":
		a.show(w, http.StatusBadRequest, "sorry", p)
	case req.client.Source == FromConfig || isLocal([]string{req.redirect}):
		a.redirect(w, req, "error", f.code, "error_description", f.description())
	default: // an address that anybody may have published: nobody is sent there without a look at it
		p.Link, p.LinkText = req.answer(a.cfg.Issuer, "error", f.code, "error_description", f.description()), "Back to "+hostOf(req.redirect)
		a.show(w, http.StatusBadRequest, "sorry", p)
	}
}

// answer is the redirect URI with what is answered.
func (req *request) answer(issuer string, pairs ...string) string {
	v := url.Values{"iss": {issuer}} // RFC 9207
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	if req.state != "" {
		v.Set("state", req.state)
	}
	join := "?"
	if strings.Contains(req.redirect, "?") {
		join = "&"
	}
	return req.redirect + join + v.Encode()
}

// redirect sends the person back to the client with an answer.
func (a *Authority) redirect(w http.ResponseWriter, req *request, pairs ...string) {
	h := w.Header()
	h.Set("Location", req.answer(a.cfg.Issuer, pairs...))
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	w.WriteHeader(http.StatusSeeOther)
}

// askConsent shows what a client asks for.
func (a *Authority) askConsent(w http.ResponseWriter, one *session, req *request) {
	p := page{
		Title: "Allow access?", User: one.user, Client: req.client, Host: hostOf(req.redirect), Local: isLocal(req.client.Redirects),
		Agents: a.choices(req.client, one.user), Asks: a.plainWords(req.wants), Request: req.raw,
		Until: a.cfg.Now().Add(a.front.cfg.RefreshTTL).UTC().Format("2 January 2006"),
		forms: onward(req.redirect),
	}
	if len(p.Agents) == 0 {
		p.Title = "No agent to act for you"
		a.show(w, http.StatusForbidden, "agentless", p)
		return
	}
	p.Token = a.front.sessions.ask(one, req.raw)
	a.show(w, http.StatusOK, "consent", p)
}

// onward is where a form may lead in the end whose answer sends the browser to uri, as
// a Content-Security-Policy has it. A browser holds it against all redirects that
// follow, and programs lead on from there to pages of their own; so it is any page of
// the web, or what opens a program.
func onward(uri string) string {
	scheme, _, ok := strings.Cut(uri, ":")
	if !ok || strings.ContainsFunc(scheme, func(c rune) bool { return !wordly(c) && c != '+' }) {
		return ""
	}
	if scheme == "http" || scheme == "https" {
		return " https: http:"
	}
	return " https: http: " + scheme + ":"
}

// plainWords is what is asked for, in words for people.
func (a *Authority) plainWords(o MintOptions) (list []string) {
	for _, word := range strings.Fields(o.Scope) {
		kind, name, _ := strings.Cut(word, ":")
		switch kind {
		case "mcp":
			list = append(list, "use the tools, resources and prompts of the server "+name)
		case "model":
			list = append(list, "use the models of "+name)
		}
	}
	for _, c := range o.Caps {
		text := strings.Join(c.Locations, ", ")
		if len(c.Actions) > 0 {
			text = strings.Join(c.Actions, ", ") + " " + text
		} else {
			text = "use " + text
		}
		if len(c.Arguments) > 0 {
			bounds, _ := json.Marshal(c.Arguments) // texts and numbers
			text += ", where " + string(bounds)
		}
		if c.Limits.Calls > 0 {
			text += fmt.Sprintf(", at most %d times", c.Limits.Calls)
		}
		if c.Limits.CostMicroUSD > 0 {
			text += fmt.Sprintf(", for at most %.2f US dollars", float64(c.Limits.CostMicroUSD)/1e6)
		}
		if c.Limits.Tokens > 0 {
			text += fmt.Sprintf(", with at most %d tokens of models", c.Limits.Tokens)
		}
		if c.Limits.NotAfter > 0 {
			text += ", until " + time.Unix(c.Limits.NotAfter, 0).UTC().Format(time.RFC1123)
		}
		list = append(list, text)
	}
	if len(list) == 0 {
		list = append(list, "use everything that the policy allows both to you and to the agent")
	}
	if path, err := a.target(o.Audience); err == nil && path != "" {
		list = append(list, "only at "+a.base+path)
	}
	return list
}

// A promise is what a person allowed, until the client comes for it.
type promise struct {
	Grant     Grant  `json:"grant"`
	Client    string `json:"client"`
	Redirect  string `json:"redirect,omitempty"`
	Challenge string `json:"challenge,omitempty"`
	Epoch     int64  `json:"epoch"` // of the person
}

// promised is what a person allows a client: recorded before it is worth anything.
func (a *Authority) promised(ctx context.Context, one *session, client Client, agent Agent, o MintOptions) (promise, error) {
	g, err := a.root(agent, one.user, o)
	if err != nil {
		return promise{}, err
	}
	g.ID = newGrantID()
	g.Hops[0].Grant, g.Client, g.Renews = g.ID, client.ID, true
	state := fmt.Sprintf("to client %s, by %s, for %v", client.ID, g.ID, a.front.cfg.RefreshTTL)
	if o.Scope != "" {
		state += ", scope " + g.Scope
	}
	if err := a.cfg.Record("consent.given", one.user, g.acting(), clipped(state)); err != nil {
		return promise{}, fmt.Errorf("nothing is allowed, since that could not be recorded: %w", err)
	}
	if client.Source == FromRegistration && !client.Allowed {
		if err := a.front.cfg.Registered.AllowClient(ctx, client.ID); err != nil {
			return promise{}, err
		}
	}
	return promise{Grant: *g, Client: client.ID, Epoch: one.epoch}, nil
}

// chosen is the agent of that name, if it may act for user when client asks.
func (a *Authority) chosen(client Client, user, name string) (Agent, bool) {
	list := a.choices(client, user)
	i := slices.IndexFunc(list, func(g Agent) bool { return g.Name == name })
	if i < 0 {
		return Agent{}, false
	}
	return list[i], true
}

// decide is POST /oauth/authorize: what a person answered.
func (a *Authority) decide(w http.ResponseWriter, r *http.Request) {
	raw := r.PostFormValue("request")
	one := a.who(r)
	if one == nil {
		a.refused(r, "consent.refused", "user:?", "an answer of nobody who is logged in")
		a.askLogin(w, r, http.StatusForbidden, goesOn(authorizePath+"?"+raw), "Your login has ended. Log in again.")
		return
	}
	if !a.front.sessions.answered(one, r.PostFormValue("token"), raw) {
		a.refused(r, "consent.refused", one.user, "a form that this browser was not given, or that was sent before")
		a.show(w, http.StatusForbidden, "sorry", page{Title: "Not allowed", Text: "This page was too old, or its form was sent twice. Nothing was allowed. Begin again in your client."})
		return
	}
	req, err := a.readRequest(r.Context(), raw, true)
	if err != nil {
		a.notAsked(w, r, req, err)
		return
	}
	if r.PostFormValue("decision") != "allow" {
		_ = a.cfg.Record("consent.denied", one.user, "client:"+req.client.ID, "") // it is denied in any case
		a.redirect(w, req, "error", "access_denied", "error_description", "the person did not allow it")
		return
	}
	agent, ok := a.chosen(req.client, one.user, r.PostFormValue("agent"))
	if !ok {
		a.refused(r, "consent.refused", one.user, fmt.Sprintf("an agent that is not theirs: %.80q", r.PostFormValue("agent")))
		a.show(w, http.StatusForbidden, "sorry", page{Title: "Not allowed", Text: "That agent may not act for you. Nothing was allowed. Begin again in your client."})
		return
	}
	p, err := a.promised(r.Context(), one, req.client, agent, req.wants)
	if err != nil {
		a.broke(w, r, err)
		return
	}
	p.Redirect, p.Challenge = req.redirect, req.challenge
	code, err := a.vouch(r.Context(), codeVoucher, p, a.cfg.Now().Add(codeLife))
	if err != nil {
		a.broke(w, r, err)
		return
	}
	a.redirect(w, req, "code", code.Reveal())
}

// vouch makes a voucher for what body says.
func (a *Authority) vouch(ctx context.Context, kind string, body any, until time.Time) (Secret, error) {
	doc, err := json.Marshal(body)
	if err != nil {
		return Secret{}, err
	}
	secret := randomSecret()
	v := Voucher{Hash: hashed(secret.Reveal()), Kind: kind, Body: doc, Expires: until.UTC().Truncate(time.Microsecond)}
	return secret, a.front.cfg.Vouchers.PutVoucher(ctx, v)
}
