package providers

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"callgate/firewall"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"
)

const (
	maxParts = 128     // of a form
	maxField = 1 << 20 // bytes of a field that is no file
	maxLabel = 256     // bytes of a name in a form, of a field or a file
	formType = "multipart/form-data"
)

// A form is a request of multipart/form-data. Its fields, and what is to be known of
// its files, are a document: that is what is judged, and what the form that goes on is
// written from. What is in the files stays beside it.
//
//	{"model":"whisper-1","file":{"filename":"a.mp3","content_type":"audio/mpeg","bytes":4096,"sha256":"…"}}
//
// A name that stands in the form more than once has a list. So no peer can read another
// form out of the same bytes: those that came are never sent.
type form struct {
	doc   []byte
	files [][]byte // in the order of doc
	size  int64    // bytes of all files
}

// part is what a form says under one name.
type part struct {
	name   string
	values [][]byte // JSON
	files  [][]byte // of those values that are files
}

// readForm reads the form that r is, of at most max bytes.
func readForm(r *http.Request, max int) (*form, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != formType || params["boundary"] == "" {
		return nil, firewall.Refuse(firewall.Invalid, "this path takes %s: send the file, and what else there is to say, as parts of a form", formType)
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, firewall.Refuse(firewall.Invalid, "the body is encoded: send it without Content-Encoding")
	}
	tooLarge := &firewall.Error{Code: firewall.Invalid, Reason: fmt.Sprintf("the body is larger than %d bytes", max), Err: errTooLarge}
	if r.ContentLength > int64(max) {
		return nil, tooLarge
	}
	src := &bounded{src: r.Body, left: int64(max)}
	f, err := parseForm(multipart.NewReader(src, params["boundary"]), max)
	if err == nil {
		_, err = io.Copy(io.Discard, src) // only at its end is a hang-up seen
	}
	if err == nil && !src.endsWith("--"+params["boundary"]+"--") {
		err = io.ErrUnexpectedEOF // the reader takes a head that is cut off for the end
	}
	var refused *firewall.Error
	switch {
	case err == nil:
		return f, nil
	case errors.Is(src.err, errTooLong):
		return nil, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &firewall.Error{Code: firewall.Timeout, Reason: "the body did not arrive in time: send it faster", Err: errors.Join(errSlow, err)}
	case errors.As(err, &refused):
		return nil, refused
	case src.err != nil && src.err != io.EOF:
		return nil, &firewall.Error{Code: firewall.Canceled, Reason: "the body did not arrive whole", Err: err}
	}
	return nil, &firewall.Error{Code: firewall.Invalid, Reason: "the form cannot be read: it is cut off, or no " + formType, Err: err}
}

// bounded is a reader that ends with an error behind so many bytes. It remembers what
// ended it, and its last bytes.
type bounded struct {
	src  io.Reader
	left int64
	err  error
	tail []byte
}

const maxTailed = 128 // bytes; a boundary has at most 70

// endsWith says whether s was the last that was read, but for space.
func (b *bounded) endsWith(s string) bool {
	return bytes.HasSuffix(bytes.TrimRight(b.tail, " \t\r\n"), []byte(s))
}

// Read implements [io.Reader].
func (b *bounded) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	if b.left -= int64(n); b.left < 0 {
		n, err = 0, errTooLong
	}
	b.err = err
	if n >= maxTailed {
		b.tail = append(b.tail[:0], p[n-maxTailed:n]...)
	} else {
		b.tail = append(b.tail, p[:n]...)
		b.tail = b.tail[max(0, len(b.tail)-maxTailed):]
	}
	return n, err
}

func parseForm(r *multipart.Reader, max int) (*form, error) {
	var parts []*part
	for n := 0; ; n++ {
		p, err := r.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if n == maxParts {
			return nil, firewall.Refuse(firewall.Invalid, "the form has more than %d parts: send fewer", maxParts)
		}
		if parts, err = addPart(parts, p, max); err != nil {
			return nil, err
		}
	}
	return newForm(parts), nil
}

// addPart reads p, the next part of a form, to those before.
func addPart(parts []*part, p *multipart.Part, max int) ([]*part, error) {
	name, filename, isFile, err := disposition(p.Header)
	if err != nil {
		return nil, err
	}
	if base := strings.TrimSuffix(name, "[]"); base != name && strings.EqualFold(base, "model") { // some servers would take it for the model
		return nil, firewall.Refuse(firewall.Invalid, "the form names its model twice: write model in lower case, once")
	}
	var at *part
	for _, q := range parts {
		if q.name == name {
			at = q
		}
	}
	if at == nil {
		at = &part{name: name}
		parts = append(parts, at)
	} else if !isFile && !strings.HasSuffix(name, "[]") { // some servers take the first one, some the last
		return nil, firewall.Refuse(firewall.Invalid, "the form names %s twice: write it once, or as a list, %s[]", clip(name), clip(name))
	}
	if !isFile {
		max = maxField
	}
	content, err := readAll(p, -1, max)
	switch {
	case errors.Is(err, errTooLong):
		return nil, firewall.Refuse(firewall.Invalid, "the field %s is larger than %d bytes", clip(name), max)
	case err != nil:
		return nil, err
	case isFile:
		at.values, at.files = append(at.values, aboutFile(filename, p.Header.Get("Content-Type"), content)), append(at.files, content)
		return parts, nil
	case !utf8.Valid(content):
		return nil, firewall.Refuse(firewall.Invalid, "the field %s is not valid UTF-8", clip(name))
	}
	at.values = append(at.values, quote(string(content)))
	return parts, nil
}

