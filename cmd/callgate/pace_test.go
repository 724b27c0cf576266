package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func TestABodyHasAsMuchTimeAsItBrings(t *testing.T) {
	p := pace{grace: 10 * time.Second, rate: 1000, most: time.Minute}
	began := time.Unix(0, 0)
	for _, test := range []struct {
		came int64
		want time.Duration
	}{{0, 10 * time.Second}, {500, 10500 * time.Millisecond}, {20_000, 30 * time.Second}, {1 << 40, time.Minute}} {
		if got := p.until(began, test.came).Sub(began); got != test.want {
			t.Errorf("after %d bytes it has %v, want %v", test.came, got, test.want)
		}
	}
}

// TestABodyMustKeepItsPace sends bodies over a real connection, a piece at each tick.
func TestABodyMustKeepItsPace(t *testing.T) {
	for _, test := range []struct {
		name  string
		piece int // bytes, a hundred times a second
		slow  bool
	}{
		{"a byte now and then", 1, true},
		{"fast enough, for longer than the grace", 400, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			read := make(chan error, 1)
			f := listening(t, func(w http.ResponseWriter, r *http.Request) {
				_, err := io.ReadAll(r.Body)
				read <- err
			}, func(f *front) { f.pace = pace{grace: 200 * time.Millisecond, rate: 1000, most: time.Minute} })
			conn, err := net.Dial("tcp", f.addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			chunk := "1\r\nx\r\n"
			if test.piece > 1 {
				chunk = "190\r\n" + strings.Repeat("x", test.piece) + "\r\n" // 400 in hexadecimal
			}
			for i := 0; ; i++ {
				select {
				case err := <-read:
					if slow := errors.Is(err, os.ErrDeadlineExceeded); slow != test.slow {
						t.Errorf("after %d pieces: %v", i, err)
					}
					return
				case <-tick.C:
					if i == 60 && !test.slow {
						chunk = "0\r\n\r\n"
					}
					if i <= 60 || test.slow {
						io.WriteString(conn, chunk) // an error is seen by the reader
					}
				}
			}
		})
	}
}
