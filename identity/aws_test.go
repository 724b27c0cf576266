package identity_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callgate/identity"
)

// found is what a resolver finds with an environment.
func foundOfAWS(t *testing.T, env map[string]string, place string) (map[string]string, *identity.Found, error) {
	t.Helper()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	a := identity.NewAWS(func(name string) (string, bool) { v, ok := env[name]; return v, ok }, func() time.Time { return now })
	f, err := a.Resolve(context.Background(), place, nil)
	if err != nil {
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error tells: %v", err)
		}
		return nil, nil, err
	}
	doc := make(map[string]string)
	if err := json.Unmarshal([]byte(f.Value.Reveal()), &doc); err != nil {
		t.Fatal(err)
	}
	return doc, f, nil
}

// metadata is the instance metadata service, version 2 alone.
func metadata(w http.ResponseWriter, r *http.Request) {
	const path = "/latest/meta-data/iam/security-credentials/"
	switch {
	case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" && r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") != "":
		fmt.Fprint(w, "session-1")
	case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "session-1":
		http.Error(w, "canary", http.StatusUnauthorized)
	case r.URL.Path == path:
		fmt.Fprint(w, "gate-role\n")
	case r.URL.Path == path+"gate-role":
		fmt.Fprint(w, `{"Code":"Success","AccessKeyId":"AKIDM","SecretAccessKey":"sm","Token":"tm","Expiration":"2026-11-24T18:00:00Z"}`)
	default:
		http.NotFound(w, r)
	}
}

func TestAWSFindsWhatThereIs(t *testing.T) {
	dir := t.TempDir()
	word, role := filepath.Join(dir, "word"), filepath.Join(dir, "role")
	for name, text := range map[string]string{word: "let-me-in\n", role: "a.web.identity\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form := string(body)
		switch {
		case strings.HasPrefix(r.URL.Path, "/latest/"):
			metadata(w, r)
		case r.URL.Path == "/pod" && r.Header.Get("Authorization") == "let-me-in":
			fmt.Fprint(w, `{"AccessKeyId":"AKIDC","SecretAccessKey":"sc","Token":"tc","Expiration":"2026-11-24T12:20:00Z"}`)
		case r.URL.Path == "/over":
			fmt.Fprint(w, `{"AccessKeyId":"AKIDC","SecretAccessKey":"canary","Token":"tc","Expiration":"2026-11-24T11:00:00Z"}`)
		case r.URL.Path == "/none":
			fmt.Fprint(w, `{"Code":"AssumeRoleUnauthorizedAccess","Message":"canary"}`)
		case r.URL.Path == "/broken":
			fmt.Fprint(w, `{"canary`)
		case r.URL.Path == "/sts/" && strings.Contains(form, "Action=AssumeRoleWithWebIdentity") && strings.Contains(form, "WebIdentityToken=a.web.identity") && strings.Contains(form, "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fgate"):
			fmt.Fprint(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><SubjectFromWebIdentityToken>s</SubjectFromWebIdentityToken><Credentials><SessionToken>tw</SessionToken><SecretAccessKey>sw</SecretAccessKey><Expiration>2026-11-24T13:00:00Z</Expiration><AccessKeyId>AKIDW</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`)
		default:
			http.Error(w, "canary "+form, http.StatusForbidden)
		}
	}))
	t.Cleanup(at.Close)
	machine := map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": at.URL}
	for _, tt := range []struct {
		name       string
		env        map[string]string
		id, s, tok string
		renew      string
	}{
		{"the environment, before all others", map[string]string{"AWS_ACCESS_KEY_ID": "AKIDE", "AWS_SECRET_ACCESS_KEY": "se", "AWS_EC2_METADATA_SERVICE_ENDPOINT": at.URL}, "AKIDE", "se", "", ""},
		{"a session in the environment", map[string]string{"AWS_ACCESS_KEY_ID": "AKIDE", "AWS_SECRET_ACCESS_KEY": "se", "AWS_SESSION_TOKEN": "te"}, "AKIDE", "se", "te", ""},
		{"a web identity", map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": role, "AWS_ROLE_ARN": "arn:aws:iam::1:role/gate", "AWS_ENDPOINT_URL_STS": at.URL + "/sts/"}, "AKIDW", "sw", "tw", "12:50"},
		{"a container", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": at.URL + "/pod", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": word}, "AKIDC", "sc", "tc", "12:10"},
		{"a machine", machine, "AKIDM", "sm", "tm", "17:50"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, f, err := foundOfAWS(t, tt.env, "default")
			if err != nil {
				t.Fatal(err)
			}
			if got["AccessKeyId"] != tt.id || got["SecretAccessKey"] != tt.s || got["Token"] != tt.tok {
				t.Errorf("found %v", got)
			}
			if tt.renew == "" != f.Renew.IsZero() || tt.renew != "" && f.Renew.Format("15:04") != tt.renew {
				t.Errorf("renewed at %v, over at %v", f.Renew, f.Expires)
			}
		})
	}
	for _, tt := range []struct {
		name, place string
		env         map[string]string
		want        string
	}{
		{"another place", "profile", nil, "aws:default is all"},
		{"no service", "default", map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}, "no metadata service"},
		{"one that must not be asked", "default", map[string]string{"AWS_EC2_METADATA_DISABLED": "TRUE", "AWS_EC2_METADATA_SERVICE_ENDPOINT": at.URL}, "AWS_EC2_METADATA_DISABLED"},
		{"a role that is refused", "default", map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": role, "AWS_ROLE_ARN": "another", "AWS_ENDPOINT_URL_STS": at.URL + "/sts/"}, "HTTP 403"},
		{"a token that is not there", "default", map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": filepath.Join(dir, "none"), "AWS_ROLE_ARN": "r"}, "no such file"},
		{"a container elsewhere", "default", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://192.0.2.1/"}, "none that AWS uses"},
		{"a credential that is over", "default", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": at.URL + "/over"}, "is over"},
		{"no credential", "default", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": at.URL + "/none"}, "no credential"},
		{"no JSON", "default", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": at.URL + "/broken"}, "not the JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := foundOfAWS(t, tt.env, tt.place); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %s in it", err, tt.want)
			}
		})
	}
}
