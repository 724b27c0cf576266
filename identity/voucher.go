package identity

import (
	"context"
	"encoding/hex"
	"slices"
	"sync"
	"time"
)

// A Voucher is a secret that whoever holds it may come with once: an authorization
// code, a refresh token, a device code. The secret itself is kept nowhere.
type Voucher struct {
	Hash    string    // SHA-256 of the secret, in hex
	Kind    string    // one of those below
	Body    []byte    // JSON: what it is for
	Expires time.Time // to the microsecond
	Used    time.Time // zero: not yet
	Answer  []byte    // what was answered when it was used, sealed
}

// What a [Voucher]'s Kind may be.
const (
	codeVoucher    = "code"
	refreshVoucher = "refresh"
	deviceVoucher  = "device"
	userVoucher    = "user_code"
	settledVoucher = "settled" // what a person answered about a device
)

// A VoucherStore keeps vouchers.
type VoucherStore interface {
	// PutVoucher makes a new v durable before it returns nil.
	PutVoucher(ctx context.Context, v Voucher) error
	// Voucher is the one of that hash, and whether there is one.
	Voucher(ctx context.Context, hash string) (Voucher, bool, error)
	// UseVoucher notes that one is used, durably. It is true for the first of all who
	// do, in whatever process, and for no other.
	UseVoucher(ctx context.Context, hash string, at time.Time) (bool, error)
	// ReuseVoucher notes that one is used again which was used at a time and never
	// answered. It is true for the first who does, and for no other.
	ReuseVoucher(ctx context.Context, hash string, used, at time.Time) (bool, error)
	// AnswerVoucher keeps what was answered to the use of one at a time. It is false
	// where it was used again since.
	AnswerVoucher(ctx context.Context, hash string, used time.Time, answer []byte) (bool, error)
	// DropVouchers forgets those that expired before a time.
	DropVouchers(ctx context.Context, before time.Time) error
}

// hashed is the SHA-256 of a secret, in hex.
func hashed(secret string) string { return hex.EncodeToString(sum(secret)) }

// MemoryVouchers is a [VoucherStore] in memory. The zero MemoryVouchers is empty and
// ready.
type MemoryVouchers struct {
	mu   sync.Mutex
	held map[string]Voucher
}

func (v Voucher) clone() Voucher {
	v.Body, v.Answer = slices.Clone(v.Body), slices.Clone(v.Answer)
	return v
}

// PutVoucher implements [VoucherStore].
func (m *MemoryVouchers) PutVoucher(_ context.Context, v Voucher) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held == nil {
		m.held = make(map[string]Voucher)
	}
	m.held[v.Hash] = v.clone()
	return nil
}

// Voucher implements [VoucherStore].
func (m *MemoryVouchers) Voucher(_ context.Context, hash string) (Voucher, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.held[hash]
	return v.clone(), ok, nil
}

// UseVoucher implements [VoucherStore].
func (m *MemoryVouchers) UseVoucher(_ context.Context, hash string, at time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.held[hash]
	if !ok || !v.Used.IsZero() {
		return false, nil
	}
	v.Used = at
	m.held[hash] = v
	return true, nil
}

// ReuseVoucher implements [VoucherStore].
func (m *MemoryVouchers) ReuseVoucher(_ context.Context, hash string, used, at time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.held[hash]
	if !ok || v.Used.IsZero() || !v.Used.Equal(used) || len(v.Answer) > 0 {
		return false, nil
	}
	v.Used = at
	m.held[hash] = v
	return true, nil
}

// AnswerVoucher implements [VoucherStore].
func (m *MemoryVouchers) AnswerVoucher(_ context.Context, hash string, used time.Time, answer []byte) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.held[hash]
	if !ok || v.Used.IsZero() || !v.Used.Equal(used) {
		return false, nil
	}
	v.Answer = slices.Clone(answer)
	m.held[hash] = v
	return true, nil
}

// DropVouchers implements [VoucherStore].
func (m *MemoryVouchers) DropVouchers(_ context.Context, before time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for hash, v := range m.held {
		if v.Expires.Before(before) {
			delete(m.held, hash)
		}
	}
	return nil
}
