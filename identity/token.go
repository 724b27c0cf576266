package identity

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// A Refusal is why a token is not taken, in words that whoever presented it may
// see. They are plain ASCII without quotes, so that they fit into a header.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// What can be wrong with a token.
const (
	errNoToken    Refusal = "this is not an access token of callgate; get one from POST /oauth/token"
	errTooLong    Refusal = "the token is longer than any that callgate issues"
	errUnsigned   Refusal = "the token is not signed"
	errForeign    Refusal = "the token was not issued by this gate, or its signing key is gone; get a new one from POST /oauth/token"
	errAlg        Refusal = "the token does not use the algorithm of its key"
	errType       Refusal = "the token is not an access token: its typ is not at+jwt"
	errCritical   Refusal = "the token has a crit header, which is not understood here"
	errTwice      Refusal = "the token says something twice"
	errMore       Refusal = "the token says more than callgate issues, so it may mean more than is understood here"
	errSignature  Refusal = "the token was tampered with: its signature is wrong"
	errIssuer     Refusal = "the token is from another issuer"
	errExpired    Refusal = "the token has expired; get a new one from POST /oauth/token"
	errNotYet     Refusal = "the token is not valid yet: the clocks of its issuer and of this gate differ"
	errIncomplete Refusal = "the token lacks a claim, or its claims contradict each other"
	errAudience   Refusal = "the token is for another resource; ask POST /oauth/token for one without resource, or with the one that is called"
	errUnknown    Refusal = "the agent of the token is not known here any more"
	errRevoked    Refusal = "the agent of the token was revoked"
	errSuspended  Refusal = "the agent of the token is suspended"
	errRetired    Refusal = "the agent of the token was retired"
	errDismissed  Refusal = "the user of the token is suspended or has left"
	errLapsed     Refusal = "the agent of the token has expired"
	errEnded      Refusal = "the token was ended by a change to its agent; get a new one from POST /oauth/token"
	errWithdrawn  Refusal = "the token was revoked, or what it came from was; get a new one"
	errNoGrant    Refusal = "the delegation that the token came from is over, or is not the one that the token tells of"
	errUnproven   Refusal = "the token is bound to a key: show that you hold it, by a DPoP proof for this request or by the client certificate"
	errStale      Refusal = "this gate cannot tell at the moment what was revoked, so it takes no token; try again soon"
)

const (
	tokenType   = "at+jwt" // RFC 9068
	agentSubs   = "ai_agent"
	userSubs    = "user"
	maxToken    = 8 << 10         // bytes
	leeway      = 5 * time.Second // between the clocks of replicas
	maxSeconds  = 1 << 53         // what JSON can say exactly
	randomBytes = 16              // of a jti or txn
)

// claims are what an access token says. There is no claim that a token may have
// and that is not here: one that is not understood could be a restriction.
type claims struct {
	Issuer   string          `json:"iss"`
	Subject  string          `json:"sub"`           // agent:<name>, or the human it acts for: user:<name>
	Profile  string          `json:"sub_profile"`   // ai_agent or user
	Audience []string        `json:"aud"`           // exactly one
	Client   string          `json:"client_id"`     // <name> of the acting agent, or the URL of the client that it acts by
	Actor    *actor          `json:"act,omitempty"` // who acts, where that is not the subject
	Expires  int64           `json:"exp"`           // seconds since 1970
	Issued   int64           `json:"iat"`
	From     int64           `json:"nbf"`
	ID       string          `json:"jti"`
	Txn      string          `json:"txn"`
	Scope    string          `json:"scope,omitempty"`
	Details  json.RawMessage `json:"authorization_details,omitempty"` // the acting agent's caps
	Confirm  *confirmation   `json:"cnf,omitempty"`                   // the key that must be shown along with the token
	Run      string          `json:"cg_r,omitempty"`                  // the only run that it is for
	Grant    string          `json:"cg_g"`                            // the record of the delegation
	Tenant   string          `json:"tenant"`
	Epoch    int64           `json:"cg_e"` // the acting agent's when the token was issued

	detailed bool // there are Details

	path string // of Audience below the gate's own URL, set by Validate
	base string // the gate's own URL
}

// actor is one of the act chain (RFC 8693), the current one outermost.
type actor struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
	Profile string `json:"sub_profile"`
	Actor   *actor `json:"act,omitempty"`
}

// confirmation is a key that a token is bound to (RFC 7800).
type confirmation struct {
	Thumbprint  string `json:"jkt,omitempty"`      // of a DPoP key (RFC 9449)
	Certificate string `json:"x5t#S256,omitempty"` // of a client certificate (RFC 8705)
}

