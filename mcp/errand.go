package mcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

const (
	errandTime = 10 * time.Second
	maxErrand  = 1 << 20 // bytes of an answer
	maxURL     = 4 << 10 // bytes of a URL that a server names
)

// errands fetches documents from URLs that servers name, and sends to them what
// is meant for them. No redirect is followed.
type errands struct {
	client  *http.Transport
	local   bool // http is taken for addresses of this machine
	version string
}

func newErrands(version string, urls ...*url.URL) *errands {
	dialer := newPublicDialer(urls...)
	return &errands{
		local: dialer.loopback, version: version,
		client: &http.Transport{ // no proxy: it would choose the address
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    errandTime,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           4,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
		},
	}
}

// allowed is the URL in raw if it is one that may be asked.
func (e *errands) allowed(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || len(raw) > maxURL || u.Host == "" || u.Opaque != "" || strings.ContainsFunc(raw, func(c rune) bool { return c <= ' ' || c > '~' }):
		return nil, fmt.Errorf("%.100q is not a URL", raw)
	case u.User != nil || u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, fmt.Errorf("%.100q holds a user or a fragment", raw)
	case u.Scheme == "https", u.Scheme == "http" && e.local && isLoopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("%.100q is not https", raw)
}

// A errandReply is what came back.
type errandReply struct {
	status int
	header http.Header
	doc    gjson.Result // an object, or nothing where the answer was no JSON of ours
}

// get fetches the JSON document at raw.
func (e *errands) get(ctx context.Context, raw string) (errandReply, error) {
	return e.run(ctx, http.MethodGet, raw, nil, nil)
}

// post sends body, which is of a kind, with headers besides.
func (e *errands) post(ctx context.Context, raw, kind string, body []byte, more http.Header) (errandReply, error) {
	h := http.Header{"Content-Type": {kind}}
	for name, values := range more {
		h[name] = values
	}
	return e.run(ctx, http.MethodPost, raw, body, h)
}

func (e *errands) run(ctx context.Context, method, raw string, body []byte, h http.Header) (errandReply, error) {
	u, err := e.allowed(raw)
	if err != nil {
		return errandReply{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, errandTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return errandReply{}, err
	}
	for name, values := range h {
		req.Header[name] = values
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	req.Header.Set("User-Agent", "callgate/"+e.version)
	resp, err := e.client.RoundTrip(req)
	if err != nil {
		return errandReply{}, fmt.Errorf("%s %s: %w", method, shownURL(u), err)
	}
	defer resp.Body.Close()
	r := errandReply{status: resp.StatusCode, header: resp.Header}
	if isKind(resp, "text/event-stream") { // which need not end, and is no document
		return r, nil
	}
	doc, err := io.ReadAll(io.LimitReader(resp.Body, maxErrand+1))
	if err == nil && len(doc) > maxErrand {
		err = errTooLarge
	}
	if err != nil {
		return r, fmt.Errorf("%s %s: %w", method, shownURL(u), err)
	}
	if _, err := firewall.ParseBody(doc, firewall.Limits{Bytes: maxErrand, Depth: 32}); err == nil {
		if r.doc = gjson.ParseBytes(doc); !r.doc.IsObject() {
			r.doc = gjson.Result{}
		}
	}
	return r, nil
}

// shownURL is u without its query, which may hold what is nobody's business.
func shownURL(u *url.URL) string { return u.Scheme + "://" + u.Host + u.EscapedPath() }

// member is a text of a document; one of another type is an error.
func member(doc gjson.Result, name string) (string, error) {
	v := doc.Get(name)
	switch {
	case !v.Exists() || v.Type == gjson.Null:
		return "", nil
	case v.Type != gjson.String:
		return "", errors.New(name + " is not a text")
	}
	return v.Str, nil
}

// textsOf is a list of texts of a document, nil where there is none.
func textsOf(doc gjson.Result, name string) []string {
	var list []string
	for _, v := range doc.Get(name).Array() {
		if v.Type == gjson.String && len(list) < 1000 {
			list = append(list, v.Str)
		}
	}
	return list
}
