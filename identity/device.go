package identity

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	devicePath              = "/oauth/device"
	deviceAuthorizationPath = "/oauth/device_authorization"

	byDevice = "urn:ietf:params:oauth:grant-type:device_code"

	deviceLife     = 10 * time.Minute
	deviceInterval = 5 * time.Second
	codeLetters    = "BCDFGHJKLMNPQRSTVWXZ" // no vowels, so that there are no words
	codeLength     = 8
)

// An errand is what a device asks a person for.
type errand struct {
	Device   string `json:"device"` // hash of its code
	Client   string `json:"client"`
	Scope    string `json:"scope,omitempty"`
	Audience string `json:"audience,omitempty"`
	Caps     []Cap  `json:"caps,omitempty"`
}

// A settlement is what the person answered.
type settlement struct {
	Allowed bool    `json:"allowed"`
	Promise promise `json:"promise"`
}

// device is POST /oauth/device_authorization (RFC 8628).
func (a *Authority) device(w http.ResponseWriter, r *http.Request) {
	form, err := readForm(w, r)
	var e errand
	if err == nil {
		e, err = a.errandOf(r, form)
	}
	if err != nil {
		a.failed(w, r, err)
		return
	}
	secret, shown := randomSecret(), userCode()
	until := a.cfg.Now().Add(deviceLife).UTC().Truncate(time.Microsecond)
	e.Device = hashed(secret.Reveal())
	doc, err := json.Marshal(e)
	if err == nil {
		err = a.front.cfg.Vouchers.PutVoucher(r.Context(), Voucher{Hash: e.Device, Kind: deviceVoucher, Body: doc, Expires: until})
	}
	if err == nil {
		err = a.front.cfg.Vouchers.PutVoucher(r.Context(), Voucher{Hash: hashed("user code " + shown), Kind: userVoucher, Body: doc, Expires: until})
	}
	if err != nil {
		a.failed(w, r, err)
		return
	}
	shown = shown[:codeLength/2] + "-" + shown[codeLength/2:]
	answer(w, http.StatusOK, struct {
		Device   string `json:"device_code"`
		User     string `json:"user_code"`
		At       string `json:"verification_uri"`
		Whole    string `json:"verification_uri_complete"`
		Expires  int64  `json:"expires_in"`
		Interval int64  `json:"interval"`
	}{secret.Reveal(), shown, a.base + devicePath, a.base + devicePath + "?user_code=" + shown, int64(deviceLife / time.Second), int64(deviceInterval / time.Second)})
}

// errandOf is what a device asks for, by a client that is one.
func (a *Authority) errandOf(r *http.Request, form map[string]string) (errand, error) {
	address, at := origin(r.RemoteAddr), a.cfg.Now()
	if wait := a.front.devices.wait(address, at); wait > 0 {
		return errand{}, &fault{http.StatusTooManyRequests, "temporarily_unavailable", "too many device codes from this address: wait before the next", wait}
	}
	a.front.devices.note(address, at)
	id, err := a.caller(r, form)
	if err != nil {
		return errand{}, err
	}
	o, err := wanted(form)
	if err == nil {
		_, err = a.root(Agent{Name: "?"}, "", o) // what is wrong with scope and resource is wrong for any agent
	}
	return errand{Client: id, Scope: o.Scope, Audience: o.Audience, Caps: o.Caps}, explained(err)
}

// userCode is a code that people can read out.
func userCode() string {
	b := make([]byte, codeLength)
	for i := range b {
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(codeLetters)))) // never fails
		b[i] = codeLetters[n.Int64()]
	}
	return string(b)
}

// typed is a user code as a person typed it, "" if it is none.
func typed(s string) string {
	if len(s) > 64 {
		return ""
	}
	s = strings.Map(func(c rune) rune {
		if c == '-' || c == ' ' {
			return -1
		}
		return c
	}, strings.ToUpper(s))
	if len(s) != codeLength || strings.ContainsFunc(s, func(c rune) bool { return !strings.ContainsRune(codeLetters, c) }) {
		return ""
	}
	return s
}

