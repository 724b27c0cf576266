package providers

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"strings"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
	"callgate/providers/dialect"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"
)

const (
	drainTimeout = 100 * time.Millisecond // for a stream to end behind its last event, so that its connection can be used again
	maxError     = 1 << 20                // bytes of an error reply
)

// Causes for which a call to a provider is given up.
var (
	errFirstByte = errors.New("no reply in time")
	errIdle      = errors.New("the reply stopped")
)

// An exchange is one call to one provider. It is the call's [firewall.Upstream].
type exchange struct {
	cfg     *Config
	to      *provider
	query   string
	asked   http.Header // by the client
	reading reading
	back    *reply
	key     identity.Secret // that was sent
	named   string          // the model as the judged body has it; "" for call.Resource
	form    *form           // that the request is; nil: it is a document
	verb    string          // HTTP method; "" for POST
	path    string          // below the provider's base, of what is no model's; "" for that of the endpoint
	lines   bool            // the reply is documents, one a line
	refused bool            // a tool call was taken out of the reply

	cacheFor  time.Duration // by the model that was asked for; 0: by the provider
	memory    *recollection // nil where nothing is kept
	unbounded bool          // the request does not say how long the reply may be
	untold    bool          // the reply is a stream, and the client did not ask for usage in it
	account   account

	own          []byte // the request without what is another vendor's, where it is not translated; nil: as it is
	*translation        // nil: client and provider speak one dialect
}

// Forward implements [firewall.Upstream].
func (x *exchange) Forward(ctx context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		defer x.cut(ctx, call)
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		watch := newWatch(cancel, x.to.FirstByteTimeout, x.to.IdleTimeout)
		defer watch.timer.Stop()
		if err := x.carry(ctx, call, watch, func(ev firewall.Event) bool { return yield(ev, nil) }); err != nil {
			yield(firewall.Event{}, x.explain(ctx, err))
		}
	}
}

// carry sends the call and yields its reply, until it is told to stop.
func (x *exchange) carry(ctx context.Context, call *firewall.Call, watch *watch, yield func(firewall.Event) bool) error {
	if call.Body.Edited && x.path == "" && gjson.GetBytes(call.Body.JSON, "model").Str != cmp.Or(x.named, call.Resource) {
		return firewall.Refuse(firewall.Denied, "a guard changed the name of the model, so that it is not what was decided on")
	}
	if err := x.translate(call); err != nil {
		return err
	}
	x.memory = x.recollect(call)
	resp := x.recall(ctx)
	if call.Cached = resp != nil; resp == nil {
		var err error
		if x.path == "" { // else it is about what was used before
			x.account.expect = call.Estimate
		}
		if resp, err = x.send(ctx, call); err != nil {
			return err
		}
		x.remember(resp)
	}
	defer resp.Body.Close()
	x.back.header, x.back.status = resp.Header, resp.StatusCode
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return x.unavailable("encoded its reply, so that it cannot be judged", nil)
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode < 200 || resp.StatusCode >= 300 && resp.StatusCode < 400:
		return x.unavailable(fmt.Sprintf("answered HTTP %d, which is not followed", resp.StatusCode), nil)
	case resp.StatusCode >= 400:
		return x.fault(watch.over(resp.Body), resp.ContentLength, yield)
	case kind == "text/event-stream", kind == eventStream:
		x.back.broken = x.reading.broken
		body := io.Reader(resp.Body)
		if kind == eventStream {
			body = &unframed{src: body, max: x.cfg.MaxEvent, wrap: x.to.speaks == Anthropic}
		}
		if x.translation != nil {
			return x.translated(watch, body, yield)
		}
		return x.stream(watch, body, yield)
	case x.lines:
		x.back.media = "application/jsonl"
		return x.jsonLines(watch, resp.Body, yield)
	case x.back.at.says(kind):
		return x.text(watch.over(resp.Body), resp.ContentLength, yield)
	case x.back.at.plays(kind):
		if x.back.media = kind; x.back.at.method == "files/content" {
			x.back.media = "application/octet-stream" // whatever it is: nothing is to open it by itself
		}
		return x.media(watch, resp.Body, yield)
	}
	return x.plain(watch.over(resp.Body), resp.ContentLength, yield)
}

