package store_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"callgate/cmd/callgate/internal/store"
	"callgate/identity"
	"callgate/test/program"

	"github.com/google/go-cmp/cmp"
)

// postgres is the URL of an empty database of a PostgreSQL server that is started for
// the test. It must not run as root, so that a test of root's has nobody run it.
func postgres(t *testing.T) string {
	t.Helper()
	bin := ""
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), installed...) {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			bin = dir
		}
	}
	if bin == "" {
		t.Skip("PostgreSQL's initdb is not on this machine: .ci/run installs it")
	}
	dir, err := os.MkdirTemp("/tmp", "pg") // the path of its socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
		if os.Getuid() == 0 {
			nobody, err := user.Lookup("nobody")
			if err != nil {
				t.Skip("root cannot run PostgreSQL, and there is no user nobody")
			}
			uid, _ := strconv.Atoi(nobody.Uid)
			gid, _ := strconv.Atoi(nobody.Gid)
			if err := os.Chown(dir, uid, gid); err != nil {
				t.Fatal(err)
			}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		}
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := run("initdb", "-D", data, "-U", "gate", "-A", "trust", "-N").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	port := program.FreePort(t)
	server := run("postgres", "-D", data, "-p", port, "-k", dir, "-h", "127.0.0.1", "-F")
	var log strings.Builder
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Signal(syscall.SIGINT)
		server.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if run("pg_isready", "-h", "127.0.0.1", "-p", port).Run() == nil {
			return fmt.Sprintf("postgres://gate@127.0.0.1:%s/postgres?sslmode=disable", port)
		}
		if time.Since(begun) > 30*time.Second {
			t.Fatal("PostgreSQL does not start")
		}
	}
}

// A replica is one gate's identities over a shared database.
type replica struct {
	*identity.Authority
	registry *identity.Registry
	revoked  *identity.Revocations
	db       *store.DB
}

// sealKey is what the operator gives to all replicas.
const sealKey = "AGE-SECRET-KEY-138JYNGRKJ7Y44J2JGEXPMH7T42ZLWTYFRZFMRYQCAJKZ444M0UMQ7KQJ5X"

func openReplica(t *testing.T, shared string) *replica {
	t.Helper()
	r := &replica{db: openDB(t, filepath.Join(t.TempDir(), "callgate.db"), shared)}
	t.Cleanup(func() { r.db.Close() })
	record := func(_, _, _, _ string) error { return nil }
	var err error
	if r.registry, err = identity.OpenRegistry(t.Context(), r.db.Agents()); err != nil {
		t.Fatal(err)
	}
	if r.revoked, err = identity.OpenRevocations(t.Context(), r.db.Revocations(), time.Hour, time.Now, record); err != nil {
		t.Fatal(err)
	}
	ring, err := identity.OpenSharedKeys(t.Context(), r.db.Keys(), filepath.Join(t.TempDir(), "keys"), identity.NewSecret(sealKey))
	if err != nil {
		t.Fatal(err)
	}
	r.Authority = identity.New(identity.Config{Issuer: "https://gate.example", Record: record, Grants: r.db.Grants(), Revocations: r.revoked,
		Delegate: func(context.Context, *identity.Principal, string) error { return nil }}, ring, r.registry)
	following, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { r.revoked.Follow(following, func(error) {}) })
	t.Cleanup(func() { stop(); work.Wait() })
	return r
}

func (r *replica) good(token identity.Token) bool {
	_, err := r.Verify(context.Background(), token.Access.Reveal(), "/mcp")
	return err == nil
}

