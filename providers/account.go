package providers

import (
	"bytes"
	"context"

	"callgate/firewall"
	"callgate/providers/dialect"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// An account is what one exchange takes, as far as it is known at any time: a provider
// tells it at the end, and some replies have none.
type account struct {
	tally
	expect firewall.Estimate
	over   bool // the last event was read
}

// hear takes note of an event of a stream as it comes from the provider, before anything
// of it goes down: who hangs up will have had it made all the same.
func (x *exchange) hear(ev *firewall.Event) {
	if x.translation == nil && ev.Mark&markUsage != 0 {
		speaks := dialect.Chat
		switch x.reading.(type) {
		case *messages:
			speaks = dialect.Messages
		case *google:
			speaks = dialect.Gemini
		}
		x.account.take(speaks, ev.Body.JSON)
	}
	for i := range ev.Body.Spans {
		if s := &ev.Body.Spans[i]; s.Lane != "" { // some dialects tell a text once more when it is whole
			x.account.heard += int64(len(s.Text))
		}
	}
}

// native takes note of a document of a provider that speaks another dialect than the
// client. Usage is read there, since some of it has no name in the client's.
func (x *exchange) native(doc []byte) {
	if bytes.Contains(doc, []byte("sage")) || bytes.Contains(doc, []byte(`"meta"`)) {
		x.account.take(x.translation.target.Name, doc)
	}
}

// reckon says in ev, which is about to leave, what the reply has taken so far. With the
// last event it says all, by what was seen of the reply where the provider tells nothing.
func (x *exchange) reckon(ev *firewall.Event) {
	if ev.Usage == (firewall.Usage{}) {
		ev.Usage = x.account.told
	}
	if !ev.Last {
		return
	}
	x.account.over = true
	if ev.Usage != (firewall.Usage{}) && !ev.Usage.Estimated || x.back.status >= 400 || x.account.expect.Tokens == 0 {
		return
	}
	if ev.Mark&markPlain != 0 {
		for i := range ev.Body.Spans {
			x.account.heard += int64(len(ev.Body.Spans[i].Text))
		}
	}
	if ev.Fault == "" || x.account.heard > 0 {
		ev.Usage = x.account.all(x.account.expect)
	}
}

// cut says in call what a reply has taken that did not come to its end. Of one that the
// client gave up before it began nobody knows: then it is what was expected.
func (x *exchange) cut(ctx context.Context, call *firewall.Call) {
	a := &x.account
	switch {
	case a.over || x.back.status >= 400 || a.expect.Tokens == 0 || call.Cached:
	case a.told != (firewall.Usage{}) || a.heard > 0:
		call.Usage = a.all(a.expect)
	case ctx.Err() != nil:
		call.Usage = firewall.Usage{Input: a.expect.Input, Output: a.expect.Output, Estimated: true}
	}
}

// complete is doc, of a request, with what the bill needs: how long the reply may be, where
// the client does not say that and tokens or money are limited, since a limit would not
// hold without; and that a stream is to tell usage, where the vendor is known to take that.
func (x *exchange) complete(call *firewall.Call, doc []byte) []byte {
	set := func(name string, value any) {
		if out, err := sjson.SetBytes(doc, name, value); err == nil { // it was parsed: there is no such error
			doc = out
		}
	}
	switch vendor := x.to.lists(); {
	case x.back.at.method == "gemini" && x.unbounded && call.Rationed():
		name := "generationConfig"
		if gjson.GetBytes(doc, "generation_config").Exists() {
			name = "generation_config"
		}
		set(name+".maxOutputTokens", x.to.ReplyTokens)
	case x.back.at.method == "responses" && x.unbounded && call.Rationed():
		set("max_output_tokens", x.to.ReplyTokens)
	case x.back.at.method != "chat": // where it must be said, or where replies have a length of their own
	default:
		if x.unbounded && call.Rationed() {
			name := "max_tokens"
			if vendor == OpenAI || vendor == "azure" { // whose newer models know no other name, and nobody else's do
				name = "max_completion_tokens"
			}
			set(name, x.to.ReplyTokens)
		}
		if x.asks() {
			set("stream_options", map[string]bool{"include_usage": true})
		}
	}
	return doc
}

// asks says whether callgate asks for the usage of a stream for itself.
func (x *exchange) asks() bool {
	return x.untold && x.translation == nil && x.back.at.method == "chat" && x.to.lists() == OpenAI
}

// hides says whether ev is there only because callgate asked for it.
func (x *exchange) hides(ev *firewall.Event) bool {
	return ev.Mark&markUsage != 0 && x.asks() && gjson.GetBytes(ev.Body.JSON, "choices.#").Int() == 0
}
