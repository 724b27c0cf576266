package providers_test

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/identity"
	"callgate/providers"

	"github.com/tidwall/gjson"
)

// credentialHeaders are all those by which some vendor is told who calls.
var credentialHeaders = []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "X-Amz-Security-Token", "X-Amz-Date", "Cookie"}

// told is which of them a request has, but for SigV4's own.
func told(r *http.Request) string {
	var list []string
	for _, name := range credentialHeaders {
		if v := r.Header.Values(name); len(v) > 0 && !strings.HasPrefix(name, "X-Amz-") {
			list = append(list, name+": "+strings.Join(v, " & "))
		}
	}
	return strings.Join(list, "; ")
}

// sigv4 recomputes the signature of a request as AWS documents it, from what arrived.
func sigv4(r *http.Request, body []byte, id, secret, token string) (scope string, err error) {
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return "", fmt.Errorf("Authorization: %q", r.Header.Get("Authorization"))
	}
	part := make(map[string]string)
	for p := range strings.SplitSeq(rest, ", ") {
		name, value, _ := strings.Cut(p, "=")
		part[name] = value
	}
	given, scope, _ := strings.Cut(part["Credential"], "/")
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", date)
	where := strings.Split(scope, "/")
	switch {
	case err != nil || time.Since(at).Abs() > 5*time.Minute:
		return "", fmt.Errorf("X-Amz-Date: %q", date)
	case given != id || len(where) != 4 || where[0] != date[:8] || where[3] != "aws4_request":
		return "", fmt.Errorf("Credential: %q", part["Credential"])
	case r.Header.Get("X-Amz-Security-Token") != token:
		return "", errors.New("the session token is another one")
	}
	signed := strings.Split(part["SignedHeaders"], ";")
	for _, must := range []string{"host", "x-amz-date"} {
		if !slices.Contains(signed, must) {
			return "", fmt.Errorf("%s is not signed: %v", must, signed)
		}
	}
	if token != "" && !slices.Contains(signed, "x-amz-security-token") {
		return "", errors.New("the session token is not signed")
	}
	var headers strings.Builder
	for _, name := range signed {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		fmt.Fprintf(&headers, "%s:%s\n", name, strings.TrimSpace(value))
	}
	escape := func(s string) string {
		return strings.NewReplacer("+", "%20", "%7E", "~").Replace(url.QueryEscape(s))
	}
	segments := strings.Split(r.URL.EscapedPath(), "/") // as it came, and escaped once more
	for i, s := range segments {
		segments[i] = escape(s)
	}
	var query []string
	for name, values := range r.URL.Query() {
		for _, v := range values {
			query = append(query, escape(name)+"="+escape(v))
		}
	}
	slices.Sort(query)
	sum := sha256.Sum256(body)
	canonical := strings.Join([]string{r.Method, strings.Join(segments, "/"), strings.Join(query, "&"), headers.String(), part["SignedHeaders"], hex.EncodeToString(sum[:])}, "\n")
	hash := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", date, scope, hex.EncodeToString(hash[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, s := range append(where, text) {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(s))
		key = m.Sum(nil)
	}
	if part["Signature"] != hex.EncodeToString(key) {
		return "", fmt.Errorf("the signature is not over what arrived:\n%s", canonical)
	}
	return strings.Join(where[1:3], "/"), nil
}

// amazon is Bedrock, as far as it says who may call.
type amazon struct {
	mu                sync.Mutex
	id, secret, token string
	wrong             error
	scopes, paths     []string
	bodies            []string
}

func (a *amazon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	scope, err := sigv4(r, body, a.id, a.secret, a.token)
	a.paths, a.bodies = append(a.paths, r.URL.EscapedPath()), append(a.bodies, string(body))
	if err != nil {
		a.wrong = err
		answer(403, "application/json", `{"message":"The request signature we calculated does not match"}`)(w, r)
		return
	}
	a.scopes = append(a.scopes, scope)
	answer(200, "application/json", claudeReply)(w, r)
}

const (
	claudeReply = `{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":2}}`
	chatReply   = `{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`
)