// disposition is what the head of a part says of it: the name of a field, and of the
// file that is in it, if it is one.
func disposition(h textproto.MIMEHeader) (name, filename string, isFile bool, err error) {
	if e := h.Get("Content-Transfer-Encoding"); e != "" && !strings.EqualFold(e, "binary") && !strings.EqualFold(e, "8bit") && !strings.EqualFold(e, "7bit") {
		return "", "", false, firewall.Refuse(firewall.Invalid, "a part of the form is encoded: send it as it is")
	}
	kind, params, wrong := mime.ParseMediaType(h.Get("Content-Disposition"))
	name, filename = params["name"], params["filename"]
	_, isFile = params["filename"]
	switch {
	case wrong != nil, kind != "form-data", name == "", len(h["Content-Disposition"]) != 1:
		err = firewall.Refuse(firewall.Invalid, "a part of the form has no name")
	case !plainLabel(name), !plainLabel(filename):
		err = firewall.Refuse(firewall.Invalid, "a name in the form is longer than %d bytes, or has characters that no name has", maxLabel)
	}
	return name, filename, isFile, err
}

// plainLabel says whether a name can be written in a form so that all read the same.
func plainLabel(s string) bool {
	return len(s) <= maxLabel && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\\' })
}

// aboutFile is what the document of a form says of a file.
func aboutFile(name, kind string, content []byte) []byte {
	if media, _, err := mime.ParseMediaType(kind); err == nil && len(media) <= maxLabel {
		kind = media
	} else {
		kind = "application/octet-stream"
	}
	sum := sha256.Sum256(content)
	doc := append([]byte(`{"filename":`), quote(name)...)
	doc = append(append(doc, `,"content_type":`...), quote(kind)...)
	doc = append(append(doc, `,"bytes":`...), strconv.Itoa(len(content))...)
	return append(append(append(doc, `,"sha256":"`...), hex.EncodeToString(sum[:])...), `"}`...)
}

func newForm(parts []*part) *form {
	f := &form{doc: []byte{'{'}}
	for i, p := range parts {
		if i > 0 {
			f.doc = append(f.doc, ',')
		}
		f.doc = append(append(f.doc, quote(p.name)...), ':')
		if len(p.values) == 1 {
			f.doc = append(f.doc, p.values[0]...)
		} else {
			f.doc = append(append(append(f.doc, '['), bytes.Join(p.values, []byte{','})...), ']')
		}
		f.files = append(f.files, p.files...)
		for _, file := range p.files {
			f.size += int64(len(file))
		}
	}
	f.doc = append(f.doc, '}')
	return f
}

// A letter is a body that is sent in pieces, which are not copied.
type letter struct {
	kind   string // Content-Type
	pieces [][]byte
	size   int64
}

// open is the letter from its beginning.
func (l *letter) open() io.ReadCloser {
	if l.size == 0 {
		return http.NoBody
	}
	if len(l.pieces) == 1 { // net/http knows this kind of reader: head and body leave in one write
		return io.NopCloser(bytes.NewReader(l.pieces[0]))
	}
	readers := make([]io.Reader, len(l.pieces))
	for i, p := range l.pieces {
		readers[i] = bytes.NewReader(p)
	}
	return io.NopCloser(io.MultiReader(readers...))
}

// letterOf is a body of one piece.
func letterOf(kind string, doc []byte) *letter {
	return &letter{kind: kind, pieces: [][]byte{doc}, size: int64(len(doc))}
}

// write makes the form that doc, which is f's as it was judged, stands for.
func (f *form) write(doc []byte) (*letter, error) {
	var head bytes.Buffer
	w := multipart.NewWriter(&head)
	l := &letter{kind: w.FormDataContentType()}
	add := func(b []byte) {
		l.pieces = append(l.pieces, b)
		l.size += int64(len(b))
	}
	files := f.files
	var wrong error
	one := func(name string, v gjson.Result) bool {
		h := make(textproto.MIMEHeader)
		var content []byte
		switch {
		case v.Type == gjson.String:
			h.Set("Content-Disposition", `form-data; name="`+name+`"`)
			content = []byte(v.Str)
		case v.IsObject() && len(files) > 0 && plainLabel(v.Get("filename").Str) && plainLabel(v.Get("content_type").Str):
			h.Set("Content-Disposition", `form-data; name="`+name+`"; filename="`+v.Get("filename").Str+`"`)
			h.Set("Content-Type", v.Get("content_type").Str)
			content, files = files[0], files[1:]
		default:
			wrong = firewall.Refuse(firewall.Denied, "a guard changed the form so that it cannot be sent")
			return false
		}
		if _, wrong = w.CreatePart(h); wrong != nil {
			return false
		}
		add(bytes.Clone(head.Bytes()))
		head.Reset()
		add(content)
		return true
	}
	gjson.ParseBytes(doc).ForEach(func(name, v gjson.Result) bool {
		if !plainLabel(name.Str) {
			wrong = firewall.Refuse(firewall.Denied, "a guard changed the form so that it cannot be sent")
			return false
		}
		if !v.IsArray() {
			return one(name.Str, v)
		}
		v.ForEach(func(_, item gjson.Result) bool { return one(name.Str, item) })
		return wrong == nil
	})
	if wrong == nil && len(files) > 0 {
		wrong = firewall.Refuse(firewall.Denied, "a guard changed the form so that it cannot be sent")
	}
	if wrong != nil {
		return nil, wrong
	}
	wrong = w.Close()
	add(head.Bytes())
	return l, wrong
}

// unquoted is the text that a document says which is a string.
func unquoted(doc []byte) []byte {
	out, err := jsontext.AppendUnquote(nil, doc)
	if err != nil {
		return nil // cannot happen: it was parsed
	}
	return out
}
