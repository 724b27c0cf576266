package mcp

import (
	"log/slog"
	"testing"
	"time"
)

func TestARestartWaitsLongerEachTime(t *testing.T) {
	var b backoff
	near := func(got, want time.Duration) bool { return got >= want*8/10 && got <= want*12/10 }
	want := 100 * time.Millisecond
	for i := range 12 {
		if got := b.after(time.Second); !near(got, want) {
			t.Errorf("wait %d is %v, want about %v", i, got, want)
		}
		want = min(2*want, 30*time.Second)
	}
	if got := b.after(time.Minute); !near(got, 100*time.Millisecond) {
		t.Errorf("after a minute up it waits %v", got)
	}
}

func TestWhatAServerWritesIsLoggedWithinBounds(t *testing.T) {
	var l limiter
	now, logged := time.Unix(0, 0), 0
	for range 1000 {
		if now = now.Add(10 * time.Millisecond); l.allow(now, slog.New(slog.DiscardHandler)) {
			logged++
		}
	}
	if logged != 1000/2 { // 50 of the 100 in each second
		t.Errorf("%d lines were logged", logged)
	}
}
