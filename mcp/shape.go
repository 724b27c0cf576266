package mcp

import (
	"encoding/json"
	"errors"
	"net/http"
	"sync"

	"callgate/firewall"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/tidwall/gjson"
)

// A shape is what the definition of a tool says of its arguments and results. It
// is read when the tool is called first: lists are long, and most of what they
// have is never called.
type shape struct {
	def     json.RawMessage
	known   *schemas
	once    sync.Once
	sum     string  // of def
	in, out *schema // nil: anything
}

func (s *shape) read() {
	s.once.Do(func() {
		def := parsed(s.def)
		s.sum = sumOf(string(s.def))
		s.in, s.out = s.known.of(def.Get("inputSchema"), true), s.known.of(def.Get("outputSchema"), false)
	})
}

// takes refuses arguments that do not fit what the tool says that it takes. A
// tool whose schemas cannot be used cannot be used either: what it would do with
// the arguments, or answer, could not be judged.
func (p *passage) takes(call *firewall.Call, def *Definition) *fault {
	s := def.shape
	s.read()
	call.Definition = s.sum
	if err := s.out.usable(); err != nil {
		return p.unusable(call, "output", err)
	}
	if err := s.in.usable(); err != nil {
		return p.unusable(call, "input", err)
	}
	args := gjson.Result{Type: gjson.JSON, Raw: `{}`}
	if doc := call.Args(); doc != nil {
		args = parsed(doc)
	}
	bad, err := s.in.judge(args)
	switch {
	case err != nil:
		return p.misfit("the arguments cannot be judged by the input schema of tool %s: the document %s", clip(call.Resource), err)
	case bad != nil:
		return p.misfit("the arguments do not fit the input schema of tool %s: at %q, by the keyword %q", clip(call.Resource), bad.pointer, bad.keyword)
	}
	p.shape = s
	return nil
}

// misfit refuses arguments so that the model reads why, where the client's version
// has it so.
func (v *visit) misfit(format string, args ...any) *fault {
	f := invalid(format, args...)
	f.result = v.version >= mcpgo.ProtocolVersion20251125
	return f
}

// unusable says that a tool has a schema that callgate does not take.
func (p *passage) unusable(call *firewall.Call, which string, err error) *fault {
	return &fault{
		Error:  p.to.unavailable("has a tool that cannot be called: the "+which+" schema of "+clip(call.Resource)+" "+err.Error(), nil),
		status: http.StatusOK, code: http.StatusServiceUnavailable, result: true,
	}
}

// gives refuses a result that does not fit what the tool says that it answers.
// What failed, and what asks for input first, is not its result.
func (p *passage) gives(m *Message) error {
	if p.shape == nil || p.shape.out == nil || m.Result == nil {
		return nil
	}
	result := parsed(m.Result)
	if kind := result.Get("resultType"); kind.Exists() && kind.Str != "complete" || result.Get("isError").Type == gjson.True {
		return nil
	}
	wrong := func(why string) error {
		return p.to.unavailable("answered with what does not fit its own output schema: "+why, errors.New("output schema: "+why))
	}
	doc := result.Get("structuredContent")
	if !doc.Exists() {
		return wrong("there is no structuredContent")
	}
	bad, err := p.shape.out.judge(doc)
	switch {
	case err != nil:
		return wrong("structuredContent " + err.Error())
	case bad != nil:
		return wrong("at " + quoted(bad.pointer) + ", by the keyword " + quoted(bad.keyword))
	}
	return nil
}
