package providers

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
)

// A Kind is what the catalogue says of one kind of providers: data alone. The head of
// catalog.yaml tells what each member means.
type Kind struct {
	Title    string            `yaml:"title" json:"title"`
	Base     string            `yaml:"base" json:"base_url,omitempty"`
	Params   map[string]string `yaml:"params" json:"params,omitempty"`
	Defaults map[string]string `yaml:"defaults" json:"defaults,omitempty"`
	Auth     string            `yaml:"auth" json:"auth"`
	Service  string            `yaml:"service" json:"service,omitempty"`
	Keyless  bool              `yaml:"keyless" json:"keyless,omitempty"`
	Env      []string          `yaml:"env" json:"env,omitempty"`
	Has      []string          `yaml:"has" json:"-"`
	Paths    map[string]string `yaml:"paths" json:"paths"` // with those of Has, once it was read
	Asked    string            `yaml:"asked" json:"asked,omitempty"`
	Signer   string            `yaml:"signer" json:"signer,omitempty"`
	OldLimit bool              `yaml:"old_limit" json:"old_limit,omitempty"`
	NoUsage  bool              `yaml:"no_usage" json:"no_usage,omitempty"`
	Headers  map[string]string `yaml:"headers" json:"headers,omitempty"`
	Body     map[string]string `yaml:"body" json:"body,omitempty"`
	Drop     []string          `yaml:"drop" json:"drop,omitempty"`
	Betas    string            `yaml:"betas" json:"betas,omitempty"`
	Source   string            `yaml:"source" json:"source"`
	Checked  string            `yaml:"checked" json:"checked"`
}

// Kinds are kinds of providers, by their names. They are never changed.
type Kinds struct{ byName map[string]*Kind }

//go:embed catalog.yaml
var catalogFile []byte

// builtIn is read once: it is part of the program.
var builtIn = sync.OnceValue(func() *Kinds {
	k, err := new(Kinds).With("catalog.yaml", catalogFile)
	if err != nil {
		panic(err) // there is a test
	}
	return k
})

// BuiltIn are the kinds that callgate knows without being told.
func BuiltIn() *Kinds { return builtIn() }

// With is k and what a file of the form of catalog.yaml says, which goes before it. The
// error tells all that is wrong with the file.
func (k *Kinds) With(name string, file []byte) (*Kinds, error) {
	read := make(map[string]*Kind)
	if err := yaml.NewDecoder(bytes.NewReader(file), yaml.Strict()).Decode(&read); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %s", name, yaml.FormatError(err, false, false))
	}
	next := &Kinds{maps.Clone(k.byName)}
	if next.byName == nil {
		next.byName = make(map[string]*Kind, len(read))
	}
	var wrong []error
	for _, kind := range slices.Sorted(maps.Keys(read)) {
		entry := read[kind]
		if entry == nil {
			entry = new(Kind)
		}
		for _, what := range entry.complete(kind) {
			wrong = append(wrong, fmt.Errorf("%s: %s: %s", name, kind, what))
		}
		next.byName[kind] = entry
	}
	return next, errors.Join(wrong...)
}

// Get is the kind of a name, nil if there is none.
func (k *Kinds) Get(name string) *Kind { return k.byName[name] }

// Names are the names of all kinds, in order.
func (k *Kinds) Names() []string { return slices.Sorted(maps.Keys(k.byName)) }

