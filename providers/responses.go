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
	id   string          // of the response, as JSON
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
		ev.Mark |= markUsage
	case "response.output_item.done":
		ev.Mark |= markCalls
	case "response.completed", "response.incomplete", "response.failed":
		ev.Mark |= markUsage | markCalls | markError
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
	doc := gjson.ParseBytes(ev.Body.JSON)
	if ev.Mark&markUsage != 0 {
		r.id = strings.Clone(doc.Get("response.id").Raw)
		ev.Usage = openAIUsage(doc.Get("response.usage"))
	}
	if ev.Mark&markError != 0 {
		ev.Fault = r.fault(doc)
	}
	if ev.Mark&markCalls != 0 {
		r.call(ev, doc.Get("item"))
		r.output(ev, doc.Get("response.output"))
	}
}

// fault says which error an event tells of, if it does.
func (r *responses) fault(doc gjson.Result) string {
	switch doc.Get("type").Str {
	case "error":
		if e := doc.Get("error"); e.IsObject() {
			return openAIFault(e)
		}
		return faultOf(doc.Get("code").Str)
	case "response.failed":
		return faultOf(doc.Get("response.error.code").Str)
	}
	return ""
}

func (r *responses) output(ev *firewall.Event, items gjson.Result) {
	items.ForEach(func(_, item gjson.Result) bool {
		r.call(ev, item)
		return true
	})
}

// call notes the tool call that item is, if the client is to carry it out: then
// it has a call_id by which its result will be known.
func (r *responses) call(ev *firewall.Event, item gjson.Result) {
	id, kind := item.Get("call_id").Str, item.Get("type").Str
	tool, ok := strings.CutSuffix(kind, "_call")
	if !ok || id == "" || r.told[id] {
		return
	}
	if r.told == nil {
		r.told = make(map[string]bool)
	}
	id = strings.Clone(id)
	r.told[id] = true
	if name := item.Get("name").Str; name != "" {
		tool = name
	}
	if space := item.Get("namespace").Str; space != "" {
		tool = space + "__" + tool
	}
	var args []byte
	for _, name := range []string{"arguments", "input", "action", "operation"} { // of a function; a custom tool; a shell or computer; a patch
		if v := item.Get(name); v.Exists() {
			args = argsOf(v)
			break
		}
	}
	ev.Wants = append(ev.Wants, want(id, tool, args))
}

func (r *responses) whole(ev *firewall.Event) {
	doc := gjson.ParseBytes(ev.Body.JSON)
	ev.Usage = openAIUsage(doc.Get("usage"))
	if doc.Get("status").Str == "failed" {
		ev.Fault = openAIFault(doc.Get("error"))
	}
	r.output(ev, doc.Get("output"))
}

// broken ends with an error and with a response that has failed: some clients
// wait for the one, some for the other.
func (r *responses) broken(f failure) []byte {
	id := r.id
	if id == "" {
		id = `""`
	}
	said := `"code":` + string(quote(f.code)) + `,"message":` + string(quote(f.message))
	return []byte("event: error\ndata: " + `{"type":"error",` + said + `,"param":null,"sequence_number":` + strconv.Itoa(r.seq+1) + "}\n\n" +
		"event: response.failed\ndata: " + `{"type":"response.failed","sequence_number":` + strconv.Itoa(r.seq+2) +
		`,"response":{"id":` + id + `,"object":"response","status":"failed","error":{` + said + `},"output":[]}}` + "\n\n")
}
