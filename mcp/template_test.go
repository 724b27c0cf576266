package mcp

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/yosida95/uritemplate/v3"
)

func TestATemplateMatchesWhatComesOfIt(t *testing.T) {
	for _, tt := range []struct {
		template, uri string
		want          bool
	}{
		{"a://b", "a://b", true},
		{"a://b", "a://bc", false},
		{"a://{x}", "a://b", true},
		{"a://{x}", "a://", false},
		{"a://{x}", "a://b/c", false},
		{"a://{x}/d", "a://b/d", true},
		{"a://{x}/d", "a://b/e", false},
		{"a://{x}{y}", "a://bc", true},
		{"a://{+x}", "a://b/c?d#e", true},
		{"a://{+x}/end", "a://b/c/end", true},
		{"a://{+x}/end", "a://b/c/ende", false},
		{"a:/{/x*}", "a://b/c", true},
		{"a:/{/x}", "a:/", true},
		{"a://b{?q,r}", "a://b?q=1&r=2", true},
		{"a://b{?q,r}", "a://b", true},
		{"a://b{?q}", "a://b#x", false},
		{"a://b{#x}", "a://b#x/y", true},
		{"a://{x}.{y}", "a://b.c", true},
		{"a://{", "a://{", false},
		{"a://}", "a://}", false},
		{"a://{}", "a://", false},
		{"", "", false},
	} {
		if got := matches(tt.template, tt.uri); got != tt.want {
			t.Errorf("%q matches %q = %v", tt.template, tt.uri, got)
		}
	}
}

func TestATemplateTakesNoLongerThanItMay(t *testing.T) {
	began := time.Now()
	if matches(strings.Repeat("{+x}a", 200), strings.Repeat("a", 1000)+"b") {
		t.Error("it matched")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

// FuzzMatches holds the door's own reading of templates beside that of a library:
// what comes of a template matches it.
func FuzzMatches(f *testing.F) {
	f.Add("a://{x}/b", "v")
	f.Add("a://{+x}{?y}", "v/w")
	f.Add("a:/{/x}{;y}{.z}", "é")
	printed := regexp.MustCompile(`^[\pL\pN\pP\pS]+$`)
	plain := regexp.MustCompile(`^[a-z:/{}+#.;?&,-]*$`)
	f.Fuzz(func(t *testing.T, template, value string) {
		matches(template, value)
		if len(template) > 100 || !plain.MatchString(template) || !printed.MatchString(value) {
			return
		}
		tmpl, err := uritemplate.New(template)
		if err != nil {
			return
		}
		values := uritemplate.Values{}
		for _, name := range tmpl.Varnames() {
			values.Set(name, uritemplate.String(value))
		}
		uri, err := tmpl.Expand(values)
		if err != nil || template == "" {
			return
		}
		if !matches(template, uri) {
			t.Errorf("%q does not match %q, which comes of it", template, uri)
		}
	})
}
