package providers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	blockSize = 16 << 10 // bytes that are read ahead at most, unless an event is larger
	blockRoom = 1 << 10  // bytes of a block below which a new one is begun
)

// A stream cuts a body into server-sent events, each with the exact bytes that
// it came in. Events lie in blocks that are never used again, so an event may be
// kept, and many small ones cost few allocations.
type stream struct {
	src      io.Reader
	maxEvent int   // bytes of one event
	maxTotal int64 // bytes of all

	block    []byte // block[from:to] is read and not yet taken
	from, to int
	line     int // block[from:line] is whole lines of the next event
	seen     int // block[line:seen] holds no end of a line
	end      int // of the next event in block; 0 while that is not all there
	total    int64
	begun    bool // the byte order mark, if any, is behind
	err      error
}

// errTooLong is a reply that does not end where it must.
var errTooLong = errors.New("too long")

// next is the next event: all lines up to and with a blank one. more says that
// the one behind it has arrived too. At the end of the body it yields what is
// left without a blank line, if anything, and then io.EOF.
func (s *stream) next() (frame []byte, more bool, err error) {
	for s.end == 0 {
		if s.err != nil {
			if s.err != io.EOF || s.from == s.to {
				return nil, false, s.err
			}
			s.end = s.to
			break
		}
		if err := s.fill(); err != nil {
			return nil, false, err
		}
		s.find()
	}
	frame = s.block[s.from:s.end:s.end]
	s.from, s.line, s.seen, s.end = s.end, s.end, max(s.end, s.seen), 0
	s.find()
	return frame, s.end != 0, nil
}

// fill reads on. What it reads may come with the error that ends the body.
func (s *stream) fill() error {
	if len(s.block)-s.to < blockRoom {
		waiting := s.block[s.from:s.to]
		block := make([]byte, max(blockSize, 2*len(waiting)))
		s.to = copy(block, waiting)
		s.line, s.seen = s.line-s.from, s.seen-s.from
		s.block, s.from = block, 0
	}
	n, err := s.src.Read(s.block[s.to:])
	s.to += n
	s.total += int64(n)
	s.err = err
	if s.to-s.from > s.maxEvent {
		return fmt.Errorf("%w: an event is larger than %d bytes", errTooLong, s.maxEvent)
	}
	if s.total > s.maxTotal {
		return fmt.Errorf("%w: larger than %d bytes", errTooLong, s.maxTotal)
	}
	return nil
}

// find looks for the blank line that ends the next event.
func (s *stream) find() {
	have := s.block[:s.to]
	for {
		end, next, ok := lineEnd(have, max(s.line, s.seen), s.err == io.EOF)
		if !ok {
			s.seen = end
			return
		}
		blank := end == s.line
		s.line, s.seen = next, next
		if blank {
			s.end = next
			return
		}
	}
}

// lineEnd finds the end of a line in b[from:], which is LF, CR LF or CR, and
// where the next one begins. Where the line is not all there, end is from where
// to look next time: a CR may have its LF still on the way.
func lineEnd(b []byte, from int, eof bool) (end, next int, ok bool) {
	rest := b[from:]
	if n := bytes.IndexByte(rest, '\n'); n >= 0 {
		rest = rest[:n+1]
	}
	n := bytes.IndexByte(rest, '\r')
	switch {
	case n >= 0 && n+1 < len(rest) && rest[n+1] == '\n':
		return from + n, from + n + 2, true
	case n >= 0 && (from+n+1 < len(b) || eof):
		return from + n, from + n + 1, true
	case n >= 0:
		return from + n, 0, false
	case len(rest) > 0 && rest[len(rest)-1] == '\n':
		return from + len(rest) - 1, from + len(rest), true
	}
	return len(b), 0, false
}

// parse reads the fields of an event: its name, and its data, which is nil if
// there is none. Both alias frame where they can.
func (s *stream) parse(frame []byte) (name, data []byte) {
	if !s.begun {
		s.begun = true
		frame = bytes.TrimPrefix(frame, byteOrderMark)
	}
	for len(frame) > 0 {
		var line []byte
		line, frame = cutLine(frame)
		switch field, value := cutField(line); string(field) {
		case "event":
			name = value
		case "data":
			if data == nil {
				data = value[:len(value):len(value)]
			} else {
				data = append(append(data, '\n'), value...)
			}
		}
	}
	return name, data
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// cutLine cuts the first line off a whole event.
func cutLine(b []byte) (line, rest []byte) {
	end, next, ok := lineEnd(b, 0, true)
	if !ok {
		return b, nil
	}
	return b[:end], b[next:]
}

// cutField cuts a line at its colon. The field of a comment is "".
func cutField(line []byte) (field, value []byte) {
	field, value, _ = bytes.Cut(line, []byte(":"))
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	if value == nil {
		value = line[len(line):] // a field without a colon is there, and empty
	}
	return field, value
}

// reframe writes an event that is like frame but for its data. Comments do not
// go along: nothing has judged them beside what was changed.
func reframe(out, frame, data []byte) []byte {
	frame = bytes.TrimPrefix(frame, byteOrderMark)
	written := false
	for len(frame) > 0 {
		var line []byte
		line, frame = cutLine(frame)
		switch field, _ := cutField(line); {
		case len(field) == 0:
		case string(field) != "data":
			out = append(append(out, line...), '\n')
		case !written:
			written = true
			for rest := data; ; {
				part, after, more := bytes.Cut(rest, []byte("\n"))
				out = append(append(append(out, "data: "...), part...), '\n')
				if !more {
					break
				}
				rest = after
			}
		}
	}
	return append(out, '\n')
}
