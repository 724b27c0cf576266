package firewall_test

import (
	"testing"

	"callgate/firewall"
)

func FuzzPast(f *testing.F) {
	f.Add([]byte(`{"type":"opened","at_us":1,"call":"c","tenant":"default","agent":"agent:a","kind":"tool","target":"s","method":"tools/call","resource":"x","args":{"a":1},"args_hash":"00","env":{"roles":["role:a"],"labels":["untrusted"],"cost_microusd":1},"effect":"allow","rule":"R","policy":"p","obligations":["limit:calls=1/1h"],"findings":[{"where":"request/arguments/a","action":"mask"}]}`))
	f.Add([]byte(`{"type":"refused","kind":"model","policy":"p","effect":"deny","outcome":"denied","checks":[{"guard":"R"}],"rule":"R"}`))
	f.Add([]byte(`{"kind":7,"actors":{"a":1},"links":"x","env":[1,2]`))
	var p firewall.Past
	f.Fuzz(func(t *testing.T, doc []byte) {
		if ok, _ := p.Read(doc); ok { // must not panic, and gives a call that a policy can be asked about
			_ = p.Call.Object() + p.Call.Action() + string(p.Call.Args())
		}
	})
}
