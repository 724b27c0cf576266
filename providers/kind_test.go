package providers_test

import (
	"testing"

	"callgate/providers"
)

func TestTheCatalogueThatIsBuiltInIsComplete(t *testing.T) {
	all := providers.BuiltIn()
	if n := len(all.Names()); n < 60 {
		t.Errorf("%d kinds", n)
	}
}