func TestARequestToAmazonIsSignedOverWhatIsSent(t *testing.T) {
	const id, secret = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	for _, tt := range []struct{ name, key, token, model, path string }{
		{"by a pair", id + ":" + secret, "", "anthropic.claude-v2:1", "/model/anthropic.claude-v2%3A1/invoke"},
		{"by a pair and a session", id + ":" + secret + ":" + "Fwo/session==", "Fwo/session==", "c", "/model/c/invoke"},
		{"by what a machine's service says", `{"Code":"Success","AccessKeyId":"` + id + `","SecretAccessKey":"` + secret + `","Token":"tok+1","Expiration":"2099-01-01T00:00:00Z"}`, "tok+1", "c", "/model/c/invoke"},
		{"for a profile, which has slashes", id + ":" + secret, "", "arn:aws:bedrock:eu-central-1:1:inference-profile/eu.claude", "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A1%3Ainference-profile%2Feu.claude/invoke"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &amazon{id: id, secret: secret, token: tt.token}
			h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{"aws": {Kind: "bedrock-claude", BaseURL: serve(t, a), Params: map[string]string{"region": "eu-central-1"}, APIKey: identity.NewSecret(tt.key)}})
			text := strings.Repeat("ä\\n ", 50_000)
			resp, body := post(t, h.url(t), "/v1/messages?beta=true&x=%20a", `{"model":"aws/`+tt.model+`","max_tokens":9,"messages":[{"role":"user","content":"`+text+`"}]}`,
				"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Anthropic-Version", "2023-06-01", "Anthropic-Beta", "one, two")
			if resp.StatusCode != 200 || a.wrong != nil {
				t.Fatalf("%d %.300s; %v", resp.StatusCode, body, a.wrong)
			}
			if a.scopes[0] != "eu-central-1/bedrock" || a.paths[0] != tt.path {
				t.Errorf("signed for %s at %s, want %s", a.scopes, a.paths, tt.path)
			}
			sent := a.bodies[0]
			if got := sent[:strings.Index(sent, `"messages"`)]; got != `{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["one","two"],"max_tokens":9,` {
				t.Errorf("sent %s…", got)
			}
			if strings.Contains(fmt.Sprint(h.records())+body+fmt.Sprint(resp.Header), secret) {
				t.Error("the secret is told")
			}
		})
	}
}

func TestASignatureThatIsRefusedIsTheOperatorsMatter(t *testing.T) {
	a := &amazon{id: "AKID", secret: "another"}
	at := serve(t, a)
	for key, want := range map[string]int{"AKID:secret": 403, "AKID:": 503, `{"AccessKeyId":1}`: 503, "AKID:a:b:c": 503, "AK ID:s": 503} {
		a.paths = nil
		h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{"aws": {Kind: "bedrock-claude", BaseURL: at, Params: map[string]string{"region": "r1"}, APIKey: identity.NewSecret(key)}})
		resp, body := post(t, h.url(t), "/v1/messages", `{"model":"aws/c","messages":[]}`)
		if resp.StatusCode != want || want == 503 && (len(a.paths) != 0 || !strings.Contains(body, "no AWS credential")) || strings.Contains(body, key) {
			t.Errorf("%s: %d %s; %v", key, resp.StatusCode, body, a.paths)
		}
	}
}

func TestAnAPIKeyOfBedrockIsABearer(t *testing.T) {
	var got string
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = told(r) + r.Header.Get("X-Amz-Date")
		answer(200, "application/json", chatReply)(w, r)
	}))
	h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{"aws": {Kind: "bedrock-openai", BaseURL: at, Params: map[string]string{"region": "r1"}, APIKey: identity.NewSecret("bedrock-api-key-YQ==")}})
	if resp, body := post(t, h.url(t), "/v1/chat/completions", `{"model":"aws/c","messages":[]}`); resp.StatusCode != 200 || got != "Authorization: Bearer bedrock-api-key-YQ==" {
		t.Errorf("%d %s: %s", resp.StatusCode, body, got)
	}
}

// google is where service accounts get tokens, and an API that takes them.
type google struct {
	mu     sync.Mutex
	key    *rsa.PrivateKey
	at     string // of tokens
	given  int
	good   string
	status int // of answers to who wants a token; 0 for 200
	wrong  error
	calls  []string // path, and the body's beginning
	life   int
}

