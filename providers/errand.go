package providers

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"callgate/firewall"
)

// An errand is a call about objects at a provider.
type errand struct {
	verb   string
	path   string // at the door; {id} stands for an object's
	method string // of the call: what it is about, and what is done
}

func errands() []errand {
	return []errand{
		{http.MethodGet, "/v1/files", "files/list"},
		{http.MethodPost, "/v1/files", "files/create"},
		{http.MethodGet, "/v1/files/{id}", "files/get"},
		{http.MethodDelete, "/v1/files/{id}", "files/delete"},
		{http.MethodGet, "/v1/files/{id}/content", "files/content"},
		{http.MethodGet, "/v1/batches", "batches/list"},
		{http.MethodPost, "/v1/batches", "batches/create"},
		{http.MethodGet, "/v1/batches/{id}", "batches/get"},
		{http.MethodPost, "/v1/batches/{id}/cancel", "batches/cancel"},
		{http.MethodGet, "/v1/responses/{id}", "responses/get"},
		{http.MethodDelete, "/v1/responses/{id}", "responses/delete"},
		{http.MethodPost, "/v1/responses/{id}/cancel", "responses/cancel"},
		{http.MethodGet, "/v1/responses/{id}/input_items", "responses/input_items"},
	}
}

// errandEndpoint is the endpoint of a path where objects are. Where the path has another
// HTTP method it is that one's.
func errandEndpoint(verb, path string) (endpoint, bool) {
	found := -1
	list := errands()
	for i, e := range list {
		if _, ok := idIn(e.path, path); ok && (found < 0 || e.verb == verb) {
			found = i
		}
	}
	if found < 0 {
		return endpoint{}, false
	}
	route := "/v1/" + list[found].about()
	return endpoint{firewall.Model, route, list[found].method, OpenAI}, true
}

// errandOf is the errand of a method.
func errandOf(method string) (errand, bool) {
	list := errands()
	i := slices.IndexFunc(list, func(e errand) bool { return e.method == method })
	if i < 0 {
		return errand{}, false
	}
	return list[i], true
}

// about is what an errand is about: files, batches, responses.
func (e errand) about() string {
	what, _, _ := strings.Cut(e.method, "/")
	return what
}

// kind is that of the objects.
func (e errand) kind() string {
	switch e.about() {
	case "files":
		return ofFile
	case "batches":
		return ofBatch
	}
	return ofResponse
}

// below is the path at the provider, whose objects are at base.
func (e errand) below(base, id string) string {
	return base + strings.Replace(strings.TrimPrefix(e.path, "/v1/"+e.about()), "{id}", id, 1)
}

// idIn is the id of the object in path, if that is like pattern.
func idIn(pattern, path string) (id string, ok bool) {
	before, after, named := strings.Cut(pattern, "{id}")
	if !named {
		return "", path == pattern
	}
	rest, ok := strings.CutPrefix(path, before)
	if !ok {
		return "", false
	}
	id, ok = strings.CutSuffix(rest, after)
	return id, ok && id != "" && isLabel(id, 128) && id != "." && id != ".."
}

// headerProvider names the provider whose files or batches are meant, where more than one
// keeps any.
const headerProvider = "Callgate-Provider"

