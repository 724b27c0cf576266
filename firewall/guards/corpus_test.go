package guards_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"

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

// benign is texts with nothing in them that is secret, though some look like it.
var benign = []string{
	"",
	"a",
	"The river ran high that spring, and nobody in the village would cross it.",
	"Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore magna aliqua.",
	"The key to success is patience: nobody has ever become an expert overnight.",
	"Keep your password secret. Never write your API key, token or credentials into the code, use a secret manager instead.",
	"They said the monkey had the turkey; the honeymoon was over anyway, as they say.",
	"Access to the auth endpoint needs a token, see the access log for details.",
	"Der Schlüssel liegt unter der Fußmatte, und das Passwort ist: keines.",
	"鍵は机の上にあります。パスワードは変更してください。",
	"Le mot de passe a été réinitialisé ; la clé est chez le concierge.",
	"Ключ под ковриком, пароль никому не говорите.",
	"👩‍👩‍👧‍👦 the family key 🔑 is here",
	"550e8400-e29b-41d4-a716-446655440000",
	"id: 550e8400-e29b-41d4-a716-446655440000, parent: 0199e3c4-7c3e-7abc-8def-1234567890ab",
	"commit 9fceb02d0ae598e95dc970b74767f19372d61af8\nAuthor: A U Thor <author@example.com>",
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  empty.txt",
	"sha512-9NrzqIu9pAPUgL2sbTLHBGvZcNSYnUsIC6CYFEvjUNOSnvGHDUlvp6Wzqz4XBsJkFiL4WgTCmRnQ0TqAN0Fjyw==",
	"h1:jM4L5mb0d7jn0P1zjTnxWfCqKpHwHs6zGC0Uo2dVWrM=",
	"md5(d41d8cd98f00b204e9800998ecf8427e)",
	"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
	strings.Repeat("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7", 60),
	strings.Repeat("=", 3000),
	strings.Repeat("-", 3000),
	strings.Repeat("ab", 3000),
	"const key = keys.get(url) ?? process.env.API_KEY;",
	"if (!token) throw new AuthError(\"missing token: set TOKEN or pass { token }\");",
	"func (s *Store) Token(ctx context.Context, key string) (Token, error) { return s.tokens.Get(ctx, key) }",
	"password = getpass.getpass(\"Password: \")",
	"api_key: ${API_KEY}",
	"api_key = os.environ[\"OPENAI_API_KEY\"]",
	"Authorization: Bearer <your token here>",
	"curl -H \"Authorization: Bearer $TOKEN\" https://api.example.com/v1/things",
	"curl https://example.com/install.sh | sh",
	"curl -u $USER:$PASSWORD https://example.com",
	"curl -s -X POST http://localhost:8080/ -d '{\"a\":1}' -H 'Content-Type: application/json'",
	"export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
	"token=xxxxxxxxxxxxxxxxxxxx",
	"secret: ********************",
	"password: changeme",
	"ghp_" + strings.Repeat("a", 36), // not random enough
	"token = abababababababab",
	"import { tokenize } from 'some-long-module-name/with-a-path-1234567890abcdef'",
	"SELECT key, token FROM secrets WHERE access = 'granted' AND auth_token IS NOT NULL;",
	"CREATE TABLE users (id BIGINT PRIMARY KEY, password_hash TEXT NOT NULL, api_key_id UUID REFERENCES api_keys(id));",
	"kind: Secret\napiVersion: v1\nmetadata:\n  name: my-secret\n",
	"env:\n  - name: TOKEN\n    valueFrom:\n      secretKeyRef: {name: tokens, key: main}\n",
	`{"type":"object","properties":{"token":{"type":"string","description":"An access token"}},"required":["token"]}`,
	`{"max_tokens":4096,"prompt_tokens":12,"completion_tokens_details":{"reasoning_tokens":0}}`,
	`{"prompt_cache_key":"0199e3c4-7c3e-7abc-8def-1234567890ab","nextPageToken":"CAUQAA8hT2xXzYq71","progressToken":"pt-83f1a2b9c7d6"}`,
	"2026-11-23T06:43:00Z INFO request done method=POST path=/v1/tokens status=200 took=12ms key_id=7",
	"panic: runtime error: index out of range [3] with length 3\n\ngoroutine 1 [running]:\nmain.main()\n\t/tmp/x.go:8 +0x1d",
	"<a href=\"https://example.com/auth/callback?state=open&code=none\">sign in</a>",
	".key { color: #ff8800; width: 12px } .token::before { content: '>' }",
	"| key | value |\n| --- | --- |\n| a | 1 |\n| b | 2 |",
	`E = mc^2, \frac{a}{b} \neq \sqrt{2}, and \nabla \cdot B = 0`,
	`C:\new\table\readme.txt and \\server\share\token`,
	"-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUY0J5m0h5zQ3q1x7X0m4o6m1y0xYwCgYIKoZIzj0EAwIw\n-----END CERTIFICATE-----",
	"A private key begins with -----BEGIN PRIVATE KEY----- and ends with -----END PRIVATE KEY-----, in PEM.",
	"if strings.HasPrefix(s, \"-----BEGIN RSA PRIVATE KEY-----\") {\n\treturn parsePKCS1(s)\n}\n" + strings.Repeat("\tlog.Println(\"not a key\", err)\n", 40),
	"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl user@host",
	"The order number is 1234567890123456 and the phone is +1 (555) 010-9999.",
	"3.14159265358979323846264338327950288419716939937510",
	"00000000: 7f45 4c46 0201 0100 0000 0000 0000 0000  .ELF............",
	"name,key,amount\nana,a1,10\nbob,b2,20\n",
	"ACGTACGTTAGCTAGCTAGCATCGATCGATCGACTAGCTAGCATCGATCAGCTACG",
	"docker run --mount=type=secret,id=npmrc -e KEY=value image:latest",
	"git clone git@github.com:owner/repo.git && cd repo && make",
	"sk-… is how their keys begin, ghp_ is how others do, and AKIA… still others",
	"Use `s.handle` or `hf_hub`; xoxb- tokens are for bots.",
	"See sourcegraph.com, facebook.com and airtable.com for more.",
	`""""''''` + "````" + `\\\\\\\\\"\\\"\\u00\\u004`,
	`{"city":"Zürich","n":123456789012345678901234567890,"ok":true,"none":null}`,
}