// chain is the actors of the token, the current one first.
func (c *claims) chain() []string {
	var list []string
	for a := c.Actor; a != nil; a = a.Actor {
		list = append(list, a.Subject)
	}
	return list
}

// acting is the agent that acts: agent:<name>.
func (c *claims) acting() string {
	if c.Actor != nil {
		return c.Actor.Subject
	}
	return c.Subject
}

// GetExpirationTime and the next five implement [jwt.Claims].
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.Expires), nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return date(c.Issued), nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return date(c.From), nil }
func (c *claims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return c.Audience, nil }

func date(seconds int64) *jwt.NumericDate { return jwt.NewNumericDate(time.Unix(seconds, 0)) }

// Validate implements [jwt.ClaimsValidator]: it is asked once the signature is
// verified.
func (c *claims) Validate() error {
	complete := c.Expires > 0 && c.Issued > 0 && c.From > 0 && c.Expires > c.Issued &&
		c.ID != "" && c.Txn != "" && c.Grant != "" && c.Epoch > 0 && c.Tenant == tenant && c.Client != "" &&
		c.Profile == profileOf(c.Subject) && len(c.Audience) == 1 && (c.Confirm == nil || *c.Confirm != confirmation{})
	for a := c.Actor; a != nil; a = a.Actor {
		complete = complete && a.Issuer == c.Issuer && a.Profile == agentSubs && profileOf(a.Subject) == agentSubs
	}
	if !complete || profileOf(c.acting()) != agentSubs {
		return errIncomplete
	}
	path, ok := strings.CutPrefix(c.Audience[0], c.base)
	path = strings.TrimSuffix(path, "/")
	if !ok || path != "" && !isPath(path) {
		return errAudience
	}
	c.path = path
	return nil
}

// UnmarshalJSON reads doc strictly: each claim once, spelled exactly as above,
// of its own type, and nothing else.
func (c *claims) UnmarshalJSON(doc []byte) error {
	return readObject(doc, func(name string, d *jsontext.Decoder) (err error) {
		switch name {
		case "iss":
			c.Issuer, err = readString(d)
		case "sub":
			c.Subject, err = readString(d)
		case "sub_profile":
			c.Profile, err = readString(d)
		case "aud":
			c.Audience, err = readOne(d)
		case "client_id":
			c.Client, err = readString(d)
		case "exp":
			c.Expires, err = readInteger(d)
		case "iat":
			c.Issued, err = readInteger(d)
		case "nbf":
			c.From, err = readInteger(d)
		case "jti":
			c.ID, err = readString(d)
		case "txn":
			c.Txn, err = readString(d)
		case "tenant":
			c.Tenant, err = readString(d)
		case "cg_e":
			c.Epoch, err = readInteger(d)
		case "cg_g":
			c.Grant, err = readString(d)
		case "cg_r":
			c.Run, err = readString(d)
		case "scope":
			c.Scope, err = readString(d)
		case "act":
			c.Actor, err = readActor(d, maxDepth+1)
		case "cnf":
			c.Confirm, err = readConfirmation(d)
		case "authorization_details": // the grant has them, which is what counts
			c.detailed, err = true, d.SkipValue()
		default:
			return errMore
		}
		return err
	})
}

// header is what stands before the claims: exactly three names.
type header struct{ alg, typ, kid string }

// readHeader reads a token's first part as strictly as its claims are read. It
// comes before anything else believes a word of the token.
func readHeader(token string) (h header, err error) {
	if len(token) > maxToken {
		return h, errTooLong
	}
	if strings.Count(token, ".") != 2 || strings.ContainsFunc(token, func(c rune) bool { return !isBase64URL(c) && c != '.' }) {
		return h, errNoToken // the decoder would skip line breaks, and so take one token in many spellings
	}
	doc, err := base64.RawURLEncoding.Strict().DecodeString(token[:strings.IndexByte(token, '.')])
	if err != nil {
		return h, errNoToken
	}
	err = readObject(doc, func(name string, d *jsontext.Decoder) (err error) {
		switch name {
		case "alg":
			h.alg, err = readString(d)
		case "typ":
			h.typ, err = readString(d)
		case "kid":
			h.kid, err = readString(d)
		case "crit":
			return errCritical
		default:
			return errMore
		}
		return err
	})
	if err != nil {
		return h, err
	}
	if strings.EqualFold(h.alg, "none") || strings.HasSuffix(token, ".") {
		return h, errUnsigned
	}
	if h.typ != tokenType {
		return h, errType
	}
	return h, nil
}

