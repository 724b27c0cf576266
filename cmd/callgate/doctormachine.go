package main

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"runtime/debug"
	"time"
)

const (
	slack      = 5 * time.Minute // that clocks may differ
	maxEntries = 10_000          // files of the data folder that are looked at
)

// checkClock holds the clock to what it must be later than.
func checkClock(_ context.Context, x *patient) []symptom {
	const why = "tokens, leaves and approvals end by the clock, and the record is in its order"
	const mend = "set the clock, and keep it by NTP (timedatectl set-ntp true)"
	var list []symptom
	late := func(what string, at time.Time) {
		if at.After(x.now.Add(slack)) {
			list = append(list, symptom{State: failed, What: fmt.Sprintf("it is %s by the clock, and %s at %s", x.now.UTC().Format(time.RFC3339), what, at.UTC().Format(time.RFC3339)), Why: why, Mend: mend})
		}
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if at, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				late("callgate was built of a commit", at)
			}
		}
	}
	var newest time.Time
	name, left := "", maxEntries
	_ = filepath.WalkDir(string(x.cfg.Data), func(path string, d fs.DirEntry, err error) error {
		if left--; left < 0 {
			return filepath.SkipAll
		}
		if err != nil || d.IsDir() {
			return nil // the check of the folder tells
		}
		if info, err := d.Info(); err == nil && info.ModTime().After(newest) {
			newest, name = info.ModTime(), path
		}
		return nil
	})
	late(name+" was written", newest)
	if len(list) == 0 && !synchronized() {
		return []symptom{{State: warning, What: "the system does not know whether its clock is right", Why: why, Mend: mend}}
	}
	return well(list, "nothing is from the future")
}

// checkDoors looks at who can reach the gate, and read along.
func checkDoors(_ context.Context, x *patient) []symptom {
	var list []symptom
	for _, door := range []struct {
		key, why, state string
		at              Address
	}{
		{"admin.listen", "the admin's token and all that is administered cross the network in clear", failed, x.cfg.Admin.Listen},
		{"listen", "agents' tokens cross the network in clear between here and what adds TLS", warning, x.cfg.Listen},
	} {
		if door.at.loopback() {
			continue
		}
		state, host := door.state, ""
		if host, _, _ = net.SplitHostPort(string(door.at)); state == failed {
			if ip, err := netip.ParseAddr(host); err == nil && ip.IsPrivate() {
				state = warning // of a network of the operator's own
			}
		}
		list = append(list, symptom{State: state, What: fmt.Sprintf("%s: %s can be reached from other machines, and there is no TLS", door.key, door.at), Why: door.why, Mend: "listen on 127.0.0.1, and have a proxy that adds TLS on this machine lead there"})
	}
	return well(list, "only this machine reaches %s and %s", x.cfg.Listen, x.cfg.Admin.Listen)
}
