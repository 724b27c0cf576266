package store_test

import (
	"testing"

	"callgate/audit"

	"github.com/google/go-cmp/cmp"
)

// A try that failed and was billed counts for the model that was tried, and its call once.
func TestSpendingIsAddedUpByTries(t *testing.T) {
	h := open(t, t.TempDir())
	money := func(n int64) *int64 { return &n }
	opened := func(id, target, model string) audit.Record {
		return audit.Record{Type: audit.Opened, At: 1, Call: id, Agent: "agent:bot", Kind: "model", Target: target, Resource: model}
	}
	h.put(t,
		opened("1", "a", "m"),
		audit.Record{Type: audit.Closed, At: 2, Call: "1", Usage: &audit.Usage{Input: 50, Output: 9}, Cost: money(140), Attempts: []audit.Attempt{
			{Target: "a", Resource: "m", Fault: "error event", Usage: &audit.Usage{Input: 40, Output: 1, Estimated: true}, Cost: money(50)}, {Target: "b", Resource: "m"}}},
		opened("2", "a", "m"),
		audit.Record{Type: audit.Closed, At: 3, Call: "2", Attempts: []audit.Attempt{{Target: "a", Resource: "m", Fault: "http 500"}, {Target: "b", Resource: "m", Fault: "error event", Usage: &audit.Usage{Input: 7}}}},
		opened("3", "b", "m"),
		audit.Record{Type: audit.Closed, At: 4, Call: "3", Usage: &audit.Usage{Input: 5, Output: 5, Estimated: true}, Cost: money(55)},
	)
	for _, tt := range []struct {
		by   []string
		want []audit.Spend
	}{
		{[]string{"model"}, []audit.Spend{
			{By: []string{"b/m"}, Calls: 3, Unpriced: 1, Estimated: 1, Input: 62, Output: 14, Cost: 195},
			{By: []string{"a/m"}, Calls: 1, Estimated: 1, Input: 40, Output: 1, Cost: 50},
		}},
		{[]string{"agent"}, []audit.Spend{{By: []string{"agent:bot"}, Calls: 3, Unpriced: 1, Estimated: 2, Input: 102, Output: 15, Cost: 245}}},
	} {
		got, err := h.index.Spends(t.Context(), audit.SpendFilter{By: tt.by})
		if d := cmp.Diff(tt.want, got); err != nil || d != "" {
			t.Errorf("by %v: %v %s", tt.by, err, d)
		}
	}
}
