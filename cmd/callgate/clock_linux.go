package main

import "golang.org/x/sys/unix"

// synchronized says whether the system's clock is kept right, as far as the system
// knows.
func synchronized() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err != nil || state != unix.TIME_ERROR // who may not ask learns nothing
}
