package identity

import (
	"errors"
	"net/http"
	"strings"
	"time"
)

// token is POST /oauth/token.
func (a *Authority) token(w http.ResponseWriter, r *http.Request) {
	t, err := a.grant(w, r)
	if err != nil {
		a.failed(w, r, err)
		return
	}
	kind := "Bearer"
	if t.Bound {
		kind = "DPoP"
	}
	answer(w, http.StatusOK, struct {
		Access     string `json:"access_token"`
		IssuedType string `json:"issued_token_type,omitempty"`
		Type       string `json:"token_type"`
		Expires    int64  `json:"expires_in"`
		Scope      string `json:"scope,omitempty"`
		Caps       []Cap  `json:"authorization_details,omitempty"`
		Refresh    string `json:"refresh_token,omitempty"`
	}{t.Access.Reveal(), t.issuedType, kind, int64(t.TTL / time.Second), t.Scope, t.Caps, t.refresh.Reveal()})
}

// failed answers what went wrong at an endpoint of OAuth.
func (a *Authority) failed(w http.ResponseWriter, r *http.Request, err error) {
	var f *fault
	if !errors.As(err, &f) {
		a.cfg.Logger.ErrorContext(r.Context(), "a request to the authorization server failed", "path", r.URL.Path, "error", err)
		f = &fault{status: http.StatusInternalServerError, code: "server_error", text: "callgate could not do this; its log says why"}
	}
	f.write(w)
}

// What a client can ask for at the token endpoint.
const (
	byCredentials = "client_credentials"
	byExchange    = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// grantTypes are all of them.
var grantTypes = []string{byCode, byRefresh, byDevice, byCredentials, byExchange, byAssertion}

// grant answers a request for a token, in the way that it asks for.
func (a *Authority) grant(w http.ResponseWriter, r *http.Request) (answered, error) {
	form, err := readForm(w, r)
	if err != nil {
		return answered{}, err
	}
	proof, err := a.bound(w, r)
	if err != nil {
		return answered{}, a.ill(r, err)
	}
	r = r.WithContext(WithProof(r.Context(), proof))
	var t answered
	switch grant := form["grant_type"]; grant {
	case byCredentials:
		t.Token, err = a.credentialed(r, form)
	case byExchange:
		t.Token, err = a.exchanged(r, form)
		t.issuedType = accessTokenType
	case byCode:
		t, err = a.redeemed(r, form)
	case byRefresh:
		t, err = a.refreshed(r, form)
	case byDevice:
		t, err = a.polled(r, form)
	case byAssertion:
		t.Token, err = a.asserting(r, form)
	case "":
		err = badRequest("invalid_request", "grant_type is missing: write grant_type=client_credentials")
	default:
		err = badRequest("unsupported_grant_type", "there are grant_type=%s", strings.Join(grantTypes, ", "))
	}
	return t, err
}

// answered is what the token endpoint answers with.
type answered struct {
	Token
	issuedType string // of token exchange
	refresh    Secret // where there is one
}

// credentialed issues a token to a client that acts for itself.
func (a *Authority) credentialed(r *http.Request, form map[string]string) (Token, error) {
	name, err := a.client(r, form)
	if err != nil {
		return Token{}, err
	}
	o, err := a.asked(r, form)
	if err != nil {
		return Token{}, err
	}
	o.By = "agent:" + name
	t, err := a.Mint(r.Context(), name, o)
	return t, a.unissued(o.By, byCredentials, err)
}

// asked is what a request says of the token that it wants, whose client is known. Its
// DPoP proof is used up by that.
func (a *Authority) asked(r *http.Request, form map[string]string) (MintOptions, error) {
	proof := proofOf(r.Context())
	if proof.id != "" {
		if err := a.replays.note(proof.Thumbprint, proof.id, a.cfg.Now()); err != nil {
			return MintOptions{}, a.ill(r, err)
		}
	}
	o, err := wanted(form)
	o.Thumbprint, o.Certificate = proof.Thumbprint, proof.Certificate
	return o, err
}

// wanted is what is asked for in words: scope, resource, authorization_details, run.
func wanted(form map[string]string) (o MintOptions, err error) {
	o.Scope, o.Audience, o.Run = form["scope"], form["resource"], form["run"]
	if details := form["authorization_details"]; details != "" {
		if o.Caps, err = ParseCaps([]byte(details)); err != nil {
			return o, badRequest("invalid_authorization_details", "%v", err)
		}
	}
	return o, nil
}

// explained makes an error of [Authority.Mint] one of the token endpoint.
func explained(err error) error {
	switch {
	case errors.Is(err, ErrScope):
		return badRequest("invalid_scope", "%v", err)
	case errors.Is(err, ErrTarget):
		return badRequest("invalid_target", "%v", err)
	case errors.Is(err, ErrInvalid):
		return badRequest("invalid_request", "%v", err)
	case errors.Is(err, ErrRevoked), errors.Is(err, ErrEnded), errors.Is(err, ErrUnknown): // since it was authenticated
		return badClient(err.Error())
	}
	return err
}

// client is the name of the agent that the request authenticates as.
func (a *Authority) client(r *http.Request, form map[string]string) (name string, err error) {
	if form["client_assertion"] != "" || form["client_assertion_type"] != "" {
		return a.asserted(r, form)
	}
	c, err := readCredentials(r.Header, form)
	if err != nil {
		_ = a.cfg.Record("token.refused", "agent:?", "agent:?", clipped(err.Error())+", from "+origin(r.RemoteAddr)) // it is refused in any case
		return "", err
	}
	return a.authenticate(c, origin(r.RemoteAddr))
}

// ill puts on record that a request for a token has a DPoP proof that is not taken.
func (a *Authority) ill(r *http.Request, err error) error {
	address, at := origin(r.RemoteAddr), a.cfg.Now()
	code, state := "invalid_dpop_proof", ""
	if err == errProofNonce {
		code = "use_dpop_nonce" // which is how a client learns of it, and nothing to be slowed down for
	} else {
		if wait := a.failures.wait("?dpop", address, at); wait > 0 {
			return &fault{http.StatusTooManyRequests, "temporarily_unavailable", "too many wrong proofs: wait before the next", wait}
		}
		if a.failures.note("?dpop", address, at); a.failures.wait("?dpop", address, at) > 0 {
			state = ", throttled"
		}
	}
	_ = a.cfg.Record("token.refused", "agent:?", "agent:?", code+": "+clipped(err.Error())+", from "+address+state) // it is refused in any case
	return badRequest(code, "%s", err.Error())
}
