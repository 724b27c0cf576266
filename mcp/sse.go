package mcp

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"
)

const maxEventID = 1024 // bytes

// sse reads the data of a server's event stream, event by event.
type sse struct {
	r      *bufio.Reader
	limit  int // bytes of one event
	line   []byte
	cr     bool // the last line ended with CR: a LF that follows belongs to it
	opened bool

	kind  string        // of events that are wanted; "" is message
	last  string        // id of the last event
	retry time.Duration // that the server wants between attempts to connect again; 0: it does not say
}

func newSSE(r io.Reader, limit int) *sse {
	return &sse{r: bufio.NewReaderSize(r, 8<<10), limit: limit}
}

// next is the data of the next message event, in memory of its own. An event
// that the stream cuts off is not one: then the error is io.EOF. Events without
// data, and those of another type, are passed over.
func (e *sse) next() ([]byte, error) {
	var data []byte
	some, foreign := false, e.kind != ""
	for {
		line, err := e.read()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			if len(data) > 0 && !foreign {
				return data, nil
			}
			data, some, foreign = nil, false, e.kind != ""
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "data":
			if some {
				data = append(data, '\n')
			}
			if some = true; len(data)+len(value) > e.limit {
				return nil, fmt.Errorf("an event of more than %d bytes: %w", e.limit, errTooLarge)
			}
			data = append(data, value...)
		case "event":
			foreign = string(value) != e.kind && (e.kind != "" || len(value) > 0 && string(value) != "message")
		case "id":
			if len(value) <= maxEventID && !bytes.ContainsAny(value, "\x00") {
				e.last = string(value)
			}
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 32); err == nil {
				e.retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
}

// read is the next line, which ends with LF, CR or both. It is valid until the
// next read.
func (e *sse) read() ([]byte, error) {
	e.line = e.line[:0]
	for {
		if _, err := e.r.Peek(1); err != nil {
			return nil, err
		}
		got, _ := e.r.Peek(e.r.Buffered())
		if e.cr && got[0] == '\n' {
			got = got[1:]
			e.discard(1)
		}
		e.cr = false
		end := lineEnd(got)
		part := got
		if end >= 0 {
			part = got[:end]
		}
		if len(e.line)+len(part) > e.limit+len("data: ") {
			return nil, fmt.Errorf("an event of more than %d bytes: %w", e.limit, errTooLarge)
		}
		e.line = append(e.line, part...)
		if end < 0 {
			e.discard(len(got))
			continue
		}
		e.cr = got[end] == '\r'
		e.discard(end + 1)
		if !e.opened {
			e.opened = true
			e.line = bytes.TrimPrefix(e.line, []byte("\xef\xbb\xbf"))
		}
		if cap(e.line) > 1<<20 { // a rare long line must not be held
			line := e.line
			e.line = nil
			return line, nil
		}
		return e.line, nil
	}
}

// lineEnd is where the first CR or LF of b stands, -1 if there is none.
func lineEnd(b []byte) int {
	end := bytes.IndexByte(b, '\n')
	if end >= 0 {
		b = b[:end]
	}
	if cr := bytes.IndexByte(b, '\r'); cr >= 0 {
		return cr
	}
	return end
}

func (e *sse) discard(n int) { _, _ = e.r.Discard(n) } // never more than is buffered
