package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"callgate/firewall"
	"callgate/firewall/packs"
	"callgate/identity"
	"callgate/mcp"

	"github.com/goccy/go-yaml/ast"
)

// An Address is where to listen: host:port. A port of 0 is any that is free.
type Address string

func (a *Address) read(r *reader, n ast.Node, key string) {
	if s, ok := r.text(n, key); ok && Address(s).verify(r, n, key) {
		*a = Address(s)
	}
}

func (a Address) verify(r *reader, n ast.Node, key string) bool {
	host, port, err := net.SplitHostPort(string(a))
	if err == nil && host != "localhost" {
		_, err = netip.ParseAddr(host)
	}
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		r.note(n, "%s: %q is no address; write an IP address and a port: 127.0.0.1:8700", key, string(a))
	}
	return err == nil
}

// loopback says whether only this machine can reach a.
func (a Address) loopback() bool {
	host, _, _ := net.SplitHostPort(string(a))
	return loopback(host)
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// A BaseURL is the URL of this gate: scheme and host, nothing behind it.
type BaseURL string

func (b *BaseURL) read(r *reader, n ast.Node, key string) {
	s, ok := r.text(n, key)
	if !ok {
		return
	}
	*b = BaseURL(s)
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		r.note(n, "%s: want a URL: https://callgate.example", key)
	case u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(s, "?#"):
		r.note(n, "%s: nothing may follow the host; write %s://%s", key, u.Scheme, u.Host)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		r.note(n, "%s: http is for this machine alone; write https://%s", key, u.Host)
	case u.Host != strings.ToLower(u.Host):
		r.note(n, "%s: write the host in lower case: %s://%s", key, u.Scheme, strings.ToLower(u.Host))
	}
}

// A ServerURL is the URL of an upstream. It is the operator's, and may lead
// anywhere that the operator wants.
type ServerURL string

func (s *ServerURL) read(r *reader, n ast.Node, key string) {
	t, ok := r.text(n, key)
	if !ok {
		return
	}
	*s = ServerURL(t)
	if why := s.wrong(); why != "" {
		r.note(n, "%s: %s", key, why)
	}
}

// wrong says what is the matter with s, "" if nothing is.
func (s ServerURL) wrong() string {
	u, err := url.Parse(string(s))
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "want a URL: https://host/path"
	case u.User != nil:
		return "a URL must hold no user or password; use headers or api_key"
	case u.Fragment != "":
		return "nothing with # may stand in it"
	}
	return ""
}

// A Duration is a length of time, above 0; 0 stands for the default.
type Duration time.Duration

func (d *Duration) read(r *reader, n ast.Node, key string) {
	if _, number := n.(*ast.IntegerNode); number {
		r.note(n, "%s: a duration needs a unit: 500ms, 30s, 15m, 1h", key)
		return
	}
	s, ok := r.text(n, key)
	if !ok {
		return
	}
	v, err := time.ParseDuration(s)
	switch {
	case err != nil:
		r.note(n, "%s: %q is no duration; write 500ms, 30s, 15m or 1h", key, s)
	case v <= 0 || v > maxDuration:
		r.note(n, "%s: want more than 0 and at most %dh", key, int(maxDuration.Hours()))
	default:
		*d = Duration(v)
	}
}

const maxDuration = 366 * 24 * time.Hour

func (d Duration) String() string { return time.Duration(d).String() }

// An Amount is a number that is not below 0.
type Amount struct {
	Given bool
	Value float64
}

func (a *Amount) read(r *reader, n ast.Node, key string) {
	v, err := strconv.ParseFloat(n.GetToken().Value, 64)
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		if err == nil && v >= 0 && v <= 1e6 {
			*a = Amount{true, v}
			return
		}
	}
	r.note(n, "%s: want a number from 0 to 1000000", key)
}

// or is a, or b where a is not given.
func (a Amount) or(b Amount) float64 {
	if a.Given {
		return a.Value
	}
	return b.Value
}

// A Count is a whole number from 1 on; 0 stands for the default.
type Count int

const maxCount = 1 << 20

func (c *Count) read(r *reader, n ast.Node, key string) {
	v, err := strconv.Atoi(n.GetToken().Value)
	if _, whole := n.(*ast.IntegerNode); !whole || err != nil || v < 1 || v > maxCount {
		r.note(n, "%s: want a whole number from 1 to %d", key, maxCount)
		return
	}
	*c = Count(v)
}

// A Size is a number of bytes, above 0; 0 stands for no limit.
type Size int64

func (s *Size) read(r *reader, n ast.Node, key string) {
	if _, number := n.(*ast.IntegerNode); number {
		r.note(n, "%s: a size needs a unit: 512MiB, 2GiB", key)
		return
	}
	t, ok := r.text(n, key)
	if !ok {
		return
	}
	for unit, shift := range map[string]uint{"KiB": 10, "MiB": 20, "GiB": 30} {
		digits, cut := strings.CutSuffix(t, unit)
		v, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 32)
		if cut && err == nil && v > 0 {
			*s = Size(v << shift)
			return
		}
	}
	r.note(n, "%s: %q is no size; write 512MiB or 2GiB", key, t)
}

// A Switch is on, off, or as it is by default.
type Switch struct{ Given, On bool }

func (s *Switch) read(r *reader, n ast.Node, key string) {
	b, ok := n.(*ast.BoolNode)
	if !ok {
		r.note(n, "%s: want true or false", key)
		return
	}
	*s = Switch{true, b.Value}
}

