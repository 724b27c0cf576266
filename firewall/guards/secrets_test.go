package guards_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"callgate/firewall"
	"callgate/firewall/guards"
)

var guard = guards.NewSecrets()

// slices are the events of one lane whose text is cut into parts.
func events(lane string, parts ...string) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		for _, p := range parts {
			if !yield(slice(lane, p), nil) {
				return
			}
		}
	}
}

func slice(lane, text string) firewall.Event {
	doc, _ := json.Marshal(text)
	body, err := firewall.ParseBody(doc, firewall.Limits{})
	if err != nil {
		panic(err)
	}
	body.Spans[0].Lane = lane
	return firewall.Event{Body: body}
}

func mask(t testing.TB, parts ...string) string {
	t.Helper()
	var b strings.Builder
	for ev, err := range guard.Reply(context.Background(), new(firewall.Call), events("0", parts...)) {
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(ev.Body.Spans[0].Text)
	}
	return b.String()
}

func TestEveryCut(t *testing.T) {
	for _, s := range samples() {
		want := mask(t, s.text)
		for i := range len(s.text) {
			if got := mask(t, s.text[:i], s.text[i:]); got != want {
				t.Fatalf("%s cut at %d %q|%q\n  got  %q\n  want %q", s.rule, i, s.text[:i], s.text[i:], got, want)
			}
		}
		if got := mask(t, strings.Split(s.text, "")...); got != want {
			t.Fatalf("%s\n got  %q\n want %q", s.rule, got, want)
		}
	}
}
