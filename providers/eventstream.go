package providers

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/tidwall/gjson"
)

// eventStream is what AWS calls its own form of streams.
const eventStream = "application/vnd.amazon.eventstream"

// unframed reads AWS's form of a stream as server-sent events, which are read on as all
// others are: an event is named by its :event-type, or by the exception that it is. Where
// Claude speaks, the events are Anthropic's own, which are wrapped in chunks there.
type unframed struct {
	src  io.Reader
	max  int // bytes of one message
	wrap bool
	head [12]byte
	out  bytes.Buffer // of what was read, and not asked for yet
}

// Read implements [io.Reader].
func (u *unframed) Read(p []byte) (int, error) {
	for u.out.Len() == 0 {
		if err := u.message(); err != nil {
			return 0, err
		}
	}
	return u.out.Read(p)
}

// errFrame is that a message is not as AWS frames them.
var errFrame = errors.New("the event stream is broken")

// message reads one message: the length of all of it and of its headers, a checksum of
// these, the headers, the payload, a checksum of all.
func (u *unframed) message() error {
	switch _, err := io.ReadFull(u.src, u.head[:]); {
	case errors.Is(err, io.EOF): // and not in the middle of one
		return io.EOF
	case err != nil:
		return err
	}
	total, headers := int64(binary.BigEndian.Uint32(u.head[:])), int64(binary.BigEndian.Uint32(u.head[4:]))
	switch {
	case crc32.ChecksumIEEE(u.head[:8]) != binary.BigEndian.Uint32(u.head[8:]):
		return fmt.Errorf("%w: the checksum of a length is wrong", errFrame)
	case total > int64(u.max):
		return fmt.Errorf("%w: an event of more than %d bytes", errTooLong, u.max)
	case total < 16 || headers > total-16:
		return fmt.Errorf("%w: its lengths make no sense", errFrame)
	}
	rest := make([]byte, total-12)
	if _, err := io.ReadFull(u.src, rest); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	sum := crc32.NewIEEE()
	_, _ = sum.Write(u.head[:])
	_, _ = sum.Write(rest[:len(rest)-4])
	if sum.Sum32() != binary.BigEndian.Uint32(rest[len(rest)-4:]) {
		return fmt.Errorf("%w: the checksum of an event is wrong", errFrame)
	}
	said, err := frameHeaders(rest[:headers])
	if err != nil {
		return err
	}
	return u.tell(said, rest[headers:len(rest)-4])
}

// tell writes a message as a server-sent event.
func (u *unframed) tell(said map[string]string, payload []byte) error {
	name := said[":event-type"]
	failed := said[":message-type"] != "event"
	if failed {
		name = cmp.Or(said[":exception-type"], said[":error-code"], "error")
	}
	if failed && len(payload) == 0 {
		payload = append(append([]byte(`{"message":`), quote(said[":error-message"])...), '}')
	}
	switch {
	case u.wrap && failed:
		name, payload = "error", anthropicError(name, gjson.GetBytes(payload, "message").Str)
	case u.wrap:
		inner, err := base64.StdEncoding.DecodeString(gjson.GetBytes(payload, "bytes").Str)
		if err != nil || len(inner) == 0 {
			return nil // nothing of Anthropic's
		}
		name, payload = gjson.GetBytes(inner, "type").Str, inner
	}
	if strings.ContainsAny(name, "\r\n") {
		return fmt.Errorf("%w: the name of an event has lines", errFrame)
	}
	u.out.WriteString("event: " + name + "\n")
	for line := range bytes.SplitSeq(payload, []byte("\n")) {
		u.out.WriteString("data: ")
		u.out.Write(bytes.TrimSuffix(line, []byte("\r")))
		u.out.WriteByte('\n')
	}
	u.out.WriteByte('\n')
	return nil
}

// anthropicError is an exception of AWS as an error event of Anthropic's API.
func anthropicError(exception, message string) []byte {
	kind := "api_error"
	switch strings.ToLower(exception) {
	case "throttlingexception":
		kind = "rate_limit_error"
	case "serviceunavailableexception":
		kind = "overloaded_error"
	case "modeltimeoutexception":
		kind = "timeout_error"
	case "validationexception":
		kind = "invalid_request_error"
	}
	b := append([]byte(`{"type":"error","error":{"type":`), quote(kind)...)
	return append(append(append(b, `,"message":`...), quote(cmp.Or(message, exception))...), "}}"...)
}

// frameHeaders reads the headers of a message that are texts.
func frameHeaders(b []byte) (map[string]string, error) {
	said := make(map[string]string, 4)
	for len(b) > 0 {
		n := int(b[0])
		if len(b) < n+2 {
			return nil, fmt.Errorf("%w: a header is cut", errFrame)
		}
		name, kind := string(b[1:n+1]), b[n+1]
		b = b[n+2:]
		size, before := 0, 0
		switch kind {
		case 0, 1: // true, false
		case 2:
			size = 1
		case 3:
			size = 2
		case 4:
			size = 4
		case 5, 8: // a long, a time
			size = 8
		case 9: // a UUID
			size = 16
		case 6, 7: // bytes, a text
			if len(b) < 2 {
				return nil, fmt.Errorf("%w: a header is cut", errFrame)
			}
			size, before = int(binary.BigEndian.Uint16(b)), 2
		default:
			return nil, fmt.Errorf("%w: a header of no known type", errFrame)
		}
		if len(b) < before+size {
			return nil, fmt.Errorf("%w: a header is cut", errFrame)
		}
		if kind == 7 {
			said[name] = string(b[before : before+size])
		}
		b = b[before+size:]
	}
	return said, nil
}
