package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// HashiConfig is how a HashiCorp Vault, or an OpenBao, is reached. Exactly one of
// Token, AppRole and Kubernetes says who callgate is there.
type HashiConfig struct {
	Address    string           // https://vault.example:8200
	Namespace  string           // of Vault Enterprise; "" for none
	CA         []byte           // PEM of who signs its certificate; nil: whom the system trusts
	Token      Credential       // a token of Vault
	AppRole    *AppRole         // a login of a machine
	Kubernetes *KubernetesLogin // a login by the service account of a pod
	TTL        time.Duration    // that what was read is good; default 5 min. It is read again when half of that is over.
	Now        func() time.Time
	Logger     *slog.Logger // required
}

// An AppRole is a login at Vault's method approle.
type AppRole struct {
	Mount    string // default approle
	RoleID   string
	SecretID Credential
}

// A KubernetesLogin is a login at Vault's method kubernetes.
type KubernetesLogin struct {
	Mount string // default kubernetes
	Role  string
	JWT   Credential // the service account's token
}

// Hashi finds values in a HashiCorp Vault's KV version 2. A place is PATH#FIELD: the
// first part of PATH is the mount, unless PATH is written as the API has it, with
// /data/ behind the mount. It is a [Resolver], used by many goroutines at once.
type Hashi struct {
	cfg  HashiConfig
	base *url.URL
	at   *service

	mu    sync.Mutex // held while it logs in
	lease lease
}

// A lease is a token of Vault, and for how long it is good.
type lease struct {
	token     Secret
	renewable bool
	renew     time.Time // when to renew it, or to log in again; zero: never
	expires   time.Time // zero: never
}

const defaultHashiTTL = 5 * time.Minute

