package identity

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// replyGrace is how long a client that lost our reply may ask again with the refresh
// token that it has used, and gets the same reply.
const replyGrace = 10 * time.Second

var errBeingUsed = &fault{http.StatusServiceUnavailable, "temporarily_unavailable", "this refresh token is being used; ask again", time.Second}

// A renewal is what a refresh token is for.
type renewal struct {
	Grant  string `json:"grant"`
	Client string `json:"client"`
	Epoch  int64  `json:"epoch"`           // of the person
	Bound  string `json:"bound,omitempty"` // thumbprint of the DPoP key that it is bound to
	Shown  string `json:"shown,omitempty"` // SHA-256 of the client's certificate that it is bound to
}

// renewable is an access token of g, and the refresh token that comes next.
func (a *Authority) renewable(ctx context.Context, agent Agent, g *Grant, o MintOptions, next renewal) (answered, error) {
	o.By = "client:" + clipped(next.Client)
	t, err := a.issue(agent, g, MintOptions{By: o.By, Thumbprint: o.Thumbprint, Certificate: o.Certificate})
	if err != nil {
		return answered{}, explained(err)
	}
	refresh, err := a.vouch(ctx, refreshVoucher, next, g.NotAfter)
	if err != nil {
		return answered{}, fmt.Errorf("keep a refresh token: %w", err)
	}
	return answered{Token: t, refresh: refresh}, nil
}

// refreshed answers a client that comes with a refresh token. Each is good once; one
// that comes again, later than a lost reply explains, was stolen by somebody.
func (a *Authority) refreshed(r *http.Request, form map[string]string) (answered, error) {
	id, err := a.caller(r, form)
	if err != nil {
		return answered{}, err
	}
	o, err := a.asked(r, form)
	if err != nil {
		return answered{}, err
	}
	v, what, g, err := a.renewalOf(r.Context(), form["refresh_token"])
	if err != nil {
		return answered{}, err
	}
	if g == nil {
		return answered{}, a.ungranted(r, id, "", "invalid_grant", "there is no such refresh token, or it has expired: ask the person again")
	}
	if id != what.Client {
		return answered{}, a.betrayed(r, id, g, "the refresh token is another client's")
	}
	if what.Bound != "" && o.Thumbprint != what.Bound || what.Shown != "" && o.Certificate != what.Shown {
		return answered{}, a.ungranted(r, id, g.acting(), "invalid_grant", "the refresh token is bound to a key: send a DPoP proof of that, or show the client's certificate")
	}
	if err := a.asBefore(g, o); err != nil {
		return answered{}, err
	}
	if path, _ := a.target(o.Audience); o.Audience != "" && path != g.Path {
		return answered{}, badRequest("invalid_target", "resource is not the one that the refresh token is for: leave it away, or get less by token exchange")
	}
	if a.cfg.Revocations.Stale() {
		return answered{}, &fault{http.StatusServiceUnavailable, "temporarily_unavailable", "callgate cannot say at the moment what was revoked; ask again", time.Second}
	}
	agent, err := a.stillActing(g, what.Epoch)
	if err != nil {
		return answered{}, a.ungranted(r, id, g.acting(), "invalid_grant", err.Error())
	}
	now := a.cfg.Now()
	first, err := a.front.cfg.Vouchers.UseVoucher(r.Context(), v.Hash, now)
	if err == nil && !first {
		first, err = a.unanswered(r.Context(), v.Hash, now)
	}
	if err != nil {
		return answered{}, fmt.Errorf("use a refresh token: %w", err)
	}
	if !first {
		return a.again(r, id, form["refresh_token"], g)
	}
	t, err := a.renewable(r.Context(), agent, g, o, what)
	if err != nil {
		return answered{}, err
	}
	sealed, err := t.seal(form["refresh_token"])
	if err != nil {
		return answered{}, err
	}
	kept, err := a.front.cfg.Vouchers.AnswerVoucher(r.Context(), v.Hash, now, sealed)
	if err != nil {
		return answered{}, fmt.Errorf("keep a reply: %w", err)
	}
	if !kept { // this took so long that the client has asked again
		return answered{}, errBeingUsed
	}
	return t, nil
}

