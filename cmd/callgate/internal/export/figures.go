package export

import (
	"encoding/json"
	"slices"
	"strconv"

	"callgate/audit"
)

// The bounds that the conventions advise: seconds, and tokens.
var (
	durations = []float64{0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
	tokens    = []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}
)

// A histogram is of one set of attributes.
type histogram struct {
	attributes []object
	bounds     []float64
	counts     []int
	sum        float64
	n          int
}

func (h *histogram) add(v float64) {
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i]++
	h.sum += v
	h.n++
}

// A metric is histograms of one name, by their attributes.
type metric struct {
	name, unit string
	bounds     []float64
	of         map[string]*histogram
	order      []string
}

func (m *metric) add(about map[string]any, v float64) {
	list := attributes(about)
	key, _ := json.Marshal(list)
	h := m.of[string(key)]
	if h == nil {
		h = &histogram{attributes: list, bounds: m.bounds, counts: make([]int, len(m.bounds)+1)}
		if m.of == nil {
			m.of = make(map[string]*histogram)
		}
		m.of[string(key)] = h
		m.order = append(m.order, string(key))
	}
	h.add(v)
}

// figures are the histograms of the calls of items alone: of what changed since those
// before, as a collector adds them up.
func figures(items []Item) []object {
	model := &metric{name: "gen_ai.client.operation.duration", unit: "s", bounds: durations}
	used := &metric{name: "gen_ai.client.token.usage", unit: "{token}", bounds: tokens}
	tool := &metric{name: "mcp.client.operation.duration", unit: "s", bounds: durations}
	from, to := items[0].Call.At, int64(0)
	for _, it := range items {
		c := it.Call
		from, to = min(from, c.At), max(to, c.Ended, c.At)
		took := float64(c.TookUS) / 1e6
		wrong := ""
		if c.Outcome != "ok" {
			wrong = c.Outcome
		}
		if c.Kind != "model" {
			tool.add(map[string]any{"mcp.method.name": c.Method, "gen_ai.tool.name": toolName(c), "callgate.mcp.server": c.Target, "error.type": wrong}, took)
			continue
		}
		what := map[string]any{"gen_ai.operation.name": operation(c), "gen_ai.provider.name": c.Target, "gen_ai.request.model": c.Resource}
		if u := c.Usage; u != nil && !c.Cached {
			what["gen_ai.token.type"] = "input"
			used.add(what, float64(u.Input))
			what["gen_ai.token.type"] = "output"
			used.add(what, float64(u.Output))
			delete(what, "gen_ai.token.type")
		}
		what["error.type"] = wrong
		model.add(what, took)
	}
	var list []object
	for _, m := range []*metric{model, used, tool} {
		var points []object
		for _, key := range m.order {
			h := m.of[key]
			counts := make([]string, len(h.counts))
			for i, n := range h.counts {
				counts[i] = strconv.Itoa(n)
			}
			points = append(points, object{"attributes": h.attributes, "startTimeUnixNano": nanos(from), "timeUnixNano": nanos(to),
				"count": strconv.Itoa(h.n), "sum": h.sum, "bucketCounts": counts, "explicitBounds": h.bounds})
		}
		if points != nil {
			list = append(list, object{"name": m.name, "unit": m.unit, "histogram": object{"aggregationTemporality": 1, "dataPoints": points}}) // delta
		}
	}
	return list
}

// toolName is left out for what is no tool: a URI would be without bounds.
func toolName(c *audit.Call) string {
	if c.Kind == "tool" {
		return c.Resource
	}
	return ""
}
