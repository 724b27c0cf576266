package providers

import (
	"errors"
	"sync"
	"time"

	"callgate/firewall"

	"github.com/gorilla/websocket"
)

const (
	pingEvery = 30 * time.Second
	pongIn    = 3 * pingEvery // a peer that says nothing for so long, not even to a ping, is gone
)

// A socket is one side of a session: messages that are one JSON text each. One goroutine
// reads; many may write.
type socket struct {
	conn *websocket.Conn
	mu   sync.Mutex // held while something is written

	reading sync.Mutex // guards over, and the deadline of what is read
	over    bool       // nobody reads any more
}

// newSocket takes messages of at most max bytes from conn.
func newSocket(conn *websocket.Conn, max int) *socket {
	s := &socket{conn: conn}
	conn.SetReadLimit(int64(max))
	conn.SetPongHandler(func(string) error { return s.wait() })
	return s
}

// wait lets the peer be silent for another while.
func (s *socket) wait() error {
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.over {
		return errOver
	}
	return s.conn.SetReadDeadline(time.Now().Add(pongIn))
}

// stop lets go of who reads.
func (s *socket) stop() {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.over = true
	_ = s.conn.SetReadDeadline(time.Now()) // one that is closed has let go already
}

var errOver = errors.New("the session is over")

// errNoText is a message that is no text.
var errNoText = errors.New("a message that is no text")

// read is the next message.
func (s *socket) read() ([]byte, error) {
	if err := s.wait(); err != nil {
		return nil, err
	}
	kind, doc, err := s.conn.ReadMessage()
	if err == nil && kind != websocket.TextMessage {
		err = errNoText
	}
	return doc, err
}

// write sends a message, and bounds how long that may take.
func (s *socket) write(doc []byte) error {
	if len(doc) == 0 { // an event that says nothing
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	err := s.conn.WriteMessage(websocket.TextMessage, doc)
	if errors.Is(err, websocket.ErrCloseSent) { // the peer has said goodbye, as reading tells
		return nil
	}
	return err
}

// ping asks the peer for a sign of life, now and then, until done.
func (s *socket) ping(done <-chan struct{}) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = s.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(pingEvery)) // reading tells what is wrong
		case <-done:
			return
		}
	}
}

// close says goodbye in a code of RFC 6455, and hangs up.
func (s *socket) close(code int, reason string) {
	_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(time.Second)) // whom it is for may be gone
	_ = s.conn.Close()
}

// saidGoodbye says whether err is the end of a connection that its peer wanted.
func saidGoodbye(err error) bool {
	return websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived)
}

// closing is the code of RFC 6455 with which a session ends, as err says.
func closing(err error) int {
	var e *firewall.Error
	switch {
	case err == nil:
		return websocket.CloseNormalClosure
	case !errors.As(err, &e):
		return websocket.CloseInternalServerErr
	}
	switch e.Code {
	case firewall.Unauthenticated, firewall.Denied, firewall.Pending, firewall.Exhausted, firewall.Invalid, firewall.Timeout:
		return websocket.ClosePolicyViolation
	case firewall.Canceled:
		return websocket.CloseGoingAway
	}
	return websocket.CloseInternalServerErr
}
