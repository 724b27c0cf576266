package providers

import (
	"strconv"
	"strings"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// responses reads OpenAI responses. The texts of a stream come in events named
// <text>.delta and end with <text>.done, which tells the text again, as do the
// item and the response that it is in.
type responses struct {
	id   string          // of the response
	seq  int             // of the latest event
	told map[string]bool // ids of the tool calls that were seen
}

const maxKind = 64 // bytes of the kind of an event that is known

func (r *responses) event(ev *firewall.Event, t *texts) error {
	h := headOf(ev.Body.JSON)
	r.seq = max(r.seq, h.seq)
	c := &cursor{doc: ev.Body.JSON}
	if h.kind != "error" && (!strings.HasPrefix(h.kind, "response.") || len(h.kind) > maxKind) {
		return t.all(c)
	}
	switch h.kind {
	case "error":
		ev.Mark |= markError
	case "response.created":
		ev.Mark |= markUsage | markBegun
	case "response.queued", "response.in_progress":
		ev.Mark |= markBegun
	case "response.failed":
		ev.Mark |= markError
		ev.Last = true
	case "response.output_item.done":
		ev.Mark |= markCalls
	case "response.completed", "response.incomplete":
		ev.Last = true
	}
	name, isDelta := strings.CutSuffix(h.kind, ".delta")
	name, isDone := strings.CutSuffix(name, ".done")
	media := name == "response.audio" || name == "response.output_audio"
	if isDone {
		t.close(ev.Body.JSON, lane{name, h.output, h.part})
	}
	return t.object(c, func(member string) (bool, error) {
		switch member {
		case "delta":
			if isDelta && !media {
				return true, t.slice(c, lane{name, h.output, h.part})
			}
			if !media {
				return false, nil
			}
		case "type", "item_id", "obfuscation", "logprobs": // see withoutLogprobs
		default:
			return false, nil
		}
		c.skip()
		return true, nil
	})
}

func (r *responses) read(ev *firewall.Event) {
	c := cursor{doc: ev.Body.JSON}
	var code string
	c.members(func(name string) {
		switch name {
		case "response":
			r.response(ev, &c)
		case "item":
			r.item(ev, &c)
		case "code":
			code = c.str()
		case "error":
			if e := gjson.ParseBytes(c.raw()); e.IsObject() {
				code = e.Get("code").Str
			}
		default:
			c.skip()
		}
	})
	if ev.Mark&markError != 0 && ev.Fault == "" {
		ev.Fault = faultOf(code)
	}
}

func (r *responses) whole(ev *firewall.Event) { r.response(ev, &cursor{doc: ev.Body.JSON}) }

// response notes what a response says of itself, whole or on its way.
func (r *responses) response(ev *firewall.Event, c *cursor) {
	c.members(func(name string) {
		switch name {
		case "id":
			r.id = strings.Clone(c.str())
		case "usage":
			ev.Usage = openAIUsage(c)
		case "error":
			if e := gjson.ParseBytes(c.raw()); e.IsObject() {
				ev.Fault = openAIFault(e)
			}
		case "output":
			c.items(func() { r.item(ev, c) })
		default:
			c.skip()
		}
	})
}

// item notes the tool call that an item is, if the client is to carry it out:
// then it has a call_id by which its result will be known.
func (r *responses) item(ev *firewall.Event, c *cursor) {
	head := *c
	kind, _, id := block(&head, "call_id")
	raw := c.raw()
	tool, ok := strings.CutSuffix(kind, "_call")
	if !ok || id == "" || r.told[id] {
		return
	}
	if r.told == nil {
		r.told = make(map[string]bool)
	}
	r.told[strings.Clone(id)] = true
	item := gjson.ParseBytes(raw)
	if name := item.Get("name").Str; name != "" {
		tool = name
	}
	if space := item.Get("namespace").Str; space != "" {
		tool = space + "__" + tool
	}
	var args []byte
	for _, name := range [...]string{"arguments", "input", "action", "operation"} { // of a function; a custom tool; a shell or computer; a patch
		if v := item.Get(name); v.Exists() {
			args = argsOf(v)
			break
		}
	}
	ev.Wants = append(ev.Wants, want(id, tool, args))
}

// broken ends with an error and with a response that has failed: some clients
// wait for the one, some for the other.
func (r *responses) broken(f failure) []byte {
	said := `"code":` + string(quote(f.code)) + `,"message":` + string(quote(f.message))
	return []byte("event: error\ndata: " + `{"type":"error",` + said + `,"param":null,"sequence_number":` + strconv.Itoa(r.seq+1) + "}\n\n" +
		"event: response.failed\ndata: " + `{"type":"response.failed","sequence_number":` + strconv.Itoa(r.seq+2) +
		`,"response":{"id":` + string(quote(r.id)) + `,"object":"response","status":"failed","error":{` + said + `},"output":[]}}` + "\n\n")
}