// NewHashi returns the resolver, or says what is wrong with cfg.
func NewHashi(cfg HashiConfig) (*Hashi, error) {
	base, err := url.Parse(strings.TrimRight(cfg.Address, "/"))
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, invalid("the address of Vault must be like https://host:8200")
	}
	ways := 0
	for _, given := range []bool{cfg.Token != nil, cfg.AppRole != nil, cfg.Kubernetes != nil} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return nil, invalid("give one of token, approle and kubernetes")
	}
	if cfg.TTL <= 0 {
		cfg.TTL = defaultHashiTTL
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h := &Hashi{cfg: cfg, base: base, at: newService(true)}
	if cfg.CA != nil {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(cfg.CA) {
			return nil, invalid("the CA of Vault holds no certificate")
		}
		h.at.http.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return h, nil
}

// Resolve implements [Resolver].
func (h *Hashi) Resolve(ctx context.Context, place string, _ *Found) (*Found, error) {
	path, field, err := hashiPlace(place)
	if err != nil {
		return nil, err
	}
	token, err := h.token(ctx, Secret{})
	if err != nil {
		return nil, err
	}
	at := h.cfg.Now()
	var answer kvAnswer
	err = h.get(ctx, token, path, &answer)
	if statusOf(err) == http.StatusForbidden && h.cfg.Token == nil { // it may have been revoked
		if token, err = h.token(ctx, token); err != nil {
			return nil, err
		}
		err = h.get(ctx, token, path, &answer)
	}
	if err != nil {
		return nil, hashiSays(err)
	}
	value, ok := answer.Data.Data[field].(string)
	switch {
	case answer.Data.Metadata.Version == 0:
		return nil, errors.New("what Vault has there is not of a KV version 2")
	case !ok:
		return nil, fmt.Errorf("Vault has no text there in the field %.80q", field)
	}
	return &Found{
		Value: NewSecret(value), Version: strconv.FormatInt(answer.Data.Metadata.Version, 10),
		Renew: at.Add(h.cfg.TTL / 2), Expires: at.Add(h.cfg.TTL),
	}, nil
}

// A kvAnswer is what Vault answers for a secret of a KV version 2.
type kvAnswer struct {
	Data struct {
		Data     map[string]any `json:"data"`
		Metadata struct {
			Version int64 `json:"version"`
		} `json:"metadata"`
	} `json:"data"`
}

// CheckHashiPlace says what is wrong with a PATH#FIELD.
func CheckHashiPlace(place string) error {
	_, _, err := hashiPlace(place)
	return err
}

// hashiPlace is the path of the API that PATH#FIELD means, and the field.
func hashiPlace(place string) (path, field string, err error) {
	path, field, _ = strings.Cut(place, "#")
	path = strings.Trim(path, "/")
	mount, rest, _ := strings.Cut(path, "/")
	if field == "" || rest == "" || strings.ContainsAny(path, "?%\\") || strings.Contains("/"+path+"/", "/../") || strings.Contains(path, "//") {
		return "", "", invalid("write vault:MOUNT/PATH#FIELD")
	}
	if !strings.Contains(path, "/data/") {
		path = mount + "/data/" + rest
	}
	return path, field, nil
}

// hashiSays puts an error of Vault in words.
func hashiSays(err error) error {
	switch status := statusOf(err); {
	case status == http.StatusForbidden:
		return errors.New("Vault denies it: the policy of callgate's token must allow to read the path, and the token be alive")
	case status == http.StatusNotFound:
		return errors.New("Vault has nothing there, or it was deleted")
	case status == http.StatusServiceUnavailable:
		return errors.New("Vault is sealed, or under maintenance")
	case status/100 == 3:
		return fmt.Errorf("Vault: %w, and no redirect is followed: give the address of the active node", err)
	}
	return fmt.Errorf("Vault: %w", err)
}

// token is a token of Vault that is good now, and another one than refused.
func (h *Hashi) token(ctx context.Context, refused Secret) (Secret, error) {
	if h.cfg.Token != nil { // which may be rotated where it is kept
		loan, err := h.cfg.Token.Use(ctx, nil)
		return loan.Value, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Now()
	if l := h.lease; l.token != (Secret{}) && l.token != refused && (l.expires.IsZero() || now.Before(l.expires)) {
		return l.token, nil
	}
	if err := h.login(ctx); err != nil {
		return Secret{}, err
	}
	return h.lease.token, nil
}

// login gets a token. It needs mu.
func (h *Hashi) login(ctx context.Context) error {
	var mount, field string
	var in map[string]string
	var proof Credential
	if a := h.cfg.AppRole; a != nil {
		mount, in, field, proof = orElse(a.Mount, "approle"), map[string]string{"role_id": a.RoleID}, "secret_id", a.SecretID
	} else {
		k := h.cfg.Kubernetes
		mount, in, field, proof = orElse(k.Mount, "kubernetes"), map[string]string{"role": k.Role}, "jwt", k.JWT
	}
	loan, err := proof.Use(ctx, nil)
	if err != nil {
		return err
	}
	in[field] = loan.Value.Reveal()
	var answer authAnswer
	if err := h.post(ctx, Secret{}, "auth/"+mount+"/login", in, &answer); err != nil {
		if status := statusOf(err); status == http.StatusBadRequest || status == http.StatusForbidden {
			return fmt.Errorf("Vault does not let callgate log in by %s: %w", mount, err)
		}
		return hashiSays(err)
	}
	return h.take(&answer)
}

// An authAnswer is what Vault answers to a login and to a renewal.
type authAnswer struct {
	Auth struct {
		ClientToken   string `json:"client_token"`
		LeaseDuration int64  `json:"lease_duration"` // seconds; 0 is for ever
		Renewable     bool   `json:"renewable"`
	} `json:"auth"`
}

// take makes the answer the lease. It needs mu.
func (h *Hashi) take(a *authAnswer) error {
	if a.Auth.ClientToken == "" || a.Auth.LeaseDuration < 0 {
		return errors.New("Vault answered without a token")
	}
	now, l := h.cfg.Now(), lease{token: NewSecret(a.Auth.ClientToken), renewable: a.Auth.Renewable}
	if life := time.Duration(min(a.Auth.LeaseDuration, int64(longestTTL/time.Second))) * time.Second; life > 0 {
		l.renew, l.expires = now.Add(life*2/3), now.Add(life-min(5*time.Second, life/10))
	}
	h.lease = l
	return nil
}

// Run renews callgate's token until ctx ends, so that it lives as long as Vault
// lets it.
func (h *Hashi) Run(ctx context.Context) {
	wait := time.Duration(0)
	for {
		select {
		case <-time.After(wait):
			wait = h.Tend(ctx)
		case <-ctx.Done():
			return
		}
	}
}

const (
	tendEvery  = time.Minute // a token whose end is not known, or far
	tendFailed = 10 * time.Second
)

// Tend renews callgate's token if that is due, or gets another one, and says when to
// come again.
func (h *Hashi) Tend(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Now()
	if h.cfg.Token != nil {
		loan, err := h.cfg.Token.Use(ctx, nil)
		if err != nil {
			return tendFailed // it was logged by its source
		}
		if h.lease.token != loan.Value {
			if err := h.inspect(ctx, loan.Value); err != nil {
				h.cfg.Logger.Warn("Vault does not tell how long callgate's token lives", "error", hashiSays(err))
				return tendFailed
			}
		}
	}
	if h.lease.token == (Secret{}) || h.lease.renew.IsZero() || now.Before(h.lease.renew) {
		return h.pause(now)
	}
	err := errors.New("it cannot be renewed")
	if h.lease.renewable {
		var answer authAnswer
		token := h.lease.token
		if err = h.post(ctx, token, "auth/token/renew-self", map[string]string{}, &answer); err == nil {
			if answer.Auth.ClientToken == token.Reveal() {
				old := h.lease
				if err = h.take(&answer); err == nil {
					h.lease.token = token // the same in memory
				}
				if err == nil && h.lease.expires.Before(old.expires.Add(time.Second)) { // it has come to its longest life
					h.lease.renewable = false
				}
			} else {
				err = errors.New("Vault answered a renewal with another token")
			}
		}
	}
	if err != nil && h.cfg.Token == nil {
		err = h.login(ctx)
	}
	if err != nil {
		h.cfg.Logger.Warn("callgate's token at Vault is not renewed", "expires", h.lease.expires, "error", hashiSays(err))
		return tendFailed
	}
	return h.pause(now)
}

// pause is how long there is nothing to do for the lease. It needs mu.
func (h *Hashi) pause(now time.Time) time.Duration {
	if h.lease.renew.IsZero() {
		return tendEvery
	}
	return min(max(h.lease.renew.Sub(now), time.Second), tendEvery)
}

// inspect asks how long a token that was given lives. It needs mu.
func (h *Hashi) inspect(ctx context.Context, token Secret) error {
	var answer struct {
		Data struct {
			TTL       int64 `json:"ttl"`
			Renewable bool  `json:"renewable"`
		} `json:"data"`
	}
	if err := h.get(ctx, token, "auth/token/lookup-self", &answer); err != nil {
		return err
	}
	var a authAnswer
	a.Auth.ClientToken, a.Auth.LeaseDuration, a.Auth.Renewable = token.Reveal(), answer.Data.TTL, answer.Data.Renewable
	err := h.take(&a)
	h.lease.token = token
	return err
}

func (h *Hashi) get(ctx context.Context, token Secret, path string, out any) error {
	return h.do(ctx, http.MethodGet, token, path, nil, out)
}

func (h *Hashi) post(ctx context.Context, token Secret, path string, in, out any) error {
	doc, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return h.do(ctx, http.MethodPost, token, path, doc, out)
}

func (h *Hashi) do(ctx context.Context, method string, token Secret, path string, body []byte, out any) error {
	u := *h.base
	u.Path += "/v1/" + path
	req := &http.Request{Method: method, URL: &u, Host: u.Host, Header: http.Header{"X-Vault-Request": {"true"}}}
	if text := token.Reveal(); text != "" {
		if !fitsHeader(text) {
			return errors.New("callgate's token for Vault is no text that a header can carry")
		}
		req.Header.Set("X-Vault-Token", text)
	}
	if h.cfg.Namespace != "" {
		req.Header.Set("X-Vault-Namespace", h.cfg.Namespace)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	_, err := h.at.do(ctx, req, out)
	return err
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
