package mcp

import (
	"io"
	"time"

	"github.com/tidwall/gjson"
)

// Events reads the messages of an event stream, as they come to a client of
// MCP. It is for one goroutine.
type Events struct{ stream *sse }

// NewEvents reads r. An event of more than limit bytes is an error.
func NewEvents(r io.Reader, limit int) *Events { return &Events{newSSE(r, limit)} }

// Next is the next message, in memory of its own. An event that the stream cuts
// off is not one: then the error is [io.EOF].
func (e *Events) Next() ([]byte, error) { return e.stream.next() }

// Last is the id of the last event that had one, "" if none had.
func (e *Events) Last() string { return e.stream.last }

// Retry is how long the server wants to be left alone before the client comes
// back, 0 if it does not say.
func (e *Events) Retry() time.Duration { return e.stream.retry }

// ParamHeaders is the arguments that a tool with this input schema wants mirrored
// in headers. The error is of annotations that are not valid.
func ParamHeaders(inputSchema []byte) ([]ParamHeader, error) {
	return paramHeaders(gjson.ParseBytes(inputSchema))
}
