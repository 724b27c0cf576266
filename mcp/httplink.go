package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"callgate/firewall"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
)

// httpLink is a legacy session, or the one link of a modern server.
type httpLink struct {
	wire    *httpWire
	client  *Client
	key     string
	account *account // whose token it carries; nil where the wire has no oauth
	about   *Info
	id      string // Mcp-Session-Id; "" if the server gave none
	version string // as the header says it; "" if this version has no header
	opening *flight[*httpLink]
	ear     atomic.Pointer[ear] // of a session that hears what the server says outside of requests

	used time.Time // guarded by httpWire.mu
	busy int       // guarded by httpWire.mu
}

func (s *httpLink) info() *Info { return s.about }

// greet completes the handshake of a legacy session.
func (s *httpLink) greet(ctx context.Context, info *Info) error {
	s.about = info
	if info.Version >= mcpgo.ProtocolVersion20250618 {
		s.version = info.Version
	}
	resp, err := s.post(ctx, request(0, "notifications/initialized", nil), outgoing{})
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return s.refused(resp)
	}
	return nil
}

// ask puts one question before the session is open. It takes the session's id
// from the answer.
func (s *httpLink) ask(ctx context.Context, version, method string, params []byte) (Message, error) {
	out := outgoing{id: s.wire.ids.Add(1), method: method, params: params}
	s.version, s.id = "", ""
	if isModern(version) {
		s.version = version
	}
	resp, err := s.post(ctx, request(out.id, method, params), out)
	if err != nil {
		return Message{}, err
	}
	defer resp.Body.Close()
	if id := resp.Header.Get(mcpgo.HeaderSessionID); method == "initialize" && validSession(id) {
		s.id = id
	}
	for m, err := range s.replies(ctx, &stream{link: s, resp: resp}, out) {
		if err != nil {
			if foreign(resp.StatusCode) {
				return m, fmt.Errorf("HTTP %d: %w", resp.StatusCode, errForeign)
			}
			return m, err
		}
		if m.IsResponse() {
			return m, nil
		}
	}
	return Message{}, errForeign
}

// foreign says whether a status is that of a server which does not know what it
// is asked, rather than of one that is out of order or refuses callgate.
func foreign(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		return false
	case http.StatusInternalServerError, http.StatusNotImplemented:
		return true
	}
	return status/100 == 4
}

// modernError says whether m is an error that a modern server makes of a request
// in its own version.
func modernError(m Message) bool {
	switch parsed(m.Error).Get("code").Int() {
	case mcpgo.METHOD_NOT_FOUND, mcpgo.INVALID_PARAMS, mcpgo.INVALID_REQUEST, mcpgo.HEADER_MISMATCH, mcpgo.MISSING_REQUIRED_CLIENT_CAPABILITY:
		return true
	}
	return false
}

// validSession says whether id is one that a header can carry.
func validSession(id string) bool {
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return id != "" && len(id) <= 1024
}

func (s *httpLink) send(ctx context.Context, out outgoing) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		s.wire.count(s, 1)
		defer s.wire.count(s, -1)
		if e := s.ear.Load(); e != nil {
			e.send(ctx, out, yield)
			return
		}
		s.exchange(ctx, out, yield)
	}
}

// exchange posts a request and yields what the reply to that has.
func (s *httpLink) exchange(ctx context.Context, out outgoing, yield func(Message, error) bool) {
	resp, err := s.post(ctx, request(out.id, out.method, out.params), out)
	if err != nil {
		if ctx.Err() == nil {
			s.wire.rediscover(s.about)
		}
		s.cancel(ctx, out)
		yield(Message{}, err)
		return
	}
	if resp.StatusCode == http.StatusNotFound && s.id != "" {
		_ = resp.Body.Close()
		s.wire.lose(s)
		yield(Message{}, errGone)
		return
	}
	body := &stream{link: s, resp: resp}
	answered := false
	for m, err := range s.replies(ctx, body, out) {
		answered = answered || err == nil && m.IsResponse()
		if s.about.Modern && foreign(resp.StatusCode) && !modernError(m) {
			s.wire.rediscover(s.about)
		}
		if !yield(m, err) || err != nil {
			break
		}
	}
	if !answered {
		_ = body.resp.Body.Close() // a modern server takes this for the cancellation
		s.cancel(ctx, out)
		return
	}
	finish(body.resp)
}

