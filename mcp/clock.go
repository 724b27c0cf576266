package mcp

import (
	"context"
	"math"
	"time"
)

// A clock ends a request that takes too long.
type clock struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	unlink func() bool
	each   time.Duration
	last   time.Time
	paused time.Time
}

func (s *Server) clock(ctx context.Context, each time.Duration, endless bool) *clock {
	c := &clock{each: each, last: time.Now().Add(max(maxTimeout, each))}
	if endless {
		c.each = math.MaxInt64
	}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.timer = time.AfterFunc(c.each, func() { c.cancel(errTimeout) })
	c.unlink = context.AfterFunc(s.life, func() { c.cancel(errClosed) })
	return c
}

// progress is a sign of life: the request has its time anew.
func (c *clock) progress() {
	if c.timer.Stop() {
		c.timer.Reset(min(c.each, time.Until(c.last)))
	}
}

// pause stops the time while the server waits for the client.
func (c *clock) pause() {
	c.timer.Stop()
	c.paused = time.Now()
}

// resume gives the server the time anew that it had before the pause.
func (c *clock) resume() {
	c.last = c.last.Add(time.Since(c.paused))
	if c.ctx.Err() == nil {
		c.timer.Reset(min(c.each, time.Until(c.last)))
	}
}

func (c *clock) stop() {
	c.timer.Stop()
	c.unlink()
	c.cancel(context.Canceled)
}
