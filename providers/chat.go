package providers

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// chat reads chat completions. A stream is chunks without a name; what one text
// is stands in each choice, by its index, and ends with the stream.
type chat struct {
	open pendings
	out  [][2]int // places of the tool calls that were taken out
}

func (r *chat) event(ev *firewall.Event, t *texts) error {
	c := &cursor{doc: ev.Body.JSON}
	return t.object(c, func(name string) (bool, error) {
		switch name {
		case "choices":
			return true, t.array(c, func(int) error { return r.choice(ev, c, t) })
		case "usage":
			if c.kind() == '{' {
				ev.Mark |= markUsage
			}
		case "error":
			if c.kind() != 'n' { // some vendors say null in every chunk
				ev.Mark |= markError
			}
			return false, nil
		case "id", "object", "created", "model", "system_fingerprint", "service_tier", "obfuscation", "provider":
		default:
			return false, nil
		}
		c.skip()
		return true, nil
	})
}

func (r *chat) choice(ev *firewall.Event, c *cursor, t *texts) error {
	index, delta := 0, cursor{}
	err := t.object(c, func(name string) (bool, error) {
		switch name {
		case "delta":
			delta = *c // its lanes need the index, which may come behind it
		case "index":
			index = c.integer()
			return true, nil
		case "finish_reason":
			if c.kind() == '"' {
				ev.Mark |= markCalls
			}
		case "logprobs": // see withoutLogprobs
		default:
			return false, nil
		}
		c.skip()
		return true, nil
	})
	if err != nil || delta.doc == nil {
		return err
	}
	return r.delta(ev, &delta, index, t)
}

func (r *chat) delta(ev *firewall.Event, c *cursor, choice int, t *texts) error {
	return t.object(c, func(name string) (bool, error) {
		switch name {
		case "role":
			c.skip()
			return true, nil
		case "content":
			return true, t.slice(c, lane{"choices.#.content", choice, 0})
		case "refusal":
			return true, t.slice(c, lane{"choices.#.refusal", choice, 0})
		case "reasoning_content":
			return true, t.slice(c, lane{"choices.#.reasoning_content", choice, 0})
		case "reasoning":
			return true, t.slice(c, lane{"choices.#.reasoning", choice, 0})
		case "audio":
			return true, r.audio(c, choice, t)
		case "tool_calls":
			ev.Mark |= markCalls
			return true, t.array(c, func(n int) error { return r.call(c, choice, n, t) })
		case "function_call":
			ev.Mark |= markCalls
			return true, r.function(c, lane{"choices.#.function_call.arguments", choice, 0}, t)
		}
		return false, nil
	})
}

func (r *chat) audio(c *cursor, choice int, t *texts) error {
	return t.object(c, func(name string) (bool, error) {
		switch name {
		case "id", "data":
			c.skip()
			return true, nil
		case "transcript":
			return true, t.slice(c, lane{"choices.#.audio.transcript", choice, 0})
		}
		return false, nil
	})
}

// call reads a piece of a tool call. A vendor that leaves out the index means the
// place n.
func (r *chat) call(c *cursor, choice, n int, t *texts) error {
	var function cursor
	err := t.object(c, func(name string) (bool, error) {
		switch name {
		case "index":
			n = c.integer()
			return true, nil
		case "function", "custom":
			function = *c // see choice
		case "id", "type":
		default:
			return false, nil
		}
		c.skip()
		return true, nil
	})
	if err != nil || function.doc == nil {
		return err
	}
	return r.function(&function, lane{"choices.#.tool_calls.#.arguments", choice, n}, t)
}

func (r *chat) function(c *cursor, l lane, t *texts) error {
	return t.object(c, func(name string) (bool, error) {
		switch name {
		case "name":
			c.skip()
			return true, nil
		case "arguments", "input":
			return true, t.slice(c, l)
		}
		return false, nil
	})
}

