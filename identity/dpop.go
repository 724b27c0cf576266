package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	proofType  = "dpop+jwt"
	proofAge   = 60 * time.Second // that the iat of a proof may be off
	nonceLife  = 5 * time.Minute
	maxOfKey   = 16 << 10  // proofs of one key that are remembered
	maxReplays = 256 << 10 // proofs of all keys
)

// What can be wrong with a DPoP proof (RFC 9449). Each is told as such.
const (
	errNoProof     Refusal = "the DPoP proof is missing, or there are two: send one DPoP header, made for this request"
	errProofText   Refusal = "the DPoP proof is not a JWT of typ dpop+jwt that can be read"
	errProofKey    Refusal = "the jwk of the DPoP proof is no public key that is taken here: P-256, P-384, Ed25519 or RSA of 2048 bits and more, and no private part"
	errProofSigned Refusal = "the DPoP proof is not signed with its own jwk"
	errProofFor    Refusal = "the DPoP proof is for another request: htm must be its method, and htu its URL below public_url"
	errProofTime   Refusal = "the DPoP proof is too old, or from the future: its iat must be within 60 seconds"
	errProofToken  Refusal = "the DPoP proof is for another token: ath must be its SHA-256"
	errProofID     Refusal = "the DPoP proof has no jti of at most 256 bytes"
	errProofUsed   Refusal = "the DPoP proof was used already: make another one for each request"
	errProofMany   Refusal = "too many DPoP proofs came within a short time: send fewer requests"
	errProofNonce  Refusal = "the DPoP proof needs the nonce that this answer has in DPoP-Nonce"
	errBearer      Refusal = "the token is not bound to a key, so it is sent as Authorization: Bearer, and not DPoP"
	errOtherKey    Refusal = "the token is bound to another key than the one that the DPoP proof shows"
	errUnbound     Refusal = "this agent must bind its tokens to a key: ask POST /oauth/token with a DPoP proof"
)

// isProofRefusal says whether r is of a proof, and not of a token.
func isProofRefusal(r Refusal) bool {
	return slices.Contains([]Refusal{errNoProof, errProofText, errProofKey, errProofSigned, errProofFor, errProofTime, errProofToken, errProofID, errProofUsed, errProofMany, errProofNonce}, r)
}

// Prove looks at what requests on their way to next show besides a token, so that
// [Authority.Verify] knows of it: the client's certificate, and DPoP proofs. A token that
// comes by the scheme DPoP goes on by the scheme Bearer, the only one that anybody behind
// has to know; what is wrong with its proof is for Verify to say, so that it is refused
// as any other token.
func (a *Authority) Prove(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		certificate := certificateOf(r)
		auth := r.Header["Authorization"]
		scheme, token := "", ""
		if len(auth) == 1 {
			scheme, token, _ = strings.Cut(auth[0], " ")
		}
		if !strings.EqualFold(scheme, "DPoP") {
			if certificate != "" {
				r = r.WithContext(WithProof(r.Context(), Proof{Certificate: certificate}))
			}
			next.ServeHTTP(w, r)
			return
		}
		token = strings.TrimSpace(token)
		proof, err := a.shown(w, r, token)
		proof.Certificate, proof.wrong = certificate, err
		r = r.WithContext(WithProof(r.Context(), proof))
		r.Header = r.Header.Clone()
		r.Header.Set("Authorization", "Bearer "+token)
		next.ServeHTTP(w, r)
	})
}

