// Package providers is the model side of the gate: agents come in by a
// [Handler], and what they may use is behind [Provider]s.
//
// A request passes so: the door authenticates, reads the body whole and parses
// it strictly, once; finds out which provider has the model; makes it a
// [firewall.Call] and gives it to [firewall.Gate.Do], which has it carried out by
// an exchange with that provider. Both speak the same dialect, so what comes and
// goes is passed on as it is, byte for byte, unless a guard edits it.
package providers

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"callgate/firewall"
)

// Config is what a [Handler] needs. A change of it needs a new Handler.
type Config struct {
	Limits     firewall.Limits                      // of a request
	MaxReply   int64                                // bytes of a plain reply; default 64 MiB
	MaxEvent   int                                  // bytes of one event of a stream; default 32 MiB
	MaxStream  int64                                // bytes of a stream; default 1 GiB
	MaxSession time.Duration                        // of a conversation over WebSockets; default 1 h
	MaxSilence time.Duration                        // of its client, before it is ended; default 15 min
	Cache      Cache                                // of replies, for routes that want it; nil for none
	Challenge  func(route string, err error) string // WWW-Authenticate of a 401; required
	Properties firewall.PropertyStore               // of whose files, batches and responses are; default is one that lasts as long as the process
	Now        func() time.Time                     // default time.Now
	Logger     *slog.Logger                         // required
}

const (
	defaultMaxRequest = 32 << 20
	defaultMaxReply   = 64 << 20
	defaultMaxEvent   = 32 << 20
	defaultMaxStream  = 1 << 30
)

// A Handler is the front door for models: /v1/chat/completions, /v1/responses and
// /v1/embeddings in the OpenAI dialect, /v1/messages and its count_tokens in the
// Anthropic one, and /v1/models in both. It is used by many goroutines at once.
type Handler struct {
	cfg    Config
	gate   *firewall.Gate
	behind atomic.Pointer[catalog]
	swap   sync.Mutex // held while the catalog is replaced
}

