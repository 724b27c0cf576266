package store_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"callgate/cmd/callgate/internal/store"
	"callgate/firewall/policy"

	"github.com/google/go-cmp/cmp"
)

func TestVersionsOfThePolicyAreFoundAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "callgate.db")
	var db *store.DB
	for name, open := range map[string]func() policy.VersionStore{
		"memory": func() func() policy.VersionStore {
			m := new(policy.Memory)
			return func() policy.VersionStore { return m }
		}(),
		"SQLite": func() policy.VersionStore {
			if db != nil {
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			if db, err = store.Open(t.Context(), path, ""); err != nil {
				t.Fatal(err)
			}
			return db.Policies()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open()
			now := time.Date(2026, 11, 23, 1, 2, 3, 456789000, time.UTC)
			one := policy.Version{Hash: "h1", Digest: "d1", Author: "user:ana", Comment: "ü \"quoted\"", Created: now,
				Files: []policy.Source{{Name: "a.csv", Text: []byte("# grüß\np, …\n")}, {Name: "b.csv", Text: []byte{}}}}
			two := policy.Version{Hash: "h2", Digest: "d1", Author: "config", Created: now}
			for i, v := range []policy.Version{one, two, one, two} {
				if n, err := s.AddVersion(t.Context(), v); err != nil || n != int64(i%2)+1 {
					t.Errorf("version %d is number %d, %v", i, n, err)
				}
			}
			acts := []policy.Act{{What: policy.Activate, Version: 1, Files: true, By: "config", At: now}, {What: policy.Rehearse, Version: 2, By: "user:ana", Comment: "try", At: now}}
			for _, a := range acts {
				if err := s.AddAct(t.Context(), a); err != nil {
					t.Fatal(err)
				}
			}
			s = open()
			one.Number, two.Number = 1, 2
			got, err := s.Version(t.Context(), 1)
			if diff := cmp.Diff(one, got); err != nil || diff != "" {
				t.Error(err, diff)
			}
			if none, err := s.Version(t.Context(), 3); err != nil || none.Number != 0 {
				t.Errorf("a version that is not there: %+v, %v", none, err)
			}
			one.Files = nil
			list, err := s.Versions(t.Context())
			if diff := cmp.Diff([]policy.Version{one, two}, list); err != nil || diff != "" {
				t.Error(err, diff)
			}
			done, err := s.Acts(t.Context())
			if diff := cmp.Diff(acts, done); err != nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
	if err := errors.Join(db.Close()); err != nil {
		t.Error(err)
	}
}
