package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/goccy/go-yaml/ast"
)

// A TLS is how agents come in, where nothing before the gate adds it.
type TLS struct {
	Cert     File      `yaml:"cert"`      // PEM of the certificate, and of those between it and its root
	Key      Reference `yaml:"key"`       // PEM of its private key
	ClientCA File      `yaml:"client_ca"` // PEM of who signs clients' certificates, which are asked for then
}

// on says whether there is any.
func (t *TLS) on() bool { return len(t.Cert.Text) > 0 }

func (t *TLS) check(r *reader, n ast.Node, key string) {
	if _, err := t.config(); err != nil {
		r.note(n, "%s: %v", key, err)
	}
}

// config is what connections are made with, nil without TLS.
func (t *TLS) config() (*tls.Config, error) {
	key := t.Key.Secret.Reveal()
	switch {
	case !t.on() && key == "" && len(t.ClientCA.Text) == 0:
		return nil, nil
	case !t.on() || key == "":
		return nil, errors.New("write cert and key, both of them")
	}
	pair, err := tls.X509KeyPair(t.Cert.Text, []byte(key))
	if err != nil {
		return nil, fmt.Errorf("cert and key: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if len(t.ClientCA.Text) > 0 {
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if !c.ClientCAs.AppendCertsFromPEM(t.ClientCA.Text) {
			return nil, errors.New("client_ca: there is no certificate in it")
		}
	}
	return c, nil
}

// secure has connections made as cfg says from now on. Whether there is TLS at all
// changes only at a start, which it says then.
func (h *house) secure(cfg *Config) (restart bool) {
	c, err := cfg.TLS.config()
	if err != nil || (c == nil) != (h.secured.Load() == nil) { // it was checked when it was read
		return true
	}
	h.secured.Store(c)
	return false
}
