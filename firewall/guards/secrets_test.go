package guards_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"callgate/audit"
	"callgate/firewall"
	"callgate/firewall/guards"

	"github.com/google/go-cmp/cmp"
	"github.com/zricethezav/gitleaks/v8/report"
)

var guard = guards.NewSecrets()

// pat has the shape of a token of GitHub's.
const pat = "ghp_0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R"

// slice is an event that carries the next slice of a lane's text.
func slice(lane, text string) firewall.Event {
	doc, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	spans := []firewall.Span{{End: len(doc), Text: text, Lane: lane}}
	return firewall.Event{Body: firewall.Body{JSON: doc, Spans: spans}, Frame: doc}
}

// after yields events, and then err unless that is nil.
func after(err error, events ...firewall.Event) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		for _, ev := range events {
			if !yield(ev, nil) {
				return
			}
		}
		if err != nil {
			yield(firewall.Event{}, err)
		}
	}
}

// stream is what the agent sees of a text that comes in parts.
func stream(t testing.TB, parts ...string) string {
	t.Helper()
	var events []firewall.Event
	for _, p := range parts {
		events = append(events, slice("0", p))
	}
	var b strings.Builder
	for ev, err := range guard.Reply(context.Background(), new(firewall.Call), after(nil, events...)) {
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(ev.Body.Spans[0].Text)
	}
	return b.String()
}

