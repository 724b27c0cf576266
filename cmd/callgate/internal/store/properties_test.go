package store

import (
	"path/filepath"
	"testing"
	"time"

	"callgate/firewall"

	"github.com/google/go-cmp/cmp"
)

func TestPropertiesComeBackAsTheyWere(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "callgate.db"), "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Now().UTC().Truncate(time.Microsecond)
	for name, s := range map[string]firewall.PropertyStore{"database": db.Properties(), "memory": new(firewall.Memory)} {
		t.Run(name, func(t *testing.T) {
			file := firewall.Property{Owner: "default\x1fagent:bot", Kind: "file", ID: "1", Target: "openai", Model: "gpt", Path: "/v1/x", Purpose: "batch", Calls: 2, Input: 3, Output: 4}
			other := firewall.Property{Owner: "default\x1fagent:eve", Kind: "file", ID: "1", Target: "lab"}
			response := firewall.Property{Owner: file.Owner, Kind: "response", ID: "1", Target: "openai", Model: "gpt", Until: now.Add(time.Hour)}
			had := func(kind string, want ...firewall.Property) {
				t.Helper()
				got, err := s.Properties(t.Context(), kind, "1")
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
					t.Errorf("properties (-want +got):\n%s", diff)
				}
			}
			for _, p := range []firewall.Property{file, other, response} {
				if err := s.PutProperty(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
			had("file", file, other)
			had("response", response)
			had("batch")
			other.Target = "openai"
			if err := s.PutProperty(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			had("file", file, other)
			if err := s.DropProperty(t.Context(), file.Owner, "file", "1"); err != nil {
				t.Fatal(err)
			}
			had("file", other)
			if err := s.DropProperties(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			had("response", response)
			if err := s.DropProperties(t.Context(), now.Add(2*time.Hour)); err != nil {
				t.Fatal(err)
			}
			had("response")
			had("file", other) // which is kept until it is dropped
		})
	}
}
