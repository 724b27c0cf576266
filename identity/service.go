package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const maxAnswer = 1 << 20 // bytes of what a service of secrets answers

// A service is where secrets are asked for by HTTP. It follows no redirects, since
// what is sent to it are credentials.
type service struct{ http *http.Transport }

// newService returns a service that is reached directly, or by the proxy of the
// environment.
func newService(proxied bool) *service {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	t := &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: true,
		IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
	}
	if proxied {
		t.Proxy = http.ProxyFromEnvironment
	}
	return &service{t}
}

// A statusError is an answer that is no good. It does not have the answer's own
// words: nobody knows what stands in them.
type statusError struct{ status int }

func (e *statusError) Error() string { return fmt.Sprintf("it answered HTTP %d", e.status) }

// do sends a request and reads the answer, of status 2xx, into out; nil for none.
func (s *service) do(ctx context.Context, req *http.Request, out any) (http.Header, error) {
	head, doc, err := s.ask(ctx, req)
	if err != nil || out == nil {
		return head, err
	}
	if err := json.Unmarshal(doc, out); err != nil {
		return nil, errors.New("its answer is not the JSON that it should be") // and not err, which may quote it
	}
	return head, nil
}

// text sends a request and reads the answer, of status 2xx, as it is.
func (s *service) text(ctx context.Context, req *http.Request) (string, error) {
	_, doc, err := s.ask(ctx, req)
	return string(doc), err
}

func (s *service) ask(ctx context.Context, req *http.Request) (http.Header, []byte, error) {
	resp, err := s.http.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	doc, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, nil, err
	case resp.StatusCode/100 != 2:
		return nil, nil, &statusError{resp.StatusCode}
	case len(doc) > maxAnswer:
		return nil, nil, fmt.Errorf("it answered more than %d bytes", maxAnswer)
	}
	return resp.Header, doc, nil
}

// statusOf is the HTTP status that err tells of, 0 if it is another error.
func statusOf(err error) int {
	var s *statusError
	if errors.As(err, &s) {
		return s.status
	}
	return 0
}