// count notes that a session is in use, or is so no more.
func (w *httpWire) count(s *httpLink, n int) {
	if s.opening == nil { // a modern link is not kept
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.busy += n
	s.used = time.Now()
}

// lose forgets a session that the server has ended.
func (w *httpWire) lose(s *httpLink) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sessions[s.key] == s {
		delete(w.sessions, s.key)
	}
	s.deafen()
}

// finish takes the end of a stream whose response has come, so that its
// connection can be used again. A stream that does not end is closed.
func finish(resp *http.Response) {
	if isKind(resp, "text/event-stream") {
		stop := time.AfterFunc(10*time.Millisecond, func() { _ = resp.Body.Close() })
		_, _ = resp.Body.Read(make([]byte, 1))
		stop.Stop()
	}
	_ = resp.Body.Close()
}

// cancel tells a legacy server that nobody waits for the response any more.
func (s *httpLink) cancel(ctx context.Context, out outgoing) {
	if s.about.Modern || out.method == "initialize" {
		return
	}
	s.aside(cancellation(out.id, ctx))
}

// aside sends a message that nobody waits for. Where too many are on their way,
// it is not sent.
func (s *httpLink) aside(msg []byte) {
	w := s.wire
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asides >= 64 || w.life.Err() != nil {
		return
	}
	w.asides++
	w.work.Go(func() {
		ctx, cancel := context.WithTimeout(w.life, aside)
		defer cancel()
		if hand, err := w.lend(ctx, s.client.principal(), nil); err == nil {
			if resp, err := w.client.RoundTrip(s.request(ctx, msg, outgoing{}, hand)); err == nil {
				_ = resp.Body.Close()
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asides--
	})
}

// say sends a message for which the server waits.
func (s *httpLink) say(msg []byte) {
	ctx, cancel := context.WithTimeout(s.wire.life, aside)
	defer cancel()
	resp, err := s.post(ctx, msg, outgoing{})
	if err != nil {
		s.wire.cfg.Logger.Warn("an answer to the server was not taken", "error", err)
		return
	}
	_ = resp.Body.Close()
}

// post sends a message, which belongs to out or to nothing.
func (s *httpLink) post(ctx context.Context, msg []byte, out outgoing) (*http.Response, error) {
	return s.carry(ctx, out.hand, out.lent, func(hand []lent) *http.Request { return s.request(ctx, msg, out, hand) })
}

// request carries one message. Head and body leave in one write, because the
// transport knows the body's kind.
func (s *httpLink) request(ctx context.Context, msg []byte, out outgoing, hand []lent) *http.Request {
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(msg)), nil }
	r := s.wire.post.WithContext(ctx)
	r.Header, r.GetBody, r.ContentLength = s.header(out, hand), body, int64(len(msg))
	r.Body, _ = body()
	return r
}

// header is what a request to the server says about itself. The operator's
// headers are put in last, so that nothing from a client can replace them.
func (s *httpLink) header(out outgoing, hand []lent) http.Header {
	w := s.wire
	h := make(http.Header, len(w.common)+len(out.header)+len(hand)+4)
	maps.Copy(h, w.common)
	if s.version != "" {
		h[mcpgo.HeaderProtocolVersion] = []string{s.version}
	}
	if s.id != "" {
		h[mcpgo.HeaderSessionID] = []string{s.id}
	}
	if out.method != "" && isModern(s.version) {
		out.route(h)
	}
	for _, l := range hand {
		h[l.name] = l.value
	}
	s.authorize(h)
	return h
}

// route puts into h by what a modern server can route the request without reading it,
// and the mirrors of arguments.
func (out *outgoing) route(h http.Header) {
	for name, value := range out.header {
		h[name] = []string{value}
	}
	h[mcpgo.HeaderMethod] = []string{out.method}
	if name, ok := subject(out.method, out.params); ok {
		value, _ := mcpgo.EncodeHeaderValue(name)
		h[mcpgo.HeaderName] = []string{value}
	}
}

// subject is what a request acts on, where the header Mcp-Name must say it.
func subject(method string, params []byte) (string, bool) {
	at := "name"
	switch method {
	case "tools/call", "prompts/get":
	case "resources/read":
		at = "uri"
	case "tasks/get", "tasks/update", "tasks/cancel":
		at = "taskId"
	default:
		return "", false
	}
	name := parsed(params).Get(at)
	return name.String(), name.Exists()
}