// certificateOf is the SHA-256 of the certificate that the client has shown, and whose
// key it has, on the connection of r; "" if it has shown none.
func certificateOf(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// shown is what the request shows besides its token.
func (a *Authority) shown(w http.ResponseWriter, r *http.Request, token string) (Proof, error) {
	j, k, err := a.readProof(w, r)
	if err != nil {
		return Proof{}, err
	}
	v, _, err := a.present(r.Context(), token)
	if err != nil {
		return Proof{}, err
	}
	sum := sha256.Sum256([]byte(token))
	ath := base64.RawURLEncoding.EncodeToString(sum[:])
	jkt := thumbprint(k.Public)
	switch {
	case v.confirm.Thumbprint == "":
		return Proof{}, errBearer
	case subtle.ConstantTimeCompare([]byte(j.claim("ath")), []byte(ath)) != 1:
		return Proof{}, errProofToken
	case v.confirm.Thumbprint != jkt:
		return Proof{}, errOtherKey
	}
	// only now, so that nobody without a token fills the memory
	return Proof{Thumbprint: jkt}, a.replays.note(jkt, j.id, a.cfg.Now())
}

// bound is what a request for a token shows that the token can be bound to. Its DPoP
// proof is used up by [Authority.asked].
func (a *Authority) bound(w http.ResponseWriter, r *http.Request) (Proof, error) {
	proof := Proof{Certificate: certificateOf(r)}
	if len(r.Header["Dpop"]) == 0 {
		return proof, nil
	}
	j, k, err := a.readProof(w, r)
	if err != nil {
		return Proof{}, err
	}
	proof.Thumbprint, proof.id = thumbprint(k.Public), j.id
	return proof, nil
}

// readProof is the DPoP proof of r, but for what it says of a token and whether it was
// used before, and the key that signed it.
func (a *Authority) readProof(w http.ResponseWriter, r *http.Request) (*foreign, ClientKey, error) {
	var k ClientKey
	header := r.Header["Dpop"]
	if len(header) != 1 {
		return nil, k, errNoProof
	}
	j, err := readForeign(header[0])
	if err != nil || j.typ != proofType || j.kid != "" {
		return nil, k, errProofText
	}
	if j.jwk == nil {
		return nil, k, errProofKey
	}
	if k, err = readJWK(j.jwk); err != nil {
		return nil, k, errProofKey
	}
	k = k.usedFor(j.alg)
	at := a.cfg.Now()
	switch err := j.signed(k, time.Unix(j.issued, 0)); err { // how long ago that was is looked at below
	case nil:
	case errJWTExpired, errJWTEarly:
		return nil, k, errProofTime
	default:
		return nil, k, errProofSigned
	}
	off := at.Sub(time.Unix(j.issued, 0))
	switch {
	case j.claim("htm") != r.Method || !sameURL(j.claim("htu"), a.base+r.URL.EscapedPath()):
		return nil, k, errProofFor
	case j.issued == 0 || off > proofAge || off < -proofAge || j.expires > 0 && at.After(time.Unix(j.expires, 0).Add(leeway)):
		return nil, k, errProofTime
	case j.id == "" || len(j.id) > maxJTI:
		return nil, k, errProofID
	}
	if nonce, has := j.more["nonce"]; has || a.cfg.Nonce {
		age, ok := a.nonces.age(scalar(nonce), at)
		if !ok || age > nonceLife/2 {
			w.Header().Set("DPoP-Nonce", a.nonces.at(at))
		}
		if !ok {
			return nil, k, errProofNonce
		}
	}
	return j, k, nil
}

// nonces are times that nobody else can write: which were given out need not be
// remembered.
type nonces struct{ key []byte }

// newNonces is those of secret, which all processes of a gate share.
func newNonces(secret []byte) nonces {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("dpop nonce"))
	return nonces{h.Sum(nil)}
}

const nonceTime = 8 // bytes of it

func (n nonces) at(at time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(at.Unix()))
	return base64.RawURLEncoding.EncodeToString(append(b, n.sum(b)...))
}

func (n nonces) sum(b []byte) []byte {
	h := hmac.New(sha256.New, n.key)
	h.Write(b)
	return h.Sum(nil)[:16]
}

// age is how old a nonce is, and whether it is a good one.
func (n nonces) age(nonce string, at time.Time) (time.Duration, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(b) != nonceTime+16 || !hmac.Equal(b[nonceTime:], n.sum(b[:nonceTime])) {
		return 0, false
	}
	age := at.Sub(time.Unix(int64(binary.BigEndian.Uint64(b)), 0))
	return age, age <= nonceLife && age >= -leeway
}

// replays is the proofs that were seen within the time that they are good for. A key
// that sends too many blocks itself alone.
type replays struct {
	mu   sync.Mutex
	all  int
	keys map[string]map[string]int64 // thumbprint → jti → until, in seconds since 1970
	tidy int64                       // when that is next looked through
}

func newReplays() *replays { return &replays{keys: make(map[string]map[string]int64)} }

// note says whether a proof comes for the first time.
func (s *replays) note(jkt, id string, at time.Time) error {
	now := at.Unix()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now >= s.tidy {
		s.drop(now)
		s.tidy = now + int64(proofAge/time.Second)/2
	}
	of := s.keys[jkt]
	if _, used := of[id]; used {
		return errProofUsed
	}
	if len(of) >= maxOfKey || s.all >= maxReplays {
		return errProofMany
	}
	if of == nil {
		of = make(map[string]int64)
		s.keys[jkt] = of
	}
	of[id] = now + 2*int64(proofAge/time.Second) + 1
	s.all++
	return nil
}

func (s *replays) drop(now int64) {
	for jkt, of := range s.keys {
		for id, until := range of {
			if until < now {
				delete(of, id)
				s.all--
			}
		}
		if len(of) == 0 {
			delete(s.keys, jkt)
		}
	}
}
