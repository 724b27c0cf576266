package main

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	"callgate/cmd/callgate/internal/console"
	"callgate/cmd/callgate/internal/export"

	"github.com/goccy/go-yaml/ast"
)

// An Export is somewhere the record is told as it grows.
type Export struct {
	Name    string               `yaml:"name"`
	Kind    string               `yaml:"kind"`    // webhook, syslog, otlp
	URL     string               `yaml:"url"`     // https:// or http://; of syslog udp://, tcp:// or tls://
	Format  string               `yaml:"format"`  // ocsf, json
	Headers map[string]Reference `yaml:"headers"` // of each request
	Secret  Reference            `yaml:"secret"`  // that a webhook's bodies are signed with
}

func (e *Export) check(r *reader, n ast.Node, key string) {
	if !isName(e.Name) {
		r.note(n, "%s.name: want 1 to 32 of a-z, 0-9 and single -: it is the name of its file and its figures", key)
	}
	schemes := map[string][]string{"webhook": {"https", "http"}, "otlp": {"https", "http"}, "syslog": {"tls", "tcp", "udp"}}[e.Kind]
	if schemes == nil {
		r.note(n, "%s.kind: %q; write webhook, syslog or otlp", key, e.Kind)
		return
	}
	u, err := url.Parse(e.URL)
	known := false
	for _, s := range schemes {
		known = known || err == nil && u.Scheme == s
	}
	switch {
	case !known || u.Host == "" || u.User != nil:
		r.note(n, "%s.url: want %s://HOST:PORT, without user and password", key, strings.Join(schemes, ":// or "))
	case e.Kind == "syslog" && u.Port() == "":
		r.note(n, "%s.url: want a port: 514 for udp and tcp, 6514 for tls", key)
	case e.Kind == "syslog" && (e.Headers != nil || e.Secret.Given), e.Kind == "otlp" && e.Secret.Given:
		r.note(n, "%s: only a webhook is signed, and syslog has no headers", key)
	case e.Secret.Given && len(e.Secret.Secret.Reveal()) < 32:
		r.note(n, "%s.secret: want at least 32 characters; openssl rand -base64 32 makes such a one", key)
	}
	switch e.Format {
	case "", "ocsf", "json":
	default:
		r.note(n, "%s.format: %q; write ocsf or json", key, e.Format)
	}
	if e.Kind == "otlp" && e.Format != "" {
		r.note(n, "%s.format: OpenTelemetry has its own", key)
	}
}

// isName says whether s can be the name of a server, a provider and the like.
func isName(s string) bool {
	return len(s) > 0 && len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && s[0] != '-' && s[len(s)-1] != '-' && !strings.Contains(s, "--")
}

// sink is where e leads.
func (e *Export) sink() export.Sink {
	header := make(http.Header)
	for name, value := range e.Headers {
		header.Set(name, value.Secret.Reveal())
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	form := export.InOCSF(thisVersion().Version)
	if e.Format == "json" {
		form = export.InJSON
	}
	switch e.Kind {
	case "otlp":
		return &export.OTLP{URL: e.URL, Header: header, Version: thisVersion().Version, Client: client}
	case "syslog":
		u, _ := url.Parse(e.URL) // which was checked
		return &export.Syslog{Network: u.Scheme, Addr: u.Host, Form: form, TLS: &tls.Config{ServerName: u.Hostname()}}
	}
	return &export.Webhook{URL: e.URL, Header: header, Secret: e.Secret.Secret.Reveal(), Form: form, Client: client}
}

// exports is what tells the record elsewhere, at work.
type exports struct {
	list []*export.Exporter
	stop func() // has them end, and waits for that
}

// startExports has the record be told as list says, and no more as it was before. Each
// goes on where the one of its name was.
func (h *house) startExports(list []Export, data string) error {
	if h.exports.stop != nil {
		h.exports.stop()
	}
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	h.exports = exports{stop: func() { cancel(); working.Wait() }}
	for i := range list {
		x, err := export.New(export.Config{
			Name: list[i].Name, File: filepath.Join(data, "export", list[i].Name+".position"), Ledger: h.ledger, Sink: list[i].sink(), Logger: h.log,
		})
		if err != nil {
			return err
		}
		h.exports.list = append(h.exports.list, x)
		working.Go(func() { x.Run(ctx) })
	}
	return nil
}

// states is how far each is.
func (x exports) states() []console.Export {
	var all []console.Export
	for _, one := range x.list {
		lag, wrong := one.Lag()
		all = append(all, console.Export{Name: one.Name(), Lag: lag, Wrong: wrong})
	}
	return all
}
