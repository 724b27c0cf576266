package providers

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func FuzzEventStream(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2\x48\xeb\x7d\x98\xc8\xff"), true) // an empty message
	f.Add([]byte("\x00\x00\x00\x1d\x00\x00\x00\x00\xfd\x52\x8c\x5a{'foo':'bar'}\xc3\x65\x39\x36"), false)
	f.Fuzz(func(t *testing.T, doc []byte, wrap bool) {
		u := &unframed{src: bytes.NewReader(doc), max: 1 << 16, wrap: wrap}
		out, err := io.ReadAll(u)
		if err == nil && len(out) > 0 && !bytes.HasSuffix(out, []byte("\n\n")) {
			t.Errorf("not whole events: %q", out)
		}
		if err != nil && !errors.Is(err, errFrame) && !errors.Is(err, errTooLong) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("error = %v", err)
		}
	})
}

func TestEventStreamOfTheKnownMessage(t *testing.T) {
	// the test message of AWS's own SDKs without headers: its checksums are theirs
	u := &unframed{src: bytes.NewReader([]byte("\x00\x00\x00\x1d\x00\x00\x00\x00\xfd\x52\x8c\x5a{'foo':'bar'}\xc3\x65\x39\x36")), max: 100}
	out, err := io.ReadAll(u)
	if want := "event: error\ndata: {'foo':'bar'}\n\n"; err != nil || string(out) != want {
		t.Errorf("%q %v, want %q", out, err, want)
	}
}
