package providers

import (
	"bytes"
	"context"

	"callgate/firewall"
	"callgate/providers/dialect"

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
		if _, ok := x.reading.(*messages); ok {
			speaks = dialect.Messages
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
	case a.over || x.back.status >= 400 || a.expect.Tokens == 0:
	case a.told != (firewall.Usage{}) || a.heard > 0:
		call.Usage = a.all(a.expect)
	case ctx.Err() != nil:
		call.Usage = firewall.Usage{Input: a.expect.Input, Output: a.expect.Output, Estimated: true}
	}
}

// bound is doc, of a request that does not say how long the reply may be, with the length
// that was reserved for it, where tokens or money are limited: or the limit would not hold.
func (x *exchange) bound(call *firewall.Call, doc []byte) []byte {
	if !x.unbounded || !call.Rationed() {
		return doc
	}
	name := ""
	switch x.back.at.method {
	case "chat":
		name = "max_tokens"
		if x.to.list != nil && (x.to.list.name == OpenAI || x.to.list.name == "azure") { // whose newer models know no other name, and which nobody else knows
			name = "max_completion_tokens"
		}
	case "responses":
		name = "max_output_tokens"
	default: // where it must be said, or where replies have a length of their own
		return doc
	}
	out, err := sjson.SetBytes(doc, name, x.to.ReplyTokens)
	if err != nil {
		return doc // it was parsed: there is no such error
	}
	return out
}
