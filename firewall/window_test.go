package firewall_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"callgate/firewall"

	"pgregory.net/rapid"
)

// slice is an event that carries the next slice of a lane's text.
func slice(lane, text string) firewall.Event {
	return sliced([2]string{lane, text})
}

// sliced is an event that carries slices of several lanes.
func sliced(slices ...[2]string) firewall.Event {
	var texts []string
	for _, s := range slices {
		texts = append(texts, fmt.Sprintf("%q", s[1]))
	}
	doc := "[" + strings.Join(texts, ",") + "]"
	body, err := firewall.ParseBody([]byte(doc), firewall.Limits{})
	if err != nil {
		panic(err)
	}
	for i, s := range slices {
		body.Spans[i].Lane = s[0]
	}
	return firewall.Event{Body: body, Frame: []byte("data: " + doc)}
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

// words edits each word on its own, once it is over: x…x becomes <…>, of another
// length, and a word after the word no is removed.
func words(string) firewall.Editor {
	return func(text string, from int, end bool) (int, []firewall.Edit, error) {
		decided := len(text)
		if !end {
			decided = max(from, strings.LastIndexByte(text, ' ')+1)
		}
		var edits []firewall.Edit
		for at := from; at < decided; {
			to := at + strings.IndexByte(text[at:decided]+" ", ' ')
			switch w := text[at:to]; {
			case at < to && strings.HasSuffix(" "+text[:at], " no "):
				edits = append(edits, firewall.Edit{From: at, To: to})
			case len(w) > 2 && w[0] == 'x' && w[len(w)-1] == 'x':
				edits = append(edits, firewall.Edit{From: at, To: to, Text: "<" + strings.Repeat("-", 2*len(w)) + ">"})
			}
			at = to + 1
		}
		return decided, edits, nil
	}
}

// edited is what words makes of a text that is whole.
func edited(text string) string {
	var out []string
	last := ""
	for _, w := range strings.Split(text, " ") {
		switch {
		case last == "no":
			out = append(out, "")
		case len(w) > 2 && w[0] == 'x' && w[len(w)-1] == 'x':
			out = append(out, "<"+strings.Repeat("-", 2*len(w))+">")
		default:
			out = append(out, w)
		}
		last = w
	}
	return strings.Join(out, " ")
}

// lanes joins what events say, by lane, and checks that each event's spans and
// document agree.
func lanes(t interface {
	Helper()
	Fatalf(string, ...any)
}, events firewall.Events) (map[string]string, []firewall.Event, error) {
	t.Helper()
	said := make(map[string]string)
	var all []firewall.Event
	for ev, err := range events {
		if err != nil {
			return said, all, err
		}
		again, err := firewall.ParseBody(ev.Body.JSON, firewall.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", ev.Body.JSON, err)
		}
		for i, s := range ev.Body.Spans {
			if a := again.Spans[i]; a.At != s.At || a.End != s.End || a.Text != s.Text {
				t.Fatalf("span %d of %s is %+v, but says %+v", i, ev.Body.JSON, a, s)
			}
			said[s.Lane] += s.Text
		}
		all = append(all, ev)
	}
	return said, all, nil
}

func TestAStreamSaysTheSameHoweverItIsCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := map[string]string{}
		left := map[string]string{}
		for _, lane := range []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "lanes")] {
			parts := rapid.SliceOf(rapid.SampledFrom([]string{"x", "o", " ", "no ", "xox ", "é", "\n", `"`, strings.Repeat("o ", 300), strings.Repeat("x", 300)})).Draw(t, "text")
			texts[lane] = strings.Join(parts, "")
			left[lane] = texts[lane]
		}
		var in []firewall.Event
		for len(left) > 0 {
			var slices [][2]string
			for _, lane := range []string{"a", "b", "c"} {
				rest, ok := left[lane]
				if !ok || !rapid.Bool().Draw(t, "in this event") {
					continue
				}
				runes := []rune(rest)
				n := min(len(runes), rapid.IntRange(0, 12).Draw(t, "runes"))
				slices = append(slices, [2]string{lane, string(runes[:n])})
				if left[lane] = string(runes[n:]); n == len(runes) {
					delete(left, lane)
				}
			}
			ev := sliced(slices...)
			for i := range ev.Body.Spans {
				_, more := left[ev.Body.Spans[i].Lane]
				ev.Body.Spans[i].Close = !more && rapid.Bool().Draw(t, "closed")
			}
			ev.Mark = len(in)
			in = append(in, ev)
		}
		said, out, err := lanes(t, firewall.Windowed(after(nil, in...), words))
		if err != nil {
			t.Fatalf("windowed: %v", err)
		}
		for lane, text := range texts {
			if want := edited(text); said[lane] != want {
				t.Fatalf("lane %s\n said %q\n want %q", lane, said[lane], want)
			}
		}
		for i, ev := range out {
			if ev.Mark != i {
				t.Fatalf("event %d left as number %d", ev.Mark, i)
			}
			if same := string(ev.Body.JSON) == string(in[i].Body.JSON); ev.Body.Edited == same {
				t.Fatalf("event %d: edited is %v, but %s became %s", i, ev.Body.Edited, in[i].Body.JSON, ev.Body.JSON)
			}
		}
		if len(out) != len(in) {
			t.Fatalf("%d events became %d", len(in), len(out))
		}
	})
}

