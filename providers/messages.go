package providers

import (
	"strconv"
	"strings"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// messages reads Anthropic messages. What one text is stands in each content
// block, by its index, and ends with the block.
type messages struct {
	open  pendings
	calls int // that were whole
	out   int // of these, that were taken out
}

func (r *messages) event(ev *firewall.Event, t *texts) error {
	h := headOf(ev.Body.JSON)
	known := true
	switch h.kind {
	case "content_block_delta", "ping":
	case "content_block_start":
		ev.Mark |= markCalls
	case "content_block_stop":
		ev.Mark |= markCalls
		for _, kind := range []string{textLane, thinkingLane, inputLane} {
			t.close(ev.Body.JSON, lane{kind, h.index, 0})
		}
	case "message_start", "message_delta":
		ev.Mark |= markUsage
	case "message_stop":
		ev.Last = true
	case "error":
		ev.Mark |= markError
	default:
		known = false
	}
	c := &cursor{doc: ev.Body.JSON}
	if !known {
		return t.all(c)
	}
	return t.object(c, func(name string) (bool, error) {
		switch name {
		case "type", "index":
			c.skip()
			return true, nil
		case "delta", "content_block":
			if h.kind != "message_delta" {
				return true, r.block(ev, c, h.index, t)
			}
		}
		return false, nil
	})
}

const (
	textLane     = "content.#.text"
	thinkingLane = "content.#.thinking"
	inputLane    = "content.#.input"
)

// block reads a content block, as it begins or a piece of it.
func (r *messages) block(ev *firewall.Event, c *cursor, index int, t *texts) error {
	return t.object(c, func(name string) (bool, error) {
		switch name {
		case "type", "id", "name":
			c.skip()
			return true, nil
		case "text":
			return true, t.slice(c, lane{textLane, index, 0})
		case "thinking":
			return true, t.slice(c, lane{thinkingLane, index, 0})
		case "partial_json":
			ev.Mark |= markCalls
			return true, t.slice(c, lane{inputLane, index, 0})
		case "input":
			return true, t.all(c) // a model chose the names in there
		case "signature", "data", "encrypted_content":
			c.skip()
			return true, nil
		}
		return false, nil
	})
}

func (r *messages) read(ev *firewall.Event) {
	doc := gjson.ParseBytes(ev.Body.JSON)
	if ev.Mark&markError != 0 {
		ev.Fault = faultOf(doc.Get("error.type").Str)
	}
	if ev.Mark&markCalls != 0 {
		r.follow(ev, doc)
	}
	if ev.Last {
		ev.Wants = r.open.finish(ev.Wants, func(*pending) bool { return true })
	}
	r.calls += len(ev.Wants)
}

// follow notes what an event brings of tool calls. Only those that the client is
// to carry out are blocks of type tool_use.
func (r *messages) follow(ev *firewall.Event, doc gjson.Result) {
	index := int(doc.Get("index").Int())
	c := r.open.find(index, 0)
	switch doc.Get("type").Str {
	case "content_block_start":
		block := doc.Get("content_block")
		if block.Get("type").Str != "tool_use" {
			return
		}
		if c != nil { // the block before was never closed
			ev.Wants = r.open.finish(ev.Wants, func(p *pending) bool { return p == c })
		}
		c = r.open.begin(index, 0)
		c.id, c.name = strings.Clone(block.Get("id").Str), strings.Clone(block.Get("name").Str)
		ev.Begins = append(ev.Begins, c.name)
		if input := block.Get("input"); input.IsObject() && input.Raw != "{}" {
			r.open.grow(c, input.Raw)
		}
	case "content_block_delta":
		if c != nil {
			r.open.grow(c, doc.Get("delta.partial_json").Str)
		}
	case "content_block_stop":
		ev.Wants = r.open.finish(ev.Wants, func(p *pending) bool { return p == c })
	}
}

func (r *messages) whole(ev *firewall.Event) {
	c := cursor{doc: ev.Body.JSON}
	c.members(func(name string) {
		switch name {
		case "usage":
			var u claudeUsage
			u.count(gjson.ParseBytes(c.raw()))
			ev.Usage = u.usage()
		case "content":
			n := 0
			c.items(func() {
				head := c
				kind, _, _ := block(&head, "id")
				raw := c.raw()
				b := gjson.ParseBytes(raw)
				switch kind {
				case "text":
					ev.Said += b.Get("text").Str
				case "tool_use":
					w := want(b.Get("id").Str, b.Get("name").Str, argsOf(b.Get("input")))
					w.Place = [2]int{n, 0}
					ev.Wants = append(ev.Wants, w)
				}
				n++
			})
		default:
			c.skip()
		}
	})
}

// without makes blocks of text of the calls that are refused.
func (r *messages) without(events []firewall.Event, wants []firewall.Want) []firewall.Event {
	if isPlain(&events[0]) {
		return []firewall.Event{edited(events[0], r.wholeWithout(events[0].Body.JSON, wants))}
	}
	out := make([]firewall.Event, 0, len(events)+1)
	for _, ev := range events {
		doc := ev.Body.JSON
		index := int(at(doc, "index").Int())
		kind := at(doc, "type").Str
		w := refusedAt(wants, [2]int{index, 0})
		switch {
		case w == nil:
			out = append(out, ev)
		case kind == "content_block_start" && at(doc, "content_block.type").Str == "tool_use":
			r.out++
			text := `{"type":"content_block_delta","index":` + strconv.Itoa(index) + `,"delta":{"type":"text_delta","text":` + string(quote(refusal(w))) + `}}`
			out = append(out, edited(ev, setRaw(doc, "content_block", `{"type":"text","text":""}`)), written("content_block_delta", []byte(text)))
		case kind != "content_block_delta":
			out = append(out, ev)
		}
	}
	return out
}

func (r *messages) wholeWithout(doc []byte, wants []firewall.Want) []byte {
	left := false
	for i := range wants {
		w := &wants[i]
		if w.Refused == nil {
			left = true
			continue
		}
		doc = setRaw(doc, "content."+strconv.Itoa(w.Place[0]), `{"type":"text","text":`+string(quote(refusal(w)))+`}`)
	}
	if !left && at(doc, "stop_reason").Str == "tool_use" {
		doc = set(doc, "stop_reason", "end_turn")
	}
	return doc
}

// mend lets the reply end as one that asks for no tool call, where it asks for none any
// more.
func (r *messages) mend(ev *firewall.Event) {
	if r.calls == r.out && at(ev.Body.JSON, "delta.stop_reason").Str == "tool_use" {
		*ev = edited(*ev, set(ev.Body.JSON, "delta.stop_reason", "end_turn"))
	}
}

func (r *messages) asking() bool { return len(r.open.calls) > 0 }

func (r *messages) broken(f failure) []byte {
	return append(append([]byte("event: error\ndata: "), f.anthropic()...), "\n\n"...)
}
