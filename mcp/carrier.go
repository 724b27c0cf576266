package mcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// A carrier is a connection to a server on which messages go both ways, for many
// requests at once: the pipes of a process, or the two channels of HTTP+SSE.
type carrier interface {
	// next is the next message from the server. One goroutine asks.
	next() ([]byte, error)
	// write sends one message, which it may change. One goroutine at a time does.
	write(msg []byte) error
	// kill ends the connection now.
	kill()
	// stop ends the connection in good order, and returns when it is over.
	stop()
	// name is what logs call it.
	name() string
}

// sseCarrier is HTTP+SSE, the transport of 2024-11-05: what the server says comes
// as events of one long reply, whose first event tells where to post what it is
// told.
type sseCarrier struct {
	wire   *httpWire
	events *sse
	resp   *http.Response
	post   *url.URL
	cancel context.CancelFunc
}

var errNoEndpoint = fmt.Errorf("no endpoint event: %w", errForeign)

// newSSECarrier opens the stream and reads where to post.
func newSSECarrier(w *httpWire) (*sseCarrier, error) {
	ctx, cancel := context.WithCancel(context.Background())
	late := time.AfterFunc(discoverTime/4, cancel)
	defer late.Stop()
	hand, err := w.lend(ctx, nil, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	h := (&httpLink{wire: w}).header(outgoing{}, hand)
	h.Set("Accept", "text/event-stream")
	h.Del("Content-Type")
	resp, err := w.client.RoundTrip((&http.Request{Method: http.MethodGet, URL: w.url, Host: w.url.Host, Header: h}).WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	c := &sseCarrier{wire: w, resp: resp, cancel: cancel}
	if resp.StatusCode != http.StatusOK || !isKind(resp, "text/event-stream") {
		c.kill()
		return nil, errNoEndpoint
	}
	c.events = newSSE(resp.Body, messageLimit(w.cfg.Limits))
	c.events.kind = "endpoint"
	at, err := c.events.next()
	if err != nil {
		c.kill()
		return nil, errNoEndpoint
	}
	c.events.kind = ""
	if c.post, err = w.url.Parse(string(at)); err != nil || c.post.Scheme != w.url.Scheme || c.post.Host != w.url.Host {
		c.kill()
		return nil, errors.New("it wants messages posted to another origin")
	}
	return c, nil
}

func (c *sseCarrier) next() ([]byte, error) { return c.events.next() }

func (c *sseCarrier) write(msg []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	hand, err := c.wire.lend(ctx, nil, nil)
	if err != nil {
		return err
	}
	req := (&httpLink{wire: c.wire}).request(ctx, bytes.Clone(msg), outgoing{}, hand)
	req.URL = c.post
	resp, err := c.wire.client.RoundTrip(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("HTTP %d for a message", resp.StatusCode)
	}
	return nil
}

func (c *sseCarrier) kill() {
	c.cancel()
	_ = c.resp.Body.Close()
}

func (c *sseCarrier) stop() { c.kill() }

func (c *sseCarrier) name() string { return "sse" }
