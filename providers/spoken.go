package providers

import (
	"strings"

	"callgate/firewall"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"
)

// spoken reads the events of a session over WebSockets. Those of a response are like the
// events of a streamed one.
type spoken struct {
	responses
	names map[string]string // of the tools that are being called, by the call's id
}

const heardPrefix = "conversation.item.input_audio_transcription."

func (r *spoken) event(ev *firewall.Event, t *texts) error {
	kind := headOf(ev.Body.JSON).kind
	switch {
	case strings.HasPrefix(kind, heardPrefix) && len(kind) <= maxKind:
		return r.heard(ev, kind[len(heardPrefix):], t)
	case !strings.HasPrefix(kind, "response.") && kind != "error":
		return t.whole(&cursor{doc: ev.Body.JSON})
	}
	err := r.responses.event(ev, t)
	switch kind {
	case "response.done":
		ev.Last = true
	case "response.output_item.added", "response.function_call_arguments.done", "response.output_item.done":
		ev.Mark |= markCalls
	}
	return err
}

// heard reads what of a person's words was understood.
func (r *spoken) heard(ev *firewall.Event, step string, t *texts) error {
	e := gjson.ParseBytes(ev.Body.JSON)
	item := e.Get("item_id").Str
	l := lane{heardPrefix + item[:min(len(item), maxKind)], int(e.Get("content_index").Int()), 0}
	if step == "completed" || step == "failed" {
		t.close(ev.Body.JSON, l)
	}
	c := &cursor{doc: ev.Body.JSON}
	return t.object(c, func(member string) (bool, error) {
		switch member {
		case "delta":
			if step == "delta" {
				return true, t.slice(c, l)
			}
			return false, nil
		case "type", "event_id", "item_id", "logprobs": // see withoutLogprobs
			c.skip()
			return true, nil
		}
		return false, nil
	})
}

func (r *spoken) read(ev *firewall.Event) {
	e := gjson.ParseBytes(ev.Body.JSON)
	switch e.Get("type").Str {
	case "response.output_item.added":
		if item := e.Get("item"); item.Get("type").Str == "function_call" && item.Get("call_id").Str != "" && len(r.names) < maxLanes {
			if r.names == nil {
				r.names = make(map[string]string)
			}
			r.names[strings.Clone(item.Get("call_id").Str)] = strings.Clone(item.Get("name").Str)
		}
		r.responses.read(ev)
	case "response.function_call_arguments.done": // clients call the tool at once
		id := e.Get("call_id").Str
		name := e.Get("name").Str
		if name == "" {
			name = r.names[id]
		}
		if id == "" || name == "" || r.told[id] { // it is told once more with its item
			return
		}
		if r.told == nil {
			r.told = make(map[string]bool)
		}
		r.told[strings.Clone(id)] = true
		r.open = max(r.open-1, 0)
		w := want(id, name, argsOf(e.Get("arguments")))
		w.Place = [2]int{int(e.Get("output_index").Int()), 0}
		ev.Wants = append(ev.Wants, w)
	case "response.done":
		r.responses.read(ev)
		if e.Get("response.status").Str == "failed" {
			ev.Fault = faultOf(e.Get("response.status_details.error.type").Str)
		}
	default:
		r.responses.read(ev)
	}
}

// without is as of a streamed response, in the words of a session.
func (r *spoken) without(events []firewall.Event, wants []firewall.Want) []firewall.Event {
	of := at(events[0].Body.JSON, "response_id").Str
	out := r.responses.without(events, wants)
	for i := range out {
		if doc := out[i].Body.JSON; !at(doc, "event_id").Exists() && at(doc, "sequence_number").Exists() { // one that tells of a refusal
			doc = set(drop(doc, "sequence_number"), "event_id", eventID())
			if doc = set(doc, "response_id", of); at(doc, "part").Exists() {
				doc = set(doc, "part.type", "text")
			}
			out[i] = edited(out[i], doc)
		}
	}
	return out
}

// mend has the item of a call that was refused be what stands in its place, too.
func (r *spoken) mend(ev *firewall.Event) {
	if id := at(ev.Body.JSON, "item.call_id").Str; id != "" {
		for i := range r.out {
			if r.out[i].ID == id {
				*ev = edited(*ev, setRaw(ev.Body.JSON, "item", standIn(&r.out[i], "completed")))
			}
		}
	}
	r.responses.mend(ev)
}

// eventID is an id for an event of callgate's own.
func eventID() string { return "event_" + strings.ReplaceAll(uuid.NewString(), "-", "") }
