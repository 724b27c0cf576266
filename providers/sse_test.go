package providers

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// cutAt reads b in two pieces.
func cutAt(b string, n int) io.Reader {
	return io.MultiReader(strings.NewReader(b[:n]), strings.NewReader(b[n:]))
}

type said struct{ Frame, Name, Data string }

func readStream(src io.Reader, maxEvent int, maxTotal int64) (got []said, err error) {
	s := stream{src: src, maxEvent: maxEvent, maxTotal: maxTotal}
	for {
		frame, _, err := s.next()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return got, err
		}
		name, data := s.parse(frame)
		e := said{string(frame), string(name), string(data)}
		if data == nil {
			e.Data = "<none>"
		}
		got = append(got, e)
	}
}

func TestAStreamIsCutIntoEventsWhereverItsBytesAreCut(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []said
	}{
		{"data alone", "data: {}\n\n", []said{{"data: {}\n\n", "", "{}"}}},
		{"no space behind the colon", "data:{}\n\n", []said{{"data:{}\n\n", "", "{}"}}},
		{"only one space is not data", "data:  x\n\n", []said{{"data:  x\n\n", "", " x"}}},
		{"a name", "event: ping\ndata: {}\n\n", []said{{"event: ping\ndata: {}\n\n", "ping", "{}"}}},
		{"CR LF", "event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", []said{{"event: a\r\ndata: 1\r\n\r\n", "a", "1"}, {"data: 2\r\n\r\n", "", "2"}}},
		{"CR alone", "data: 1\r\rdata: 2\r\r", []said{{"data: 1\r\r", "", "1"}, {"data: 2\r\r", "", "2"}}},
		{"ends of lines mixed", "data: 1\n\rdata: 2\r\n\ndata: 3\r\r\n", []said{{"data: 1\n\r", "", "1"}, {"data: 2\r\n\n", "", "2"}, {"data: 3\r\r\n", "", "3"}}},
		{"data on many lines", "data: {\ndata: }\n\n", []said{{"data: {\ndata: }\n\n", "", "{\n}"}}},
		{"a comment alone", ": keep-alive\n\n", []said{{": keep-alive\n\n", "", "<none>"}}},
		{"a comment before data", ": hi\ndata: 1\n\n", []said{{": hi\ndata: 1\n\n", "", "1"}}},
		{"id and retry", "id: 7\nretry: 10\ndata: 1\n\n", []said{{"id: 7\nretry: 10\ndata: 1\n\n", "", "1"}}},
		{"a byte order mark", "\xef\xbb\xbfdata: 1\n\n", []said{{"\xef\xbb\xbfdata: 1\n\n", "", "1"}}},
		{"data without a colon", "data\n\n", []said{{"data\n\n", "", ""}}},
		{"blank lines", "\n\ndata: 1\n\n", []said{{"\n", "", "<none>"}, {"\n", "", "<none>"}, {"data: 1\n\n", "", "1"}}},
		{"what is left without a blank line", "data: 1\n\ndata: [DONE]", []said{{"data: 1\n\n", "", "1"}, {"data: [DONE]", "", "[DONE]"}}},
		{"the last name counts", "event: a\nevent: b\ndata: 1\n\n", []said{{"event: a\nevent: b\ndata: 1\n\n", "b", "1"}}},
		{"nothing", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for n := range len(tt.in) + 1 {
				got, err := readStream(cutAt(tt.in, n), 1<<10, 1<<10)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Fatalf("cut at byte %d (-want +got):\n%s", n, d)
				}
			}
			if got, err := readStream(iotest.OneByteReader(strings.NewReader(tt.in)), 1<<10, 1<<10); err != nil || !cmp.Equal(got, tt.want) {
				t.Errorf("byte by byte: %v, %v", got, err)
			}
		})
	}
}