// New returns a Handler whose calls pass gate. It has no providers yet.
func New(cfg Config, gate *firewall.Gate) *Handler {
	if cfg.Limits.Bytes <= 0 {
		cfg.Limits.Bytes = defaultMaxRequest
	}
	if cfg.MaxReply <= 0 {
		cfg.MaxReply = defaultMaxReply
	}
	if cfg.MaxEvent <= 0 {
		cfg.MaxEvent = defaultMaxEvent
	}
	if cfg.MaxStream <= 0 {
		cfg.MaxStream = defaultMaxStream
	}
	setDefault(&cfg.MaxSession, defaultSession)
	setDefault(&cfg.MaxSilence, defaultSilence)
	if cfg.Properties == nil {
		cfg.Properties = new(firewall.Memory)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h := &Handler{cfg: cfg, gate: gate}
	h.behind.Store(&catalog{})
	return h
}

// SetProviders puts providers, by their names, and the models that stand for several of
// theirs, in the place of those behind the door, or says all that is wrong with them and changes nothing. Calls in flight
// end with the provider that they began with.
func (h *Handler) SetProviders(providers map[string]Provider, models map[string]Model) error {
	h.swap.Lock()
	defer h.swap.Unlock()
	old := h.behind.Load()
	next, err := newCatalog(providers, models, old)
	if err != nil {
		return err
	}
	h.behind.Store(next)
	old.release(next)
	return nil
}

// An endpoint is one path at the door.
type endpoint struct {
	kind   firewall.Kind // of the calls that come here; the zero Kind for a path that is none
	route  string
	method string
	speaks string // dialect
}

const modelsPath = "/v1/models"

func endpointOf(r *http.Request) endpoint {
	path := r.URL.Path
	switch path {
	case "/v1/chat/completions":
		return endpoint{firewall.Model, path, "chat", OpenAI}
	case "/v1/responses":
		return endpoint{firewall.Model, path, "responses", OpenAI}
	case "/v1/embeddings":
		return endpoint{firewall.Model, path, "embeddings", OpenAI}
	case "/v1/messages":
		return endpoint{firewall.Model, path, "messages", Anthropic}
	case "/v1/messages/count_tokens":
		return endpoint{firewall.Model, path, "count_tokens", Anthropic}
	}
	if at, _, ok := googleEndpoint(path); ok {
		return at
	}
	speaks := OpenAI
	if r.Header.Get("Anthropic-Version") != "" || strings.HasPrefix(path, "/v1/messages/") {
		speaks = Anthropic
	}
	if path == modelsPath || strings.HasPrefix(path, modelsPath+"/") {
		return endpoint{kind: firewall.List, route: modelsPath, method: "models", speaks: speaks}
	}
	if at, ok := mediaEndpoint(path); ok {
		return at
	}
	if at, ok := errandEndpoint(r.Method, path); ok {
		return at
	}
	return endpoint{route: "/v1", speaks: speaks}
}

// verb is the only HTTP method of the endpoint.
func (e endpoint) verb() string {
	if e.kind == firewall.List || e.method == "realtime" {
		return http.MethodGet
	}
	if errand, ok := errandOf(e.method); ok {
		return errand.verb
	}
	return http.MethodPost
}

func (e endpoint) reading() reading {
	switch e.method {
	case "chat":
		return new(chat)
	case "responses":
		return new(responses)
	case "messages":
		return new(messages)
	case "gemini":
		return new(google)
	case "completions":
		return &completions{}
	case "compact":
		return new(responses)
	case "images", "image_edits", "image_variations", "speech", "transcriptions", "translations":
		return media{}
	}
	if e, ok := errandOf(e.method); ok {
		if e.method == "responses/get" || e.method == "responses/cancel" {
			return &retold{}
		}
		return uncounted{}
	}
	return numbers{e.speaks}
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := endpointOf(r)
	call := &firewall.Call{Kind: at.kind, Method: at.method, Route: at.route, Hints: hintsOf(r.Header), From: addressOf(r)}
	back := &reply{w: w, rc: http.NewResponseController(w), at: at, challenge: h.cfg.Challenge}
	up, err := h.enter(r, at, call, back)
	if err != nil {
		back.fail(h.gate.Refuse(r.Context(), call, err))
		return
	}
	defer back.done()
	if err := h.gate.Do(r.Context(), call, up, func(ev firewall.Event) error { return back.down(call, ev) }); err != nil {
		back.fail(err)
	}
}

// enter completes call from the request and finds the way to where it is carried
// out. Who calls is settled before anything else is looked at.
func (h *Handler) enter(r *http.Request, at endpoint, call *firewall.Call, back *reply) (firewall.Upstream, error) {
	if at.speaks == Google {
		if err := googleMay(r); err != nil {
			return nil, err
		}
	}
	token, err := tokenOf(r.Header)
	if err != nil {
		return nil, err
	}
	call.Token = token
	if call.Caller, err = h.gate.Authenticate(r.Context(), token, at.route); err != nil {
		return nil, err
	}
	switch {
	case at.kind == 0:
		return nil, firewall.Refuse(firewall.NotFound, "there is nothing at this path: models are at /v1/chat/completions, /v1/responses, /v1/embeddings, /v1/messages, /v1beta/models, /v1/images, /v1/audio and /v1/models")
	case r.Method != at.verb():
		return nil, &firewall.Error{Code: firewall.Invalid, Reason: "this path takes " + at.verb() + " only", Err: errMethod}
	case at.kind == firewall.List:
		return &listing{h, h.behind.Load(), strings.Trim(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, googlePath), modelsPath), "/"), at.speaks, back}, nil
	case strings.Contains(r.URL.RawQuery, token):
		return nil, firewall.Refuse(firewall.Invalid, "the access token must not stand in the URL: it would go on to the provider")
	case at.method == "realtime":
		return h.enterRealtime(r, at, call, back)
	}
	if e, ok := errandOf(at.method); ok {
		return h.enterErrand(r, at, e, call, back)
	}
	sent, err := h.read(r, at, call)
	if err != nil {
		return nil, err
	}
	said, err := readRequest(call.Body.JSON)
	call.Resource = clip(said.model)
	if err == nil && at.speaks == Google {
		err = googleNamed(call.Body.JSON, said.model)
	}
	if err != nil {
		return nil, err
	}
	call.Hints.Results, call.Hosted, call.History = said.results, said.hosted, historyOf(at.method, &call.Body)
	if said.only, err = h.named(r.Context(), call); err != nil {
		return nil, err
	}
	behind := h.behind.Load()
	x := exchange{cfg: &h.cfg, query: r.URL.RawQuery, asked: r.Header, reading: at.reading(), back: back, unbounded: said.most == 0, untold: said.streams && !said.usage, form: sent}
	if m, ok := behind.models[said.model]; ok {
		up, err := h.several(call, at, behind, &m, said, x)
		if err != nil {
			return nil, err
		}
		return h.stored(call, behind, up), nil
	}
	if x.to, err = h.route(call, at, behind, said); err != nil {
		return nil, err
	}
	if said.only != "" && said.only != x.to.name {
		return nil, keptBy(said.only)
	}
	return h.stored(call, behind, &x), nil
}