func TestWhatOneReplicaRevokesTheOthersRefuseWithinASecond(t *testing.T) {
	shared := postgres(t)
	a := openReplica(t, shared)
	for _, name := range []string{"lead", "clerk", "gone"} {
		if _, _, err := a.registry.Create(t.Context(), identity.Agent{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	b := openReplica(t, shared) // began later, and reads what there is
	mint := func(r *replica, name string) identity.Token {
		token, err := r.Mint(t.Context(), name, identity.MintOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	root := mint(a, "lead")
	child, err := a.Exchange(t.Context(), root.Access.Reveal(), "clerk", identity.MintOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other := mint(a, "gone")
	if !b.good(root) || !b.good(child) || !b.good(other) {
		t.Fatal("a replica does not take what another one issued")
	}
	within := func(what string, revoke func() error, ended func() bool) {
		t.Helper()
		begun := time.Now()
		if err := revoke(); err != nil {
			t.Fatal(err)
		}
		for !ended() {
			if time.Since(begun) > time.Second {
				t.Fatalf("%s: still taken a second after", what)
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Logf("%s: refused by the other replica after %v", what, time.Since(begun).Round(time.Millisecond))
	}
	within("a grant", func() error { return a.revoked.Revoke(t.Context(), identity.RevokedGrant, child.Grant, "admin") }, func() bool { return !b.good(child) })
	if !b.good(root) {
		t.Error("and what it came from, too")
	}
	within("a chain", func() error {
		p, err := a.Verify(t.Context(), root.Access.Reveal(), "/mcp")
		if err != nil {
			return err
		}
		return a.revoked.Revoke(t.Context(), identity.RevokedChain, p.Txn, "admin")
	}, func() bool { return !b.good(root) })
	within("an agent", func() error { return b.registry.Revoke(t.Context(), "gone") }, func() bool { return !a.good(other) })
	within("an agent that is made", func() error {
		_, _, err := b.registry.Create(t.Context(), identity.Agent{Name: "fresh"})
		return err
	}, func() bool { _, ok := a.registry.Get("fresh"); return ok })

	within("an agent that is suspended", func() error { return a.registry.Suspend(t.Context(), "lead", "admin") }, func() bool {
		lead, _ := b.registry.Get("lead")
		return lead.Status == identity.Suspended
	})
	within("a user who has left", func() error {
		_, err := a.registry.SignIn(t.Context(), "https://idp.example", "1", "ana@example.com", nil)
		if err == nil {
			err = a.registry.SuspendUser(t.Context(), "user:ana@example.com", "admin")
		}
		return err
	}, func() bool { _, err := b.registry.Person("user:ana@example.com"); return err != nil })

	token := mint(a, "clerk")
	if !b.good(token) {
		t.Fatal("good before")
	}
	b.db.Close() // the feed cannot be read any more
	within("without the feed", func() error { return nil }, func() bool { return !b.good(token) })
	if !a.good(token) {
		t.Error("the other one is well")
	}
}

func TestReplicasHaveOneRingOfKeys(t *testing.T) {
	shared := postgres(t)
	a := openReplica(t, shared)
	b := openReplica(t, shared)
	if _, _, err := a.registry.Create(t.Context(), identity.Agent{Name: "bot"}); err != nil {
		t.Fatal(err)
	}
	mint := func(r *replica) identity.Token {
		t.Helper()
		token, err := r.Mint(t.Context(), "bot", identity.MintOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	signs := func(r *replica) string {
		for _, k := range r.SigningKeys() {
			if k.State == "active" {
				return k.ID
			}
		}
		return ""
	}
	wait := func(what string, done func() bool) {
		t.Helper()
		for begun := time.Now(); !done(); time.Sleep(5 * time.Millisecond) {
			if time.Since(begun) > time.Second {
				t.Fatalf("%s: not a second after", what)
			}
		}
	}
	if signs(a) != signs(b) {
		t.Fatal("each replica has made a key of its own")
	}
	first := mint(a)
	wait("the agent", func() bool { return b.good(first) })

	if err := a.RotateKeys(true, "admin"); err != nil {
		t.Fatal(err)
	}
	if !b.good(mint(a)) {
		t.Error("a token of a key that was made this moment is refused")
	}
	wait("the rotation", func() bool { return signs(a) == signs(b) })
	if !b.good(first) {
		t.Error("a token of the key before is refused")
	}

	second := mint(b)
	if !a.good(second) {
		t.Fatal("good before")
	}
	dropped := signs(b)
	if err := b.DropKey(dropped, "admin"); err != nil {
		t.Fatal(err)
	}
	if b.good(second) {
		t.Error("where it was dropped, the key still lets in")
	}
	wait("the drop", func() bool { return !a.good(second) })
	if !a.good(first) || !a.good(mint(b)) {
		t.Error("other keys were dropped, too")
	}

	var work sync.WaitGroup // both at once: none of them is lost, and one says that it came second
	var failed [2]error
	for i, r := range []*replica{a, b} {
		work.Go(func() { failed[i] = r.RotateKeys(true, "admin") })
	}
	work.Wait()
	for _, err := range failed {
		if err != nil && !strings.Contains(err.Error(), "another replica") {
			t.Error(err)
		}
	}
	wait("both rotations", func() bool { return signs(a) == signs(b) })
	if !a.good(mint(b)) || !b.good(mint(a)) {
		t.Error("after both have rotated, one does not know the other's key")
	}
	other := filepath.Join(t.TempDir(), "keys")
	if _, err := identity.OpenSharedKeys(t.Context(), a.db.Keys(), other, identity.Secret{}); err == nil || !strings.Contains(err.Error(), "seal") {
		t.Errorf("without the seal key of the others: %v", err)
	}
}

func TestReplicasRevokeAtOnceWithoutMissingAny(t *testing.T) {
	shared := postgres(t)
	const writers, each = 8, 25
	dbs := []*store.DB{openDB(t, filepath.Join(t.TempDir(), "a.db"), shared), openDB(t, filepath.Join(t.TempDir(), "b.db"), shared)}
	var work sync.WaitGroup
	seen := make(map[string]bool)
	last, done := int64(0), make(chan struct{})
	read := func() {
		list, err := dbs[0].Revocations().RevocationsAfter(t.Context(), last)
		if err != nil {
			t.Error(err)
		}
		for _, r := range list {
			seen[r.ID], last = true, r.Seq
		}
	}
	for w := range writers {
		work.Go(func() {
			for i := range each {
				if _, err := dbs[w%2].Revocations().PutRevocation(t.Context(), identity.Revocation{Kind: identity.RevokedToken, ID: fmt.Sprint(w, "-", i), Until: time.Now().Add(time.Hour)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { work.Wait(); close(done) }()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		read()
	}
	if d := cmp.Diff(writers*each, len(seen)); d != "" {
		t.Error("a reader that follows the feed missed some", d)
	}
	for _, db := range dbs {
		db.Close()
	}
}
