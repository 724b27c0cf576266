package identity_test

import (
	"slices"
	"testing"

	"callgate/identity"
)

func TestThePrincipalsOfACall(t *testing.T) {
	for _, test := range []struct {
		name  string
		p     identity.Principal
		agent string
		chain []string
	}{
		{"an agent alone", identity.Principal{Subject: "agent:a"}, "agent:a", []string{"agent:a"}},
		{"an agent for an agent for a person", identity.Principal{Subject: "user:u", Actors: []string{"agent:b", "agent:a"}},
			"agent:b", []string{"agent:b", "agent:a", "user:u"}},
	} {
		if got := test.p.Agent(); got != test.agent {
			t.Errorf("%s: agent %s", test.name, got)
		}
		if got := test.p.Chain(); !slices.Equal(got, test.chain) {
			t.Errorf("%s: chain %v", test.name, got)
		}
	}
}