// replies reads what the server answers to one request, from a plain body or a
// stream, until the response has come.
func (s *httpLink) replies(ctx context.Context, body *stream, out outgoing) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		err := body.open()
		for n := 0; err == nil; n++ {
			var raw []byte
			if raw, err = body.next(ctx); err == errPaused {
				err = nil
				if !yield(Message{Method: paused}, nil) {
					return
				}
				continue
			}
			if err != nil {
				break
			}
			var m Message
			if m, err = s.accept(body.resp, raw, out.id); err != nil {
				break
			}
			switch {
			case n > maxMessages && out.method != listenMethod: // whoever they are for
				err = s.wire.unavailable("sent more messages than callgate takes for one request", nil)
			case m.IsRequest() && m.Method != "ping" && s.client.answers():
				m.reply = &answering{say: s.say}
				if !yield(m, nil) {
					return
				}
			case m.IsRequest():
				s.aside(answer(&m))
			case m.IsResponse():
				yield(m, nil)
				return
			case s.wire.heard(s.client, m):
			default:
				if !yield(m, nil) {
					return
				}
			}
		}
		yield(Message{}, s.broken(err))
	}
}

// accept reads one message and sees that a response is to our request.
func (s *httpLink) accept(resp *http.Response, raw []byte, id uint64) (Message, error) {
	m, err := parseMessage(raw, s.wire.cfg.Limits)
	if err != nil {
		if resp.StatusCode/100 != 2 {
			return m, s.refused(resp)
		}
		return m, s.wire.unavailable("answered what callgate cannot read", err)
	}
	if resp.StatusCode/100 != 2 && m.Error == nil {
		return m, s.refused(resp)
	}
	if m.IsResponse() && ours(string(m.ID)) != id && (m.ID != nil || resp.StatusCode/100 == 2) {
		return m, s.wire.unavailable("answered another request than it was asked", nil)
	}
	return m, nil
}

// isKind says whether a reply's content type is kind, parameters aside.
func isKind(resp *http.Response, kind string) bool {
	is, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(is), kind)
}

// refused is the error of a reply that is not an answer of MCP.
func (s *httpLink) refused(resp *http.Response) error {
	e := s.wire.unavailable("answered HTTP "+strconv.Itoa(resp.StatusCode), nil)
	if resp.StatusCode/100 == 4 {
		e.Err = errAnswered
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.Reason += ": callgate's credentials for it must be mended by its operator"
		if s.account != nil {
			if better := s.wire.oauth.refusal(s.account, resp); better != nil {
				return better
			}
		}
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		e.Reason += ": callgate follows no redirects, so its operator must give the url that they lead to"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 && n < 86400 {
			e.Retry = time.Duration(n) * time.Second
		}
	}
	return e
}

// broken is the error of a reply that ended before the response.
func (s *httpLink) broken(err error) error {
	var e *firewall.Error
	if errors.As(err, &e) {
		return err
	}
	return s.wire.over(err, "broke off before it answered")
}

var errTooLarge = errors.New("the reply is larger than callgate takes")

// bounded reads at most left bytes and errs beyond them.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// readPlain reads a whole body of at most limit bytes.
func readPlain(resp *http.Response, limit int) ([]byte, error) {
	if resp.ContentLength > int64(limit) {
		return nil, errTooLarge
	}
	if n := resp.ContentLength; n >= 0 {
		doc := make([]byte, n)
		_, err := io.ReadFull(resp.Body, doc)
		return doc, err
	}
	return io.ReadAll(&bounded{resp.Body, limit + 1})
}

// messageLimit is lim.Bytes, or its default.
func messageLimit(lim firewall.Limits) int {
	if lim.Bytes > 0 {
		return lim.Bytes
	}
	return 32 << 20
}

// cancellation tells a server that the response to request id is not wanted.
func cancellation(id uint64, ctx context.Context) []byte {
	reason := "the client closed the request"
	if context.Cause(ctx) == errTimeout {
		reason = "no answer in time"
	}
	return request(0, "notifications/cancelled", json.RawMessage(`{"requestId":`+strconv.FormatUint(id, 10)+`,"reason":"`+reason+`"}`))
}
