package mcp

import (
	"strings"
	"sync"
	"time"
)

const (
	maxLists     = 4096      // that are kept of one server
	maxListsKept = 128 << 20 // bytes of them
)

// listings is what is known of a server's lists, or being asked.
type listings struct {
	mu    sync.Mutex
	known map[listKey]*flight[*listing]
	bytes int
}

// listKey is which list, and whose; "" is everybody's.
type listKey struct{ method, principal string }

// take is the listing that is known or being asked for, else a new one that the
// caller must put.
func (k *listings) take(key listKey, now time.Time) (f *flight[*listing], mine bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, at := range [...]listKey{{method: key.method}, key} {
		if f := k.known[at]; f != nil && (!f.landed() || now.Before(f.val.until)) {
			return f, false
		}
	}
	if k.known == nil {
		k.known = make(map[listKey]*flight[*listing])
	}
	f = newFlight[*listing]()
	k.drop(key)
	k.known[key] = f
	return f, true
}

// believed is the listing of principal, or of all, nil where it is not there or not to be
// believed any more.
func (k *listings) believed(method, principal string, now time.Time) *listing {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, at := range [...]listKey{{method: method}, {method, principal}} {
		if f := k.known[at]; f != nil && f.landed() && f.err == nil && now.Before(f.val.until) {
			return f.val
		}
	}
	return nil
}

// latest is a listing to tell tools by: of all, of the principal of a key with whatever it
// can do, or of anybody. It may not be believed any more; nil where there is none.
func (k *listings) latest(method, principal string) *listing {
	k.mu.Lock()
	defer k.mu.Unlock()
	var found *listing
	best := 0
	for key, f := range k.known {
		if key.method != method || !f.landed() || f.err != nil {
			continue
		}
		rank := 1
		switch {
		case key.principal == "":
			rank = 3
		case strings.HasPrefix(key.principal, principal+"\x00\x00"):
			rank = 2
		}
		if rank > best {
			best, found = rank, f.val
		}
	}
	return found
}

// put makes l known, to all callers if it is for all. What was forgotten while
// it was asked for stays forgotten.
func (k *listings) put(key listKey, f *flight[*listing], l *listing, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer f.land(l, err)
	if k.known[key] != f {
		return
	}
	delete(k.known, key)
	if err != nil {
		return
	}
	if k.bytes += l.bytes; k.bytes > maxListsKept || len(k.known) >= maxLists {
		k.known, k.bytes = make(map[listKey]*flight[*listing]), l.bytes
	}
	if l.public {
		key.principal = ""
	}
	k.drop(key)
	k.known[key] = f
}

// drop forgets one listing. It needs mu.
func (k *listings) drop(key listKey) {
	if f := k.known[key]; f != nil && f.landed() {
		k.bytes -= f.val.bytes
	}
	delete(k.known, key)
}

// forget drops the listings that a notification says have changed, for all
// callers.
func (k *listings) forget(notification string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	what := strings.TrimSuffix(strings.TrimPrefix(notification, "notifications/"), "list_changed")
	for key := range k.known {
		if strings.HasPrefix(key.method, what) {
			k.drop(key)
		}
	}
}
