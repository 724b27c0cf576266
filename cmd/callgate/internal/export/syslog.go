package export

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// A Syslog is a [Sink] that sends items as messages of RFC 5424, over UDP, TCP or TLS. Over
// the latter each has its length before it (RFC 6587, RFC 5425). The protocol does not say
// what arrived: what was on its way when a connection broke may be lost.
type Syslog struct {
	Network string // udp, tcp, tls
	Addr    string // host:port
	Form    Form
	TLS     *tls.Config

	conn net.Conn
}

const (
	audited = 13 << 3 // facility: log audit
	warning = 4
	info    = 6
)

// Send implements [Sink].
func (s *Syslog) Send(ctx context.Context, items []Item) error {
	if err := s.dial(ctx); err != nil {
		return err
	}
	if at, ok := ctx.Deadline(); ok {
		_ = s.conn.SetWriteDeadline(at)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "-"
	}
	var all bytes.Buffer
	for _, it := range items {
		doc, err := s.Form(it)
		if err != nil {
			return err
		}
		m := message(it, host, doc)
		if s.Network == "udp" {
			if _, err := s.conn.Write(m); err != nil {
				return s.broken(err)
			}
			continue
		}
		all.WriteString(strconv.Itoa(len(m)))
		all.WriteByte(' ')
		all.Write(m)
	}
	if all.Len() > 0 {
		if _, err := s.conn.Write(all.Bytes()); err != nil {
			return s.broken(err)
		}
	}
	return nil
}

func (s *Syslog) dial(ctx context.Context) error {
	if s.conn != nil {
		if s.alive() {
			return nil
		}
		s.conn.Close()
		s.conn = nil
	}
	var err error
	if s.Network == "tls" {
		s.conn, err = (&tls.Dialer{Config: s.TLS}).DialContext(ctx, "tcp", s.Addr)
	} else {
		s.conn, err = new(net.Dialer).DialContext(ctx, s.Network, s.Addr)
	}
	return err
}

// alive says whether the other side has not hung up: it never says anything, so there is
// nothing to read.
func (s *Syslog) alive() bool {
	if s.Network == "udp" {
		return true
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := s.conn.Read(make([]byte, 1))
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

func (s *Syslog) broken(err error) error {
	s.conn.Close()
	s.conn = nil
	return err
}

// message is one of RFC 5424: a warning where a call was not allowed.
func message(it Item, host string, doc []byte) []byte {
	severity, id, at := info, "change", int64(0)
	if it.Call != nil {
		id, at = "call", max(it.Call.Ended, it.Call.At)
		if it.Call.Effect != "allow" {
			severity = warning
		}
	} else {
		at = it.Change.At
	}
	return fmt.Appendf(nil, "<%d>1 %s %s callgate %d %s - %s", audited|severity, time.UnixMicro(at).UTC().Format("2006-01-02T15:04:05.000000Z"), host, os.Getpid(), id, doc)
}