var (
	kindName  = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])*$`)
	paramName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	envName   = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
	monthName = regexp.MustCompile(`^20[0-9]{2}-[01][0-9](-[0-3][0-9])?$`)
	blank     = regexp.MustCompile(`\{[^{}]*\}`)
)

// usualPaths are where most have an endpoint, by the door's methods.
var usualPaths = map[string]string{
	"chat": "/chat/completions", "completions": "/completions", "embeddings": "/embeddings",
	"responses": "/responses", "input_tokens": "/responses/input_tokens", "compact": "/responses/compact",
	"messages": "/messages", "count_tokens": "/messages/count_tokens",
	"images": "/images/generations", "image_edits": "/images/edits", "image_variations": "/images/variations",
	"speech": "/audio/speech", "transcriptions": "/audio/transcriptions", "translations": "/audio/translations",
	"moderations": "/moderations", "files": "/files", "batches": "/batches", "realtime": "/realtime", "models": "/models",
}

// otherPaths are the endpoints that have no usual path.
var otherPaths = []string{"gemini", "gemini_count", "gemini_embed", "gemini_embeds", "converse", "cohere"}

// streamed is the endpoint for replies that stream, where that is another one.
const streamed = "_stream"

func isEndpoint(name string) bool {
	name = strings.TrimSuffix(name, streamed)
	return usualPaths[name] != "" || slices.Contains(otherPaths, name)
}

// complete puts the endpoints of Has into Paths and says all that is wrong with k.
func (k *Kind) complete(name string) (wrong []string) {
	note := func(is bool, format string, args ...any) {
		if is {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	note(!kindName.MatchString(name) || len(name) > 32, "a name has 1 to 32 of a-z 0-9 and single -")
	note(k.Title == "", "title is missing")
	note(k.Auth == "", "auth is missing: bearer, header:NAME, azure, aws, google or none")
	if k.Auth != "" {
		if _, err := k.shows(nil); err != nil {
			wrong = append(wrong, "auth: "+err.Error())
		}
	}
	note(k.Service != "" && k.Auth != authAWS, "service: belongs to auth aws")
	note(k.Auth == authAWS && (k.Service == "" || k.Params["region"] == ""), "auth aws needs service, and region among params")
	note(!k.Keyless && k.Auth != authNone && len(k.Env) == 0, "env is missing: where the key usually is")
	for _, e := range k.Env {
		note(!envName.MatchString(e), "env: %q is no name of a variable", e)
	}
	all := maps.Clone(k.Paths)
	if all == nil {
		all = make(map[string]string)
	}
	for _, method := range k.Has {
		note(usualPaths[method] == "", "has: %q has no usual path: write it under paths", method)
		_, twice := all[method]
		note(twice, "has: %s stands there twice, or under paths too", method)
		all[method] = usualPaths[method]
	}
	k.Paths = all
	note(len(all) == 0, "has and paths are missing: it has no endpoint")
	used := map[string]bool{"model": true}
	note(k.blanks(k.Base, used, false) != "", "base: %s", k.blanks(k.Base, used, false))
	for _, method := range slices.Sorted(maps.Keys(all)) {
		path := all[method]
		note(!isEndpoint(method), "paths: there is no endpoint %q", method)
		note(!strings.HasPrefix(path, "/") || strings.ContainsAny(path, "# \\") || strings.Contains(path, ".."), "paths: %s: want a path like /chat/completions", method)
		note(k.blanks(path, used, true) != "", "paths: %s: %s", method, k.blanks(path, used, true))
	}
	note(k.Asked != "" && all[k.Asked] == "", "asked: %q is none of its endpoints", k.Asked)
	for _, p := range slices.Sorted(maps.Keys(k.Params)) {
		note(!paramName.MatchString(p) || p == "model", "params: %q: write a word in lower case", p)
		note(!used[p] && !(p == "region" && k.Auth == authAWS), "params: {%s} stands neither in base nor in paths", p)
	}
	for _, p := range slices.Sorted(maps.Keys(k.Defaults)) {
		note(k.Params[p] == "", "defaults: there is no param %q", p)
		note(!paramValue.MatchString(k.Defaults[p]), "defaults: %s: %q cannot stand in a URL", p, k.Defaults[p])
	}
	if k.Base != "" {
		_, err := baseOf(blank.ReplaceAllString(k.Base, "x"))
		note(err != nil, "base: want a URL like https://host/v1, without user and query")
	}
	for _, h := range slices.Sorted(maps.Keys(k.Headers)) {
		note(!mayFix(h) || !plainText(k.Headers[h]), "headers: %q is not one that can be fixed", h)
	}
	for _, m := range slices.Concat(slices.Sorted(maps.Keys(k.Body)), k.Drop) {
		note(!paramName.MatchString(m), "body and drop: %q is no name of a member", m)
	}
	note(k.Betas != "" && k.Betas != "body", "betas: want body, or leave it away")
	u, err := url.Parse(k.Source)
	note(err != nil || u.Scheme != "https" || u.Host == "", "source: want the URL of where it is documented")
	note(k.Checked != "no" && !monthName.MatchString(k.Checked), "checked: want a month, as 2026-11, or no")
	return wrong
}

// blanks notes what is to be filled in in text, and says what cannot be.
func (k *Kind) blanks(text string, used map[string]bool, path bool) string {
	for _, b := range blank.FindAllString(text, -1) {
		name := b[1 : len(b)-1]
		if name == "model" && path {
			continue
		}
		if k.Params[name] == "" {
			return b + " is none of its params"
		}
		used[name] = true
	}
	return ""
}

// mayFix says whether a kind may say what stands in a header: callgate's own and
// those that carry credentials are not for it.
func mayFix(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "", "Host", "Authorization", "Content-Type", "Content-Length", "Accept-Encoding", "Connection", "Transfer-Encoding", "Cookie", "X-Api-Key", "Api-Key", "X-Goog-Api-Key":
		return false
	}
	return !strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c) })
}

func plainText(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' })
}

// Check says what is wrong with a provider of the kind that has params, and base in the
// place of the kind's own where that is given.
func (k *Kind) Check(base string, params map[string]string) error {
	_, err := k.vendor(base, params)
	return err
}
