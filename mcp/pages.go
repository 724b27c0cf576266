package mcp

import (
	"context"
	"strconv"
	"strings"

	"callgate/firewall"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// A server of 2025-11-25 can end a request with an error that says which pages the
// user must open first. That is a question like any other, whatever it is dressed as:
// each page is asked for on the server's behalf, judged and recorded. Clients of the
// modern era, in which there is no such error, are asked for input, and make the
// request again once the user has agreed.

const (
	pagesNeeded = -32042  // URL elicitation required
	forPages    = "pages" // the use of a ticket: pages that a modern client was asked to open
)

// wantsPages is the pages that an error has the user open.
func wantsPages(m *Message) (pages gjson.Result, ok bool) {
	if m.Error == nil {
		return pages, false
	}
	doc := parsed(m.Error)
	if doc.Get("code").Int() != pagesNeeded {
		return pages, false
	}
	doc.Get("data").ForEach(func(name, value gjson.Result) bool {
		if strings.EqualFold(name.Str, "elicitations") { // so read some clients
			pages, ok = value, true
		}
		return !ok
	})
	return pages, ok
}

// pages asks for what m has the user open, and is what the client hears of it.
func (p *passage) pages(ctx context.Context, call *firewall.Call, m Message) (Message, error) {
	list, ok := wantsPages(&m)
	if !ok {
		return m, nil
	}
	const ask = "elicitation/create"
	errored, asked, n := []byte{'['}, []byte{'{'}, 0
	var err error
	list.ForEach(func(_, page gjson.Result) bool {
		if n++; n > maxInputs || page.Get("mode").Str != "url" {
			err = p.to.unavailable("wants pages opened in a way that callgate cannot read", nil)
			return false
		}
		var body firewall.Body
		if body, err = firewall.ParseBody([]byte(page.Raw), p.to.cfg.Limits); err == nil {
			err = p.ask(ctx, call, ask, body, handOver{}, func(ev firewall.Event) {
				if n > 1 {
					errored = append(errored, ',')
				}
				errored = append(errored, ev.Body.JSON...)
				asked = appendMember(asked, quoted(strconv.Itoa(n)), `{"method":"`+ask+`","params":`+string(ev.Body.JSON)+`}`)
			})
		}
		return err == nil
	})
	switch {
	case err == nil && (n == 0 || !list.IsArray()):
		err = p.to.unavailable("wants pages opened in a way that callgate cannot read", nil)
	case err == nil && p.modern && call.ArgsAt == "" && call.Method != "resources/read":
		err = p.to.unavailable("wants the user to open a page first, which this client cannot be asked for here: call a tool of the server", nil)
	}
	if err != nil {
		return Message{}, err
	}
	if !p.modern {
		doc := append([]byte{'{'}, `"code":`+strconv.Itoa(pagesNeeded)+`,"message":`+quoted(parsed(m.Error).Get("message").Str)+`,"data":{"elicitations":`...)
		return parseMessage(append(append([]byte(`{"jsonrpc":"2.0","id":1,"error":`), append(doc, errored...)...), `]}}}`...), localLimits)
	}
	return p.made(append(append([]byte(`{"resultType":"input_required","inputRequests":`), asked...), `},"requestState":`+quoted(p.ticket(call, forPages, strconv.Itoa(n)))+`}`...))
}

// opened takes from a request what the client says of the n pages that it was asked
// to open, which the server is not to hear. The call is refused where the user has not
// agreed to all of them.
func (p *passage) opened(call *firewall.Call, n string) *fault {
	agreed := 0
	parsed(call.Body.JSON).Get("inputResponses").ForEach(func(_, answer gjson.Result) bool {
		if answer.Get("action").Str == "accept" {
			agreed++
		}
		return true
	})
	if strconv.Itoa(agreed) != n {
		return p.fault(firewall.Refuse(firewall.Denied, "the user did not agree to open the page that server %s needs for this", p.to.Name()), call.Method)
	}
	doc := append([]byte(nil), call.Body.JSON...)
	var err error
	for _, name := range [...]string{"inputResponses", "requestState"} {
		if doc, err = sjson.DeleteBytes(doc, name); err != nil {
			return p.fault(err, call.Method)
		}
	}
	if call.Body, err = firewall.ParseBody(doc, localLimits); err != nil {
		return p.fault(err, call.Method)
	}
	return nil
}