func (g *google) token(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = r.ParseForm()
	if err := g.check(r.PostForm); err != nil {
		g.wrong = err
		answer(400, "application/json", `{"error":"invalid_grant","error_description":"canary-of-google"}`)(w, r)
		return
	}
	if g.status != 0 {
		answer(g.status, "application/json", `{"error":"invalid_grant","error_description":"canary-of-google"}`)(w, r)
		return
	}
	g.given++
	g.good = fmt.Sprintf("ya29.token-%d", g.given)
	answer(200, "application/json", fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":%d}`, g.good, g.life))(w, r)
}

func (g *google) check(form url.Values) error {
	if form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return fmt.Errorf("grant %q", form.Get("grant_type"))
	}
	parts := strings.Split(form.Get("assertion"), ".")
	if len(parts) != 3 {
		return errors.New("the assertion is no JWT")
	}
	claims, err1 := base64.RawURLEncoding.DecodeString(parts[1])
	signature, err2 := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := errors.Join(err1, err2, rsa.VerifyPKCS1v15(&g.key.PublicKey, crypto.SHA256, sum[:], signature)); err != nil {
		return err
	}
	c := gjson.ParseBytes(claims)
	if c.Get("iss").Str != "gate@p.iam.gserviceaccount.com" || c.Get("aud").Str != g.at || c.Get("scope").Str != "https://www.googleapis.com/auth/cloud-platform" || c.Get("exp").Int() < time.Now().Unix() {
		return fmt.Errorf("claims %s", claims)
	}
	return nil
}

func (g *google) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	g.mu.Lock()
	defer g.mu.Unlock()
	if got := told(r); got != "Authorization: Bearer "+g.good {
		answer(401, "application/json", `{"error":{"code":401,"message":"Request had invalid authentication credentials.","status":"UNAUTHENTICATED"}}`)(w, r)
		return
	}
	g.calls = append(g.calls, r.URL.RequestURI()+" "+string(body))
	answer(200, "application/json", claudeReply)(w, r)
}

