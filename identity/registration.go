package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	registerPath     = "/oauth/register"
	registeredPrefix = "dcr_"
	maxRegistration  = 16 << 10 // bytes
)

// register is POST /oauth/register (RFC 7591): a client that nobody knew yet.
func (a *Authority) register(w http.ResponseWriter, r *http.Request) {
	c, method, err := a.registration(w, r)
	secret := Secret{}
	if err == nil {
		if method != "none" {
			secret = randomSecret()
			c.SecretHash = secret.Hash()
		}
		err = a.enrol(r, c)
	}
	if err != nil {
		var f *fault
		if errors.As(err, &f) {
			a.refused(r, "client.refused", "client:?", f.text)
		}
		a.failed(w, r, err)
		return
	}
	told := map[string]any{
		"client_id": c.ID, "client_id_issued_at": c.Created.Unix(), "redirect_uris": c.Redirects, "token_endpoint_auth_method": method,
		"grant_types": []string{byCode, byRefresh}, "response_types": []string{"code"},
	}
	if c.Name != "" {
		told["client_name"] = c.Name
	}
	if method != "none" {
		told["client_secret"], told["client_secret_expires_at"] = secret.Reveal(), 0
	}
	answer(w, http.StatusCreated, told)
}

// registration is the client that a request describes.
func (a *Authority) registration(w http.ResponseWriter, r *http.Request) (c Client, method string, err error) {
	address, at := origin(r.RemoteAddr), a.cfg.Now()
	if wait := a.front.registering.wait(address, at); wait > 0 {
		return c, "", &fault{http.StatusTooManyRequests, "temporarily_unavailable", "too many clients from this address: wait before the next", wait}
	}
	a.front.registering.note(address, at)
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return c, "", badRequest("invalid_client_metadata", "want Content-Type: application/json")
	}
	doc, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRegistration))
	if err != nil || !jsontext.Value(doc).IsValid() {
		return c, "", badRequest("invalid_client_metadata", "want a JSON object of at most %d bytes, without a name twice", maxRegistration)
	}
	var m struct {
		Name      string   `json:"client_name"`
		Redirects []string `json:"redirect_uris"`
		Method    string   `json:"token_endpoint_auth_method"`
		Grants    []string `json:"grant_types"`
	}
	if err := json.Unmarshal(doc, &m); err != nil {
		return c, "", badRequest("invalid_client_metadata", "the metadata is not as RFC 7591 has it")
	}
	if m.Method == "" {
		m.Method = "none"
	}
	switch {
	case !slices.Contains([]string{"none", "client_secret_basic", "client_secret_post"}, m.Method):
		return c, "", badRequest("invalid_client_metadata", "token_endpoint_auth_method: there are none, client_secret_basic and client_secret_post")
	case len(m.Grants) > 0 && !slices.Contains(m.Grants, byCode):
		return c, "", badRequest("invalid_client_metadata", "grant_types without authorization_code: what acts for itself is an agent, and is registered by the operator")
	}
	c = Client{ID: registeredPrefix + randomID(), Name: m.Name, Redirects: m.Redirects, Source: FromRegistration, Created: at.UTC().Truncate(time.Second)}
	if err := c.Check(); err != nil {
		code := "invalid_client_metadata"
		if strings.Contains(err.Error(), "redirect") {
			code = "invalid_redirect_uri"
		}
		return c, "", badRequest(code, "%v", err)
	}
	return c, m.Method, nil
}

// enrol puts c on record, and then in the store.
func (a *Authority) enrol(r *http.Request, c Client) error {
	if err := a.cfg.Record("client.registered", "client:"+c.ID, "client:"+c.ID, clipped(fmt.Sprintf("%q, leads to %s, from %s", c.Name, strings.Join(c.Redirects, " "), origin(r.RemoteAddr)))); err != nil {
		return fmt.Errorf("no client is registered, since that could not be recorded: %w", err)
	}
	ok, err := a.front.cfg.Registered.PutClient(r.Context(), c, maxClients)
	if err != nil {
		return fmt.Errorf("store a client: %w", err)
	}
	if !ok {
		return &fault{http.StatusServiceUnavailable, "temporarily_unavailable", "as many clients as can be have registered: the operator can name this one under identity.clients", time.Hour}
	}
	return nil
}
