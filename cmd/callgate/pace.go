package main

import (
	"io"
	"net/http"
	"time"
)

// A pace is how fast a body must arrive: a client that sends a byte now and then
// holds memory and a connection for next to nothing.
type pace struct {
	grace time.Duration // before it counts
	rate  int64         // bytes a second, on average since the beginning
	most  time.Duration // for all of it
}

// until is when a body that began and of which n bytes have come must go on.
func (p *pace) until(began time.Time, n int64) time.Time {
	return began.Add(min(p.most, p.grace+time.Duration(float64(n)/float64(p.rate)*float64(time.Second))))
}

// A pacedBody gives a body time as it arrives, and lifts the deadline of one that
// has arrived: what reads on from the connection then only waits for the client to
// hang up.
type pacedBody struct {
	io.ReadCloser
	rc    *http.ResponseController
	pace  *pace
	began time.Time
	came  int64
	until time.Time // as the connection has it
}

// paced is body, under a deadline if the connection takes one.
func (p *pace) paced(body io.ReadCloser, w http.ResponseWriter) io.ReadCloser {
	b := &pacedBody{ReadCloser: body, rc: http.NewResponseController(w), pace: p, began: time.Now()}
	b.until = p.until(b.began, 0)
	if b.rc.SetReadDeadline(b.until) != nil {
		return body
	}
	return b
}

func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.rc.SetReadDeadline(time.Time{})
		return n, err
	}
	b.came += int64(n)
	if until := b.pace.until(b.began, b.came); until.Sub(b.until) > b.pace.grace/16 { // not for each small piece
		b.until = until
		b.rc.SetReadDeadline(until)
	}
	return n, err
}