// errandFor finds what a device asks for, by the code that a person typed. Wrong
// codes slow down the person and the address; then why says what to tell.
func (a *Authority) errandFor(r *http.Request, one *session, code string) (e *errand, v Voucher, why string, err error) {
	address, at := origin(r.RemoteAddr), a.cfg.Now()
	if a.failures.wait("device "+one.user, address, at) > 0 {
		return nil, v, "Too many wrong codes: wait a few seconds, then try again.", nil
	}
	v, ok, err := a.front.cfg.Vouchers.Voucher(r.Context(), hashed("user code "+code))
	if err != nil {
		return nil, v, "", fmt.Errorf("read a user code: %w", err)
	}
	e = new(errand)
	if code == "" || !ok || v.Kind != userVoucher || !v.Used.IsZero() || !at.Before(v.Expires) || json.Unmarshal(v.Body, e) != nil {
		a.failures.note("device "+one.user, address, at)
		a.refused(r, "consent.refused", one.user, "a device code that is not there")
		return nil, v, "There is no such code, or it has expired. Begin again at the device.", nil
	}
	return e, v, "", nil
}

// pending is what a device asks for by a code, and the client that it is. Where there is
// none, the person has been told.
func (a *Authority) pending(w http.ResponseWriter, r *http.Request, one *session, code string) (*errand, Voucher, Client, bool) {
	e, v, why, err := a.errandFor(r, one, code)
	switch {
	case err != nil:
		a.broke(w, r, err)
		return nil, v, Client{}, false
	case why != "":
		a.show(w, http.StatusBadRequest, "sorry", page{Title: "No such code", Text: why, Link: devicePath, LinkText: "Try again"})
		return nil, v, Client{}, false
	}
	client, err := a.app(r.Context(), e.Client, true)
	if err != nil {
		a.notAsked(w, r, nil, badRequest("invalid_client", "%v", err))
	}
	return e, v, client, err == nil
}

// deviceForm is GET /oauth/device: a person types a code, and is asked.
func (a *Authority) deviceForm(w http.ResponseWriter, r *http.Request) {
	given := r.URL.Query().Get("user_code")
	one := a.who(r)
	if one == nil {
		next := devicePath
		if code := typed(given); code != "" {
			next += "?user_code=" + url.QueryEscape(code)
		}
		a.askLogin(w, r, http.StatusOK, next, "")
		return
	}
	if given == "" {
		a.show(w, http.StatusOK, "device", page{Title: "Connect a device"})
		return
	}
	code := typed(given)
	e, _, client, ok := a.pending(w, r, one, code)
	if !ok {
		return
	}
	o := MintOptions{Scope: e.Scope, Audience: e.Audience, Caps: e.Caps}
	p := page{
		Title: "Allow access?", User: one.user, Client: client, Agents: a.choices(client, one.user), Asks: a.plainWords(o),
		Until: a.cfg.Now().Add(a.front.cfg.RefreshTTL).UTC().Format("2 January 2006"), UserCode: code[:codeLength/2] + "-" + code[codeLength/2:],
	}
	if len(p.Agents) == 0 {
		p.Title = "No agent to act for you"
		a.show(w, http.StatusForbidden, "agentless", p)
		return
	}
	p.Token = a.front.sessions.ask(one, "device "+code)
	a.show(w, http.StatusOK, "deviceconsent", p)
}

