package guards_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"callgate/firewall"
	"callgate/firewall/guards"
)

// A specimen is a text of a corpus, with the one thing that is to be found in it.
type specimen struct {
	Kind, Text, Value string // Kind "": nothing is
}

// corpus reads one half of those for a detector: tune, or held, which nobody tunes to.
func corpus(t testing.TB, detector, half string) (list []specimen) {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join("testdata", detector, half+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(doc)); lines.Scan(); {
		var s specimen
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

func TestPersonalDataIsFoundAndLittleElse(t *testing.T) {
	for _, half := range []string{"tune", "held"} {
		var positives, found, negatives, wrong int
		byKind := make(map[string][2]int)
		for _, s := range corpus(t, "pii", half) {
			got := guards.PII{}.Find(nil, s.Text)
			if s.Kind == "" {
				negatives++
				if len(got) > 0 {
					wrong++
					t.Logf("%s: %s %q in %q", half, got[0].Kind, s.Text[got[0].From:got[0].To], s.Text)
				}
				continue
			}
			positives++
			ok := slices.ContainsFunc(got, func(m guards.Match) bool { return m.Kind == s.Kind && s.Text[m.From:m.To] == s.Value })
			n := byKind[s.Kind]
			n[1]++
			if ok {
				found++
				n[0]++
			} else {
				t.Logf("%s: %s %q is not found in %q: %v", half, s.Kind, s.Value, s.Text, got)
			}
			byKind[s.Kind] = n
		}
		t.Logf("%s: found %d of %d, %v; wrong %d of %d", half, found, positives, byKind, wrong, negatives)
		if positives < 400 || negatives < 1000 || found*100 < positives*95 || wrong*100 > negatives {
			t.Errorf("%s: want at least 95 %% found and at most 1 %% wrong", half)
		}
	}
}

// watch is a guard of personal data with settings.
func watch(s guards.Settings) *guards.Watch {
	w := guards.NewWatch(guards.PII{})
	w.Set(s)
	return w
}

// streamed is what an agent sees of a text that comes in parts, with its call.
func streamed(t testing.TB, w *guards.Watch, parts []string) (string, *firewall.Call, error) {
	t.Helper()
	var events []firewall.Event
	for _, p := range parts {
		events = append(events, slice("0", p))
	}
	call := &firewall.Call{Kind: firewall.Model, Target: "openai", Resource: "m"}
	var b strings.Builder
	for ev, err := range w.Reply(context.Background(), call, after(nil, events...)) {
		if err != nil {
			return b.String(), call, err
		}
		b.WriteString(ev.Body.Spans[0].Text)
	}
	return b.String(), call, nil
}

func TestPersonalDataIsMaskedHoweverAStreamIsCut(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var text strings.Builder
	for i, s := range corpus(t, "pii", "tune") {
		if i%5 == 0 {
			text.WriteString(s.Text + "\n")
		}
	}
	all, w := text.String(), watch(guards.Settings{Action: guards.Mask})
	want, _, _ := streamed(t, w, []string{all})
	if strings.Count(want, "[pii:") < 50 {
		t.Fatal("little is masked:", want)
	}
	for range 8 {
		var parts []string
		for rest := []rune(all); len(rest) > 0; {
			n := min(len(rest), 1+rnd.IntN(40))
			parts, rest = append(parts, string(rest[:n])), rest[n:]
		}
		if got, _, err := streamed(t, w, parts); err != nil || got != want {
			for i := range want {
				if i >= len(got) || got[i] != want[i] {
					t.Fatalf("at %d: got %q, want %q (%v)", i, got[max(0, i-80):min(len(got), i+80)], want[max(0, i-80):i+80], err)
				}
			}
			t.Fatal("got more than was said")
		}
	}
}

func TestWhatIsDoneAboutPersonalData(t *testing.T) {
	const doc = `{"to":"ana@example.org","n":{"a":["card 4111 1111 1111 1111","é \u00e9"]}}`
	for _, tt := range []struct {
		name string
		set  guards.Settings
		want string // of the document; "" is refused
		kind firewall.Effect
	}{
		{"off", guards.Settings{}, doc, firewall.Allow},
		{"record", guards.Settings{Action: guards.Record}, doc, firewall.Allow},
		{"mask", guards.Settings{Action: guards.Mask}, `{"to":"[pii:email]","n":{"a":["card [pii:card]","é \u00e9"]}}`, firewall.Allow},
		{"mask one kind", guards.Settings{Action: guards.Mask, Kinds: []string{"card"}}, `{"to":"ana@example.org","n":{"a":["card [pii:card]","é \u00e9"]}}`, firewall.Allow},
		{"ask", guards.Settings{Action: guards.Ask, Approvers: "group:privacy"}, doc, firewall.Ask},
		{"deny", guards.Settings{Action: guards.Refuse}, doc, firewall.Deny},
		{"a rule", guards.Settings{Action: guards.Refuse, Rules: []guards.Rule{{Object: "tool:crm/*", Action: guards.Refuse}, {Object: "tool:mail/*", Side: "reply", Action: guards.Refuse}, {Object: "tool:mail/send", Action: guards.Off}}}, doc, firewall.Allow},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body, err := firewall.ParseBody([]byte(doc), firewall.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			call := &firewall.Call{Kind: firewall.Tool, Target: "mail", Resource: "send", Body: body}
			d, err := watch(tt.set).Request(context.Background(), call)
			if err != nil || d.Effect != tt.kind || string(call.Body.JSON) != tt.want {
				t.Errorf("got %+v %v, %s", d, err, call.Body.JSON)
			}
			spansAgree(t, call.Body)
			if on := len(call.Findings) > 0; on != (tt.name != "off" && tt.name != "a rule") {
				t.Errorf("on record: %v", call.Findings)
			}
			if d.Effect == firewall.Ask && (len(d.Obligations) != 1 || d.Obligations[0].With != "group:privacy") {
				t.Errorf("got %+v", d)
			}
		})
	}
	for _, parts := range [][]string{{"write to ana@example.org, ", "please do so as soon as you can, or else somebody will have to do it for you at once"}, {"ana@exam", "ple.org"}} {
		got, call, err := streamed(t, watch(guards.Settings{Action: guards.Refuse}), parts)
		if err == nil || strings.Contains(got, "ana") || len(call.Findings) != 1 || call.Findings[0].Action != "deny" {
			t.Errorf("%q: got %q, %v, %v", parts, got, err, call.Findings)
		}
	}
}

func FuzzPII(f *testing.F) {
	for _, s := range corpus(f, "pii", "tune")[:300] {
		f.Add(s.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		last := 0
		for _, m := range (guards.PII{}).Find(nil, text) {
			if m.From < last || m.To <= m.From || m.To > len(text) || m.To-m.From >= guards.Reach {
				t.Fatalf("%+v in %q", m, text)
			}
			last = m.To
		}
	})
}

func BenchmarkPII(b *testing.B) {
	many := strings.Builder{}
	for _, s := range corpus(b, "pii", "tune") {
		many.WriteString(s.Text + "\n")
	}
	for _, bb := range []struct{ name, text string }{{"prose", strings.Repeat(prose, 1<<15/len(prose))}, {"code", strings.Repeat(code, 1<<15/len(code))}, {"what looks like it", many.String()}} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(bb.text)))
			b.ReportAllocs()
			var dst []guards.Match
			for b.Loop() {
				dst = guards.PII{}.Find(dst[:0], bb.text)
			}
		})
	}
}
