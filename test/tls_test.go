package test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callgate/test/program"
)

// A signer signs certificates.
type signer struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	s := &signer{t: t}
	pair := s.issue("root", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	s.cert, s.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	return s
}

// issue is a certificate for name, and its key.
func (s *signer) issue(name string, change ...func(*x509.Certificate)) tls.Certificate {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	s.n++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(s.n), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, f := range change {
		f(c)
	}
	parent, by := s.cert, s.key
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		s.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// write puts a certificate and its key into files.
func (s *signer) write(dir, name string, c tls.Certificate) {
	s.t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		s.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".crt": {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, name + ".key": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestTokensAreBoundToClientsCertificates(t *testing.T) {
	dir := t.TempDir()
	binary, err := program.Build(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	servers, clients, strangers := newSigner(t), newSigner(t), newSigner(t)
	servers.write(dir, "gate", servers.issue("gate"))
	clients.write(dir, "clients", tls.Certificate{Certificate: [][]byte{clients.cert.Raw}, PrivateKey: clients.key})
	data, port := filepath.Join(dir, "data"), program.FreePort(t)
	file := filepath.Join(dir, "callgate.yaml")
	config := fmt.Sprintf(`
listen: 127.0.0.1:%s
data: %s
admin: {listen: "127.0.0.1:%s"}
tls: {cert: gate.crt, key: "file:%s", client_ca: clients.crt}
`, port, data, program.FreePort(t), filepath.Join(dir, "gate.key"))
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	program.Start(t, program.Program{Args: []string{binary, "serve", "-c", file}, Dir: dir, Log: filepath.Join(dir, "callgate.log"), Clean: true})
	at := "https://127.0.0.1:" + port
	roots := x509.NewCertPool()
	roots.AddCert(servers.cert)
	client := func(certs ...tls.Certificate) *http.Client {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs}, ForceAttemptHTTP2: true}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: 10 * time.Second}
	}
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if resp, err := client().Get(at + "/healthz"); err == nil {
			resp.Body.Close()
			break
		} else if time.Since(begun) > 30*time.Second {
			t.Fatal(err)
		}
	}
	var agent struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(program.Command(t, binary, data, "agent", "create", "bot", "--json")), &agent); err != nil {
		t.Fatal(err)
	}
	token := func(c *http.Client) string {
		t.Helper()
		resp, err := c.PostForm(at+"/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {agent.ID}, "client_secret": {agent.Secret}})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var got struct {
			Token string `json:"access_token"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Token == "" {
			t.Fatal(resp.StatusCode, err)
		}
		return got.Token
	}
	comes := func(c *http.Client, token string) (int, string) {
		t.Helper()
		req, _ := http.NewRequest(http.MethodGet, at+"/v1/models", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	own, other := client(clients.issue("bot")), client(clients.issue("other"))
	bound, free := token(own), token(client())
	for _, test := range []struct {
		name   string
		client *http.Client
		token  string
		want   int
	}{
		{"who shows the certificate", own, bound, 200},
		{"who shows none", client(), bound, 401},
		{"who shows another", other, bound, 401},
		{"a token that is not bound, with a certificate", own, free, 200},
		{"a token that is not bound", client(), free, 200},
	} {
		if got, body := comes(test.client, test.token); got != test.want || got == 401 && !strings.Contains(body, "bound") {
			t.Errorf("%s: HTTP %d %s, want %d", test.name, got, body, test.want)
		}
	}
	if _, err := client(strangers.issue("bot")).Get(at + "/healthz"); err == nil {
		t.Error("a certificate that nobody signed who may is taken")
	}
	if resp, err := http.Get("http://127.0.0.1:" + port + "/healthz"); err == nil && resp.StatusCode == http.StatusOK {
		t.Error("it answers without TLS")
	}
	resp, err := client().Get(at + "/.well-known/oauth-authorization-server")
	if err != nil {
		t.Fatal(err)
	}
	doc, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if !bytes.Contains(doc, []byte(`"tls_client_certificate_bound_access_tokens":true`)) || !bytes.Contains(doc, []byte(`"issuer":"`+at+`"`)) || resp.ProtoMajor != 2 {
		t.Errorf("%s %s", resp.Proto, doc)
	}

	// a new certificate takes effect at a reload
	next := servers.issue("gate")
	servers.write(dir, "gate", next)
	program.Command(t, binary, data, "reload")
	fresh := client()
	resp, err = fresh.Get(at + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.TLS.PeerCertificates[0]; !got.Equal(next.Leaf) {
		t.Errorf("after the reload it shows certificate %v", got.SerialNumber)
	}
}