func TestAnEventLeavesWhenItsTextIsDecided(t *testing.T) {
	var log []string
	in := func(yield func(firewall.Event, error) bool) {
		for _, text := range []string{"one ", "tw", "o ", "three"} {
			log = append(log, "in "+text)
			if !yield(slice("0", text), nil) {
				return
			}
		}
	}
	for ev, err := range firewall.Windowed(in, words) {
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, fmt.Sprintf("out %s %v", ev.Body.Spans[0].Text, ev.More))
	}
	want := []string{"in one ", "out one  false", "in tw", "in o ", "out tw true", "out o  false", "in three", "out three false"}
	if !slices.Equal(log, want) {
		t.Errorf("got  %q\nwant %q", log, want)
	}
}

func TestAnEventOfNoLaneWaitsForThoseBeforeIt(t *testing.T) {
	_, out, err := lanes(t, firewall.Windowed(after(nil, slice("0", "xo"), slice("", "xox"), slice("0", "x")), words))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, ev := range out {
		got = append(got, string(ev.Body.JSON))
	}
	if want := []string{`["<------>"]`, `["xox"]`, `[""]`}; len(got) != 3 || got[1] != want[1] || got[0][:3] != want[0][:3] || got[2] != want[2] {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWhenTheUpstreamFailsWhatArrivedIsJudgedAsIfThatWereAll(t *testing.T) {
	broken := errors.New("connection reset")
	said, _, err := lanes(t, firewall.Windowed(after(broken, slice("0", "one xo"), slice("0", "x")), words))
	if !errors.Is(err, broken) || said["0"] != "one <-------->" && said["0"] != edited("one xox") {
		t.Errorf("got %q and %v", said["0"], err)
	}
}

func TestWhatAnEditorCannotJudgeDoesNotLeave(t *testing.T) {
	odd := errors.New("odd")
	for _, tt := range []struct {
		name   string
		events firewall.Events
	}{
		{"fails in the middle", after(nil, slice("0", "one "), slice("0", "two"), slice("0", "odd"), slice("0", "more"))},
		{"fails at the end", after(nil, slice("0", "one "), slice("0", "two"), slice("0", "end"))},
		{"fails at the end of a stream that broke", after(errors.New("connection reset"), slice("0", "one "), slice("0", "two"), slice("0", "end"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said, _, err := lanes(t, firewall.Windowed(tt.events, func(lane string) firewall.Editor {
				edit := words(lane)
				return func(text string, from int, end bool) (int, []firewall.Edit, error) {
					if strings.Contains(text, "odd") || end && strings.HasSuffix(text, "end") {
						return 0, nil, odd
					}
					return edit(text, from, end)
				}
			}))
			if err == nil || said["0"] != "one " {
				t.Errorf("got %q and %v, want only what was decided before, and an error", said["0"], err)
			}
		})
	}
}

func TestAReplyThatWouldHaveToBeHeldForTooLongFails(t *testing.T) {
	var in []firewall.Event
	for range 3000 {
		in = append(in, slice("0", strings.Repeat("x", 400)))
	}
	said, _, err := lanes(t, firewall.Windowed(after(nil, in...), words))
	var e *firewall.Error
	if !errors.As(err, &e) || e.Code != firewall.Unavailable || said["0"] != "" {
		t.Errorf("got %d bytes and %v, want none and unavailable", len(said["0"]), err)
	}
}

func TestALongReplyHoldsLittle(t *testing.T) {
	text := strings.Repeat("one xox no two ", 20000)
	var in []firewall.Event
	for rest := text; rest != ""; {
		n := min(7, len(rest))
		in, rest = append(in, slice("0", rest[:n])), rest[n:]
	}
	most := 0
	said, _, err := lanes(t, firewall.Windowed(after(nil, in...), func(lane string) firewall.Editor {
		edit := words(lane)
		return func(text string, from int, end bool) (int, []firewall.Edit, error) {
			most = max(most, len(text))
			return edit(text, from, end)
		}
	}))
	if err != nil || said["0"] != edited(text) {
		t.Errorf("a text of %d bytes is not what it should be: %v", len(text), err)
	}
	if most > 300 {
		t.Errorf("the editor was shown %d bytes", most)
	}
}

func TestBreakingTheLoopFreesTheUpstream(t *testing.T) {
	up := &replies{events: []firewall.Event{slice("0", "one "), slice("0", "two ")}}
	for range firewall.Windowed(up.Forward(t.Context(), nil), words) {
		break
	}
	if !up.freed {
		t.Error("the upstream goes on")
	}
}