func (r *chat) read(ev *firewall.Event) {
	doc := gjson.ParseBytes(ev.Body.JSON)
	if ev.Mark&markError != 0 {
		ev.Fault = openAIFault(doc.Get("error"))
	}
	if ev.Mark&markCalls != 0 {
		doc.Get("choices").ForEach(func(_, choice gjson.Result) bool {
			r.follow(ev, choice)
			return true
		})
	}
	if ev.Last {
		ev.Wants = r.open.finish(ev.Wants, func(*pending) bool { return true })
	}
}

// functionCall is the index of the one call that old vendors know.
const functionCall = -2

// follow notes what a choice brings of tool calls. A call is complete when
// another one begins, or the choice ends.
func (r *chat) follow(ev *firewall.Event, choice gjson.Result) {
	a, n := int(choice.Get("index").Int()), 0
	choice.Get("delta.tool_calls").ForEach(func(_, piece gjson.Result) bool {
		b := n
		if index := piece.Get("index"); index.Exists() {
			b = int(index.Int())
		}
		n++
		what := piece.Get("function")
		if !what.Exists() {
			what = piece.Get("custom")
		}
		r.piece(ev, a, b, piece.Get("id").Str, what)
		return true
	})
	if f := choice.Get("delta.function_call"); f.IsObject() {
		r.piece(ev, a, functionCall, "", f)
	}
	if choice.Get("finish_reason").Type == gjson.String {
		ev.Wants = r.open.finish(ev.Wants, func(c *pending) bool { return c.a == a })
	}
}

func (r *chat) piece(ev *firewall.Event, a, b int, id string, what gjson.Result) {
	c := r.open.find(a, b)
	if c == nil || id != "" && c.id != "" && c.id != id {
		ev.Wants = r.open.finish(ev.Wants, func(c *pending) bool { return c.a == a })
		c = r.open.begin(a, b)
	}
	if id != "" {
		c.id = strings.Clone(id)
	}
	if name := what.Get("name").Str; name != "" && name != c.name {
		c.name = strings.Clone(name)
		ev.Begins = append(ev.Begins, c.name)
	} else if c.name == "" {
		ev.Begins = append(ev.Begins, "")
	}
	args := what.Get("arguments")
	if !args.Exists() {
		args = what.Get("input")
	}
	r.open.grow(c, string(argsOf(args)))
}

func (r *chat) whole(ev *firewall.Event) {
	c, tier := cursor{doc: ev.Body.JSON}, ""
	c.members(func(name string) {
		switch name {
		case "usage":
			ev.Usage = openAIUsage(&c)
		case "service_tier":
			tier = tierOf(c.str())
		case "error": // some vendors answer 200 all the same
			if e := gjson.ParseBytes(c.raw()); e.IsObject() {
				ev.Fault = openAIFault(e)
			}
		case "choices":
			n := 0
			c.items(func() {
				c.members(func(name string) {
					if name == "message" {
						if n == 0 {
							head := c
							head.members(func(name string) {
								if name == "content" {
									ev.Said = head.str()
								} else {
									head.skip()
								}
							})
						}
						r.message(ev, &c, n)
					} else {
						c.skip()
					}
				})
				n++
			})
		default:
			c.skip()
		}
	})
	if ev.Usage != (firewall.Usage{}) {
		ev.Usage.Tier = tier
	}
}

// message notes the tool calls that the whole message of choice a asks for.
func (r *chat) message(ev *firewall.Event, c *cursor, a int) {
	c.members(func(name string) {
		switch name {
		case "tool_calls":
			b := 0
			gjson.ParseBytes(c.raw()).ForEach(func(_, call gjson.Result) bool {
				what, args := call.Get("function"), "arguments"
				if !what.Exists() {
					what, args = call.Get("custom"), "input"
				}
				w := want(call.Get("id").Str, what.Get("name").Str, argsOf(what.Get(args)))
				w.Place = [2]int{a, b}
				ev.Wants = append(ev.Wants, w)
				b++
				return true
			})
		case "function_call":
			if f := gjson.ParseBytes(c.raw()); f.IsObject() {
				w := want("", f.Get("name").Str, argsOf(f.Get("arguments")))
				w.Place = [2]int{a, functionCall}
				ev.Wants = append(ev.Wants, w)
			}
		default:
			c.skip()
		}
	})
}

