package console

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A figure is a number of the status that monitoring may want.
type figure struct {
	name, help string
	counter    bool // it only grows, from the start of the process
	of         func(Status) float64
}

var figures = []figure{
	{"callgate_ready", "1 while calls can be decided and put on record.", false, func(s Status) float64 {
		if s.Ready {
			return 1
		}
		return 0
	}},
	{"callgate_ledger_records", "Records that are durable in the ledger.", false, func(s Status) float64 { return float64(s.Head) }},
	{"callgate_index_lag_records", "Records that are not in the index yet.", false, func(s Status) float64 { return float64(s.Head - min(s.Head, s.Indexed)) }},
	{"callgate_agents", "Agents that are registered, the revoked included.", false, func(s Status) float64 { return float64(s.Agents) }},
	{"callgate_policy_decisions_checked_total", "Decisions that were checked with Casbin itself.", true, func(s Status) float64 { return float64(s.Checked) }},
	{"callgate_policy_decisions_differed_total", "Of the checked decisions, those that were not Casbin's: a fault of callgate.", true, func(s Status) float64 { return float64(s.Differed) }},
	{"callgate_policy_decisions_by_casbin_total", "Decisions that Casbin itself made, because the policy has a model of its own.", true, func(s Status) float64 { return float64(s.ByCasbin) }},
	{"callgate_policy_decisions_rehearsed_total", "Decisions that a candidate for the policy was asked about.", true, func(s Status) float64 { return float64(s.Rehearsed) }},
	{"callgate_policy_decisions_otherwise_total", "Of the rehearsed decisions, those that the candidate would have made otherwise.", true, func(s Status) float64 { return float64(s.Otherwise) }},
}

// A serverFigure is a number of each MCP server.
type serverFigure struct {
	desc *prometheus.Desc
	of   func(Server) float64
	kind prometheus.ValueType
}

func serverFigures() [3]serverFigure {
	label := []string{"server"}
	return [...]serverFigure{
		{prometheus.NewDesc("callgate_mcp_server_up", "1 while the MCP server answers and is not left alone.", label, nil), func(s Server) float64 {
			if s.State == "ready" && s.Breaker != "open" {
				return 1
			}
			return 0
		}, prometheus.GaugeValue},
		{prometheus.NewDesc("callgate_mcp_in_flight", "Requests in flight to the MCP server.", label, nil), func(s Server) float64 { return float64(s.InFlight) }, prometheus.GaugeValue},
		{prometheus.NewDesc("callgate_mcp_restarts_total", "How often the MCP server's process ended and was started again.", label, nil), func(s Server) float64 { return float64(s.Restarts) }, prometheus.CounterValue},
	}
}

var exportLag = prometheus.NewDesc("callgate_export_lag_records", "Records that an export has not told yet.", []string{"export"}, nil)

// metrics answers in the text format of Prometheus.
func (c *Console) metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{c})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// collector reads all figures from one status.
type collector struct{ c *Console }

func (f figure) desc() *prometheus.Desc { return prometheus.NewDesc(f.name, f.help, nil, nil) }

// Describe implements [prometheus.Collector].
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, f := range figures {
		out <- f.desc()
	}
	for _, f := range serverFigures() {
		out <- f.desc
	}
	out <- exportLag
}

// Collect implements [prometheus.Collector].
func (m collector) Collect(out chan<- prometheus.Metric) {
	s := m.c.cfg.Status(context.Background())
	for _, f := range figures {
		kind := prometheus.GaugeValue
		if f.counter {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(f.desc(), kind, f.of(s))
	}
	for _, x := range s.Exports {
		out <- prometheus.MustNewConstMetric(exportLag, prometheus.GaugeValue, float64(x.Lag), x.Name)
	}
	for _, f := range serverFigures() {
		for _, server := range s.Servers {
			out <- prometheus.MustNewConstMetric(f.desc, f.kind, f.of(server), server.Name)
		}
	}
}
