package identity

import (
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// AWS finds the credentials that the machine or workload has, where AWS's own programs
// look for them: in the environment, by a web identity (EKS), of the container (ECS, EKS
// Pod Identity), of the machine (IMDSv2). Its only place is "default". What it finds is
// JSON with AccessKeyId, SecretAccessKey and Token. Profiles in files are not read. It is
// a [Resolver].
type AWS struct {
	env func(string) (string, bool)
	now func() time.Time
	at  *service // directly
	far *service // perhaps by a proxy
}

// NewAWS returns a resolver for the environment env. now may be nil.
func NewAWS(env func(string) (string, bool), now func() time.Time) *AWS {
	if now == nil {
		now = time.Now
	}
	return &AWS{env, now, newService(false), newService(true)}
}

// awsKey is a credential as the services of a machine tell it.
type awsKey struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string    `json:",omitempty"`
	Expiration      time.Time `json:",omitzero"`
}

const maxIdentity = 64 << 10 // bytes of a token in a file

// Resolve implements [Resolver].
func (a *AWS) Resolve(ctx context.Context, place string, _ *Found) (*Found, error) {
	if place != "default" {
		return nil, errors.New("aws:default is all that there is")
	}
	var k *awsKey
	var err error
	switch {
	case a.get("AWS_ACCESS_KEY_ID") != "" && a.get("AWS_SECRET_ACCESS_KEY") != "":
		k = &awsKey{AccessKeyID: a.get("AWS_ACCESS_KEY_ID"), SecretAccessKey: a.get("AWS_SECRET_ACCESS_KEY"), Token: a.get("AWS_SESSION_TOKEN")}
	case a.get("AWS_WEB_IDENTITY_TOKEN_FILE") != "" && a.get("AWS_ROLE_ARN") != "":
		k, err = a.assume(ctx)
	case a.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "" || a.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "":
		k, err = a.container(ctx)
	case strings.EqualFold(a.get("AWS_EC2_METADATA_DISABLED"), "true"):
		err = errors.New("there are no credentials of AWS in the environment, and AWS_EC2_METADATA_DISABLED is true")
	default:
		k, err = a.machine(ctx)
	}
	if err != nil {
		return nil, err
	}
	if k.AccessKeyID == "" || k.SecretAccessKey == "" {
		return nil, errors.New("what AWS answered is no credential")
	}
	return a.found(k)
}

func (a *AWS) get(name string) string {
	v, _ := a.env(name)
	return v
}

func (a *AWS) found(k *awsKey) (*Found, error) {
	text, err := json.Marshal(awsKey{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, Token: k.Token})
	if err != nil {
		return nil, errors.New("what AWS answered is no credential")
	}
	now := a.now()
	f := &Found{Value: NewSecret(string(text)), Version: strconv.FormatInt(now.Unix(), 10)}
	if k.Expiration.IsZero() {
		f.Version = ""
		return f, nil
	}
	life := k.Expiration.Sub(now)
	if life <= 0 {
		return nil, errors.New("the credential that AWS answered is over")
	}
	f.Expires = k.Expiration
	f.Renew = k.Expiration.Add(-min(10*time.Minute, life/2))
	if soon := now.Add(min(30*time.Second, life/4)); f.Renew.Before(soon) {
		f.Renew = soon
	}
	return f, nil
}

