package providers

import (
	"callgate/firewall"
	"callgate/providers/dialect"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// Without implements [firewall.Proposer].
func (x *exchange) Without(events []firewall.Event, wants []firewall.Want) []firewall.Event {
	x.refused = true
	return x.reading.without(events, wants)
}

// Without implements [firewall.Proposer].
func (x *router) Without(events []firewall.Event, wants []firewall.Want) []firewall.Event {
	return x.now.Without(events, wants)
}

// refusal is what stands in the place of a tool call that was refused: a text of the
// model, so that it reads it with its next request.
func refusal(w *firewall.Want) string {
	return "[callgate refused the tool call " + clip(w.Name) + ": " + w.Refused.Reason + "]"
}

// refusedAt is the refusal of what stands at a place; nil if it is not refused.
func refusedAt(wants []firewall.Want, place [2]int) *firewall.Want {
	for i := range wants {
		if wants[i].Place == place && wants[i].Refused != nil {
			return &wants[i]
		}
	}
	return nil
}

// edited is ev with another document.
func edited(ev firewall.Event, doc []byte) firewall.Event {
	ev.Body.JSON, ev.Body.Spans, ev.Body.Edited = doc, nil, true
	return ev
}

// written is a new event of a stream.
func written(name string, doc []byte) firewall.Event {
	return firewall.Event{Name: name, Frame: framed(dialect.Frame{Name: name, Data: doc}), Body: firewall.Body{JSON: doc}, More: true}
}

// set is doc with value at a path of gjson's.
func set(doc []byte, path string, value any) []byte {
	out, err := sjson.SetBytes(doc, path, value)
	if err != nil {
		return doc // it was parsed, and paths are made here: there is no such error
	}
	return out
}

// setRaw is doc with a JSON value at a path.
func setRaw(doc []byte, path, value string) []byte {
	out, err := sjson.SetRawBytes(doc, path, []byte(value))
	if err != nil {
		return doc // as above
	}
	return out
}

// drop is doc without what is at a path.
func drop(doc []byte, path string) []byte {
	out, err := sjson.DeleteBytes(doc, path)
	if err != nil {
		return doc // as above
	}
	return out
}

// isPlain says whether ev is all of the reply.
func isPlain(ev *firewall.Event) bool { return ev.Mark&markPlain != 0 }

// at is what doc has at a path.
func at(doc []byte, path string) gjson.Result { return gjson.GetBytes(doc, path) }
