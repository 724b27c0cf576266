package providers

import (
	"bytes"
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"callgate/firewall"
)

// A Cache keeps replies for requests that come again, byte for byte. It may forget
// anything at any time. What it is given is sealed: only who knows the whole request can
// read the reply. It is used by many goroutines at once.
type Cache interface {
	// Get is what was last put under key, nil if that is not there any more.
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error
}

const (
	maxCached    = 4 << 20                // bytes of a reply that is kept
	cacheTimeout = 250 * time.Millisecond // to get or to put one
)

// A recollection is of one exchange: what was answered the last time that somebody of
// the same tenant asked for the same, under the same policy, and what is to be kept for
// the next time.
type recollection struct {
	cache Cache
	ttl   time.Duration
	key   string
	seal  cipher.AEAD

	head []byte       // of what is kept
	body bytes.Buffer // what has come so far
}

// kept is what is known of a reply beside its body.
type kept struct {
	At     int64 // Unix time, in seconds
	Header http.Header
}

// recollect is the recollection of x, nil where nothing of it is to be kept: the route
// is not configured so, or the client says so (Cache-Control: no-store).
func (x *exchange) recollect(call *firewall.Call) *recollection {
	ttl := cmp.Or(x.cacheFor, x.to.Cache)
	if x.cfg.Cache == nil || ttl <= 0 || x.path != "" { // what is about objects is done each time
		return nil
	}
	if directs(x.asked, "no-store") {
		x.back.cache = "bypass"
		return nil
	}
	sum := sha256.New()
	add := func(parts ...string) {
		for _, p := range parts {
			_ = binary.Write(sum, binary.BigEndian, uint64(len(p))) // a hash takes everything
			_, _ = io.WriteString(sum, p)
		}
	}
	add(call.Caller.Tenant, call.Decision.Policy, call.Target, call.Resource, x.back.at.method, x.query)
	up := forwarded(x.asked)
	for _, name := range slices.Sorted(keysOf(up)) {
		if hasPrefix(name, "Anthropic-", "Openai-") {
			add(name, strings.Join(up[name], ","))
		}
	}
	add(strconv.FormatBool(x.unbounded && call.Rationed())) // then the reply may be shorter
	add(string(call.Body.JSON))
	of := sum.Sum(nil)
	id, key := sha256.Sum256(append([]byte("id"), of...)), sha256.Sum256(append([]byte("key"), of...))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil // the key has the length that it wants: there is no such error
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil // as above
	}
	x.back.cache = "miss"
	return &recollection{cache: x.cfg.Cache, ttl: ttl, key: hex.EncodeToString(id[:]), seal: seal}
}

func keysOf(h http.Header) func(func(string) bool) {
	return func(yield func(string) bool) {
		for name := range h {
			if !yield(name) {
				return
			}
		}
	}
}

// directs says whether a client's Cache-Control has a directive.
func directs(h http.Header, directive string) bool {
	for _, line := range h["Cache-Control"] {
		for d := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(d), directive) {
				return true
			}
		}
	}
	return false
}

// recall is the reply that is kept for x, nil if there is none.
func (x *exchange) recall(ctx context.Context) *http.Response {
	if x.memory == nil || directs(x.asked, "no-cache") {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	sealed, err := x.memory.cache.Get(ctx, x.memory.key)
	if err != nil {
		x.cfg.Logger.WarnContext(ctx, "the response cache cannot be asked", "error", err)
	}
	if sealed == nil {
		return nil
	}
	value, err := x.memory.seal.Open(nil, nil, sealed, nil)
	if err != nil || len(value) < 4 || int(binary.BigEndian.Uint32(value)) > len(value)-4 {
		x.cfg.Logger.WarnContext(ctx, "what the response cache has is not what was put there", "error", err)
		return nil
	}
	head, body := value[4:4+binary.BigEndian.Uint32(value)], value[4+binary.BigEndian.Uint32(value):]
	var k kept
	if err := json.Unmarshal(head, &k); err != nil {
		return nil
	}
	x.memory = nil // it is kept already
	x.back.cache = "hit"
	x.back.age = max(0, x.cfg.Now().Unix()-k.At)
	return &http.Response{StatusCode: http.StatusOK, Header: k.Header, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body))}
}

// remember has what is read of a good reply go into x's recollection.
func (x *exchange) remember(resp *http.Response) {
	if x.memory == nil || resp.StatusCode != http.StatusOK {
		x.memory = nil
		return
	}
	k := kept{At: x.cfg.Now().Unix(), Header: http.Header{"Content-Type": resp.Header["Content-Type"]}}
	for _, name := range []string{"Request-Id", "X-Request-Id"} { // of the one that was really made
		if v := resp.Header[name]; v != nil {
			k.Header[name] = v
		}
	}
	var err error
	if x.memory.head, err = json.Marshal(k); err != nil {
		x.memory = nil
		return
	}
	resp.Body = &copying{resp.Body, x.memory}
}

// copying is a body that is kept as it is read.
type copying struct {
	io.ReadCloser
	to *recollection
}

func (c *copying) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if c.to.body.Len() <= maxCached {
		c.to.body.Write(p[:n])
	}
	return n, err
}

// noted keeps the reply when ev, the last of it, is about to go down: so it is there for
// whoever asks next. What failed or came in part is not kept.
func (x *exchange) noted(ev *firewall.Event) {
	m := x.memory
	if !ev.Last || ev.Fault != "" || ev.Mark&markError != 0 || m.body.Len() > maxCached {
		return
	}
	value := binary.BigEndian.AppendUint32(nil, uint32(len(m.head)))
	value = append(append(value, m.head...), m.body.Bytes()...)
	ctx, cancel := context.WithTimeout(context.Background(), cacheTimeout)
	defer cancel()
	if err := m.cache.Put(ctx, m.key, m.seal.Seal(nil, nil, value, nil), m.ttl); err != nil {
		x.cfg.Logger.Warn("a reply could not be put in the response cache", "error", err)
	}
}

// cacheHead tells in the head of a reply what the cache had to do with it.
func (r *reply) cacheHead(h http.Header) {
	if r.cache == "" {
		return
	}
	h[headerCache] = []string{r.cache}
	if r.cache == "hit" {
		h["Age"] = []string{strconv.FormatInt(r.age, 10)}
	}
}