// enterErrand completes a call about objects.
func (h *Handler) enterErrand(r *http.Request, at endpoint, e errand, call *firewall.Call, back *reply) (firewall.Upstream, error) {
	behind := h.behind.Load()
	x := exchange{cfg: &h.cfg, query: r.URL.RawQuery, asked: r.Header, reading: at.reading(), back: back, verb: e.verb}
	id, _ := idIn(e.path, r.URL.Path)
	doc := append(append([]byte(`{"id":`), quote(id)...), '}')
	var err error
	if call.Body, err = firewall.ParseBody(doc, h.cfg.Limits); err != nil {
		return nil, &firewall.Error{Code: firewall.Invalid, Reason: "the id cannot be read", Err: err}
	}
	switch e.method {
	case "files/create":
		return h.enterUpload(r, at, e, call, &x, behind)
	case "batches/create":
		return h.enterBatch(r, at, e, call, &x, behind)
	case "files/list", "batches/list":
		if err := h.keeper(r, e, call, &x, behind); err != nil {
			return nil, err
		}
		return &shown{h: h, x: &x, kind: e.kind()}, nil
	}
	o, err := h.owned(r.Context(), call, e.kind(), id)
	if err != nil {
		return nil, err
	}
	if err := h.send(e, call, &x, behind, o.Target, id); err != nil {
		return nil, err
	}
	call.Resource, call.Estimate = e.about(), firewall.Estimate{Priced: true} // to keep something is not to use a model
	if e.kind() == ofResponse {
		call.Resource, call.Price, call.Part = o.Model, x.to.price(o.Model, h.cfg.Now()), true // it was counted when it was made
		call.Estimate = call.Price.Estimate(firewall.Usage{})
	}
	switch {
	case e.method == "files/content" && (o.Purpose == forBatch || o.Purpose == ofBatchOutput):
		x.lines = true
	case e.method == "files/content":
		call.Media = firewall.InReply
	}
	return &keeping{Proposer: &x, note: func(ctx context.Context, call *firewall.Call, ev *firewall.Event) error {
		switch e.method {
		case "files/delete", "responses/delete":
			if deleted(ev) {
				return h.unbind(ctx, o)
			}
		case "batches/get", "batches/cancel":
			return h.outcomes(ctx, o, ev.Body.JSON)
		}
		return nil
	}}, nil
}

// keeper finds the provider that the caller's objects of a kind are to be kept by.
func (h *Handler) keeper(r *http.Request, e errand, call *firewall.Call, x *exchange, behind *catalog) error {
	said := r.Header.Get(headerProvider)
	var able []string
	for _, p := range behind.all {
		if p.paths[e.about()] != "" {
			able = append(able, p.name)
		}
	}
	switch {
	case said != "" && !slices.Contains(able, said):
		return firewall.Refuse(firewall.NotFound, "there is no provider %s that keeps %s", clip(said), e.about())
	case said != "":
	case len(able) == 1:
		said = able[0]
	case len(able) == 0:
		return firewall.Refuse(firewall.NotFound, "no provider keeps %s", e.about())
	default:
		return firewall.Refuse(firewall.Invalid, "more than one provider keeps %s: name one in the header %s", e.about(), headerProvider)
	}
	if err := h.send(e, call, x, behind, said, ""); err != nil {
		return err
	}
	call.Resource, call.Estimate = e.about(), firewall.Estimate{Priced: true}
	return nil
}

// send sets out where an errand goes.
func (h *Handler) send(e errand, call *firewall.Call, x *exchange, behind *catalog, provider, id string) error {
	call.Target = provider
	x.to = behind.byName[provider]
	if x.to == nil || x.to.paths[e.about()] == "" {
		return firewall.Refuse(firewall.NotFound, "provider %s, which keeps it, is not there any more", provider)
	}
	x.path = e.below(x.to.paths[e.about()], id)
	return nil
}

// keeping is an upstream of whose replies something is noted before they go down.
type keeping struct {
	firewall.Proposer
	note func(ctx context.Context, call *firewall.Call, ev *firewall.Event) error
}

// Forward implements [firewall.Upstream].
func (k *keeping) Forward(ctx context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		for ev, err := range k.Proposer.Forward(ctx, call) {
			if err == nil && ev.Mark&markError == 0 && ev.Mark&markPlain != 0 {
				err = k.note(ctx, call, &ev)
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// deleted says whether a reply tells that an object is gone.
func deleted(ev *firewall.Event) bool { return at(ev.Body.JSON, "deleted").Bool() }

// unbind forgets an object.
func (h *Handler) unbind(ctx context.Context, o firewall.Property) error {
	if err := h.cfg.Properties.DropProperty(ctx, o.Owner, o.Kind, o.ID); err != nil {
		return unknowable(err)
	}
	return nil
}
