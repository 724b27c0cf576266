package store

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callgate/identity"

	"github.com/google/go-cmp/cmp"
)

func TestVouchersComeBackAsTheyWereAndAreUsedOnce(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "callgate.db"), "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Now().UTC().Truncate(time.Microsecond)
	for name, s := range map[string]interface {
		identity.VoucherStore
		identity.ClientStore
	}{"database": db.Vouchers(), "memory": struct {
		*identity.MemoryVouchers
		*identity.MemoryClients
	}{new(identity.MemoryVouchers), new(identity.MemoryClients)}} {
		t.Run(name, func(t *testing.T) {
			want := identity.Voucher{Hash: "aa", Kind: "refresh", Body: []byte(`{"a":1}`), Expires: now.Add(time.Hour)}
			if err := s.PutVoucher(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			var firsts atomic.Int32
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if first, err := s.UseVoucher(t.Context(), "aa", now); err != nil {
						t.Error(err)
					} else if first {
						firsts.Add(1)
					}
				})
			}
			wg.Wait()
			if firsts.Load() != 1 {
				t.Errorf("used by %d", firsts.Load())
			}
			later := now.Add(time.Minute)
			firsts.Store(0)
			for range 8 {
				wg.Go(func() {
					if first, err := s.ReuseVoucher(t.Context(), "aa", now, later); err != nil {
						t.Error(err)
					} else if first {
						firsts.Add(1)
					}
				})
			}
			wg.Wait()
			if firsts.Load() != 1 {
				t.Errorf("used again by %d", firsts.Load())
			}
			want.Used, want.Answer = later, []byte{0, 255, 1}
			if ok, err := s.AnswerVoucher(t.Context(), "aa", now, []byte("late")); ok || err != nil {
				t.Error("a use that is not the last one is answered", err)
			}
			if ok, err := s.AnswerVoucher(t.Context(), "aa", later, want.Answer); !ok || err != nil {
				t.Fatal(ok, err)
			}
			if first, err := s.ReuseVoucher(t.Context(), "aa", later, later.Add(time.Minute)); first || err != nil {
				t.Error("one that was answered is used again", err)
			}
			if first, err := s.ReuseVoucher(t.Context(), "bb", time.Time{}, now); first || err != nil {
				t.Error("one that is not there is used again", err)
			}
			if got, ok, err := s.Voucher(t.Context(), "aa"); err != nil || !ok || !cmp.Equal(got, want) {
				t.Error(ok, err, cmp.Diff(got, want))
			}
			if _, ok, err := s.Voucher(t.Context(), "bb"); ok || err != nil {
				t.Error(ok, err)
			}
			if first, err := s.UseVoucher(t.Context(), "bb", now); first || err != nil {
				t.Error("one that is not there is used", err)
			}
			if err := s.DropVouchers(t.Context(), now.Add(2*time.Hour)); err != nil {
				t.Fatal(err)
			}
			if _, ok, _ := s.Voucher(t.Context(), "aa"); ok {
				t.Error("is still there")
			}
			c := identity.Client{ID: "dcr_1", Name: "x", Redirects: []string{"http://localhost/"}, SecretHash: []byte{1}, Source: identity.FromRegistration, Created: now}
			if ok, err := s.PutClient(t.Context(), c, 1); !ok || err != nil {
				t.Fatal(ok, err)
			}
			if ok, err := s.PutClient(t.Context(), identity.Client{ID: "dcr_2"}, 1); ok || err != nil {
				t.Error("more than the limit", err)
			}
			if got, ok, err := s.Client(t.Context(), "dcr_1"); err != nil || !ok || !cmp.Equal(got, c) {
				t.Error(ok, err, cmp.Diff(got, c))
			}
			young := identity.Client{ID: "dcr_3", Redirects: []string{"http://localhost/"}, Source: identity.FromRegistration, Created: now.Add(59 * time.Minute)}
			if ok, err := s.PutClient(t.Context(), young, 1); ok || err != nil {
				t.Error("one that is an hour old at most has made room", err)
			}
			young.Created = now.Add(61 * time.Minute)
			if ok, err := s.PutClient(t.Context(), young, 1); !ok || err != nil {
				t.Error("one that nobody has allowed anything makes no room", err)
			}
			if _, ok, err := s.Client(t.Context(), "dcr_1"); ok || err != nil {
				t.Error("who made room is still there", err)
			}
			if err := s.AllowClient(t.Context(), "dcr_3"); err != nil {
				t.Error(err)
			}
			if got, ok, err := s.Client(t.Context(), "dcr_3"); err != nil || !ok || !got.Allowed || got.Created != young.Created {
				t.Error(ok, err, got)
			}
			if ok, err := s.PutClient(t.Context(), identity.Client{ID: "dcr_4", Created: now.Add(24 * time.Hour)}, 1); ok || err != nil {
				t.Error("one that somebody has allowed something has made room", err)
			}
			if err := s.AllowClient(t.Context(), "dcr_9"); err != nil {
				t.Error("one that is not there", err)
			}
			if _, ok, err := s.Client(t.Context(), "dcr_2"); ok || err != nil {
				t.Error(ok, err)
			}
		})
	}
}