// assume takes on a role by the word of a token in a file.
func (a *AWS) assume(ctx context.Context) (*awsKey, error) {
	token, err := readSome(a.get("AWS_WEB_IDENTITY_TOKEN_FILE"))
	if err != nil {
		return nil, fmt.Errorf("the web identity: %w", err)
	}
	base := cmp.Or(a.get("AWS_ENDPOINT_URL_STS"), "https://sts.amazonaws.com")
	if region := cmp.Or(a.get("AWS_REGION"), a.get("AWS_DEFAULT_REGION")); region != "" && a.get("AWS_ENDPOINT_URL_STS") == "" {
		base = "https://sts." + url.PathEscape(region) + ".amazonaws.com"
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, errors.New("the address of AWS STS is no URL")
	}
	if u.Path == "" {
		u.Path = "/"
	}
	form := url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {a.get("AWS_ROLE_ARN")},
		"RoleSessionName": {cmp.Or(a.get("AWS_ROLE_SESSION_NAME"), "callgate")}, "WebIdentityToken": {token},
	}.Encode()
	req := &http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		Body: io.NopCloser(strings.NewReader(form)), ContentLength: int64(len(form)),
	}
	var doc struct {
		Credentials struct {
			AccessKeyID     string    `xml:"AccessKeyId"`
			SecretAccessKey string    `xml:"SecretAccessKey"`
			SessionToken    string    `xml:"SessionToken"`
			Expiration      time.Time `xml:"Expiration"`
		} `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}
	text, err := a.far.text(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("AWS STS: %w", err)
	}
	if xml.Unmarshal([]byte(text), &doc) != nil {
		return nil, errors.New("the answer of AWS STS cannot be read")
	}
	c := doc.Credentials
	return &awsKey{c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Expiration}, nil
}

// container asks the service of the container, which is on this machine or link, or is
// reached by https.
func (a *AWS) container(ctx context.Context) (*awsKey, error) {
	full := a.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if relative := a.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); relative != "" {
		full = "http://169.254.170.2" + relative
	}
	u, err := url.Parse(full)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !(u.Scheme == "http" && nearby(u.Hostname())) {
		return nil, errors.New("the address of the container's credentials is none that AWS uses: want https, or http on this machine")
	}
	header := http.Header{"Accept": {"application/json"}}
	word := a.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
	if file := a.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
		if word, err = readSome(file); err != nil {
			return nil, fmt.Errorf("the token for the container's credentials: %w", err)
		}
	}
	if word != "" {
		if !fitsHeader(word) {
			return nil, errors.New("the token for the container's credentials is none that a header can carry")
		}
		header["Authorization"] = []string{word}
	}
	var k awsKey
	if _, err := a.at.do(ctx, &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: header}, &k); err != nil {
		return nil, fmt.Errorf("the credentials of the container: %w", err)
	}
	return &k, nil
}

// nearby says whether a host is one that tells containers their credentials.
func nearby(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && (ip.IsLoopback() || ip.String() == "169.254.170.2" || ip.String() == "169.254.170.23" || ip.String() == "fd00:ec2::23")
}

// machine asks the instance metadata service, in the way that a mere GET cannot.
func (a *AWS) machine(ctx context.Context) (*awsKey, error) {
	base := strings.TrimRight(cmp.Or(a.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"), "http://169.254.169.254"), "/")
	at := func(path string) (*url.URL, error) { return url.Parse(base + path) }
	u, err := at("/latest/api/token")
	if err != nil {
		return nil, errors.New("the address of AWS's metadata service is no URL")
	}
	token, err := a.at.text(ctx, &http.Request{Method: http.MethodPut, URL: u, Host: u.Host, Header: http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"300"}}})
	if err != nil || !fitsHeader(token) {
		return nil, errors.New("there are no credentials of AWS in the environment, and no metadata service of AWS gives a token")
	}
	header := http.Header{"X-Aws-Ec2-Metadata-Token": {token}}
	const path = "/latest/meta-data/iam/security-credentials/"
	if u, err = at(path); err != nil {
		return nil, err
	}
	role, err := a.at.text(ctx, &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: header})
	role, _, _ = strings.Cut(strings.TrimSpace(role), "\n")
	if err != nil || role == "" {
		return nil, errors.New("the machine has no role at AWS")
	}
	if u, err = at(path + url.PathEscape(role)); err != nil {
		return nil, err
	}
	var k awsKey
	if _, err := a.at.do(ctx, &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: header}, &k); err != nil {
		return nil, fmt.Errorf("the metadata service of AWS: %w", err)
	}
	return &k, nil
}

// readSome reads a small file without its white space.
func readSome(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxIdentity+1))
	switch {
	case err != nil:
		return "", err
	case len(text) > maxIdentity:
		return "", fmt.Errorf("%s is larger than %d bytes", name, maxIdentity)
	}
	return strings.TrimSpace(string(text)), nil
}
