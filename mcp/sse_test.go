package mcp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func drain(s *sse) (events []string, err error) {
	for {
		data, err := s.next()
		if err != nil {
			return events, err
		}
		events = append(events, string(data))
	}
}

func TestAStreamIsReadHoweverItIsCut(t *testing.T) {
	tests := []struct {
		name, stream string
		want         []string
	}{
		{"lines that end with LF", "data: a\n\ndata: b\n\n", []string{"a", "b"}},
		{"lines that end with CR and LF", "event: message\r\ndata: a\r\n\r\ndata: b\r\n\r\n", []string{"a", "b"}},
		{"lines that end with CR", "data: a\r\rdata: b\r\r", []string{"a", "b"}},
		{"a byte order mark", "\xef\xbb\xbfdata: a\n\n", []string{"a"}},
		{"data over several lines", "data: a\ndata\ndata:  b\n\n", []string{"a\n\n b"}},
		{"comments and other fields", ": hello\nid: 7\nretry: 10\nfoo: bar\ndata:a\n\n", []string{"a"}},
		{"an event that only primes the stream", "id: 1\ndata:\n\ndata: a\n\n", []string{"a"}},
		{"an event of another type", "event: endpoint\ndata: /x\n\nevent:message\ndata: a\n\n", []string{"a"}},
		{"an end in the middle of an event", "data: a\n\ndata: b\n", []string{"a"}},
		{"nothing", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, r := range map[string]io.Reader{
				"whole": strings.NewReader(tt.stream), "by the byte": iotest.OneByteReader(strings.NewReader(tt.stream)),
				"with the end": iotest.DataErrReader(strings.NewReader(tt.stream)),
			} {
				got, err := drain(newSSE(r, 100))
				if err != io.EOF {
					t.Errorf("%s: %v", name, err)
				}
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Errorf("%s: %s", name, d)
				}
			}
		})
	}
}

func TestAnEventThatIsTooLargeEndsTheStream(t *testing.T) {
	for name, stream := range map[string]string{
		"in one line":     "data: " + strings.Repeat("x", 200) + "\n\n",
		"in many lines":   strings.Repeat("data: xxxxxxxx\n", 20) + "\n",
		"without any end": strings.Repeat("x", 200),
	} {
		if _, err := drain(newSSE(strings.NewReader(stream), 100)); err == io.EOF {
			t.Errorf("%s: it was read to its end", name)
		}
	}
}

func TestAStreamThatBreaksSaysSo(t *testing.T) {
	broken := errors.New("broken")
	got, err := drain(newSSE(io.MultiReader(strings.NewReader("data: a\n\ndata: b"), iotest.ErrReader(broken)), 100))
	if err != broken || len(got) != 1 {
		t.Errorf("events %q, error %v", got, err)
	}
}

func FuzzSSE(f *testing.F) {
	for _, s := range []string{"data: a\r\n\r\ndata:b\n\n", "\xef\xbb\xbfevent: x\rdata: y\r\r", ":\n\n", "data\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, err := drain(newSSE(bytes.NewReader(stream), 64))
		split, err2 := drain(newSSE(iotest.OneByteReader(bytes.NewReader(stream)), 64))
		if d := cmp.Diff(whole, split); d != "" || (err == io.EOF) != (err2 == io.EOF) {
			t.Fatalf("%q is read differently when cut: %s, %v, %v", stream, d, err, err2)
		}
		for _, e := range whole {
			if len(e) > 64 || strings.ContainsRune(e, '\r') {
				t.Fatalf("%q gave the event %q", stream, e)
			}
		}
	})
}
