package providers

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"callgate/firewall"
	"callgate/identity"

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

	*translation // nil: client and provider speak one dialect
}

// Forward implements [firewall.Upstream].
func (x *exchange) Forward(ctx context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
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
	resp, err := x.send(ctx, call)
	if err != nil {
		return err
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
		return x.fault(ctx, watch.over(resp.Body), resp.ContentLength, yield)
	case kind == "text/event-stream":
		x.back.broken = x.reading.broken
		if x.translation != nil {
			return x.translated(watch, resp.Body, yield)
		}
		return x.stream(watch, resp.Body, yield)
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

// send sends the call, and once more where the provider does not take its key and
// there is another one by now: it has done nothing then.
func (x *exchange) send(ctx context.Context, call *firewall.Call) (*http.Response, error) {
	for again := false; ; again = true {
		header := forwarded(x.asked)
		if x.translation != nil {
			x.translation.head(header, x.to.speaks)
		}
		body, err := x.letter(call)
		if err != nil {
			return nil, err
		}
		if header["Content-Type"] = []string{body.kind}; body.kind == "" {
			delete(header, "Content-Type")
		}
		key, err := x.to.authorize(ctx, header, call)
		if err != nil {
			return nil, err
		}
		x.key = key.Value
		resp, err := x.to.transport.RoundTrip(x.request(ctx, body, header))
		if err != nil || again || resp.StatusCode != http.StatusUnauthorized || !key.Refused(ctx) {
			return resp, err
		}
		_ = resp.Body.Close()
	}
}

// letter is the body of the request that the provider gets.
func (x *exchange) letter(call *firewall.Call) (*letter, error) {
	doc := call.Body.JSON
	switch {
	case x.translation != nil:
		doc = x.translation.doc
	case x.named != "":
		doc = renamed(doc, call.Resource)
	}
	switch {
	case x.form != nil:
		return x.form.write(doc)
	case x.verb == http.MethodGet, x.verb == http.MethodDelete, strings.HasSuffix(x.path, "/cancel"): // the path says it all
		return &letter{}, nil
	}
	return letterOf("application/json", doc), nil
}

// request is the call as the provider gets it.
func (x *exchange) request(ctx context.Context, body *letter, header http.Header) *http.Request {
	u := x.to.url(cmp.Or(x.path, x.to.path(x.back.at)), x.query)
	req := &http.Request{
		Method: cmp.Or(x.verb, http.MethodPost), URL: u, Host: u.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: body.size,
		// In memory and known to be: so it leaves in one write with the head, and
		// can be sent again on a new connection if the old one proves dead at once.
		Body:    body.open(),
		GetBody: func() (io.ReadCloser, error) { return body.open(), nil },
	}
	return req.WithContext(ctx)
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
func (x *exchange) fault(ctx context.Context, body io.Reader, length int64, yield func(firewall.Event) bool) error {
	doc, err := readAll(body, length, maxError)
	if err != nil && !errors.Is(err, errTooLong) {
		return err
	}
	return x.told(ctx, doc, err, yield)
}

// told yields an error that the provider tells by doc, if err does not say that there is
// more of it.
func (x *exchange) told(ctx context.Context, doc []byte, err error, yield func(firewall.Event) bool) error {
	if x.back.status == http.StatusUnauthorized || x.back.status == http.StatusForbidden {
		x.cfg.Logger.WarnContext(ctx, "provider refuses its key", "provider", x.to.name, "status", x.back.status)
	}
	tells := x.tells(doc)
	if x.translation != nil && gjson.ValidBytes(doc) && isError(x.to.speaks, doc) {
		doc = x.translation.failed(x.to.name, x.back.status, doc)
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
// spoken with accents.
func isError(kind string, doc []byte) bool {
	r := gjson.ParseBytes(doc)
	if !r.IsObject() {
		return false
	}
	return r.Get("error").Exists() || kind == OpenAI && (r.Get("message").Exists() || r.Get("detail").Exists())
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
	return nil
}

// Read implements [firewall.Upstream].
func (x *exchange) Read(ev *firewall.Event) {
	if ev.Body.Edited && x.back.at.speaks == OpenAI {
		ev.Body.JSON = withoutLogprobs(ev.Body.JSON)
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
