package program

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A Person is somebody before a browser, who has the admin token of a gate. The
// browser is a plain one: it keeps cookies, and sends the forms of the pages that it
// is shown.
type Person struct {
	t     testing.TB
	http  *http.Client
	admin string
}

// NewPerson is a person at the gate whose data folder is data. It has not logged in.
func NewPerson(t testing.TB, data string) *Person {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Person{t: t, admin: strings.TrimSpace(string(token)), http: &http.Client{
		Jar: jar, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Allow opens the page at which a client asks, logs in if need be, and allows what
// is asked for. It returns where the browser is sent then, "" where it is shown a
// page. Nobody goes there: see [Person.Follow].
func (p *Person) Allow(at string) string { p.t.Helper(); return p.answer(at, "allow") }

// Deny does not allow it.
func (p *Person) Deny(at string) string { p.t.Helper(); return p.answer(at, "deny") }

// Follow opens at, where a client may wait for it, and returns where that leads, or
// else what it shows.
func (p *Person) Follow(at string) (next, body string) {
	p.t.Helper()
	next, _, body = p.open(http.MethodGet, at, nil)
	return next, body
}

var (
	formTag     = regexp.MustCompile(`<form method="post" action="([^"]+)">`)
	hiddenInput = regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`)
)

func (p *Person) answer(at, decision string) string {
	p.t.Helper()
	next, status, body := p.open(http.MethodGet, at, nil)
	for range 4 { // login, the page that asks, its answer
		form := formTag.FindStringSubmatch(body)
		switch {
		case next != "" && !p.here(at, next):
			return next
		case next != "":
			at = next
			next, status, body = p.open(http.MethodGet, at, nil)
			continue
		case form == nil && status == http.StatusOK:
			return ""
		case form == nil:
			p.t.Fatalf("%s shows %d %s", at, status, body)
		}
		fields := url.Values{}
		for _, m := range hiddenInput.FindAllStringSubmatch(body, -1) {
			fields.Set(m[1], html.UnescapeString(m[2]))
		}
		if strings.HasSuffix(form[1], "/login") {
			fields.Set("password", p.admin)
		} else {
			fields.Set("decision", decision)
		}
		at = p.resolve(at, form[1])
		next, status, body = p.open(http.MethodPost, at, fields)
	}
	if next != "" {
		return next
	}
	if status != http.StatusOK {
		p.t.Fatalf("%s shows %d %s", at, status, body)
	}
	return ""
}

// here says whether next is a page of the same host as at.
func (p *Person) here(at, next string) bool {
	a, err := url.Parse(at)
	b, wrong := url.Parse(next)
	return err == nil && wrong == nil && a.Host == b.Host
}

func (p *Person) resolve(at, ref string) string {
	p.t.Helper()
	base, err := url.Parse(at)
	if err != nil {
		p.t.Fatal(err)
	}
	to, err := base.Parse(ref)
	if err != nil {
		p.t.Fatal(err)
	}
	return to.String()
}

// open returns where a page leads, or else what it shows.
func (p *Person) open(method, at string, form url.Values) (next string, status int, body string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, at, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		p.t.Fatal(fmt.Errorf("%s: %w", at, err))
	}
	if to := resp.Header.Get("Location"); to != "" {
		return p.resolve(at, to), resp.StatusCode, ""
	}
	return "", resp.StatusCode, string(text)
}