// deviceDecide is POST /oauth/device: what the person answered.
func (a *Authority) deviceDecide(w http.ResponseWriter, r *http.Request) {
	one := a.who(r)
	if one == nil {
		a.refused(r, "consent.refused", "user:?", "an answer of nobody who is logged in")
		a.askLogin(w, r, http.StatusForbidden, devicePath, "Your login has ended. Log in again.")
		return
	}
	code := typed(r.PostFormValue("user_code"))
	if !a.front.sessions.answered(one, r.PostFormValue("token"), "device "+code) {
		a.refused(r, "consent.refused", one.user, "a form that this browser was not given, or that was sent before")
		a.show(w, http.StatusForbidden, "sorry", page{Title: "Not allowed", Text: "This page was too old, or its form was sent twice. Nothing was allowed.", Link: devicePath, LinkText: "Try again"})
		return
	}
	e, v, client, ok := a.pending(w, r, one, code)
	if !ok {
		return
	}
	var s settlement
	if r.PostFormValue("decision") == "allow" {
		agent, ok := a.chosen(client, one.user, r.PostFormValue("agent"))
		if !ok {
			a.refused(r, "consent.refused", one.user, fmt.Sprintf("an agent that is not theirs: %.80q", r.PostFormValue("agent")))
			a.show(w, http.StatusForbidden, "sorry", page{Title: "Not allowed", Text: "That agent may not act for you. Nothing was allowed."})
			return
		}
		p, err := a.promised(r.Context(), one, client, agent, MintOptions{Scope: e.Scope, Audience: e.Audience, Caps: e.Caps})
		if err != nil {
			a.broke(w, r, err)
			return
		}
		s = settlement{true, p}
	} else {
		_ = a.cfg.Record("consent.denied", one.user, "client:"+client.ID, "a device") // it is denied in any case
	}
	if err := a.settleDevice(r.Context(), e, v, s); err != nil {
		a.broke(w, r, err)
		return
	}
	p := page{Title: "Done", Text: "The device goes on by itself. You can close this page."}
	if !s.Allowed {
		p = page{Title: "Not allowed", Text: "The device gets nothing. You can close this page."}
	}
	a.show(w, http.StatusOK, "sorry", p)
}

// settleDevice keeps what a person answered about a device, once.
func (a *Authority) settleDevice(ctx context.Context, e *errand, v Voucher, s settlement) error {
	first, err := a.front.cfg.Vouchers.UseVoucher(ctx, v.Hash, a.cfg.Now())
	if err != nil {
		return err
	}
	if !first {
		return errors.New("the device code was answered at the same time elsewhere")
	}
	doc, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return a.front.cfg.Vouchers.PutVoucher(ctx, Voucher{Hash: hashed("settled " + e.Device), Kind: settledVoucher, Body: doc, Expires: v.Expires})
}

// polled answers a device that asks whether the person has answered.
func (a *Authority) polled(r *http.Request, form map[string]string) (answered, error) {
	id, err := a.caller(r, form)
	if err != nil {
		return answered{}, err
	}
	if form["device_code"] == "" {
		return answered{}, badRequest("invalid_request", "device_code is missing")
	}
	v, ok, err := a.front.cfg.Vouchers.Voucher(r.Context(), hashed(form["device_code"]))
	if err != nil {
		return answered{}, fmt.Errorf("read a device code: %w", err)
	}
	var e errand
	if !ok || v.Kind != deviceVoucher || json.Unmarshal(v.Body, &e) != nil || e.Client != id {
		return answered{}, a.ungranted(r, id, "", "invalid_grant", "there is no such device_code of this client")
	}
	now := a.cfg.Now()
	if !now.Before(v.Expires) {
		return answered{}, badRequest("expired_token", "nobody answered in time: begin again")
	}
	if a.front.polls.wait(v.Hash, now) > 0 {
		return answered{}, badRequest("slow_down", "ask every %d seconds, and from now on every 5 seconds less often", deviceInterval/time.Second)
	}
	a.front.polls.note(v.Hash, now)
	settled, ok, err := a.front.cfg.Vouchers.Voucher(r.Context(), hashed("settled "+v.Hash))
	if err != nil {
		return answered{}, fmt.Errorf("read a device code: %w", err)
	}
	if !ok {
		return answered{}, badRequest("authorization_pending", "the person has not answered yet")
	}
	var s settlement
	if err := json.Unmarshal(settled.Body, &s); err != nil {
		return answered{}, fmt.Errorf("read a device code: %w", err)
	}
	if !s.Allowed {
		return answered{}, a.ungranted(r, id, "", "access_denied", "the person did not allow it")
	}
	first, err := a.front.cfg.Vouchers.UseVoucher(r.Context(), v.Hash, now)
	if err != nil {
		return answered{}, fmt.Errorf("use a device code: %w", err)
	}
	if !first {
		return answered{}, a.betrayed(r, id, &s.Promise.Grant, "the device code was used before")
	}
	return a.fulfilled(r, id, form, s.Promise)
}
