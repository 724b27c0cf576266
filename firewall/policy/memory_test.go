//go:build !race

package policy_test

import "testing"

// The race detector makes pools forget at random, so this is measured without it.
func TestADecisionWithoutConditionsCostsNoMemory(t *testing.T) {
	p := load(t, book(100))
	caller := by("agent:bot", "role:r2")
	call := tool(caller, "shop", "look", `{"amount":40}`)
	if n := testing.AllocsPerRun(1000, func() { p.Decide(call) }); n != 0 {
		t.Errorf("Decide makes %v allocations", n)
	}
	if n := testing.AllocsPerRun(1000, func() { p.May(&caller, "tool:shop/look", "call") }); n != 0 {
		t.Errorf("May makes %v allocations", n)
	}
}
