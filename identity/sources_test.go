package identity_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"callgate/identity"
)

// A clerk is a resolver that says what it is told to.
type clerk struct {
	asked atomic.Int64
	say   func(n int64) (*identity.Found, error)
}

func (c *clerk) Resolve(_ context.Context, place string, _ *identity.Found) (*identity.Found, error) {
	return c.say(c.asked.Add(1))
}

func asking(r identity.Resolver, log *slog.Logger) *identity.Sources {
	return identity.NewSources(identity.SourcesConfig{Resolvers: map[string]identity.Resolver{"far": r}, Logger: log})
}

// use is what c lends, or why it does not.
func use(c identity.Credential) string {
	loan, err := c.Use(context.Background(), bot)
	if err != nil {
		return "error: " + err.Error()
	}
	return loan.Value.Reveal() + " as " + loan.Name
}

func TestAValueIsAskedForBeforeItExpiresAndNotUsedLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		down := false
		r := &clerk{say: func(n int64) (*identity.Found, error) {
			time.Sleep(time.Second) // it is far away
			if down {
				return nil, errors.New("no route to host")
			}
			now := time.Now()
			return &identity.Found{Value: identity.NewSecret(fmt.Sprint("value", n)), Version: fmt.Sprint(n), Renew: now.Add(time.Minute), Expires: now.Add(2 * time.Minute)}, nil
		}}
		s := asking(r, slog.New(slog.NewTextHandler(&log, nil)))
		defer s.Close()
		c := credential(t, s, "far:place", "provider:a")
		if r.asked.Load() != 0 {
			t.Error("it was asked before it was used")
		}
		var group sync.WaitGroup
		for range 20 { // all wait for one answer
			group.Go(func() {
				if got := use(c); got != "value1 as far:place@1" {
					t.Error(got)
				}
			})
		}
		group.Wait()
		time.Sleep(time.Minute)
		began := time.Now()
		if got := use(c); got != "value1 as far:place@1" || time.Since(began) != 0 { // nobody waits while the next one comes
			t.Error(got, time.Since(began))
		}
		time.Sleep(2 * time.Second)
		if got := use(c); got != "value2 as far:place@2" {
			t.Error(got)
		}
		down = true
		time.Sleep(time.Minute)
		for range 55 {
			if got := use(c); got != "value2 as far:place@2" { // the last good one
				t.Fatal(got)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Second)
		if got := use(c); got != "error: the credential of provider:a cannot be had now: try again, and if that does not help its operator must look at callgate's log: far:place: no route to host" {
			t.Error(got)
		}
		before := r.asked.Load()
		for range 100 { // who asks for what cannot be had does not make it worse
			use(c)
		}
		if n := r.asked.Load() - before; n > 1 {
			t.Errorf("asked %d times at once", n)
		}
		down = false
		time.Sleep(2 * time.Second)
		if got := use(c); !strings.HasPrefix(got, "value") {
			t.Error(got)
		}
		if n := strings.Count(log.String(), "cannot be had"); n != 1 || strings.Contains(log.String(), "value1") {
			t.Errorf("%d warnings:\n%s", n, &log)
		}
	})
}

func TestWhoDoesNotWaitDoesNotEndTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &clerk{say: func(int64) (*identity.Found, error) {
			time.Sleep(5 * time.Second)
			return &identity.Found{Value: identity.NewSecret("value")}, nil
		}}
		s := asking(r, quiet())
		defer s.Close()
		c := credential(t, s, "far:place", "server:a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Use(ctx, bot); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.Sleep(5 * time.Second)
		if got := use(c); got != "value as far:place" || r.asked.Load() != 1 {
			t.Error(got, r.asked.Load())
		}
	})
}

func TestAValueThatIsRefusedIsAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		value := "old"
		r := &clerk{say: func(int64) (*identity.Found, error) {
			return &identity.Found{Value: identity.NewSecret(value)}, nil
		}}
		s := asking(r, quiet())
		defer s.Close()
		c := identity.NewPrefixed(credential(t, s, "far:place", "server:a"), "Bearer ")
		loan, err := c.Use(t.Context(), bot)
		if err != nil || loan.Value.Reveal() != "Bearer old" || loan.Refused(t.Context()) || r.asked.Load() != 1 {
			t.Fatalf("%q: %v, asked %d", loan.Value.Reveal(), err, r.asked.Load()) // it was got just now
		}
		time.Sleep(time.Minute)
		if loan.Refused(t.Context()) || r.asked.Load() != 2 {
			t.Error("the same value is another one")
		}
		again, err := c.Use(t.Context(), bot)
		if err != nil || again.Value != loan.Value {
			t.Error("what was made of the same value is made again", err)
		}
		value = "new"
		time.Sleep(time.Minute)
		if !loan.Refused(t.Context()) || use(c) != "Bearer new as far:place" {
			t.Error(use(c))
		}
		value = "newer"
		s.Refresh(t.Context())
		if got := use(c); got != "Bearer newer as far:place" {
			t.Error(got)
		}
	})
}

