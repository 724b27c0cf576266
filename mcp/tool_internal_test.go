package mcp

import (
	"testing"
	"time"

	"callgate/firewall"
)

func TestWhatIsSaidOfAToolTakesThePlaceOfTheRest(t *testing.T) {
	none := firewall.Labels(0)
	s := &Server{cfg: ServerConfig{Labels: firewall.Untrusted, Timeout: time.Minute, Tools: map[string]ToolConfig{
		"*":     {Timeout: 3 * time.Second, Arguments: map[string]Mark{"a": {Class: PathClass}, "b": {Class: PathClass}}},
		"slow":  {Timeout: time.Hour},
		"clean": {Labels: &none, Arguments: map[string]Mark{"b": {Class: URLClass}}},
	}}}
	for _, c := range []struct {
		tool     string
		labels   firewall.Labels
		patience time.Duration
		b        Class
	}{
		{"other", firewall.Untrusted, 3 * time.Second, PathClass},
		{"slow", firewall.Untrusted, time.Hour, PathClass},
		{"clean", 0, 3 * time.Second, URLClass},
	} {
		t.Run(c.tool, func(t *testing.T) {
			labels := s.brings(&firewall.Call{Kind: firewall.Tool, Resource: c.tool})
			patience := s.patience(&Request{Method: "tools/call", Params: []byte(`{"name":"` + c.tool + `"}`)})
			if marks := s.marks(c.tool); labels != c.labels || patience != c.patience || marks["b"].Class != c.b || marks["a"].Class != PathClass {
				t.Errorf("%v %v %v", labels, patience, marks)
			}
		})
	}
	if got := s.patience(&Request{Method: "tools/list"}); got != time.Minute {
		t.Errorf("a list has %v", got)
	}
}
