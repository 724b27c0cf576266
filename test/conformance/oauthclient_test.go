package conformance

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// unserved is what callgate's OAuth client does not do, and why. An entry that is not
// needed fails.
var unserved = map[string]string{
	"auth/2025-03-26-oauth-endpoint-fallback": "endpoints that nobody published are not guessed: that was of the first version and is a way to be led astray",
	"auth/basic-cimd":                         "the suite wants one client_id, https://conformance-test.local/client-metadata.json; callgate's is a document of its own public_url",
	"auth/enterprise-managed-authorization":   "callgate asks an identity provider for no ID-JAG yet",
	"auth/dpop":                               "a proposal (SEP-1932), and callgate's client has no DPoP yet",
	"auth/dpop-nonce":                         "as auth/dpop",
	"auth/wif-jwt-bearer":                     "a proposal (SEP-1933); callgate proves by its own key who it is",
}

// The suite plays the authorization servers, and servers that want tokens; callgate logs
// in, with an operator who agrees to everything.
func TestTheOAuthClientTowardsServers(t *testing.T) {
	needSuite(t)
	client := filepath.Join(t.TempDir(), "oauthclient")
	if out, err := exec.Command("go", "build", "-o", client, "callgate/test/oauthclient").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	conformance := mustAbs(t, "node_modules/.bin/conformance")
	said, err := exec.Command(conformance, "list").CombinedOutput()
	must(t, err)
	scenarios := regexp.MustCompile(`(?m)^ +- (auth/\S+)`).FindAllStringSubmatch(string(said), -1)
	if len(scenarios) < 30 {
		t.Fatalf("%d scenarios: %s", len(scenarios), said)
	}
	left := make(map[string]bool)
	for name := range unserved {
		left[name] = true
	}
	for _, s := range scenarios {
		name := s[1]
		why, excused := unserved[name]
		delete(left, name)
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			said, err := exec.CommandContext(ctx, conformance, "client", "--command", client, "--scenario", name, "-o", t.TempDir()).CombinedOutput()
			switch {
			case ctx.Err() != nil:
				t.Fatalf("it does not end\n%s", said)
			case err != nil && !excused:
				t.Errorf("%v\n%s", err, said)
			case err == nil && excused:
				t.Errorf("it is green, although it is excused: %s", why)
			}
		})
	}
	for name := range left {
		t.Errorf("%s is excused, and there is none", name)
	}
}
