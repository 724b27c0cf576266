package mcp

import (
	"context"
)

// A flight is work that many wait for and one does.
type flight[T any] struct {
	done chan struct{} // closed when val and err are set
	val  T
	err  error
}

func newFlight[T any]() *flight[T] { return &flight[T]{done: make(chan struct{})} }

func (f *flight[T]) land(val T, err error) {
	f.val, f.err = val, err
	close(f.done)
}

func (f *flight[T]) landed() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

func (f *flight[T]) wait(ctx context.Context) (T, error) {
	if f.landed() {
		return f.val, f.err
	}
	select {
	case <-f.done:
		return f.val, f.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
