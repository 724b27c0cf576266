package mcp

import (
	"testing"
	"time"
)

func TestAPageIsBelievedAsLongAsTheServerSays(t *testing.T) {
	for page, want := range map[string]time.Duration{
		`{}`:               time.Minute,
		`{"ttlMs":"5000"}`: time.Minute,
		`{"ttlMs":5000}`:   5 * time.Second,
		`{"ttlMs":0}`:      time.Second,
		`{"ttlMs":-1}`:     time.Second,
		`{"ttlMs":1e300}`:  10 * time.Minute,
	} {
		if got := lifetime(parsed([]byte(page))); got != want {
			t.Errorf("%s: %v, want %v", page, got, want)
		}
	}
}

func TestAListingIsSharedByWhomItIsFor(t *testing.T) {
	now := time.Now()
	ana, bob := listKey{"tools/list", "ana"}, listKey{"tools/list", "bob"}
	tests := []struct {
		name   string
		public bool
		after  time.Duration
		who    listKey
		known  bool
	}{
		{"its principal has it", false, 59 * time.Second, ana, true},
		{"another principal does not", false, 0, bob, false},
		{"another list is not there", false, 0, listKey{"prompts/list", "ana"}, false},
		{"after its time nobody has it", false, time.Minute, ana, false},
		{"everybody has a public one", true, 0, bob, true},
		{"after its time nobody has a public one", true, time.Minute, bob, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var k listings
			f, mine := k.take(ana, now)
			if !mine {
				t.Fatal("there was one already")
			}
			if g, mine := k.take(ana, now); mine || g != f {
				t.Error("it was asked for twice")
			}
			k.put(ana, f, &listing{public: tt.public, until: now.Add(time.Minute)}, nil)
			if g, mine := k.take(tt.who, now.Add(tt.after)); mine == tt.known || tt.known && g != f {
				t.Errorf("known: %v", !mine)
			}
		})
	}
}

func TestAListingThatChangedWhileItWasAskedForIsNotKept(t *testing.T) {
	var k listings
	now := time.Now()
	key := listKey{"resources/templates/list", ""}
	f, _ := k.take(key, now)
	k.forget("notifications/tools/list_changed")
	if _, mine := k.take(key, now); mine {
		t.Error("another list's change forgot it")
	}
	k.forget("notifications/resources/list_changed")
	k.put(key, f, &listing{until: now.Add(time.Minute)}, nil)
	if _, mine := k.take(key, now); !mine {
		t.Error("it was kept")
	}
}

func TestListingsAreBounded(t *testing.T) {
	var k listings
	now := time.Now()
	for i := range 3 * maxLists {
		key := listKey{"tools/list", string(rune(i))}
		f, _ := k.take(key, now)
		k.put(key, f, &listing{bytes: 1 << 20, until: now.Add(time.Hour)}, nil)
		if len(k.known) > maxLists || k.bytes > maxListsKept {
			t.Fatalf("%d lists of %d bytes", len(k.known), k.bytes)
		}
	}
	bytes := 0
	for _, f := range k.known {
		bytes += f.val.bytes
	}
	if bytes != k.bytes {
		t.Errorf("counted %d bytes, there are %d", k.bytes, bytes)
	}
}