// renewalOf is what a refresh token is for; no grant if there is none such.
func (a *Authority) renewalOf(ctx context.Context, token string) (v Voucher, what renewal, g *Grant, err error) {
	if token == "" {
		return v, what, nil, badRequest("invalid_request", "refresh_token is missing")
	}
	v, ok, err := a.front.cfg.Vouchers.Voucher(ctx, hashed(token))
	if err != nil {
		return v, what, nil, fmt.Errorf("read a refresh token: %w", err)
	}
	if !ok || v.Kind != refreshVoucher || !a.cfg.Now().Before(v.Expires) {
		return v, what, nil, nil
	}
	if err := json.Unmarshal(v.Body, &what); err != nil {
		return v, what, nil, fmt.Errorf("read a refresh token: %w", err)
	}
	g, err = a.grants.find(ctx, what.Grant)
	return v, what, g, err
}

// unanswered says whether a refresh token was used, and callgate failed then: nobody
// has anything of it, so that whoever has it may use it still.
func (a *Authority) unanswered(ctx context.Context, hash string, now time.Time) (bool, error) {
	v, ok, err := a.front.cfg.Vouchers.Voucher(ctx, hash)
	if err != nil || !ok || v.Used.IsZero() || len(v.Answer) > 0 || now.Sub(v.Used) <= replyGrace {
		return false, err
	}
	return a.front.cfg.Vouchers.ReuseVoucher(ctx, hash, v.Used, now)
}

// again answers who comes with a refresh token that was used.
func (a *Authority) again(r *http.Request, id, token string, g *Grant) (answered, error) {
	v, _, err := a.front.cfg.Vouchers.Voucher(r.Context(), hashed(token))
	if err != nil {
		return answered{}, fmt.Errorf("read a refresh token: %w", err)
	}
	past := a.cfg.Now().Sub(v.Used)
	if past > replyGrace && len(v.Answer) > 0 {
		return answered{}, a.betrayed(r, id, g, "the refresh token was used before; all that came of it is ended: ask the person again")
	}
	t, ok := unseal(v.Answer, token)
	if !ok { // the first one is being answered at this moment
		return answered{}, errBeingUsed
	}
	t.TTL = max(t.TTL-past, time.Second).Truncate(time.Second)
	return t, nil
}

// A reply is an answer as it is kept for [replyGrace].
type reply struct {
	Access, Refresh  string
	ID, Scope, Grant string
	Caps             []Cap
	Bound            bool
	TTL              time.Duration
}

// seal is t for whoever has token, and nobody else: callgate itself keeps only the
// hash of that.
func (t answered) seal(token string) ([]byte, error) {
	doc, err := json.Marshal(reply{t.Access.Reveal(), t.refresh.Reveal(), t.ID, t.Scope, t.Grant, t.Caps, t.Bound, t.TTL})
	if err != nil {
		return nil, err
	}
	box, err := boxOf(token)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, box.NonceSize())
	rand.Read(nonce) // never fails
	return box.Seal(nonce, nonce, doc, nil), nil
}

func unseal(sealed []byte, token string) (answered, bool) {
	box, err := boxOf(token)
	if err != nil || len(sealed) < box.NonceSize() {
		return answered{}, false
	}
	doc, err := box.Open(nil, sealed[:box.NonceSize()], sealed[box.NonceSize():], nil)
	var p reply
	if err = errors.Join(err, json.Unmarshal(doc, &p)); err != nil {
		return answered{}, false
	}
	return answered{Token: Token{Access: NewSecret(p.Access), ID: p.ID, Scope: p.Scope, Grant: p.Grant, Caps: p.Caps, Bound: p.Bound, TTL: p.TTL}, refresh: NewSecret(p.Refresh)}, true
}

func boxOf(token string) (cipher.AEAD, error) {
	block, err := aes.NewCipher(sum("callgate reply\n" + token))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// withdraw revokes what a client of people shows: a refresh token, and with it all
// that came of the same consent, or an access token. It says whether form is of such
// a client at all.
func (a *Authority) withdraw(r *http.Request, form map[string]string) (bool, error) {
	_, known := (*a.front.clients.Load())[form["client_id"]]
	v, what, g, err := a.renewalOf(r.Context(), form["token"])
	if err != nil && form["token"] != "" {
		return true, err
	}
	c, no := a.read(form["token"])
	ours := g != nil || no == nil && c.Client != "" && c.Client == form["client_id"] && "agent:"+c.Client != c.acting()
	if !known && !ours {
		return false, nil
	}
	id, err := a.caller(r, form)
	if err != nil {
		return true, err
	}
	switch {
	case g != nil && what.Client == id && v.Kind == refreshVoucher:
		return true, a.cfg.Revocations.Revoke(r.Context(), RevokedGrant, g.ID, "client:"+clipped(id))
	case g == nil && no == nil && c.Client == id:
		return true, a.cfg.Revocations.Revoke(r.Context(), RevokedToken, c.ID, "client:"+clipped(id))
	}
	return true, nil
}
