package identity

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	tokenPath      = "/oauth/token"
	introspectPath = "/oauth/introspect"
	revokePath     = "/oauth/revoke"
	jwksPath       = "/.well-known/jwks.json"
	serverPath     = "/.well-known/oauth-authorization-server"
	openIDPath     = "/.well-known/openid-configuration" // where some libraries look (RFC 8414, section 5)
	resourcePath   = "/.well-known/oauth-protected-resource"

	maxForm     = 64 << 10 // bytes
	maxMetadata = 300      // seconds that others may keep keys and metadata
)

// Handler serves what agents need to get a token and to find out where:
// /oauth/token, and what is below /.well-known/.
func (a *Authority) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+tokenPath, a.token)
	mux.HandleFunc("POST "+introspectPath, a.introspect)
	mux.HandleFunc("POST "+revokePath, a.revoke)
	mux.HandleFunc("GET "+jwksPath, func(w http.ResponseWriter, r *http.Request) { document(a.keys.ring.Load().jwks()).ServeHTTP(w, r) })
	a.doors(mux)
	metadata := map[string]any{ // RFC 8414
		"issuer":                                a.cfg.Issuer,
		"token_endpoint":                        a.base + tokenPath,
		"jwks_uri":                              a.base + jwksPath,
		"grant_types_supported":                 grantTypes,
		"response_types_supported":              []string{"code"},
		"token_endpoint_auth_methods_supported": []string{"none", "client_secret_basic", "client_secret_post", "private_key_jwt"},
		"introspection_endpoint":                a.base + introspectPath,
		"revocation_endpoint":                   a.base + revokePath,
		"authorization_details_types_supported": []string{CapType},

		"token_endpoint_auth_signing_alg_values_supported": foreignAlgs(),
		"dpop_signing_alg_values_supported":                foreignAlgs(),
		"authorization_grant_profiles_supported":           []string{jagProfile},

		"authorization_endpoint":                         a.base + authorizePath,
		"device_authorization_endpoint":                  a.base + deviceAuthorizationPath,
		"code_challenge_methods_supported":               []string{"S256"},
		"response_modes_supported":                       []string{"query"},
		"client_id_metadata_document_supported":          true,
		"authorization_response_iss_parameter_supported": true, // RFC 9207
	}
	if a.cfg.Certificates {
		metadata["tls_client_certificate_bound_access_tokens"] = true // RFC 8705
	}
	if a.front.cfg.Registration {
		metadata["registration_endpoint"] = a.base + registerPath
	}
	mux.Handle("GET "+serverPath, document(metadata))
	mux.Handle("GET "+openIDPath, document(metadata))
	mux.Handle("GET "+resourcePath, document(a.resource("")))
	mux.HandleFunc("GET "+resourcePath+"/{path...}", func(w http.ResponseWriter, r *http.Request) {
		path := "/" + r.PathValue("path")
		if !isDoor(path) {
			http.NotFound(w, r)
			return
		}
		document(a.resource(path)).ServeHTTP(w, r)
	})
	return mux
}

// resource is the RFC 9728 metadata of what is at path.
func (a *Authority) resource(path string) any {
	return map[string]any{
		"resource":                          a.audience(path),
		"authorization_servers":             []string{a.cfg.Issuer},
		"bearer_methods_supported":          []string{"header"},
		"resource_name":                     "callgate",
		"dpop_signing_alg_values_supported": foreignAlgs(),
	}
}

// isDoor says whether path is one that has metadata of its own: that of all MCP
// servers, or of one. Which servers there are is not told.
func isDoor(path string) bool {
	return path == "/mcp" || strings.HasPrefix(path, "/mcp/") && strings.Count(path, "/") == 2 && isPath(path) && len(path) <= maxResource
}

// document serves v as JSON, encoded once.
func document(v any) http.Handler {
	doc, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings only
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age="+strconv.Itoa(maxMetadata))
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Write(doc)
	})
}

// Challenge is the WWW-Authenticate header of a 401 for route: where to find
// out how to get a token and, if err holds a [Refusal], what is wrong with the
// one that was presented.
func (a *Authority) Challenge(route string, err error) string {
	path := ""
	if isDoor(route) {
		path = route
	}
	at := `resource_metadata="` + a.base + resourcePath + path + `"`
	var r Refusal
	if !errors.As(err, &r) {
		return "Bearer " + at
	}
	if isProofRefusal(r) || r == errUnproven || r == errOtherKey {
		code := "invalid_token"
		if r == errProofNonce {
			code = "use_dpop_nonce"
		} else if isProofRefusal(r) {
			code = "invalid_dpop_proof"
		}
		return `DPoP error="` + code + `", error_description="` + string(r) + `", algs="` + strings.Join(foreignAlgs(), " ") + `", ` + at
	}
	return `Bearer error="invalid_token", error_description="` + string(r) + `", ` + at
}

// A fault is an error of the token endpoint as RFC 6749 tells it.
type fault struct {
	status int
	code   string
	text   string
	retry  time.Duration // for 429
}

func (f *fault) Error() string { return f.code + ": " + f.text }

func badRequest(code, format string, args ...any) *fault {
	return &fault{status: http.StatusBadRequest, code: code, text: fmt.Sprintf(format, args...)}
}

