package packs_test

import (
	"testing"

	"callgate/firewall/packs"
	"callgate/firewall/policy"
)

func TestPacksAreSoundPolicies(t *testing.T) {
	names := packs.Names()
	if len(names) != 3 {
		t.Fatalf("packs %v", names)
	}
	for _, name := range names {
		rows, ok := packs.Rows(name)
		if !ok {
			t.Fatalf("no pack %s", name)
		}
		p, err := policy.Load(policy.Source{Name: packs.Prefix + name, Text: rows})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !p.Traces() {
			t.Errorf("%s does not ask from where values come", name)
		}
	}
	if _, ok := packs.Rows("../packs"); ok {
		t.Error("a pack outside of the folder")
	}
}
