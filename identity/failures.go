package identity

import (
	"net/netip"
	"sync"
	"time"
)

// failures slow down whoever keeps failing to authenticate. A client is slowed
// down for each address that it comes from, so that nobody can lock it out from
// elsewhere; an address has more room, since a proxy may stand for many clients.
type failures struct {
	clients   bucket // by client and address
	addresses bucket
}

func newFailures() *failures {
	return &failures{
		clients:   bucket{free: 10, forget: 5 * time.Second, until: make(map[string]time.Time)},
		addresses: bucket{free: 100, forget: 100 * time.Millisecond, until: make(map[string]time.Time)},
	}
}

// A bucket counts the failures of each key. Its memory is bounded.
type bucket struct {
	free   int           // failures before a key has to wait
	forget time.Duration // until one failure is forgotten

	mu    sync.Mutex
	until map[string]time.Time // when all failures of the key are forgotten
}

const maxFailing = 16 << 10 // keys in a bucket

// wait is how long client at address must wait before it may try again.
func (f *failures) wait(client, address string, now time.Time) time.Duration {
	return max(f.clients.wait(client+" "+address, now), f.addresses.wait(address, now))
}

// note counts a failure.
func (f *failures) note(client, address string, now time.Time) {
	f.clients.note(client+" "+address, now)
	f.addresses.note(address, now)
}

func (b *bucket) wait(key string, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	until, ok := b.until[key]
	if !ok || until.Before(now) {
		return 0
	}
	return max(0, until.Sub(now)-time.Duration(b.free-1)*b.forget)
}

func (b *bucket) note(key string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last, ok := b.until[key]
	if !ok {
		b.makeRoom(now)
	}
	if last.Before(now) {
		last = now
	}
	b.until[key] = last.Add(b.forget)
}

// makeRoom forgets some keys that have nothing left to forget, and any key at
// all if there is no room without.
func (b *bucket) makeRoom(now time.Time) {
	n := 0
	for key, until := range b.until { // begins anywhere
		if until.Before(now) || len(b.until) >= maxFailing {
			delete(b.until, key)
		}
		if n++; n == looked {
			return
		}
	}
}

// origin is the network that a request comes from: an address, or what one
// subscriber has of IPv6.
func origin(remote string) string {
	p, err := netip.ParseAddrPort(remote)
	if err != nil {
		return ""
	}
	ip := p.Addr().Unmap().WithZone("")
	if ip.Is6() {
		return netip.PrefixFrom(ip, 64).Masked().String()
	}
	return ip.String()
}