func TestAResolverThatIsReplaced(t *testing.T) {
	s := identity.NewSources(identity.SourcesConfig{Resolvers: map[string]identity.Resolver{}, Logger: quiet()})
	defer s.Close()
	c := credential(t, s, "far:place", "server:a")
	if got := use(c); !strings.HasSuffix(got, "far:place: nothing is configured that could find it") {
		t.Error(got)
	}
	s.SetResolver("far", &clerk{say: func(int64) (*identity.Found, error) { return &identity.Found{Value: identity.NewSecret("here")}, nil }})
	c = credential(t, s, "far:other", "server:a")
	if got := use(c); got != "here as far:other" {
		t.Error(got)
	}
	for _, ref := range []string{"far:", "far", "secret:a"} {
		if _, err := s.Credential(ref, "server:a"); err == nil && ref != "secret:a" {
			t.Errorf("%q leads somewhere", ref)
		}
	}
}

func TestAFileThatChangesCountsAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key with space")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("one\r\n")
	var mu sync.Mutex
	at := time.Now()
	now := func() time.Time { mu.Lock(); defer mu.Unlock(); return at }
	later := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); at = at.Add(d) }
	s := identity.NewSources(identity.SourcesConfig{Resolvers: map[string]identity.Resolver{"file": identity.Files{Now: now}}, Now: now, Logger: quiet()})
	defer s.Close()
	c := credential(t, s, "file:"+file, "server:a")
	is := func(want string) {
		t.Helper()
		if got := use(c); !strings.HasPrefix(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
	is("one as file:" + strings.ReplaceAll(file, " ", "%20") + "@")
	write("two")
	is("one") // it was looked at just now
	later(time.Second)
	is("two")
	if err := os.WriteFile(file, []byte("2nd"), 0o600); err != nil { // as long, and perhaps at the same time by the clock of the disk
		t.Fatal(err)
	}
	later(time.Second)
	is("2nd")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	later(59 * time.Second)
	is("2nd")
	later(2 * time.Second)
	is("error: the credential of server:a cannot be had now")
	for name, text := range map[string]string{"empty": "\n", "huge": strings.Repeat("x", 48<<10+1)} {
		later(2 * time.Second)
		write(text)
		if got := use(c); !strings.HasPrefix(got, "error: ") {
			t.Errorf("%s: %.20s", name, got)
		}
	}
	later(2 * time.Second)
	write("three")
	is("three")
	loan, _ := c.Use(t.Context(), bot)
	write("four")
	if !loan.Refused(t.Context()) { // a file is near, so that it is looked at without delay
		t.Error("the new value is not seen")
	}
	is("four")
}

func TestToUseWhatWasFoundCostsNothing(t *testing.T) {
	r := &clerk{say: func(int64) (*identity.Found, error) {
		return &identity.Found{Value: identity.NewSecret("value"), Renew: time.Now().Add(time.Hour), Expires: time.Now().Add(time.Hour)}, nil
	}}
	s := asking(r, quiet())
	defer s.Close()
	h := identity.NewHeader(identity.NewPrefixed(credential(t, s, "far:place", "server:a"), "Bearer "), "")
	if n := testing.AllocsPerRun(100, func() {
		if value, _, err := h.Use(context.Background(), bot); err != nil || value[0] != "Bearer value" {
			t.Fatal(value, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAValueThatNoHeaderCanCarryIsNotSent(t *testing.T) {
	for _, text := range []string{"a\nX-Admin: 1", "a\x00", "a\x7f"} {
		h := identity.NewHeader(identity.NewSecret(text), "Bearer ")
		_, _, err := h.Use(t.Context(), bot)
		var w *identity.Withheld
		if !errors.As(err, &w) || strings.Contains(err.Error(), "X-Admin") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