// read reads what was sent to an endpoint into call: a document, or a form, which is
// judged as the document that it stands for.
func (h *Handler) read(r *http.Request, at endpoint, call *firewall.Call) (*form, error) {
	var f *form
	var doc []byte
	var err error
	if at.takesForm() {
		if f, err = readForm(r, h.cfg.Limits.Bytes); err == nil {
			doc, call.Unread = f.doc, f.size
		}
	} else {
		doc, err = readBody(r, h.cfg.Limits.Bytes)
	}
	if err == nil && at.speaks == Google {
		doc, err = googleBody(r, doc)
	}
	if err != nil {
		return nil, err
	}
	call.Media = at.media()
	if call.Body, err = firewall.ParseBody(doc, firewall.Limits{Bytes: max(h.cfg.Limits.Bytes, len(doc)), Depth: h.cfg.Limits.Depth}); err != nil {
		return nil, &firewall.Error{Code: firewall.Invalid, Reason: "the body cannot be read: " + err.Error(), Err: err}
	}
	return f, nil
}

// route finds the provider of the model that a request names. The name that the
// provider knows it by goes into the body.
func (h *Handler) route(call *firewall.Call, at endpoint, behind *catalog, said request) (*provider, error) {
	to, model, err := behind.find(said.model, at)
	call.Resource = model
	if to != nil {
		call.Target = to.name
	}
	switch {
	case err != nil:
		return nil, err
	case to == nil:
		return nil, h.unknown(&call.Caller, behind, said.model)
	case model != said.model:
		call.Body.Rewrite(func(_ int, s firewall.Span) (string, bool) { return model, s.At == said.modelAt })
	}
	call.Price = to.price(model, h.cfg.Now())
	call.Estimate = to.estimate(call, &said, call.Price)
	return to, nil
}

// several is the way of a call whose model stands for several.
func (h *Handler) several(call *firewall.Call, at endpoint, behind *catalog, m *Model, said request, x exchange) (firewall.Proposer, error) {
	ways, err := behind.ways(m, call, at, &said, h.cfg.Now())
	if err != nil {
		return nil, err
	}
	if said.only != "" {
		if ways = slices.DeleteFunc(ways, func(w firewall.Route) bool { return w.Target != said.only }); len(ways) == 0 {
			return nil, keptBy(said.only)
		}
	}
	call.Take(ways[0])
	call.Estimate, call.Routes = ways[0].Estimate, ways[1:]
	return &router{x: x, behind: behind, model: m, said: said.model, reading: at.reading}, nil
}
