package providers

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"callgate/firewall"
	"callgate/identity"
)

// The ways to say who calls that have a name of their own.
const (
	authBearer = "bearer"
	authAzure  = "azure"
	authAWS    = "aws"
	authGoogle = "google"
	authNone   = "none"
)

// A shows is how a provider is told who calls.
type shows struct {
	auth            string // one of the ways, or "" for a key that stands in header as it is
	header          string
	service, region string // that requests are signed for
}

// shows is what Auth says. fill is the value of a param; nil where only the form matters.
func (k *Kind) shows(fill func(string) string) (*shows, error) {
	switch name, named := strings.CutPrefix(k.Auth, "header:"); {
	case named && (name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != ""):
		return nil, errors.New("want the name of a header: header:x-api-key")
	case named:
		return &shows{header: http.CanonicalHeaderKey(name)}, nil
	}
	switch k.Auth {
	case authBearer, authAzure, authGoogle, authNone:
		return &shows{auth: k.Auth, header: "Authorization"}, nil
	case authAWS:
		s := &shows{auth: authAWS, header: "Authorization", service: k.Service}
		if fill != nil {
			s.region = fill("region")
		}
		return s, nil
	}
	return nil, errors.New("want bearer, header:NAME, azure, aws, google or none")
}

// before is what stands before a key in its header.
func (s *shows) before() string {
	switch s.auth {
	case authBearer, authGoogle:
		return "Bearer "
	}
	return ""
}

// made is a key as the credential that is lent for each request.
func (s *shows) made(of identity.Credential) identity.Credential {
	if s.auth == authGoogle {
		return identity.NewGoogleToken(of, "https://www.googleapis.com/auth/cloud-platform", nil)
	}
	return of
}

// put puts the key into req, whose body is doc, on behalf of the caller of call; nil is
// callgate itself. It does so last: nothing before sees the key, and a signature is over
// what is sent.
func (s *shows) put(ctx context.Context, req *http.Request, doc []byte, call *firewall.Call, k *key, now time.Time) (identity.Loan, error) {
	if s.auth == authNone || k == nil {
		return identity.Loan{}, nil
	}
	if s.auth == authAWS {
		loan, err := lend(ctx, call, k.of)
		if err != nil {
			return loan, err
		}
		return s.sign(ctx, req, doc, loan, now)
	}
	var value []string
	var loan identity.Loan
	var err error
	if call != nil {
		value, loan, err = call.Lend(ctx, k.header)
	} else {
		value, loan, err = k.header.Use(ctx, nil)
	}
	switch {
	case err != nil || value == nil:
	case s.auth == authAzure && isJWT(value[0]):
		req.Header["Authorization"] = []string{"Bearer " + value[0]}
	case s.auth == authAzure:
		req.Header["Api-Key"] = value
	default:
		req.Header[s.header] = value
	}
	return loan, err
}

// lend lends a credential that is no header, as [firewall.Call.Lend] does.
func lend(ctx context.Context, call *firewall.Call, of identity.Credential) (identity.Loan, error) {
	if call == nil {
		return of.Use(ctx, nil)
	}
	loan, err := of.Use(ctx, &call.Caller)
	if err != nil {
		return loan, firewall.Withheld(ctx, err)
	}
	call.Lent(loan)
	return loan, nil
}

// isJWT tells an access token from a key of Azure, which has no dots.
func isJWT(text string) bool { return strings.HasPrefix(text, "eyJ") && strings.Count(text, ".") == 2 }
