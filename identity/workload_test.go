package identity_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"callgate/identity"
)

// served is a fake of a metadata service, at its address.
func served(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestGoogleCloudGivesATokenOfTheMachine(t *testing.T) {
	// as https://cloud.google.com/compute/docs/metadata/querying-metadata has it
	answer := `{"access_token":"ya29.canary","expires_in":3599,"token_type":"Bearer"}`
	flavor := "Google"
	host := strings.TrimPrefix(served(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", flavor)
		switch {
		case r.Header.Get("Metadata-Flavor") != "Google" || r.Header.Get("X-Forwarded-For") != "":
			http.Error(w, "missing Metadata-Flavor:Google header", http.StatusForbidden)
		case r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/token" || r.FormValue("scopes") != "https://www.googleapis.com/auth/cloud-platform":
			http.NotFound(w, r)
		default:
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, answer)
		}
	}), "http://")
	now := time.Now()
	g := identity.NewGoogleCloud(host, func() time.Time { return now })
	const scope = "https://www.googleapis.com/auth/cloud-platform"
	f, err := g.Resolve(t.Context(), scope, nil)
	if err != nil || f.Value.Reveal() != "ya29.canary" {
		t.Fatal(f, err)
	}
	if life, renew := f.Expires.Sub(now), f.Renew.Sub(now); life != 3589*time.Second || renew != 3349*time.Second {
		t.Errorf("good for %v, renewed after %v", life, renew)
	}
	answer = `{"access_token":"ya29.canary","expires_in":60,"token_type":"Bearer"}`
	if f, err = g.Resolve(t.Context(), scope, f); err != nil || f.Renew.Sub(now) < 15*time.Second { // not over and over
		t.Error(f, err)
	}
	for _, test := range []struct{ name, answer, place, want string }{
		{"an account that is not there", answer, "other", "knows no service account here"},
		{"no JSON", "ya29.canary", scope, "its answer is not the JSON that it should be"},
		{"no token", `{}`, scope, "no bearer token"},
		{"a token that has ended", `{"access_token":"ya29.canary","expires_in":0,"token_type":"Bearer"}`, scope, "no bearer token"},
		{"a token of another kind", `{"access_token":"ya29.canary","expires_in":60,"token_type":"DPoP"}`, scope, "no bearer token"},
		{"a flood", strings.Repeat(" ", 1<<20) + answer, scope, "more than 1048576 bytes"},
	} {
		answer = test.answer
		if f, err := g.Resolve(t.Context(), test.place, nil); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v %v", test.name, f, err)
		}
	}
	flavor, answer = "", `{"access_token":"ya29.canary","expires_in":60,"token_type":"Bearer"}`
	if _, err := g.Resolve(t.Context(), scope, nil); err == nil || !strings.Contains(err.Error(), "is not the metadata server") {
		t.Errorf("somebody else is taken for it: %v", err)
	}
}

func TestAzureGivesATokenOfTheMachine(t *testing.T) {
	// as https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token has it
	answer := `{"access_token":"eyJ.canary","refresh_token":"","expires_in":"86399","expires_on":"1795514400","not_before":"1795428000","resource":"https://vault.azure.net/","token_type":"Bearer"}`
	base := served(t, func(w http.ResponseWriter, r *http.Request) {
		client := r.FormValue("client_id")
		switch {
		case r.Header.Get("Metadata") != "true":
			http.Error(w, `{"error":"invalid_request","error_description":"Required metadata header not specified"}`, http.StatusBadRequest)
		case r.URL.Path != "/metadata/identity/oauth2/token" || r.FormValue("api-version") != "2018-02-01":
			http.NotFound(w, r)
		case r.FormValue("resource") == "" || client != "" && client != "c1":
			http.Error(w, `{"error":"invalid_request","error_description":"Identity not found"}`, http.StatusBadRequest)
		default:
			fmt.Fprint(w, strings.Replace(answer, "eyJ", "eyJ"+client, 1))
		}
	})
	now := time.Now()
	a := identity.NewAzure(base+"/", func() time.Time { return now })
	f, err := a.Resolve(t.Context(), "https://vault.azure.net", nil)
	if err != nil || f.Value.Reveal() != "eyJ.canary" || f.Expires.Sub(now) != 86389*time.Second {
		t.Fatal(f, err)
	}
	if f, err = a.Resolve(t.Context(), "https://vault.azure.net#c1", nil); err != nil || f.Value.Reveal() != "eyJc1.canary" {
		t.Error(f, err)
	}
	if _, err = a.Resolve(t.Context(), "https://vault.azure.net#c2", nil); err == nil || !strings.Contains(err.Error(), "has no identity here that fits") {
		t.Error(err)
	}
	if _, err = a.Resolve(t.Context(), "https://management.azure.com", nil); err == nil || !strings.Contains(err.Error(), "token for something else") {
		t.Error(err)
	}
}
