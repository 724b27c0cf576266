package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

const maxBody = 64 << 10

// answer writes v as JSON.
func answer(w http.ResponseWriter, status int, v any) {
	doc, err := json.Marshal(v)
	if err != nil {
		status, doc = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"the answer could not be encoded"}}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(append(doc, '\n'))
}

// A Failure is why a request was not carried out.
type Failure struct {
	Code    string   `json:"code"` // unauthenticated, forbidden, not_found, invalid, conflict, unavailable, internal
	Message string   `json:"message"`
	Details []string `json:"details,omitempty"` // each mistake, where there are several
}

func refuse(w http.ResponseWriter, status int, code, format string, args ...any) {
	answer(w, status, map[string]Failure{"error": {Code: code, Message: fmt.Sprintf(format, args...)}})
}

// read fills v with the request's body, strictly. It answers and returns false
// where that cannot be done. No body is an empty object.
func read(w http.ResponseWriter, r *http.Request, v any) bool { return readAtMost(w, r, v, maxBody) }

func readAtMost(w http.ResponseWriter, r *http.Request, v any, limit int64) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if errors.Is(err, io.EOF) {
		return true
	}
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("more than one JSON value")
		}
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid", "the body is not the JSON that is wanted here: %v", err)
		return false
	}
	return true
}