func TestMoreSaysThatTheNextEventHasArrived(t *testing.T) {
	s := stream{src: io.MultiReader(strings.NewReader("data: 1\n\ndata: 2\n\ndata:"), strings.NewReader(" 3\n\n")), maxEvent: 100, maxTotal: 100}
	var got []bool
	for range 3 {
		_, more, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, more)
	}
	if want := []bool{true, false, false}; !cmp.Equal(got, want) {
		t.Errorf("more = %v, want %v", got, want)
	}
}

func TestAStreamIsBounded(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("data: "), endlessly("x"))
	if _, err := readStream(endless, 100<<10, 1<<30); err == nil || !strings.Contains(err.Error(), "an event is larger") {
		t.Errorf("an endless event: %v", err)
	}
	if _, err := readStream(endlessly("data: 1\n\n"), 100<<10, 1<<20); err == nil || !strings.Contains(err.Error(), "larger than 1048576") {
		t.Errorf("endless events: %v", err)
	}
}

// endlessly says the same for ever.
func endlessly(s string) io.Reader { return &endless{s: s} }

type endless struct {
	s  string
	at int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.s[e.at]
		e.at = (e.at + 1) % len(e.s)
	}
	return len(p), nil
}

func TestALargeEventCostsTimeInProportion(t *testing.T) {
	const size = 8 << 20
	in := "data: " + strings.Repeat("x", size) + "\n\n"
	reads := 0
	src := readerFunc(func(p []byte) (int, error) { // in small pieces, as from a network
		reads++
		n := copy(p[:min(len(p), 4<<10)], in)
		in = in[n:]
		if n == 0 {
			return 0, io.EOF
		}
		return n, nil
	})
	got, err := readStream(src, 32<<20, 1<<30)
	if err != nil || len(got) != 1 || len(got[0].Data) != size {
		t.Fatalf("%d events after %d reads, %v", len(got), reads, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAnEditedEventKeepsItsFields(t *testing.T) {
	for _, tt := range []struct{ name, frame, data, want string }{
		{"name and id stay", "event: a\nid: 7\ndata: 1\n\n", "2", "event: a\nid: 7\ndata: 2\n\n"},
		{"many lines become those that are needed", "data: 1\ndata: 2\nretry: 5\n\n", "{\n}", "data: {\ndata: }\nretry: 5\n\n"},
		{"ends of lines become LF", "event: a\r\ndata: 1\r\n\r\n", "2", "event: a\ndata: 2\n\n"},
		{"comments go", ": secret\ndata: 1\n\n", "2", "data: 2\n\n"},
		{"a byte order mark goes", "\xef\xbb\xbfdata: 1\n\n", "2", "data: 2\n\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(reframe(nil, []byte(tt.frame), []byte(tt.data))); got != tt.want {
				t.Errorf("= %q, want %q", got, tt.want)
			}
		})
	}
}

// FuzzStream holds that no byte of a stream is lost or moved, and that it is read
// in the same way however it is cut.
func FuzzStream(f *testing.F) {
	for _, s := range []string{"data: 1\n\n", "event: a\r\ndata: b\r\n\r\n", "\r\r\n\n", "\xef\xbb\xbf:\ndata", "id:1\n\ndata:\n\n"} {
		f.Add(s, uint16(3))
	}
	f.Fuzz(func(t *testing.T, in string, cut uint16) {
		whole, err := readStream(strings.NewReader(in), 1<<20, 1<<20)
		if err != nil {
			t.Skip("a stream that is refused whole; other tests are about those")
		}
		var all bytes.Buffer
		for _, e := range whole {
			all.WriteString(e.Frame)
		}
		if all.String() != in {
			t.Fatalf("frames = %q, want %q", all.String(), in)
		}
		for _, src := range []io.Reader{cutAt(in, int(cut)%(len(in)+1)), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
			if got, err := readStream(src, 1<<20, 1<<20); err != nil || !cmp.Equal(got, whole) {
				t.Fatalf("cut: %v, %v, want %v", got, err, whole)
			}
		}
	})
}
