package store_test

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"callgate/cmd/callgate/internal/store"
	"callgate/providers"
	"callgate/test/program"
)

// redisURL is that of a Redis server that ends with the test.
func redisURL(t *testing.T) (url string, stop func()) {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: redis-server is not installed")
	}
	port := program.FreePort(t)
	cmd := exec.Command(bin, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(), "--requirepass", "hush")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(stop)
	for late := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = c.Close()
			return "redis://:hush@127.0.0.1:" + port + "/3", stop
		}
		if time.Now().After(late) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestRedisKeepsRepliesForAllReplicas(t *testing.T) {
	url, stop := redisURL(t)
	ctx := t.Context()
	var replicas [2]providers.Cache
	for i := range replicas {
		r, err := store.OpenRedis(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		replicas[i] = r
	}
	if v, err := replicas[0].Get(ctx, "k"); v != nil || err != nil {
		t.Fatalf("before: %q, %v", v, err)
	}
	if err := replicas[0].Put(ctx, "k", []byte("v\x00w"), time.Second); err != nil {
		t.Fatal(err)
	}
	if v, err := replicas[1].Get(ctx, "k"); string(v) != "v\x00w" || err != nil {
		t.Fatalf("the other replica gets %q, %v", v, err)
	}
	for late := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if v, err := replicas[1].Get(ctx, "k"); v == nil && err == nil {
			break
		}
		if time.Now().After(late) {
			t.Fatal("it never ends")
		}
	}
	stop()
	if _, err := replicas[0].Get(ctx, "k"); err == nil {
		t.Error("a server that is gone is no error")
	}
	for _, wrong := range []string{"postgres://x:hush@y", "redis://:hush@127.0.0.1:1/0", url} {
		if _, err := store.OpenRedis(ctx, wrong); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%v", err)
		}
	}
}