// request is a call whose body is doc, after the guard has read it.
func request(t testing.TB, doc string) *firewall.Call {
	t.Helper()
	body, err := firewall.ParseBody([]byte(doc), firewall.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	call := &firewall.Call{Body: body}
	d, err := guard.Request(context.Background(), call)
	if err != nil || d.Effect != firewall.Allow {
		t.Fatalf("got %+v, %v", d, err)
	}
	return call
}

// spansAgree checks that the spans of body are those of its document.
func spansAgree(t testing.TB, body firewall.Body) {
	t.Helper()
	again, err := firewall.ParseBody(body.JSON, firewall.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", body.JSON, err)
	}
	if d := cmp.Diff(again.Spans, body.Spans); d != "" {
		t.Fatalf("%s: %s", body.JSON, d)
	}
}

var anyMask = regexp.MustCompile(`\[secret:[a-z0-9-]+]`)

// masked is text with everything masked that gitleaks has found in it.
func masked(text string, findings []report.Finding) string {
	type part struct{ from, to int }
	var parts []part
	for _, f := range findings {
		at := strings.Index(text, f.Match)
		from := at + strings.Index(f.Match, f.Secret)
		to := from + len(f.Secret)
		switch f.RuleID {
		case "microsoft-teams-webhook": // its secret is a part of the match
			from, to = at, at+len(f.Match)
		case "jwt-base64": // the same, and the match goes on in the next line, whatever is there
			from, to = at, at+strings.IndexByte(f.Match+"\n", '\n')
		case "curl-auth-user": // its secret may have quotes around it
			from += len(f.Secret) - len(strings.TrimLeft(f.Secret, `"'`))
			to -= len(f.Secret) - len(strings.TrimRight(f.Secret, `"'`))
		}
		parts = append(parts, part{from, to})
	}
	slices.SortFunc(parts, func(a, b part) int { return a.from - b.from })
	var b strings.Builder
	at := 0
	for _, p := range parts {
		if p.from >= at {
			b.WriteString(text[at:p.from] + "[secret]")
		}
		at = max(at, p.to)
	}
	return b.String() + text[at:]
}

func TestASecretOfEachRuleIsMaskedAsGitleaksFindsIt(t *testing.T) {
	for _, s := range samples() {
		got := stream(t, s.text)
		if g, w := anyMask.ReplaceAllString(got, "[secret]"), masked(s.text, s.want); g != w {
			t.Errorf("%s:\n in   %q\n got  %q\n want %q", s.rule, s.text, g, w)
		}
		for _, m := range anyMask.FindAllString(got, -1) {
			if !slices.ContainsFunc(s.want, func(f report.Finding) bool { return m == "[secret:"+f.RuleID+"]" }) {
				t.Errorf("%s: %s in %q, but gitleaks says %v", s.rule, m, s.text, s.want)
			}
		}
		for _, f := range s.want {
			if f.RuleID == s.rule && s.rule != "generic-api-key" && strings.Contains(got, "[secret:generic-api-key]") {
				t.Errorf("%s is called generic", s.rule)
			}
		}
	}
}

func TestBenignTextsPassUntouched(t *testing.T) {
	for _, text := range benign {
		if f := gitleaks().DetectString(text); len(f) > 0 && !strings.Contains(text, "prompt_cache_key") {
			t.Fatalf("gitleaks finds %v in %q", f, text)
		}
		doc, _ := json.Marshal(map[string]any{"messages": []string{text, "x"}, "n": 1})
		if call := request(t, string(doc)); call.Body.Edited || !bytes.Equal(call.Body.JSON, doc) || call.Findings != nil {
			t.Errorf("request %q: %v", text, call.Findings)
		}
		for _, parts := range [][]string{{text}, strings.Split(text, "")} {
			var events []firewall.Event
			for _, p := range parts {
				events = append(events, slice("0", p))
			}
			call, n := new(firewall.Call), 0
			for ev, err := range guard.Reply(context.Background(), call, after(nil, events...)) {
				if err != nil || ev.Body.Edited || !bytes.Equal(ev.Body.JSON, events[n].Body.JSON) || !bytes.Equal(ev.Frame, events[n].Frame) {
					t.Errorf("reply %q: event %d is %s, %v", text, n, ev.Body.JSON, err)
				}
				n++
			}
			if n != len(events) || call.Findings != nil {
				t.Errorf("reply %q: %d events of %d, %v", text, n, len(events), call.Findings)
			}
		}
	}
}

// jwt has the shape of a token whose signature is n characters long.
func jwt(n int) string {
	rnd := rand.New(rand.NewPCG(5, 6))
	b := []byte("eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xIn0.")
	for range n {
		b = append(b, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[rnd.IntN(64)])
	}
	return string(b)
}

// rows has the shape of n lines of a private key.
func rows(n int) string {
	return strings.Repeat("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n", n)
}

// hard is texts that are easy to cut badly.
func hard() []string {
	return append([]string{
		pat, pat + pat, pat + ".", "(" + pat + ")", `{"a":"` + pat + `"}`, `{\"a\":\"\n` + pat + `\"}`,
		`\u0067hp_0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R`, `\\\\n` + pat + `\\\\n`,
		jwt(80), jwt(6000) + " and on", jwt(2400) + "," + pat,
		"-----BEGIN RSA PRIVATE KEY-----\n" + rows(12) + "-----END RSA PRIVATE KEY-----\nand on",
		"-----BEGIN RSA PRIVATE KEY-----\n" + rows(12) + "\n\nand on, with no end to it" + strings.Repeat(" and on", 100),
		"-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n" + rows(12) + "=aB3d\n-----END PGP PRIVATE KEY BLOCK-----",
		`{"pem":"-----BEGIN PRIVATE KEY-----\n` + strings.ReplaceAll(rows(12), "\n", `\n`) + `","more":"x"}`,
		"-----BEGIN PRIVATE KEY-----" + strings.ReplaceAll(rows(12), "\n", "") + "-----END PRIVATE KEY-----",
		"-----BEGIN PRIVATE KEY-----" + rows(1)[:64] + "-----END PRIVATE KEY-----", // short enough to look like one heading
		`curl -u "user:a pass word" https://x.example -H 'X-Api-Key: q8W3e5R7t9Y1u2I4' -o f`,
		"facebook " + strings.Repeat("a1", 400) + " facebook 123456789012345|abcdefghijklmnopqrstuvwxyz01 .",
		"sourcegraph 0123456789abcdef0123456789abcdef01234567 and sourcegraph.",
		"api_key  =>   'q8W3e5R7t9Y1u2I4' token:\tq8W3e5R7t9Y1u2I4;", strings.Repeat("key=", 200) + "q8W3e5R7t9Y1u2I4 ",
		strings.Repeat(".atlasv1.", 100), strings.Repeat("ghp_", 300), strings.Repeat(`\`, 100) + `"`, strings.Repeat("glpat-", 100),
	}, benign...)
}

func TestAStreamIsMaskedAlikeAtEveryCut(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	check := func(text string, every bool) {
		want := stream(t, text)
		same := func(parts ...string) {
			if got := stream(t, parts...); got != want {
				t.Fatalf("cut as %q\n got  %q\n want %q", parts, got, want)
			}
		}
		same(strings.Split(text, "")...)
		for range 3 {
			same(cuts(rnd, text, 40)...)
		}
		for i := range text {
			if every || i%(len(text)/40+1) == 0 {
				same(text[:i], text[i:])
			}
		}
	}
	for _, text := range hard() {
		check(text, len(text) < 300)
	}
	for i, s := range samples() {
		if i%5 == 0 { // one of each rule, and of every third of them at every cut
			check(s.text, i%15 == 0)
		}
	}
}

// cuts cuts text at random into parts of at most n runes.
func cuts(rnd *rand.Rand, text string, n int) []string {
	var parts []string
	for runes := []rune(text); len(runes) > 0; {
		k := min(len(runes), 1+rnd.IntN(n))
		parts = append(parts, string(runes[:k]))
		runes = runes[k:]
	}
	return parts
}

func TestWhateverStandsTogetherIsMaskedAlikeAtEveryCut(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	all, odd := samples(), append(hard(), " ", "\n", `"`, `\"`, `\n`, `\u0022`, "=", ": ", " => ", "é", "{", "key", "curl ", " -H ", " -u ", "'", `"Authorization: Bearer `,
		"-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "facebook", "sourcegraph ", "password: ", "eyJhbGciOiJFUzI1NiJ9AAAA.eyJhbGciOiJFUzI1NiJ9AAAA.", "ghp_", ".atlasv1.", "T3BlbkFJ")
	for range 400 {
		var b strings.Builder
		for range 1 + rnd.IntN(8) {
			if rnd.IntN(3) > 0 {
				b.WriteString(odd[rnd.IntN(len(odd))])
				continue
			}
			runes := []rune(all[rnd.IntN(len(all))].text)
			from := rnd.IntN(len(runes))
			b.WriteString(string(runes[from : from+rnd.IntN(len(runes)-from)]))
		}
		text := b.String()
		parts := cuts(rnd, text, 1+rnd.IntN(100))
		if got, want := stream(t, parts...), stream(t, text); got != want {
			t.Fatalf("cut as %q\n got  %q\n want %q", parts, got, want)
		}
	}
}

func FuzzAStreamIsMaskedAlikeAtEveryCut(f *testing.F) {
	for _, text := range hard() {
		f.Add(text, uint64(1))
	}
	for i, s := range samples() {
		if i%5 == 0 {
			f.Add(s.text, uint64(i))
		}
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		text = strings.ToValidUTF8(text, "")
		want := stream(t, text)
		rnd := rand.New(rand.NewPCG(seed, 0))
		for _, n := range []int{1, 3, 30} {
			if got := stream(t, cuts(rnd, text, n)...); got != want {
				t.Fatalf("got  %q\nwant %q", got, want)
			}
		}
		if json.Valid([]byte(text)) && strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") && !json.Valid([]byte(want)) {
			t.Fatalf("%s became %s", text, want)
		}
		doc, _ := json.Marshal(map[string]string{"x": text, "y": text})
		call := request(t, string(doc))
		spansAgree(t, call.Body)
	})
}

func TestASecretIsMaskedWhereverItStands(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"alone", pat, "[secret:github-pat]"},
		{"at the end of a sentence", "It is " + pat + ".", "It is [secret:github-pat]."},
		{"before a comma", "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xIn0.q8W3e5R7t9Y1u2I4, or", "[secret:jwt], or"},
		{"in a URL", "https://x:" + pat + "@github.com/o/r", "https://x:[secret:github-pat]@github.com/o/r"},
		{"twice", pat + " " + pat, "[secret:github-pat] [secret:github-pat]"},
		{"behind an escaped line break", `one\nAKIAQ7W2E5R3T4Y6U5I2 two`, `one\n[secret:aws-access-token] two`},
		{"quoted in a quoted text", `{\\\"api_key\\\": \\\"q8W3e5R7t9Y1u2I4\\\"}`, `{\\\"api_key\\\": \\\"[secret:generic-api-key]\\\"}`},
		{"with a letter escaped", `\u0067hp_0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R`, "[secret:github-pat]"},
		{"longer than a window", jwt(12000) + " on", "[secret:jwt] on"},
		{"over many lines", "-----BEGIN RSA PRIVATE KEY-----\n" + rows(12) + "-----END RSA PRIVATE KEY-----\non", "[secret:private-key]\non"},
		{"over many lines, cut off", "-----BEGIN RSA PRIVATE KEY-----\n" + rows(12) + "\nand on", "[secret:private-key]\n\nand on"},
		{"in a flag with spaces", `curl -u "ana:q8W3 e5R7 t9Y1" x`, `curl -u "[secret:curl-auth-user]" x`},
		{"in the name of the better rule", "token = " + pat, "token = [secret:github-pat]"},
		{"marked as allowed for gitleaks", "token = " + pat + " # gitleaks:allow", "token = [secret:github-pat] # gitleaks:allow"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := stream(t, tt.text); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := stream(t, strings.Split(tt.text, "")...); got != tt.want {
				t.Errorf("letter by letter, got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestARequestIsMaskedAndNothingElseInItChanges(t *testing.T) {
	for _, tt := range []struct{ name, doc, want, where string }{
		{"in a prompt", `{"messages": [ {"content":"use ` + pat + ` \u00e9\/"} ],"n":1.0}`, `{"messages": [ {"content":"use [secret:github-pat] \u00e9\/"} ],"n":1.0}`, "request/messages/0/content github-pat mask 1"},
		{"as the value of a name", `{"args":{"api_key":"q8W3e5R7t9Y1u2I4"}}`, `{"args":{"api_key":"[secret:generic-api-key]"}}`, "request/args/api_key generic-api-key mask 1"},
		{"behind an escape", `{"a":"one\nAKIAQ7W2E5R3T4Y6U5I2\ttwo"}`, `{"a":"one\n[secret:aws-access-token]\ttwo"}`, "request/a aws-access-token mask 1"},
		{"hidden in escapes", `{"a":"\u0067\u0068\u0070_0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R"}`, `{"a":"[secret:github-pat]"}`, "request/a github-pat mask 1"},
		{"in JSON in JSON", `{"arguments":"{\"api_key\":\"q8W3e5R7t9Y1u2I4\",\"n\":1}"}`, `{"arguments":"{\"api_key\":\"[secret:generic-api-key]\",\"n\":1}"}`, "request/arguments generic-api-key mask 1"},
		{"twice in one string", `["` + pat + `\n` + pat + `"]`, `["[secret:github-pat]\n[secret:github-pat]"]`, "request/0 github-pat mask 2"},
		{"over several strings", `["-----BEGIN PRIVATE KEY-----","` + strings.Repeat("Ab9+", 16) + `","-----END PRIVATE KEY-----","x"]`,
			`["[secret:private-key]","[secret:private-key]","[secret:private-key]","x"]`, "request/0 private-key mask 1"},
		{"in a name, where it stays", `{"` + pat + `":1}`, `{"` + pat + `":1}`, "request github-pat record 1"},
		{"below a name that is one itself", `{"` + pat + `":"` + pat + `"}`, `{"` + pat + `":"[secret:github-pat]"}`, "request github-pat record 1, request/[secret:github-pat] github-pat mask 1"},
		{"in a number, which stays", `{"discord_id": 123456789012345678 }`, `{"discord_id": 123456789012345678 }`, "request discord-client-id record 1"},
		{"in a document that is one string", `"` + pat + `"`, `"[secret:github-pat]"`, "request github-pat mask 1"},
		{"beyond the first piece that is read", `["` + strings.Repeat("x ", 16370) + pat + `"]`, `["` + strings.Repeat("x ", 16370) + `[secret:github-pat]"]`, "request/0 github-pat mask 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			call := request(t, tt.doc)
			if got := string(call.Body.JSON); got != tt.want || call.Body.Edited != (tt.want != tt.doc) {
				t.Errorf("edited %v\ngot  %s\nwant %s", call.Body.Edited, got, tt.want)
			}
			spansAgree(t, call.Body)
			var where []string
			for _, f := range call.Findings {
				where = append(where, fmt.Sprint(f.Where, " ", f.Rule, " ", f.Action, " ", f.Count))
			}
			if got := strings.Join(where, ", "); got != tt.where {
				t.Errorf("on record is %q, want %q", got, tt.where)
			}
			want := []audit.Check{{Guard: "secrets", Version: "gitleaks 8.30.1", Request: int64(len(tt.doc))}}
			if d := cmp.Diff(want, call.Checks); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestADocumentIsMaskedLikeTheTextThatItSays(t *testing.T) {
	for _, s := range samples() {
		// A backslash before these reads as the end of a line, at any depth: then the
		// secret is gone, but what is left around it may differ.
		odd := strings.Contains(s.text, `\n`) || strings.Contains(s.text, `\r`) || strings.Contains(s.text, "\\\n")
		want := stream(t, s.text)
		text := s.text
		for depth := 1; depth <= 3; depth++ { // JSON in JSON in JSON
			doc, err := json.Marshal([]string{text})
			if err != nil {
				t.Fatal(err)
			}
			got := string(request(t, string(doc)).Body.JSON)
			for range depth {
				var in []string
				if err := json.Unmarshal([]byte(got), &in); err != nil {
					t.Fatalf("%s: %v", got, err)
				}
				got = in[0]
			}
			for _, f := range s.want {
				if f.RuleID == s.rule && strings.Contains(got, strings.Trim(f.Secret, "\"'\\")) {
					t.Errorf("%s, %d deep: %q is left in %q", s.rule, depth, f.Secret, got)
				}
			}
			if got != want && !odd {
				t.Errorf("%s, %d deep: %s\n says %q\n want %q", s.rule, depth, doc, got, want)
			}
			text = string(doc)
		}
	}
}

func TestTheCallsOwnTokenIsMasked(t *testing.T) {
	token := "eyJhbGciOiJFUzI1NiIsImtpZCI6Ims2IiwidHlwIjoiYXQrand0In0.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xOjg3MDAiLCJzdWIiOiJhZ2VudDpib3QifQ.5Bq3S0x7Y-rGkqv4zJ1m_wN8dT2hLpXfVcOeUaRi9KM"
	for _, text := range []string{"%s", "Bearer %s", "x=%s&y=1", "(%s)", "%s\n", "<%s>", "{'t': '%s'}", "%s."} {
		doc, _ := json.Marshal([]string{fmt.Sprintf(text, token)})
		if call := request(t, string(doc)); bytes.Contains(call.Body.JSON, []byte(token[:40])) || bytes.Contains(call.Body.JSON, []byte(token[len(token)-20:])) {
			t.Errorf("got %s", call.Body.JSON)
		}
	}
}

func TestNoRecordHoldsASecret(t *testing.T) {
	for _, s := range samples() {
		doc, _ := json.Marshal(map[string]any{"a": s.text, s.text: []string{s.text}})
		call := request(t, string(doc))
		for _, err := range guard.Reply(context.Background(), call, after(nil, slice("0", s.text), firewall.Event{Body: call.Body})) {
			if err != nil {
				t.Fatal(err)
			}
		}
		record, err := json.Marshal([]any{call.Findings, call.Checks})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range s.want {
			if len(f.Secret) > 8 && strings.Contains(string(record), f.Secret) {
				t.Errorf("%s: %s", s.rule, record)
			}
		}
	}
}

func TestTheRecordOfAFloodOfSecretsIsBounded(t *testing.T) {
	doc, _ := json.Marshal(slices.Repeat([]string{pat}, 5000))
	call := request(t, string(doc))
	n := 0
	for _, f := range call.Findings {
		n += f.Count
	}
	if len(call.Findings) > 65 || n != 5000 {
		t.Errorf("%d findings tell of %d secrets", len(call.Findings), n)
	}
}

func TestAPlainReplyIsMaskedLikeARequest(t *testing.T) {
	body, err := firewall.ParseBody([]byte(`{"choices":[{"message":{"content":"`+pat+`"}}]}`), firewall.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	call := new(firewall.Call)
	for ev, err := range guard.Reply(context.Background(), call, after(nil, firewall.Event{Body: body, Frame: body.JSON, Last: true})) {
		if want := `{"choices":[{"message":{"content":"[secret:github-pat]"}}]}`; err != nil || string(ev.Body.JSON) != want || !ev.Body.Edited || !ev.Last {
			t.Errorf("got %s, %v", ev.Body.JSON, err)
		}
		spansAgree(t, ev.Body)
	}
	if d := cmp.Diff([]audit.Finding{{Guard: "secrets", Rule: "github-pat", Where: "reply/choices/0/message/content", Action: "mask", Count: 1}}, call.Findings); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]audit.Check{{Guard: "secrets", Version: "gitleaks 8.30.1", Reply: 59}}, call.Checks); d != "" {
		t.Error(d)
	}
}

func TestManyCallsAreReadAtOnce(t *testing.T) {
	fresh := guards.NewSecrets() // that has compiled nothing yet
	all := samples()
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := n; i < len(all); i += 4 { // each text twice, by two of them
				doc, _ := json.Marshal([]string{all[i].text})
				body, err := firewall.ParseBody(doc, firewall.Limits{})
				if err != nil {
					t.Error(err)
					return
				}
				call := &firewall.Call{Body: body}
				if _, err := fresh.Request(context.Background(), call); err != nil || !call.Body.Edited {
					t.Errorf("%s: %s, %v", all[i].rule, call.Body.JSON, err)
				}
				said := ""
				for ev, err := range fresh.Reply(context.Background(), call, after(nil, slice("0", all[i].text[:40]), slice("0", all[i].text[40:]))) {
					if err != nil {
						t.Error(err)
					}
					said += ev.Body.Spans[0].Text
				}
				if want := stream(t, all[i].text); said != want {
					t.Errorf("%s: got %q, want %q", all[i].rule, said, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestLanesAreReadApart(t *testing.T) {
	var events []firewall.Event
	for i := range len(pat) {
		events = append(events, slice("text", pat[i:i+1]), slice("thinking", pat[i:i+1]), slice("text 2", "-"))
	}
	said := map[string]string{}
	call := new(firewall.Call)
	for ev, err := range guard.Reply(context.Background(), call, after(nil, events...)) {
		if err != nil {
			t.Fatal(err)
		}
		said[ev.Body.Spans[0].Lane] += ev.Body.Spans[0].Text
	}
	want := map[string]string{"text": "[secret:github-pat]", "thinking": "[secret:github-pat]", "text 2": strings.Repeat("-", len(pat))}
	if d := cmp.Diff(want, said); d != "" {
		t.Error(d)
	}
	if len(call.Findings) != 2 || call.Findings[0].Where != "reply text" {
		t.Errorf("got %+v", call.Findings)
	}
}

func TestWhatAStreamHeldIsJudgedWhenTheUpstreamFails(t *testing.T) {
	broken := errors.New("connection reset")
	for _, tt := range []struct{ name, text, want string }{
		{"in the middle of a secret that is one already", "it is " + pat, "it is [secret:github-pat]"},
		{"in the middle of one that is not yet", "it is " + pat[:20], "it is " + pat[:20]},
		{"in the middle of a key", "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("Ab9+", 12), "[secret:private-key]"},
		{"in the middle of an escape", `x\u00`, `x\u00`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var events []firewall.Event
			for _, p := range strings.Split(tt.text, "") {
				events = append(events, slice("0", p))
			}
			said := ""
			var last error
			call := new(firewall.Call)
			for ev, err := range guard.Reply(context.Background(), call, after(broken, events...)) {
				if last = err; err == nil {
					said += ev.Body.Spans[0].Text
				}
			}
			if said != tt.want || !errors.Is(last, broken) {
				t.Errorf("got %q, %v, want %q", said, last, tt.want)
			}
			if n := call.Checks[0].Reply; n < int64(len(said)) {
				t.Errorf("%d bytes are on record as judged", n)
			}
		})
	}
}

func TestAnEventHeldBackIsNotOnRecordAsJudged(t *testing.T) {
	call := new(firewall.Call)
	for range guard.Reply(context.Background(), call, after(nil, slice("0", "one "), slice("0", "ghp_"))) {
		break
	}
	if n := call.Checks[0].Reply; n != int64(len(`"one "`)) {
		t.Errorf("%d bytes", n)
	}
}

// shape is doc with all its strings empty, its names and numbers as they are.
func shape(t *testing.T, doc string) string {
	t.Helper()
	body, err := firewall.ParseBody([]byte(doc), firewall.Limits{})
	if err != nil {
		t.Errorf("%s: %v", doc, err)
	}
	body.Rewrite(func(int, firewall.Span) (string, bool) { return "", true })
	return string(body.JSON)
}

func TestArgumentsOfAToolStayJSON(t *testing.T) {
	row := strings.Repeat("Ab9+", 16)
	texts := []string{
		`{"token":"` + pat + `","discord": 123456789012345678 , "asana":[1234567890123456]}`,
		`{"cmd":"curl -u \"ana:q8W3e5R7t9Y1u2I4\" -H \"Authorization: Bearer q8W3e5R7t9Y1u2I4\"","n":1}`,
		`{"curl -u":   12345, "b":2}`, `{"curl -u\\":   12345, "b":2}`, `{"a":"curl -u","b:c":"d"}`,
		`{"a":"-----BEGIN PRIVATE KEY-----","b":"` + row + `","c":"` + row + `"}`,
		`{"a":"-----BEGIN PRIVATE KEY-----\n` + row + `\n` + row + `\n-----END PRIVATE KEY-----\n","b":{}}`,
		`{"a":"C:\\","api_key":"q8W3e5R7t9Y1u2I4"}`, `{"a":"\\\\","api_key":"q8W3e5R7t9Y1u2I4\\"}`, `{"a":"` + pat + `\\"}`, `{"a":"\\` + pat + `"}`, `{"a":"\"` + pat + `\""}`,
	}
	for _, s := range samples() {
		doc, _ := json.Marshal(map[string]any{"content": s.text, "n": []any{1, s.text, true}, "z": 12345678901234567})
		texts = append(texts, string(doc))
	}
	for _, text := range texts {
		for _, parts := range [][]string{{text}, strings.Split(text, "")} {
			if got := stream(t, parts...); shape(t, got) != shape(t, text) {
				t.Errorf("%s\nbecame %s", text, got)
			}
		}
	}
}

func TestProseIsHeldForAWordAtMost(t *testing.T) {
	text := "The key to the access token, they say, is a secret: keep your password safe and never share an API key with anybody."
	parts := strings.SplitAfter(strings.Repeat(text+" ", 20), " ")
	came, left := 0, 0
	events := func(yield func(firewall.Event, error) bool) {
		for _, p := range parts {
			came++
			if !yield(slice("0", p), nil) {
				return
			}
		}
	}
	for _, err := range guard.Reply(context.Background(), new(firewall.Call), events) {
		if err != nil {
			t.Fatal(err)
		}
		if left++; came-left > 2 {
			t.Fatalf("%d events are held back", came-left)
		}
	}
}

func TestACallThatIsOverIsNotReadToTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	call := &firewall.Call{Body: slice("", pat).Body}
	if d, err := guard.Request(ctx, call); !errors.Is(err, context.Canceled) || d.Effect != firewall.Deny || call.Checks != nil {
		t.Errorf("got %+v, %v, %v", d, err, call.Checks)
	}
}

func TestASecretInABodyThatIsNoDocumentIsRefused(t *testing.T) {
	call := new(firewall.Call)
	var e *firewall.Error
	for ev, err := range guard.Reply(context.Background(), call, after(nil, firewall.Event{Body: firewall.Body{JSON: []byte("not JSON: " + pat)}})) {
		if !errors.As(err, &e) || e.Code != firewall.Unavailable || strings.Contains(err.Error(), pat) {
			t.Errorf("got %s, %v", ev.Body.JSON, err)
		}
	}
	if e == nil {
		t.Error("it has passed")
	}
}

func TestTheVersionOnRecordIsThatOfTheRules(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := request(t, `{}`).Checks[0].Version
	if want := "github.com/zricethezav/gitleaks/v8 v" + strings.TrimPrefix(version, "gitleaks "); !bytes.Contains(mod, []byte(want)) {
		t.Errorf("the record says %q; go.mod does not", version)
	}
}