// send sends the call, and again where the provider has done nothing because of the key:
// once with the same key, if there is another value of it by now, and once with each other
// key that may serve.
func (x *exchange) send(ctx context.Context, call *firewall.Call) (*http.Response, error) {
	run, model := cmp.Or(call.Caller.Run, call.Hints.Run, call.Hints.Session, call.Run), call.Resource
	k := x.to.keys.pick(run, model, x.cfg.Now(), nil)
	if k == nil && len(x.to.keys) > 0 {
		return nil, x.to.keyless(model)
	}
	var tried []*key
	var withheld error // why the first key was that is not lent
	for renewed := false; ; {
		began := x.cfg.Now()
		req, doc, err := x.request(ctx, call)
		if err != nil {
			return nil, err
		}
		loan, err := x.to.shows.put(ctx, req, doc, call, k, began)
		if err != nil { // it cannot be had now, or is not for this agent
			tried = append(tried, k)
			next := x.to.keys.pick(run, model, began, tried)
			if withheld = cmp.Or(withheld, err); next == nil || ctx.Err() != nil {
				return nil, withheld
			}
			k, renewed = next, false
			continue
		}
		x.key = loan.Value
		resp, err := x.to.transport.RoundTrip(req)
		if err != nil || k == nil {
			return resp, err
		}
		if resp.StatusCode == http.StatusUnauthorized && !renewed && loan.Refused(ctx) {
			renewed = true
			_ = resp.Body.Close()
			continue
		}
		now := x.cfg.Now()
		try := audit.Attempt{Target: call.Target, Resource: model, TookUS: now.Sub(began).Microseconds()}
		why, passed := k.answered(resp, model, now)
		var next *key
		if !passed {
			k.refused(ctx, x.cfg.Logger, x.to.name, model, why)
			tried = append(tried, k)
			next = x.to.keys.pick(run, model, now, tried)
		}
		if next == nil {
			if len(call.Attempts) > 0 && x.named == "" { // a router notes its own
				call.Attempts = append(call.Attempts, try)
			}
			return resp, nil
		}
		_ = resp.Body.Close()
		try.Fault, try.Key = fmt.Sprintf("http %d", why.status), cmp.Or(loan.Name, k.Name)
		call.Attempts = append(call.Attempts, try)
		k, renewed = next, false
	}
}

// request is the call as the provider gets it, and its body where that is one document.
func (x *exchange) request(ctx context.Context, call *firewall.Call) (*http.Request, []byte, error) {
	header := forwarded(x.asked)
	doc, query := call.Body.JSON, x.query
	if x.own != nil {
		doc = x.own
	}
	switch {
	case x.translation != nil:
		x.translation.head(header, x.to.speaks)
		doc, query = x.translation.doc, "" // which is of the client's dialect
	case x.named != "":
		doc = x.complete(call, renamed(doc, call.Resource))
	default:
		doc = x.complete(call, doc)
	}
	if x.back.at.speaks == Google {
		query = "" // of which nothing is for others: fields= would leave out what the bill needs
		if x.translation == nil {
			doc = googleRenamed(doc, call.Resource)
		}
	}
	at := x.to.place(x.back.at)
	path := cmp.Or(x.path, x.to.paths[at])
	if other := x.to.paths[at+streamed]; x.path == "" && other != "" && x.streams(call) {
		path = other
	}
	doc = x.to.fit(doc, header, at, strings.Contains(path, "{model}"))
	maps.Copy(header, x.to.fixed)
	u, err := x.to.address(path, call.Resource, query)
	if err != nil {
		return nil, nil, err
	}
	body, err := x.letter(doc)
	if err != nil {
		return nil, nil, err
	}
	if header["Content-Type"] = []string{body.kind}; body.kind == "" {
		delete(header, "Content-Type")
	}
	req := &http.Request{
		Method: cmp.Or(x.verb, http.MethodPost), URL: u, Host: u.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: body.size,
		// In memory and known to be: so it leaves in one write with the head, and
		// can be sent again on a new connection if the old one proves dead at once.
		Body:    body.open(),
		GetBody: func() (io.ReadCloser, error) { return body.open(), nil },
	}
	return req.WithContext(ctx), doc, nil
}