// off says whether it was turned off.
func (s Switch) off() bool { return s.Given && !s.On }

// Labels are one label or a list of them.
type Labels firewall.Labels

func (l *Labels) read(r *reader, n ast.Node, key string) {
	items := []ast.Node{n}
	if s, ok := n.(*ast.SequenceNode); ok {
		items = s.Values
	}
	for _, item := range items {
		s, ok := r.text(item, key)
		if !ok {
			continue
		}
		label, known := firewall.ParseLabel(s)
		if !known {
			r.note(item, "%s: %q is no label; write untrusted, private or secret", key, s)
			continue
		}
		*l |= Labels(label)
	}
}

// OwnLabels are labels that stand in place of others, where they are given.
type OwnLabels struct {
	Given bool
	Labels
}

func (l *OwnLabels) read(r *reader, n ast.Node, key string) {
	l.Given = true
	l.Labels.read(r, n, key)
}

// A Folder is the path of a folder, absolute or from where callgate was started.
type Folder string

func (f *Folder) read(r *reader, n ast.Node, key string) {
	if s, ok := r.text(n, key); ok {
		if s == "" {
			r.note(n, "%s: want a path", key)
			return
		}
		*f = Folder(r.path(s))
	}
}

// A File is a file that the configuration names, with what stood in it when the
// configuration was read.
type File struct {
	Path string // as written
	Text []byte
}

func (f *File) read(r *reader, n ast.Node, key string) {
	s, ok := r.text(n, key)
	if !ok {
		return
	}
	if name, ok := strings.CutPrefix(s, packs.Prefix); ok && key == "policy" {
		text, known := packs.Rows(name)
		if !known {
			r.note(n, "%s: there is no %s; write %s%s", key, s, packs.Prefix, strings.Join(packs.Names(), ", "+packs.Prefix))
		}
		*f = File{Path: s, Text: text}
		return
	}
	text, err := r.load(s)
	if err != nil {
		r.note(n, "%s: %s: %s", key, s, plain(err))
	}
	*f = File{Path: r.path(s), Text: text}
}

// A LockFile is a [File] of definitions that MCP servers are held to.
type LockFile struct {
	File
	lock *mcp.Lock
}

func (f *LockFile) read(r *reader, n ast.Node, key string) {
	before := len(r.mistakes)
	f.File.read(r, n, key)
	if len(r.mistakes) > before {
		return
	}
	var err error
	if f.lock, err = mcp.ParseLock(f.Text); err != nil {
		r.note(n, "%s: %s: %s", key, f.Path, err)
	}
}

// Trust is how far an MCP server may choose what it says of itself.
type Trust mcp.Trust

func (t *Trust) read(r *reader, n ast.Node, key string) {
	s, ok := r.text(n, key)
	if !ok {
		return
	}
	switch mcp.Trust(s) {
	case mcp.TrustFirstUse, mcp.TrustLocked, mcp.TrustOpen:
		*t = Trust(s)
	default:
		r.note(n, "%s: want first-use, locked or open", key)
	}
}

// A KeyAlg is what signing keys are for.
type KeyAlg string

func (a *KeyAlg) read(r *reader, n ast.Node, key string) {
	s, ok := r.text(n, key)
	if ok && !identity.IsKeyAlg(s) {
		r.note(n, "%s: want %s, %s or %s", key, identity.ES256, identity.EdDSA, identity.RS256)
		return
	}
	*a = KeyAlg(s)
}

// A Reference is a secret of callgate's own, by where it is: env:NAME or file:/path.
// It is read with the configuration.
type Reference struct {
	Given  bool
	Ref    string // as written, but for the path of a file
	Secret identity.Secret
}

func (s *Reference) read(r *reader, n ast.Node, key string) {
	t, ok := r.text(n, key)
	if !ok {
		return
	}
	v, referred := r.resolve(n, t, key)
	if !referred {
		r.note(n, "%s: a secret must not stand in the file; write env:NAME or file:/path", key)
	}
	if name, file := strings.CutPrefix(t, "file:"); file {
		t = "file:" + r.path(name)
	}
	*s = Reference{Given: true, Ref: t, Secret: v}
}

// resolve is the secret that ref leads to, and whether ref is a reference at all.
func (r *reader) resolve(n ast.Node, ref, key string) (identity.Secret, bool) {
	if name, ok := strings.CutPrefix(ref, "env:"); ok {
		v, set := r.env(name)
		if !set || v == "" {
			r.note(n, "%s: %s is not set in the environment of callgate", key, name)
		}
		return identity.NewSecret(v), true
	}
	if name, ok := strings.CutPrefix(ref, "file:"); ok {
		text, err := r.load(name)
		r.secrets = append(r.secrets, r.path(name))
		v := strings.TrimRight(string(text), "\r\n")
		switch {
		case err != nil:
			r.note(n, "%s: %s: %s", key, name, plain(err))
		case v == "":
			r.note(n, "%s: %s is empty", key, name)
		}
		return identity.NewSecret(v), true
	}
	return identity.Secret{}, false
}

// readFile reads a file of bounded size.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAtMost(f, maxFile)
}

// readAtMost reads all of f, or fails when there is more than limit.
func readAtMost(f io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return text, err
}

// plain is what went wrong with a file, without the path that the message names already.
func plain(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
