package export

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"strconv"
	"time"
)

// A Form makes the bytes of an item.
type Form func(Item) ([]byte, error)

// InOCSF is a Form of OCSF's events; version is callgate's.
func InOCSF(version string) Form {
	return func(it Item) ([]byte, error) { return json.Marshal(OCSF(it, version)) }
}

// InJSON is a Form of callgate's own JSON: calls as `callgate audit query --json` has them,
// and changes as they stand in the ledger.
func InJSON(it Item) ([]byte, error) {
	if it.Call != nil {
		return json.Marshal(it.Call)
	}
	return json.Marshal(it.Change)
}

// A Webhook is a [Sink] that posts items as one JSON array. With a Secret it signs them in
// Callgate-Signature; see [Signature].
type Webhook struct {
	URL    string
	Header http.Header
	Secret string
	Form   Form
	Client *http.Client
}

// Send implements [Sink].
func (w *Webhook) Send(ctx context.Context, items []Item) error {
	var body bytes.Buffer
	for i, it := range items {
		doc, err := w.Form(it)
		if err != nil {
			return err
		}
		body.WriteByte("[,"[min(i, 1)])
		body.Write(doc)
	}
	body.WriteByte(']')
	header := w.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	if w.Secret != "" {
		header.Set("Callgate-Signature", Signature(w.Secret, time.Now(), body.Bytes()))
	}
	return post(ctx, w.Client, w.URL, header, body.Bytes())
}

// Signature says in the name of secret that body was sent at a time: t=<Unix seconds>,v1=<the
// HMAC-SHA256 of the seconds, a dot and the body, in hexadecimal>.
func Signature(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// post sends a JSON document, and says what a server says that does not take it.
func post(ctx context.Context, client *http.Client, url string, header http.Header, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if header != nil {
		req.Header = header.Clone()
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	var about *neturl.Error
	if errors.As(err, &about) { // without the URL, in which a secret may be
		return about.Err
	}
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	if res.StatusCode/100 == 2 {
		return nil
	}
	err = fmt.Errorf("it answers %s", res.Status)
	if after, bad := strconv.Atoi(res.Header.Get("Retry-After")); bad == nil {
		return &Later{After: time.Duration(after) * time.Second, Err: err}
	}
	return err
}