// letter is the body of the request that is made of doc.
func (x *exchange) letter(doc []byte) (*letter, error) {
	switch {
	case x.form != nil:
		return x.form.write(doc)
	case x.verb == http.MethodGet, x.verb == http.MethodDelete, strings.HasSuffix(x.path, "/cancel"): // the path says it all
		return &letter{}, nil
	}
	return letterOf("application/json", doc), nil
}

// streams says whether the client asks for a stream.
func (x *exchange) streams(call *firewall.Call) bool {
	if x.translation != nil {
		return x.translation.prompt.Stream
	}
	return gjson.GetBytes(call.Body.JSON, "stream").Bool()
}

// plain yields a reply that is one document.
func (x *exchange) plain(body io.Reader, length int64, yield func(firewall.Event) bool) error {
	max := int(x.cfg.MaxReply)
	if length > int64(max) {
		return fmt.Errorf("%w: larger than %d bytes", errTooLong, max)
	}
	doc, err := readAll(body, length, max)
	if err != nil {
		return err
	}
	if x.translation != nil && gjson.ValidBytes(doc) {
		x.native(doc)
		if doc, err = x.translation.whole(doc); err != nil {
			return x.unavailable("answered with something that cannot be read", err)
		}
	}
	parsed, err := firewall.ParseBody(doc, firewall.Limits{Bytes: max})
	if err != nil {
		return x.unavailable("answered with something that is not JSON", err)
	}
	yield(firewall.Event{Body: parsed, Last: true, Mark: markPlain})
	return nil
}

// fault yields an error of the provider, in the client's dialect if it is not
// already.
func (x *exchange) fault(body io.Reader, length int64, yield func(firewall.Event) bool) error {
	doc, err := readAll(body, length, maxError)
	if err != nil && !errors.Is(err, errTooLong) {
		return err
	}
	return x.told(doc, err, yield)
}

// told yields an error that the provider tells by doc, if err does not say that there is
// more of it.
func (x *exchange) told(doc []byte, err error, yield func(firewall.Event) bool) error {
	tells := x.tells(doc)
	hosted := x.to.body != nil && gjson.ValidBytes(doc) // whose errors are the cloud's own
	switch {
	case x.translation != nil && (hosted || gjson.ValidBytes(doc) && isError(x.to.speaks, doc)):
		doc = x.translation.failed(x.to.name, x.back.status, doc)
	case hosted && gjson.GetBytes(doc, "type").Str != "error":
		f := dialect.ReadFailure(dialect.Messages, x.back.status, doc)
		f.Message = cmp.Or(f.Message, "provider "+x.to.name+" failed")
		doc = dialect.WriteFailure(dialect.Messages, f)
	}
	speaks := x.back.at.speaks
	parsed, wrong := firewall.ParseBody(doc, firewall.Limits{})
	if err != nil || wrong != nil || !isError(speaks, doc) || tells {
		if parsed, err = firewall.ParseBody(answered(x.to.name, x.back.status).body(speaks), firewall.Limits{}); err != nil {
			return err
		}
	}
	yield(firewall.Event{Body: parsed, Last: true, Mark: markPlain | markError})
	return nil
}

// tells says whether doc has the key that was sent: some providers repeat one that
// they do not take.
func (x *exchange) tells(doc []byte) bool {
	key := x.key.Reveal()
	return len(key) >= minKey && bytes.Contains(doc, []byte(key))
}

const minKey = 8 // characters of a key that is looked for in what comes back

