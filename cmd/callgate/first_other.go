//go:build !linux

package main

import "errors"

func isFirst([]string) bool { return false }

func first([]string) (int, error) { return 0, errors.ErrUnsupported }