// without puts the reason for each call that is refused into the content. The calls
// that are left close up.
func (r *chat) without(events []firewall.Event, wants []firewall.Want) []firewall.Event {
	for i := range events {
		ev := &events[i]
		member := "delta"
		if isPlain(ev) {
			member = "message"
		}
		doc := ev.Body.JSON
		for n, choice := range at(doc, "choices").Array() {
			a := n
			if index := choice.Get("index"); index.Exists() && !isPlain(ev) {
				a = int(index.Int())
			}
			doc = r.choiceWithout(doc, "choices."+strconv.Itoa(n)+".", member, a, choice, wants)
		}
		if len(doc) != len(ev.Body.JSON) || !bytes.Equal(doc, ev.Body.JSON) {
			*ev = edited(*ev, doc)
		}
	}
	return events
}

// choiceWithout is doc with its choice a, which stands at a path, as without has it.
func (r *chat) choiceWithout(doc []byte, path, member string, a int, choice gjson.Result, wants []firewall.Want) []byte {
	said := choice.Get(member)
	reasons := ""
	refuses := func(b int) bool {
		w := refusedAt(wants, [2]int{a, b})
		if w != nil && !slices.Contains(r.out, w.Place) {
			r.out = append(r.out, w.Place)
			reasons += "\n" + refusal(w)
		}
		return w != nil
	}
	if calls := said.Get("tool_calls"); calls.IsArray() {
		left := []byte{'['}
		for n, call := range calls.Array() {
			b := n
			if index := call.Get("index"); index.Exists() && member == "delta" {
				b = int(index.Int())
			}
			if refuses(b) {
				continue
			}
			if len(left) > 1 {
				left = append(left, ',')
			}
			piece := []byte(call.Raw)
			if member == "delta" {
				piece = set(piece, "index", b-r.before(a, b))
			}
			left = append(left, piece...)
		}
		if len(left) == 1 {
			doc = drop(doc, path+member+".tool_calls")
		} else {
			doc = setRaw(doc, path+member+".tool_calls", string(append(left, ']')))
		}
	}
	if said.Get("function_call").IsObject() && refuses(functionCall) {
		doc = drop(doc, path+member+".function_call")
	}
	if reasons != "" {
		doc = set(doc, path+member+".content", said.Get("content").Str+reasons)
	}
	switch choice.Get("finish_reason").Str {
	case "tool_calls", "function_call":
		if !slices.ContainsFunc(wants, func(w firewall.Want) bool { return w.Place[0] == a && w.Refused == nil }) {
			doc = set(doc, path+"finish_reason", "stop")
		}
	}
	return doc
}

// before is how many calls of choice a that came before b were taken out.
func (r *chat) before(a, b int) int {
	n := 0
	for _, place := range r.out {
		if place[0] == a && place[1] >= 0 && place[1] < b {
			n++
		}
	}
	return n
}

func (r *chat) mend(*firewall.Event) {} // what ends a choice was held back with its calls

func (r *chat) asking() bool { return len(r.open.calls) > 0 }

func (r *chat) broken(f failure) []byte {
	return append(append([]byte("data: "), f.openAI()...), "\n\ndata: [DONE]\n\n"...)
}

// openAIFault says which error an error object of the OpenAI dialects tells of.
func openAIFault(e gjson.Result) string {
	if kind := e.Get("type").Str; kind != "" {
		return faultOf(kind)
	}
	return faultOf(e.Get("code").Str)
}
