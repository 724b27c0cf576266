package providers

import (
	"bytes"
	"cmp"
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
	open int             // tool calls that began and are not whole
	out  []firewall.Want // that were taken out
	more int             // events that stand in their places, less those that are gone
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
	case "response.output_item.added", "response.output_item.done":
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
	if ev.Mark&markCalls != 0 && at(ev.Body.JSON, "type").Str == "response.output_item.added" {
		r.begins(ev)
		return
	}
	c.members(func(name string) {
		switch name {
		case "response":
			r.response(ev, &c)
		case "item":
			r.item(ev, &c, [2]int{int(at(ev.Body.JSON, "output_index").Int()), 0})
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

// begins notes a tool call that an item begins.
func (r *responses) begins(ev *firewall.Event) {
	item := at(ev.Body.JSON, "item")
	if !strings.HasSuffix(item.Get("type").Str, "_call") || item.Get("call_id").Str == "" {
		return
	}
	r.open++
	ev.Begins = append(ev.Begins, strings.Clone(toolOf(item)))
}

// toolOf is the name of the tool that an item calls.
func toolOf(item gjson.Result) string {
	tool := cmp.Or(item.Get("name").Str, strings.TrimSuffix(item.Get("type").Str, "_call"))
	if space := item.Get("namespace").Str; space != "" {
		tool = space + "__" + tool
	}
	return tool
}

func (r *responses) asking() bool { return r.open > 0 }

func (r *responses) whole(ev *firewall.Event) {
	r.response(ev, &cursor{doc: ev.Body.JSON})
	for _, item := range at(ev.Body.JSON, "output").Array() {
		for _, part := range item.Get("content").Array() {
			if part.Get("type").Str == "output_text" {
				ev.Said += part.Get("text").Str
			}
		}
	}
}

// response notes what a response says of itself, whole or on its way.
func (r *responses) response(ev *firewall.Event, c *cursor) {
	searches, tier := int64(0), ""
	c.members(func(name string) {
		switch name {
		case "id":
			r.id = strings.Clone(c.str())
		case "usage":
			ev.Usage = openAIUsage(c)
		case "service_tier":
			tier = tierOf(c.str())
		case "error":
			if e := gjson.ParseBytes(c.raw()); e.IsObject() {
				ev.Fault = openAIFault(e)
			}
		case "output":
			n := 0
			c.items(func() {
				head := *c
				if kind, _, _ := block(&head, "id"); kind == "web_search_call" {
					searches++
				}
				r.item(ev, c, [2]int{n, 0})
				n++
			})
		default:
			c.skip()
		}
	})
	if ev.Usage != (firewall.Usage{}) {
		ev.Usage.Searches, ev.Usage.Tier = searches, tier
	}
}

// item notes the tool call that an item is, if the client is to carry it out:
// then it has a call_id by which its result will be known.
func (r *responses) item(ev *firewall.Event, c *cursor, place [2]int) {
	head := *c
	kind, _, id := block(&head, "call_id")
	raw := c.raw()
	if !strings.HasSuffix(kind, "_call") || id == "" || r.told[id] {
		return
	}
	if r.told == nil {
		r.told = make(map[string]bool)
	}
	r.told[strings.Clone(id)] = true
	r.open = max(r.open-1, 0)
	item := gjson.ParseBytes(raw)
	var args []byte
	for _, name := range [...]string{"arguments", "input", "action", "operation"} { // of a function; a custom tool; a shell or computer; a patch
		if v := item.Get(name); v.Exists() {
			args = argsOf(v)
			break
		}
	}
	w := want(id, toolOf(item), args)
	w.Place = place
	ev.Wants = append(ev.Wants, w)
}

// without makes messages of the calls that are refused: items at the same places.
func (r *responses) without(events []firewall.Event, wants []firewall.Want) []firewall.Event {
	for _, w := range wants {
		if w.Refused != nil {
			r.out = append(r.out, w)
		}
	}
	if isPlain(&events[0]) {
		return []firewall.Event{edited(events[0], r.outputWithout(events[0].Body.JSON, "output"))}
	}
	out := make([]firewall.Event, 0, len(events)+4)
	before := r.more // which events have been moved by already
	for _, ev := range events {
		doc := ev.Body.JSON
		index := at(doc, "output_index")
		w := refusedAt(wants, [2]int{int(index.Int()), 0})
		if w == nil || !index.Exists() {
			r.fit(&ev, r.more-before)
			out = append(out, ev)
			continue
		}
		switch at(doc, "type").Str {
		case "response.output_item.added":
			r.fit(&ev, r.more-before)
			out = append(out, edited(ev, setRaw(ev.Body.JSON, "item", standIn(w, "in_progress"))))
			out = r.tell(out, w, int(at(ev.Body.JSON, "sequence_number").Int()))
		case "response.output_item.done":
			r.fit(&ev, r.more-before)
			out = append(out, edited(ev, setRaw(ev.Body.JSON, "item", standIn(w, "completed"))))
		default: // pieces of its arguments
			r.more--
		}
	}
	return out
}

// standIn is the item in the place of a call that was refused.
func standIn(w *firewall.Want, status string) string {
	content := ""
	if status == "completed" {
		content = `{"type":"output_text","annotations":[],"text":` + string(quote(refusal(w))) + `}`
	}
	return `{"type":"message","id":` + string(quote("msg_"+w.ID)) + `,"status":"` + status + `","role":"assistant","content":[` + content + `]}`
}

// tell appends the events of the text of such an item; seq is that of the event before.
func (r *responses) tell(out []firewall.Event, w *firewall.Want, seq int) []firewall.Event {
	id, text := string(quote("msg_"+w.ID)), string(quote(refusal(w)))
	for _, e := range [...][2]string{
		{"response.content_part.added", `"part":{"type":"output_text","annotations":[],"text":""}`},
		{"response.output_text.delta", `"delta":` + text},
		{"response.output_text.done", `"text":` + text},
		{"response.content_part.done", `"part":{"type":"output_text","annotations":[],"text":` + text + `}`},
	} {
		seq++
		r.more++
		doc := `{"type":"` + e[0] + `","sequence_number":` + strconv.Itoa(seq) + `,"item_id":` + id + `,"output_index":` + strconv.Itoa(w.Place[0]) + `,"content_index":0,` + e[1] + `}`
		out = append(out, written(e[0], []byte(doc)))
	}
	return out
}

// mend counts events on, and has the response at the end be what was told.
func (r *responses) mend(ev *firewall.Event) { r.fit(ev, r.more) }

func (r *responses) fit(ev *firewall.Event, by int) {
	doc := ev.Body.JSON
	if isPlain(ev) || doc == nil {
		return
	}
	if seq := at(doc, "sequence_number"); seq.Exists() && by != 0 {
		doc = set(doc, "sequence_number", int(seq.Int())+by)
	}
	if ev.Last {
		doc = r.outputWithout(doc, "response.output")
	}
	if !bytes.Equal(doc, ev.Body.JSON) {
		*ev = edited(*ev, doc)
	}
}

// outputWithout is doc whose output, at a path, has what is said in the place of calls
// that were refused.
func (r *responses) outputWithout(doc []byte, path string) []byte {
	for n, item := range at(doc, path).Array() {
		for i := range r.out {
			if w := &r.out[i]; w.ID == item.Get("call_id").Str {
				doc = setRaw(doc, path+"."+strconv.Itoa(n), standIn(w, "completed"))
			}
		}
	}
	return doc
}

// broken ends with an error and with a response that has failed: some clients
// wait for the one, some for the other.
func (r *responses) broken(f failure) []byte {
	said := `"code":` + string(quote(f.code)) + `,"message":` + string(quote(f.message))
	return []byte("event: error\ndata: " + `{"type":"error",` + said + `,"param":null,"sequence_number":` + strconv.Itoa(r.seq+r.more+1) + "}\n\n" +
		"event: response.failed\ndata: " + `{"type":"response.failed","sequence_number":` + strconv.Itoa(r.seq+r.more+2) +
		`,"response":{"id":` + string(quote(r.id)) + `,"object":"response","status":"failed","error":{` + said + `},"output":[]}}` + "\n\n")
}