func isBase64URL(c rune) bool { return wordly(c) && c != '.' }

// readObject gives each member of the one object in doc to member, which must
// read its value.
func readObject(doc []byte, member func(name string, d *jsontext.Decoder) error) error {
	d := jsontext.NewDecoder(bytes.NewReader(doc))
	if err := readMembers(d, func(name string) error { return member(name, d) }); err != nil {
		return explain(err)
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return errNoToken
	}
	return nil
}

// readMembers gives the name of each member of the object that comes next to member,
// which must read its value.
func readMembers(d *jsontext.Decoder, member func(name string) error) error {
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return errNoToken
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		if err := member(name.String()); err != nil {
			return err
		}
	}
	_, err := d.ReadToken() // the end of the object
	return err
}

// explain says what the decoder found without quoting the token.
func explain(err error) error {
	var r Refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, jsontext.ErrDuplicateName):
		return errTwice
	}
	return errNoToken
}

func readString(d *jsontext.Decoder) (string, error) {
	t, err := d.ReadToken()
	if err != nil {
		return "", err
	}
	if t.Kind() != '"' {
		return "", errIncomplete
	}
	return t.String(), nil
}

// readActor reads an act claim of at most depth actors.
func readActor(d *jsontext.Decoder, depth int) (*actor, error) {
	if depth == 0 {
		return nil, errIncomplete
	}
	a := new(actor)
	return a, readMembers(d, func(name string) (err error) {
		switch name {
		case "iss":
			a.Issuer, err = readString(d)
		case "sub":
			a.Subject, err = readString(d)
		case "sub_profile":
			a.Profile, err = readString(d)
		case "act":
			a.Actor, err = readActor(d, depth-1)
		default:
			return errMore
		}
		return err
	})
}

func readConfirmation(d *jsontext.Decoder) (*confirmation, error) {
	c := new(confirmation)
	return c, readMembers(d, func(name string) (err error) {
		switch name {
		case "jkt":
			c.Thumbprint, err = readString(d)
		case "x5t#S256":
			c.Certificate, err = readString(d)
		default:
			return errMore
		}
		return err
	})
}

// profileOf is the sub_profile of a subject; "" for what is none.
func profileOf(subject string) string {
	kind, name, _ := strings.Cut(subject, ":")
	switch {
	case kind == "agent" && isName(name):
		return agentSubs
	case kind == "user" && isOwner(name):
		return userSubs
	}
	return ""
}

// readInteger takes only what is written as a whole number.
func readInteger(d *jsontext.Decoder) (int64, error) {
	t, err := d.ReadToken()
	if err != nil {
		return 0, err
	}
	if t.Kind() != '0' {
		return 0, errIncomplete
	}
	n, err := strconv.ParseInt(t.String(), 10, 64)
	if err != nil || n < 0 || n > maxSeconds {
		return 0, errIncomplete
	}
	return n, nil
}

// readOne reads a list of exactly one string.
func readOne(d *jsontext.Decoder) ([]string, error) {
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	if t.Kind() != '[' {
		return nil, errIncomplete
	}
	one, err := readString(d)
	if err != nil {
		return nil, err
	}
	if t, err = d.ReadToken(); err != nil {
		return nil, err
	}
	if t.Kind() != ']' {
		return nil, errIncomplete
	}
	return []string{one}, nil
}

// refusal is what the library found wrong, in our words. A token that names
// another issuer is foreign before it is expired.
func refusal(err error) error {
	var r Refusal
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return errSignature
	case errors.Is(err, jwt.ErrTokenInvalidIssuer), errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return errIssuer
	case errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, errIncomplete):
		return errExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return errNotYet
	case errors.As(err, &r):
		return r
	}
	return errNoToken
}

// isPath says whether p is a path as the audience of a token may end: segments
// of plain characters, none of them empty or dots alone.
func isPath(p string) bool {
	segments, ok := strings.CutPrefix(p, "/")
	return ok && !slices.ContainsFunc(strings.Split(segments, "/"), func(s string) bool {
		return strings.Trim(s, ".") == "" || strings.ContainsFunc(s, func(c rune) bool { return !wordly(c) && c != '~' })
	})
}

// covers says whether a token for path may be used at route: there, or below.
func covers(path, route string) bool {
	if path == "" {
		return true
	}
	rest, ok := strings.CutPrefix(route, path)
	return ok && (rest == "" || rest[0] == '/')
}
