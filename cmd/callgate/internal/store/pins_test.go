package store_test

import (
	"path/filepath"
	"slices"
	"testing"

	"callgate/cmd/callgate/internal/store"
	"callgate/mcp"

	"github.com/google/go-cmp/cmp"
)

func TestPinsAreFoundAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "callgate.db")
	var db *store.DB
	memory := new(mcp.MemoryPins)
	for name, open := range map[string]func() mcp.PinStore{
		"memory": func() mcp.PinStore { return memory },
		"SQLite": func() mcp.PinStore {
			if db != nil {
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			if db, err = store.Open(t.Context(), path, ""); err != nil {
				t.Fatal(err)
			}
			return db.Pins()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open()
			for _, docs := range []map[string]string{
				{"shop\x00\x00tool\x00refund": "1", "shop\x00\x00tool\x00ü%00\U000e0041": "2", "shop\x00\x00tool\x00ü\x00\U000e0041": "3", "gone": "4"},
				{"shop\x00\x00tool\x00refund": "one", "gone": "", "never": ""},
				{},
			} {
				if err := s.PutPins(t.Context(), docs); err != nil {
					t.Fatal(err)
				}
			}
			s = open()
			got, err := s.Pins(t.Context())
			slices.Sort(got)
			if diff := cmp.Diff([]string{"2", "3", "one"}, got); err != nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
