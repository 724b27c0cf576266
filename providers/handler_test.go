package providers_test

import (
	"io"
	"net/http"
	"testing"
)

func TestBytesPassUntouched(t *testing.T) {
	const (
		request = `{ "model":"gpt", "big":12345678901234567890, "unknown":{"x":[1.0,1e2]},"messages":[] }`
		reply   = `{ "id":"x","choices":[],"new_field":12345678901234567890 }` + "\n"
	)
	var got, query string
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, query = string(b), r.URL.RawQuery
		answer(200, "application/json", reply)(w, r)
	}))
	h := newHouse(t, up)
	resp, body := post(t, h.url(t), "/v1/chat/completions?beta=true&x=%20", request)
	if resp.StatusCode != 200 || body != reply {
		t.Errorf("reply = %d %q, want %q", resp.StatusCode, body, reply)
	}
	if got != request || query != "beta=true&x=%20" {
		t.Errorf("upstream got %q ? %q, want %q", got, query, request)
	}
	if got := types(h.records()); got != "opened closed:ok" {
		t.Errorf("records = %q", got)
	}
}
