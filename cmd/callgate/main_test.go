package main

import (
	"fmt"
	"os"
	"testing"

	"callgate/mcp"
)

// TestMain is also the helper of servers that these tests start: it is this program
// that is started again, as callgate is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == mcp.ConfineWord {
		fmt.Fprintf(os.Stderr, "callgate: %v\n", mcp.Confine(os.Args[2:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}
