package providers

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"callgate/firewall"
)

func readAsForm(body []byte) (*form, error) {
	return readForm(&http.Request{Header: http.Header{"Content-Type": {formType + "; boundary=b"}}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: -1}, 1<<20)
}

// FuzzForm reads what may be a form. One that is taken is a document for the strict
// parser, and the form that is written from it is read as the same.
func FuzzForm(f *testing.F) {
	whole := "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"ä.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n\x00\xff\r\n--b--\r\n"
	f.Add([]byte(whole))
	f.Add([]byte(strings.ReplaceAll(whole, "\r\n", "\n")))
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=\"a[]\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"a[]\"\r\n\r\n2\r\n--b--"))
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name*=utf-8''%41\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=41\r\n--b--"))
	f.Add([]byte("--b--"))
	f.Fuzz(func(t *testing.T, body []byte) {
		sent, err := readAsForm(body)
		if err != nil {
			if e := (*firewall.Error)(nil); sent != nil || !asRefusal(err, &e) {
				t.Fatalf("%v is no refusal", err)
			}
			return
		}
		if _, err := firewall.ParseBody(sent.doc, firewall.Limits{}); err != nil {
			t.Fatalf("%q: %v", sent.doc, err)
		}
		l, err := sent.write(sent.doc)
		if err != nil {
			t.Fatalf("%q cannot be written: %v", sent.doc, err)
		}
		written, err := io.ReadAll(l.open())
		if err != nil || int64(len(written)) != l.size {
			t.Fatalf("%d bytes, %v; want %d", len(written), err, l.size)
		}
		again, err := readForm(&http.Request{Header: http.Header{"Content-Type": {l.kind}}, Body: io.NopCloser(bytes.NewReader(written)), ContentLength: l.size}, 4<<20)
		if err != nil {
			t.Fatalf("%q is written as %q: %v", sent.doc, written, err)
		}
		if !bytes.Equal(again.doc, sent.doc) || len(again.files) != len(sent.files) {
			t.Fatalf("%q became %q", sent.doc, again.doc)
		}
		for i := range sent.files {
			if !bytes.Equal(sent.files[i], again.files[i]) {
				t.Fatalf("file %d became %q", i, again.files[i])
			}
		}
	})
}

func asRefusal(err error, e **firewall.Error) bool {
	refused, ok := err.(*firewall.Error)
	*e = refused
	return ok && refused.Code != firewall.Internal && refused.Reason != ""
}

type writes int

func (n *writes) Write(b []byte) (int, error) { *n++; return len(b), nil }

// Two writes cost a system call more, and net/http makes two for a reader that it does not
// know.
func TestHeadAndBodyLeaveInOneWrite(t *testing.T) {
	l := letterOf("application/json", []byte(`{"model":"gpt"}`))
	req, err := http.NewRequest(http.MethodPost, "http://127.0.0.1/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Body, req.ContentLength = l.open(), l.size
	var n writes
	w := bufio.NewWriterSize(&n, 16<<10)
	if err := req.Write(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil || n != 1 {
		t.Errorf("%d writes, %v", n, err)
	}
}