// isError says whether a document is an error of the dialect. The OpenAI one is
// spoken with accents; Amazon and Cohere have a message only.
func isError(kind string, doc []byte) bool {
	r := gjson.ParseBytes(doc)
	if !r.IsObject() {
		return false
	}
	return r.Get("error").Exists() || kind != Anthropic && (r.Get("message").Exists() || r.Get("detail").Exists())
}

// stream yields a reply event by event.
func (x *exchange) stream(watch *watch, body io.Reader, yield func(firewall.Event) bool) error {
	s := stream{src: watch.over(body), maxEvent: x.cfg.MaxEvent, maxTotal: x.cfg.MaxStream}
	var (
		t    texts
		name string
		ev   firewall.Event // here and not in the loop, where each would be on the heap
	)
	for {
		frame, more, err := s.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		ev = firewall.Event{Frame: frame, More: more}
		said, data := s.parse(frame)
		if string(said) != name {
			name = string(said)
		}
		ev.Name = name
		if err := x.document(&ev, data, &t); err != nil {
			return err
		}
		if x.hides(&ev) {
			continue
		}
		if !yield(ev) {
			return nil
		}
		if ev.Last {
			watch.drain()
			return nil
		}
	}
}

// document makes data the document of ev and finds its texts.
func (x *exchange) document(ev *firewall.Event, data []byte, t *texts) error {
	switch {
	case data == nil:
		return nil
	case string(bytes.TrimSpace(data)) == "[DONE]":
		ev.Last = true
		return nil
	case !jsontext.Value(data).IsValid():
		return x.unavailable("sent an event that is not valid JSON", nil)
	}
	ev.Body.JSON = data
	if err := x.reading.event(ev, t); err != nil {
		return err
	}
	ev.Body.Spans = t.take()
	x.hear(ev)
	return nil
}

// Read implements [firewall.Upstream].
func (x *exchange) Read(ev *firewall.Event) {
	if ev.Body.Edited && x.back.at.speaks == OpenAI {
		ev.Body.JSON = withoutLogprobs(ev.Body.JSON)
	} else if ev.Body.Edited && x.back.at.speaks == Google {
		ev.Body.JSON = withoutTokens(ev.Body.JSON)
	}
	switch {
	case ev.Media || ev.Mark == markText || ev.Mark == markLine:
	case ev.Mark == markPlain:
		x.reading.whole(ev)
	case ev.Mark&markPlain != 0:
		ev.Fault = fmt.Sprintf("http %d", x.back.status)
	case ev.Mark != 0 || ev.Last:
		x.reading.read(ev)
	}
	if ev.Mark&markPlain == 0 {
		words(ev)
	}
	if x.memory != nil {
		x.noted(ev)
	}
	x.reckon(ev)
	ev.Open = x.reading.asking()
	if x.refused {
		x.reading.mend(ev)
	}
}

// explain makes an error of the way to the provider one that the agent may see.
func (x *exchange) explain(ctx context.Context, err error) error {
	var e *firewall.Error
	cause := context.Cause(ctx)
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(cause, errFirstByte):
		return &firewall.Error{Code: firewall.Timeout, Reason: fmt.Sprintf("provider %s did not begin to answer within %v", x.to.name, x.to.FirstByteTimeout), Err: err}
	case errors.Is(cause, errIdle):
		return &firewall.Error{Code: firewall.Timeout, Reason: fmt.Sprintf("provider %s stopped in the middle of its reply for %v", x.to.name, x.to.IdleTimeout), Err: err}
	case cause != nil:
		return cause
	case errors.Is(err, errTooLong):
		return x.unavailable("sent more than callgate takes", err)
	case x.back.status == 0:
		return x.unavailable("cannot be reached", err)
	}
	return x.unavailable("broke off in the middle of its reply", err)
}

func (x *exchange) unavailable(what string, err error) error {
	return &firewall.Error{Code: firewall.Unavailable, Reason: "provider " + x.to.name + " " + what, Err: err}
}
