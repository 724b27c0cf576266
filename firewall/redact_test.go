package firewall_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"callgate/firewall"

	"pgregory.net/rapid"
)

// keeping is a law that redacts paths.
func keeping(t *testing.T, paths string) *held {
	h := hold(t)
	h.law.limits = []firewall.Obligation{{Do: firewall.Redact, With: paths, Rule: "O2"}}
	return h
}

func TestValuesAreTakenOutOfArgumentsAndResults(t *testing.T) {
	for _, tt := range []struct{ name, paths, args, sent, result, seen string }{
		{"an argument", "args.card", `{"card":"4111","n":1}`, `{"card":"[redacted]","n":1}`, `{}`, `{}`},
		{"an argument that is not there", "args.card", `{"n":1}`, `{"n":1}`, `{}`, `{}`},
		{"values of every sort", "args.a;args.b;args.c", `{"a":1,"b":{"x":[1]},"c":null}`, `{"a":"[redacted]","b":"[redacted]","c":"[redacted]"}`, `{}`, `{}`},
		{"within objects and lists", "args.people.mail", `{"people":[{"mail":"a","n":1},{"n":2},{"mail":["b"]}]}`, `{"people":[{"mail":"[redacted]","n":1},{"n":2},{"mail":"[redacted]"}]}`, `{}`, `{}`},
		{"one path inside another", "args.a.b;args.a", `{"a":{"b":1}}`, `{"a":"[redacted]"}`, `{}`, `{}`},
		{"a result with structure", "result.mail", `{}`, `{}`, `{"structuredContent":{"mail":"ana@x","id":7},"content":[]}`, `{"structuredContent":{"mail":"[redacted]","id":7},"content":[]}`},
		{"a result as text", "result.mail", `{}`, `{}`, `{"content":[{"type":"text","text":"{\"mail\":\"ana@x\",\"id\":7}"},{"type":"image"},{"type":"text","text":"[{\"mail\":1}]"}]}`,
			`{"content":[{"type":"text","text":"{\"mail\":\"[redacted]\",\"id\":7}"},{"type":"image"},{"type":"text","text":"[{\"mail\":\"[redacted]\"}]"}]}`},
		{"a name that is written with escapes", "result.mail", `{}`, `{}`, `{"content":[{"text":"{\"m\\u0061il\":1}"}]}`, `{"content":[{"text":"{\"m\\u0061il\":\"[redacted]\"}"}]}`},
		{"a name that stands twice", "result.mail", `{}`, `{}`, `{"content":[{"text":"{\"mail\":1,\"mail\":2}"}]}`, `{"content":[{"text":"[redacted: rule O2 takes values out of this result, which is no JSON]"}]}`},
		{"data that is no text", "result.mail", `{}`, `{}`, `{"content":[{"type":"image","data":"aGk="}]}`, `{"content":[{"type":"image","data":"[redacted: rule O2 takes values out of this result, which is no JSON]"}]}`},
		{"a text that is nested too deep to be read", "result.mail", `{}`, `{}`, `{"content":[{"text":"` + strings.Repeat("[", 1e6) + strings.Repeat("]", 1e6) + `"}]}`, `{"content":[{"text":"[redacted: rule O2 takes values out of this result, which is no JSON]"}]}`},
		{"a text that is no JSON", "result.mail", `{}`, `{}`, `{"content":[{"text":"mail: ana@x"}]}`, `{"content":[{"text":"[redacted: rule O2 takes values out of this result, which is no JSON]"}]}`},
		{"what is not asked for stays byte for byte", "result.mail", `{ "a" : 1.0 }`, `{ "a" : 1.0 }`, `{"structuredContent":{ "x" : 1.0 }}`, `{"structuredContent":{ "x" : 1.0 }}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := keeping(t, tt.paths)
			call := toolCall("refund", tt.args)
			call.ResultAt = []string{"structuredContent", "content.#.text", "content.#.data"}
			up := &replies{events: []firewall.Event{event(tt.result, true)}}
			sent, seen := "", ""
			up.before = func() { sent = string(call.Args()) }
			if err := h.Do(context.Background(), call, up, func(ev firewall.Event) error { seen = string(ev.Body.JSON); return nil }); err != nil {
				t.Fatal(err)
			}
			if sent != tt.sent || seen != tt.seen {
				t.Errorf("sent %s\nwant %s\nseen %s\nwant %s", sent, tt.sent, seen, tt.seen)
			}
			records := h.log.Records()
			if string(records[0].Args) != tt.sent {
				t.Errorf("on record: %s", records[0].Args)
			}
			last := records[len(records)-1]
			if changed := tt.sent != tt.args || tt.seen != tt.result; changed != (len(last.Findings) > 0) {
				t.Errorf("findings on record: %v", last.Findings)
			}
		})
	}
}

func TestWhatCannotBeRedactedIsRefused(t *testing.T) {
	h := keeping(t, "result.mail")
	if code, _ := h.pay(toolCall("refund", `{}`)); code != "denied" {
		t.Errorf("a reply without results: %s", code)
	}
	h = keeping(t, "args.mail")
	if code, _ := h.pay(modelCall()); code != "denied" {
		t.Errorf("a call without arguments: %s", code)
	}
}

// Whatever the document, a value at the path never passes, and all else does.
func TestNoValueAtAPathPasses(t *testing.T) {
	const secret = "s3cr3t"
	rapid.Check(t, func(rt *rapid.T) {
		var value func(depth int) any
		value = func(depth int) any {
			switch rapid.IntRange(0, 4).Draw(rt, "sort") {
			case 0:
				if depth < 4 {
					m := map[string]any{}
					for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c-d", "ü"}), 0, 4).Draw(rt, "names") {
						m[name] = value(depth + 1)
					}
					return m
				}
			case 1:
				if depth < 4 {
					var list []any
					for range rapid.IntRange(0, 3).Draw(rt, "items") {
						list = append(list, value(depth+1))
					}
					return list
				}
			case 2:
				return 1.5
			}
			return "plain \"text\" \n"
		}
		// The secret stands at a.b and nowhere else.
		inner := map[string]any{"b": secret, "rest": value(2)}
		if rapid.Bool().Draw(rt, "list") {
			inner = map[string]any{"b": []any{secret, map[string]any{"x": secret}}}
		}
		doc := map[string]any{"a": inner, "other": value(1)}
		if rapid.Bool().Draw(rt, "many") {
			doc["a"] = []any{inner, value(2), []any{inner}}
		}
		text, _ := json.Marshal(doc)
		quoted, _ := json.Marshal(string(text))
		h := keeping(t, "args.a.b;result.a.b")
		call := toolCall("refund", string(text))
		call.ResultAt = []string{"structuredContent", "content.#.text"}
		var sent, seen string
		up := &replies{events: []firewall.Event{event(`{"content":[{"text":`+string(quoted)+`}],"structuredContent":`+string(text)+`}`, true)}}
		up.before = func() { sent = string(call.Body.JSON) }
		if err := h.Do(context.Background(), call, up, func(ev firewall.Event) error { seen = string(ev.Body.JSON); return nil }); err != nil {
			rt.Fatal(err)
		}
		for _, s := range []string{sent, seen} {
			if strings.Contains(s, secret) || !json.Valid([]byte(s)) || !strings.Contains(s, "[redacted]") {
				rt.Fatalf("passed: %s", s)
			}
		}
	})
}