func newGoogle(t *testing.T) (g *google, account string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	g = &google{key: key, life: 3600}
	g.at = serve(t, http.HandlerFunc(g.token))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.MarshalIndent(map[string]string{
		"type": "service_account", "client_email": "gate@p.iam.gserviceaccount.com", "private_key_id": "k1", "token_uri": g.at,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return g, string(doc)
}

func TestAServiceAccountOfGoogleGetsTokens(t *testing.T) {
	g, account := newGoogle(t)
	h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{"v": {Kind: "vertex-claude", BaseURL: serve(t, g) + "/v1/projects/p/locations/l/publishers/anthropic", Params: map[string]string{"project": "p", "location": "l"}, APIKey: identity.NewSecret(account)}})
	at := h.url(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if resp, body := post(t, at, "/v1/messages", `{"model":"v/claude-sonnet-4@20250514","max_tokens":9,"messages":[]}`); resp.StatusCode != 200 {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
	all.Wait()
	if g.wrong != nil || g.given != 1 || len(g.calls) != 8 {
		t.Fatalf("%v; %d tokens for %d calls", g.wrong, g.given, len(g.calls))
	}
	const base = "/v1/projects/p/locations/l/publishers/anthropic/models/"
	post(t, at, "/v1/messages", `{"model":"v/c", "stream":true,"max_tokens":9,"messages":[]}`)
	post(t, at, "/v1/messages/count_tokens", `{"model":"v/c","messages":[]}`)
	for i, want := range []string{
		base + `claude-sonnet-4@20250514:rawPredict {"anthropic_version":"vertex-2023-10-16","max_tokens":9,"messages":[]}`,
		base + `c:streamRawPredict {"anthropic_version":"vertex-2023-10-16","stream":true,"max_tokens":9,"messages":[]}`,
		base + `count-tokens:rawPredict {"anthropic_version":"vertex-2023-10-16","model":"c","messages":[]}`,
	} {
		if got := g.calls[7+i]; got != want {
			t.Errorf("sent %s\nwant %s", got, want)
		}
	}
}

func TestATokenOfGoogleThatCannotBeHad(t *testing.T) {
	g, account := newGoogle(t)
	at := serve(t, g)
	try := func(key string, want int, words string) {
		t.Helper()
		h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{"v": {Kind: "vertex-claude", BaseURL: at, Params: map[string]string{"project": "p", "location": "l"}, APIKey: identity.NewSecret(key)}})
		resp, body := post(t, h.url(t), "/v1/messages", `{"model":"v/c","messages":[]}`)
		if seen := body + fmt.Sprint(h.records()); resp.StatusCode != want || !strings.Contains(body, words) || strings.Contains(seen, "PRIVATE") || strings.Contains(seen, "canary") {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	g.status = 500
	try(account, 503, "access token")
	g.status = 400
	try(account, 503, "access token")
	try(`{"type":"service_account","private_key":"canary PRIVATE"}`, 503, "access token")
	try(`{"type":"of no type"}`, 503, "access token")
	try(`{`, 503, "access token")
	try("ya29.a-token-of-another-time", 401, "")
	g.status, g.good = 0, "ya29.by-hand"
	try("ya29.by-hand", 200, "")
}

func TestAzureTakesKeysAndTokens(t *testing.T) {
	var got string
	at := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = told(r) + " " + r.URL.RequestURI()
		answer(200, "application/json", chatReply)(w, r)
	}))
	const token = "eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln"
	for _, tt := range []struct{ kind, key, ask, want string }{
		{"azure-openai", "0123456789abcdef", "", "Api-Key: 0123456789abcdef /openai/v1/chat/completions"},
		{"azure-openai", token, "", "Authorization: Bearer " + token + " /openai/v1/chat/completions"},
		{"azure-openai-deployments", "0123456789abcdef", "", "Api-Key: 0123456789abcdef /openai/v1/deployments/gpt-4.1/chat/completions?api-version=2024-10-21"},
		{"azure-openai-deployments", token, "?x=1&api-version=1999-01-01&api-key=mine&%61pi-version=2", "Authorization: Bearer " + token + " /openai/v1/deployments/gpt-4.1/chat/completions?api-version=2024-10-21&x=1"},
	} {
		h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{"az": {Kind: tt.kind, BaseURL: at + "/openai/v1", Params: map[string]string{"resource": "r"}, APIKey: identity.NewSecret(tt.key)}})
		if resp, body := post(t, h.url(t), "/v1/chat/completions"+tt.ask, `{"model":"az/gpt-4.1","messages":[]}`); resp.StatusCode != 200 || got != tt.want {
			t.Errorf("%s: %d %s\ngot  %s\nwant %s", tt.kind, resp.StatusCode, body, got, tt.want)
		}
	}
}

func TestNoCredentialGoesToAnotherOrigin(t *testing.T) {
	var strayed bytes.Buffer
	other := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { fmt.Fprintln(&strayed, r.URL, r.Header) }))
	at := serve(t, http.RedirectHandler(other+"/v1/chat/completions", http.StatusTemporaryRedirect))
	for kind, key := range map[string]string{"groq": "sk-secret-1", "azure-openai": "sk-secret-1", "anthropic": "sk-secret-1", "bedrock-openai": "AKID:secret-1", "bedrock-claude": "sk-secret-1", "gemini-openai": "sk-secret-1"} {
		h := newHouseWith(t, providers.Config{}, map[string]providers.Provider{"p": {Kind: kind, BaseURL: at, Params: paramsOf(kind), APIKey: identity.NewSecret(key)}})
		resp, body := post(t, h.url(t), "/v1/chat/completions", `{"model":"p/m","messages":[{"role":"user","content":"x"}]}`)
		if resp.StatusCode != 503 || !strings.Contains(body, "not followed") || strings.Contains(body+fmt.Sprint(resp.Header, h.records()), "secret-1") {
			t.Errorf("%s: %d %s %v", kind, resp.StatusCode, body, resp.Header)
		}
	}
	if strayed.Len() > 0 {
		t.Errorf("the other origin heard %s", &strayed)
	}
}

// paramsOf fills in all that a kind asks for.
func paramsOf(kind string) map[string]string {
	params := make(map[string]string)
	k := providers.BuiltIn().Get(kind)
	for name := range k.Params {
		if k.Defaults[name] == "" {
			params[name] = "x-" + name
		}
	}
	return params
}