func badClient(text string) *fault {
	return &fault{status: http.StatusUnauthorized, code: "invalid_client", text: text}
}

func (f *fault) write(w http.ResponseWriter) {
	switch f.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Basic realm="callgate", charset="UTF-8"`)
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", strconv.Itoa(int((f.retry+time.Second-1)/time.Second)))
	}
	answer(w, f.status, map[string]string{"error": f.code, "error_description": f.description()})
}

// description is the text in the characters that RFC 6749 allows for it.
func (f *fault) description() string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"', c == '\\':
			return '\''
		case c < ' ' || c > '~':
			return '?'
		}
		return c
	}, f.text)
}

// answer writes a reply of the token endpoint, which nobody may keep.
func answer(w http.ResponseWriter, status int, v any) {
	doc, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers only
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(doc)
}

// readForm reads the parameters of the request: each at most once, from the
// body and nowhere else.
func readForm(w http.ResponseWriter, r *http.Request) (map[string]string, error) {
	if r.URL.RawQuery != "" {
		return nil, badRequest("invalid_request", "parameters belong into the body, where no log finds them")
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || len(r.Header["Content-Type"]) > 1 {
		return nil, badRequest("invalid_request", "want Content-Type: application/x-www-form-urlencoded")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) {
			return nil, &fault{status: http.StatusRequestEntityTooLarge, code: "invalid_request", text: fmt.Sprintf("the body is larger than %d bytes", maxForm)}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, &fault{status: http.StatusRequestTimeout, code: "invalid_request", text: "the body did not arrive in time: send it faster"}
		}
		return nil, badRequest("invalid_request", "the body was cut off")
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, badRequest("invalid_request", "the body is not application/x-www-form-urlencoded")
	}
	form := make(map[string]string, len(values))
	for name, v := range values {
		switch {
		case len(v) == 1:
			form[name] = v[0]
		case name == "resource": // RFC 8707 allows more, but a token of ours is for one
			return nil, badRequest("invalid_target", "a token is for one resource: ask for one at a time")
		default:
			return nil, badRequest("invalid_request", "a parameter stands in the body more than once")
		}
	}
	return form, nil
}

// credentials are what a client presents. A secret in a Basic header should be
// form-encoded (RFC 6749 2.3.1) and often is not, so both readings count.
type credentials struct {
	client  string
	secrets []string
}

func readCredentials(h http.Header, form map[string]string) (credentials, error) {
	auth := h["Authorization"]
	if len(auth) == 0 {
		if form["client_id"] == "" || form["client_secret"] == "" {
			return credentials{}, badClient("send client_id and client_secret, as HTTP Basic or in the body")
		}
		return credentials{form["client_id"], []string{form["client_secret"]}}, nil
	}
	scheme, encoded, _ := strings.Cut(auth[0], " ")
	if len(auth) > 1 || !strings.EqualFold(scheme, "Basic") {
		return credentials{}, badClient("want one Authorization header, with HTTP Basic")
	}
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	client, secret, ok := strings.Cut(string(plain), ":")
	if err != nil || !ok {
		return credentials{}, badClient("the Authorization header is not HTTP Basic")
	}
	if form["client_secret"] != "" {
		return credentials{}, badRequest("invalid_request", "the client authenticates twice: use HTTP Basic or client_secret, not both")
	}
	if client, err = url.QueryUnescape(client); err != nil {
		return credentials{}, badClient("the Authorization header is not HTTP Basic")
	}
	if other := form["client_id"]; other != "" && other != client {
		return credentials{}, badRequest("invalid_request", "client_id is not the client that authenticates")
	}
	c := credentials{client, []string{secret}}
	if decoded, err := url.QueryUnescape(secret); err == nil && decoded != secret {
		c.secrets = append(c.secrets, decoded)
	}
	return c, nil
}

// authenticate is the name of the agent whose credentials c are. It compares for
// a client that is not there as for one that is.
func (a *Authority) authenticate(c credentials, address string) (string, error) {
	name := c.client
	if !isName(name) {
		name = "?" // all that cannot be names fail as one, and none of them is on record
	}
	at := a.cfg.Now()
	if wait := a.failures.wait(name, address, at); wait > 0 {
		return "", &fault{http.StatusTooManyRequests, "temporarily_unavailable", "too many wrong tries: wait before the next", wait}
	}
	agent, _ := a.registry.Get(name)
	right := 0
	for _, secret := range c.secrets {
		right |= agent.hasSecret(secret, at)
	}
	ended := agent.tokenless(at)
	if right == 1 && ended == nil {
		a.registry.place(name).from.note(address)
		return name, nil
	}
	told, state := "client_id or client_secret is wrong", "wrong client_id or client_secret"
	if right == 1 { // only who knows the secret may know more
		told, state = ended.Error(), agent.Status
		if agent.Status == Active {
			state = "expired"
		}
	}
	state += ", from " + address
	a.failures.note(name, address, at)
	if a.failures.wait(name, address, at) > 0 {
		state += ", throttled"
	}
	_ = a.cfg.Record("token.refused", "agent:"+name, "agent:"+name, state) // it is refused in any case
	return "", badClient(told)
}
