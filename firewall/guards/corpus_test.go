package guards_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/zricethezav/gitleaks/v8/config"
	"github.com/zricethezav/gitleaks/v8/detect"
	"github.com/zricethezav/gitleaks/v8/report"
)

// A sample is a text with a secret, made at random in the shape of one of
// gitleaks' rules. No real secret is in any test.
type sample struct {
	rule string
	text string
	want []report.Finding // gitleaks'
}

// gitleaks is gitleaks itself, that the guard is compared with.
var gitleaks = sync.OnceValue(func() *detect.Detector {
	d, err := detect.NewDetectorDefaultConfig()
	if err != nil {
		panic(err)
	}
	d.IgnoreGitleaksAllow = true
	return d
})

// samples are one text for each of gitleaks' rules that are not about files.
var samples = sync.OnceValue(func() []sample {
	var doc struct {
		Rules []struct {
			ID, Regex, Path string
			Keywords        []string
		}
	}
	if err := toml.Unmarshal([]byte(config.DefaultConfig), &doc); err != nil {
		panic(err)
	}
	var all []sample
	for i, r := range doc.Rules {
		if r.Path != "" {
			continue
		}
		tree, err := syntax.Parse(r.Regex, syntax.Perl)
		if err != nil {
			panic(err)
		}
		re, rnd := regexp.MustCompile(r.Regex), rand.New(rand.NewPCG(1, uint64(i)))
		for range 5 {
			s, ok := one(rnd, r.ID, r.Keywords[0], tree, re)
			if !ok {
				panic(fmt.Sprintf("no sample for rule %s", r.ID))
			}
			all = append(all, s)
		}
	}
	return all
})

func one(rnd *rand.Rand, rule, keyword string, tree *syntax.Regexp, re *regexp.Regexp) (sample, bool) {
	for range 2000 {
		var b strings.Builder
		write(rnd, &b, tree)
		text := b.String()
		if !re.MatchString(text) || strings.HasPrefix(rule, "jwt") && strings.Contains(text, `\`) { // \n is the end of a line here
			continue
		}
		if strings.Contains("airtable facebook sourcegraph", keyword) {
			text = keyword + ": " + text // asked for, but not in the match
		}
		text = "This is what it says:\n" + text + "\nand no more.\n"
		s := sample{rule: rule, text: text, want: gitleaks().DetectString(text)}
		for _, f := range s.want {
			if f.RuleID == rule {
				return s, true
			}
		}
	}
	return sample{}, false
}

// write makes a word of the language of re.
func write(rnd *rand.Rand, b *strings.Builder, re *syntax.Regexp) {
	low, high := re.Min, re.Max
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		var in []rune
		for c := rune(' '); c < 0x7f; c++ {
			for i := 0; i < len(re.Rune); i += 2 {
				if re.Rune[i] <= c && c <= re.Rune[i+1] {
					in = append(in, c)
				}
			}
		}
		if in == nil {
			in = re.Rune[:1]
		}
		b.WriteRune(in[rnd.IntN(len(in))])
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte("....abcdefghij 012345"[rnd.IntN(21)])
	case syntax.OpCapture:
		write(rnd, b, re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			write(rnd, b, sub)
		}
	case syntax.OpAlternate:
		write(rnd, b, re.Sub[rnd.IntN(len(re.Sub))])
	case syntax.OpStar:
		low, high = 0, 5
	case syntax.OpPlus:
		low, high = 1, 6
	case syntax.OpQuest:
		low, high = 0, 1
	}
	if high < 0 || high > low+20 {
		high = low + 20
	}
	switch re.Op {
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		for range low + rnd.IntN(high-low+1) {
			write(rnd, b, re.Sub[0])
		}
	}
}

func TestSamples(t *testing.T) {
	for _, s := range samples() {
		got := mask(t, s.text)
		ok := false
		var w []string
		for _, f := range s.want {
			ok = ok || strings.Contains(got, "[secret:"+f.RuleID+"]")
			w = append(w, f.RuleID+"="+f.Secret)
		}
		for _, f := range s.want {
			if strings.Contains(got, f.Secret) {
				ok = false
			}
		}
		if !ok {
			t.Errorf("%s:\n  text %q\n  got  %q\n  want %q", s.rule, s.text, got, w)
		}
	}
}
