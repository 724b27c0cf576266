package providers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"callgate/firewall"
	"callgate/identity"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// signingKey reads the credentials that text holds: ID:SECRET, ID:SECRET:TOKEN, or the
// JSON in which AWS tells them. A text that is neither is an API key, which is shown and
// signs nothing.
func signingKey(text string) (creds aws.Credentials, signs bool, err error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "{") {
		var doc struct{ AccessKeyID, SecretAccessKey, SessionToken, Token string }
		if json.Unmarshal([]byte(text), &doc) != nil {
			return creds, true, errors.New("the JSON cannot be read") // and not why, which may quote it
		}
		creds = aws.Credentials{AccessKeyID: doc.AccessKeyID, SecretAccessKey: doc.SecretAccessKey, SessionToken: doc.SessionToken + doc.Token}
	} else {
		parts := strings.Split(text, ":")
		switch len(parts) {
		case 1:
			return creds, false, nil
		case 2, 3:
			creds = aws.Credentials{AccessKeyID: parts[0], SecretAccessKey: parts[1], SessionToken: strings.Join(parts[2:], "")}
		}
	}
	if creds.AccessKeyID == "" || creds.SecretAccessKey == "" || strings.ContainsFunc(creds.AccessKeyID+creds.SessionToken, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return creds, true, errors.New("want ID:SECRET, ID:SECRET:TOKEN, or JSON with AccessKeyId and SecretAccessKey")
	}
	return creds, true, nil
}

// sign signs req, whose body is doc, by the credentials that were lent. The signature is
// over the method, the URL, the body and the few headers that are AWS's business, so that
// nothing on the way that touches others breaks it.
func (s *shows) sign(ctx context.Context, req *http.Request, doc []byte, loan identity.Loan, now time.Time) (identity.Loan, error) {
	text := loan.Value.Reveal()
	creds, signs, err := signingKey(text)
	switch {
	case text == "":
		return loan, nil
	case err != nil:
		return loan, &firewall.Error{Code: firewall.Unavailable, Reason: "the credential of the target is no AWS credential: its operator must mend it", Err: errors.New(loan.Name + ": " + err.Error())}
	case !signs:
		header := identity.NewHeader(loan.Value, "Bearer ")
		value, _, err := header.Use(ctx, nil)
		if err != nil {
			return loan, firewall.Withheld(ctx, err)
		}
		req.Header["Authorization"] = value
		return loan, nil
	}
	bare := &http.Request{Method: req.Method, URL: req.URL /* whose query is put in order */, Host: req.Host, ContentLength: int64(len(doc)), Header: http.Header{}}
	if t := req.Header["Content-Type"]; t != nil {
		bare.Header["Content-Type"] = t
	}
	sum := sha256.Sum256(doc)
	if err := v4.NewSigner().SignHTTP(ctx, creds, bare, hex.EncodeToString(sum[:]), s.service, s.region, now); err != nil {
		return loan, &firewall.Error{Code: firewall.Internal, Reason: "the request cannot be signed", Err: err}
	}
	for name, values := range bare.Header {
		req.Header[name] = values
	}
	if creds.SessionToken != "" {
		loan.Value = identity.NewSecret(creds.SessionToken) // of all that was sent, what must not come back
	}
	return loan, nil
}
