package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"callgate/mcp"

	"github.com/tidwall/gjson"
)

// A gate is the endpoint that the bridge leads to.
type gate struct {
	where  func() (string, error) // base URL
	path   string                 // /mcp, or /mcp/<server>
	remedy string
	purse  *purse
	client *http.Client

	mu   sync.Mutex
	base string // where it was last; "" if it is to be looked for
}

const (
	maxAnswer = 64 << 20         // bytes of one message from the gate
	idleTime  = 30 * time.Second // of a connection; less than the gate's own, so that it does not close one that is being used
)

func newGate(cfg Config) *gate {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost, transport.IdleConnTimeout, transport.DisableCompression = 32, idleTime, true
	g := &gate{where: cfg.Gate, path: "/mcp", remedy: cfg.Remedy, purse: newPurse(cfg.Mint)}
	g.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if cfg.Server != "" {
		g.path += "/" + url.PathEscape(cfg.Server)
	}
	return g
}

// A fault is why a request has no answer by the gate, or not yet.
type fault struct {
	code   int
	reason string
	again  bool // nothing was done: it may go better in a moment
	lost   bool // the session is not there any more, and nothing was done
	ended  bool // a subscription came to an end,

	graceful bool // as the gate said
}

func faultf(code int, format string, args ...any) *fault {
	return &fault{code: code, reason: fmt.Sprintf(format, args...)}
}

// address is the base URL of the gate.
func (g *gate) address() (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.base == "" {
		base, err := g.where()
		if err != nil {
			return "", err
		}
		g.base = strings.TrimSuffix(base, "/")
	}
	return g.base, nil
}

// gone notes that nothing answers at base: a gate that was started again may be
// elsewhere.
func (g *gate) gone(base string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.base == base {
		g.base = ""
	}
}

// send makes one HTTP request. A token that the gate does not take any more is
// replaced once. sent, if it is not nil, is called when the request is out.
func (g *gate) send(ctx context.Context, method string, body []byte, head http.Header, sent func()) (*http.Response, *fault) {
	for refused := ""; ; {
		token, f := g.token(ctx, refused)
		if f != nil {
			return nil, f
		}
		resp, f := g.once(ctx, method, body, head, token, sent)
		if f != nil {
			return nil, f
		}
		if resp.StatusCode != http.StatusUnauthorized {
			return resp, nil
		}
		said := complaint(resp)
		if refused != "" {
			return nil, faultf(codeUnknown, "the gate does not accept the token: %s", said)
		}
		refused = token
		again, f := g.token(ctx, refused)
		if f != nil {
			return nil, f
		}
		if again == "" {
			return nil, faultf(codeUnknown, "the gate does not accept the token: %s; %s", said, g.remedy)
		}
	}
}

func (g *gate) token(ctx context.Context, refused string) (string, *fault) {
	token, err := g.purse.token(ctx, refused)
	switch {
	case err == nil:
		return token, nil
	case errors.Is(err, ErrRefused):
		return "", faultf(codeUnknown, "the gate gives no token: %v", err)
	}
	return "", &fault{code: codeUnavailable, reason: err.Error(), again: ctx.Err() == nil}
}

func (g *gate) once(ctx context.Context, method string, body []byte, head http.Header, token string, sent func()) (*http.Response, *fault) {
	base, err := g.address()
	if err != nil {
		return nil, &fault{code: codeUnavailable, reason: err.Error(), again: true}
	}
	var out atomic.Bool // something of the request may have reached the gate
	trace := &httptrace.ClientTrace{
		WroteHeaders: func() { out.Store(true) },
		WroteRequest: func(i httptrace.WroteRequestInfo) {
			if i.Err == nil && sent != nil {
				sent()
			}
		},
	}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, base+g.path, bytes.NewReader(body))
	if err != nil {
		return nil, faultf(codeUnavailable, "%v", err)
	}
	for name, values := range head {
		req.Header[name] = values
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := g.client.Do(req)
	if err == nil {
		return resp, nil
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the URL, which is said anyway
	}
	if out.Load() {
		return nil, faultf(codeBrokenOff, "the connection to the gate at %s broke before its answer (%v): whether it acted is on its record, see callgate audit query", base, err)
	}
	g.gone(base)
	return nil, &fault{code: codeUnavailable, reason: fmt.Sprintf("the gate at %s does not answer (is callgate serve running?): %v", base, err), again: ctx.Err() == nil}
}

// read gives the messages of an answer to take, until it says that it has all it
// wants or there are no more. last is the id of the last event, and retry how
// long to wait before asking for what follows.
func read(resp *http.Response, take func(doc []byte) (done bool)) (last string, retry time.Duration, err error) {
	switch {
	case isKind(resp, "application/json"):
		doc, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
		if err != nil {
			return "", 0, err
		}
		if len(doc) > maxAnswer {
			return "", 0, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
		}
		take(doc)
		return "", 0, nil
	case isKind(resp, "text/event-stream"):
		events := mcp.NewEvents(resp.Body, maxAnswer)
		for {
			doc, err := events.Next()
			if err == nil && !take(doc) {
				continue
			}
			return events.Last(), events.Retry(), err
		}
	}
	return "", 0, errNoMessages
}

var errNoMessages = errors.New("an answer without messages")

func isKind(resp *http.Response, kind string) bool {
	got, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return err == nil && got == kind
}

// complaint is what a refusal says, in one line. It closes the body.
func complaint(resp *http.Response) string {
	defer resp.Body.Close()
	doc, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if said := gjson.GetBytes(doc, "error.message").String(); said != "" {
		return clip(said)
	}
	return resp.Status
}

// ask makes a request of the bridge's own, and is the response to it.
func (g *gate) ask(ctx context.Context, id string, doc []byte, head http.Header) (gjson.Result, http.Header, *fault) {
	resp, f := g.send(ctx, http.MethodPost, doc, head, nil)
	if f != nil {
		return gjson.Result{}, nil, f
	}
	defer resp.Body.Close()
	var answer gjson.Result
	_, _, err := read(resp, func(doc []byte) bool {
		m := gjson.ParseBytes(doc)
		if found := !m.Get("method").Exists() && (m.Get("error").Exists() || key(m.Get("id")) == keyOf(id)); found {
			answer = m
		}
		return answer.Exists()
	})
	switch {
	case answer.Get("error").Exists():
		return answer, resp.Header, faultf(codeUnavailable, "%s", clip(answer.Get("error.message").String()))
	case answer.Exists():
		return answer, resp.Header, nil
	case resp.StatusCode == http.StatusServiceUnavailable:
		return answer, nil, &fault{code: codeUnavailable, reason: "the gate is not ready: " + resp.Status, again: true}
	}
	return answer, nil, faultf(codeBrokenOff, "the gate gave no answer: %s, %v", resp.Status, err)
}
