package providers

import (
	"bytes"
	"errors"
	"strings"

	"callgate/providers/dialect"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"
)

// A Recorded is what is on record of a model call, in words of no dialect.
type Recorded struct {
	Prompt *dialect.Prompt
	Reply  *dialect.Reply // nil where there is none, or only an error
}

// Path is where requests of a method are sent to at the gate, for a model; "" if it asks
// for no reply that is read by [ReadRecorded].
func Path(method, model string) string {
	switch method {
	case "chat":
		return "/v1/chat/completions"
	case "responses", "messages":
		return "/v1/" + method
	case "gemini":
		return "/v1beta/models/" + model + ":generateContent"
	}
	return ""
}

// ReadRecorded reads what is kept of a call of a method: the request, and the reply, whose
// events are documents one after the other; nil if there is none.
func ReadRecorded(method string, request, reply []byte) (*Recorded, error) {
	d := dialectAt(method)
	if d == nil || d.Read == nil {
		return nil, errors.New("what passed at " + method + " is no conversation")
	}
	p, err := d.Read(request)
	if err != nil {
		return nil, err
	}
	r := &Recorded{Prompt: p}
	if len(reply) == 0 {
		return r, nil
	}
	docs, err := documents(reply)
	if err != nil {
		return nil, err
	}
	in := d.NewDecoder(p)
	if len(docs) == 1 && !p.Stream && !gjson.GetBytes(request, "stream").Bool() {
		if gjson.GetBytes(docs[0], "error").IsObject() {
			return r, nil
		}
		r.Reply, err = in.Whole(docs[0])
		return r, err
	}
	var pieces []dialect.Piece
	for _, doc := range docs {
		if pieces, err = in.Event(pieces, gjson.GetBytes(doc, "type").Str, doc); err != nil {
			break
		}
	}
	if err == nil {
		pieces, err = in.Over(pieces)
	}
	r.Reply = dialect.Fold(pieces) // as far as it came
	if err != nil && len(r.Reply.Choices) == 0 {
		return nil, err
	}
	return r, nil
}

// documents cuts b, which is JSON documents with blanks between them.
func documents(b []byte) ([][]byte, error) {
	var docs [][]byte
	d := jsontext.NewDecoder(bytes.NewReader(b), jsontext.AllowDuplicateNames(true))
	for {
		v, err := d.ReadValue()
		if len(v) > 0 {
			docs = append(docs, bytes.Clone(v))
		}
		if err != nil {
			if len(docs) > 0 && strings.HasSuffix(err.Error(), "EOF") {
				return docs, nil
			}
			return docs, err
		}
	}
}
