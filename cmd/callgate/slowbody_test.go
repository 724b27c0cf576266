package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callgate/firewall/policy"
	"callgate/identity"

	"github.com/tidwall/gjson"
)

// TestASlowBodyIsRefusedInTheCallersDialect has a whole gate, and a client that sends
// half a body and then nothing.
func TestASlowBodyIsRefusedInTheCallersDialect(t *testing.T) {
	cfg := defaults()
	cfg.Data = Folder(filepath.Join(t.TempDir(), "data"))
	const secret = "0123456789abcdef0123456789abcdef"
	cfg.Agents = []Agent{{Name: "bot", Secret: Reference{Given: true, Secret: identity.NewSecret(secret)}, MaxTTL: Duration(time.Hour)}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	law, err := policy.Load()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	public := BaseURL("http://" + l.Addr().String())
	h, err := open(t.Context(), cfg, public, law, log)
	if err != nil {
		t.Fatal(err)
	}
	f := newFront(l, newDoorman(public, h.gate, routes(h.models, h.tools, h.authority.Handler(), h.vault.Handler())), log)
	f.pace.grace = 300 * time.Millisecond
	ended := make(chan error, 1)
	go func() { ended <- f.serve() }()
	t.Cleanup(func() {
		f.stop(0)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	res, err := http.PostForm(string(public)+"/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"bot"}, "client_secret": {secret}, "resource": {string(public) + "/mcp"}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	tools := gjson.GetBytes(text, "access_token").Str
	res, err = http.PostForm(string(public)+"/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"bot"}, "client_secret": {secret}, "resource": {string(public) + "/v1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	models := gjson.GetBytes(text, "access_token").Str
	if tools == "" || models == "" {
		t.Fatalf("no token: %s", text)
	}
	for _, test := range []struct{ path, token, kind, message, call string }{
		{"/mcp", tools, "application/json", "error.message", "error.data.call"},
		{"/v1/chat/completions", models, "application/json", "error.message", ""},
		{"/v1/messages", models, "application/json", "error.message", "request_id"},
		{"/oauth/token", "", "application/x-www-form-urlencoded", "error_description", ""},
	} {
		t.Run(test.path, func(t *testing.T) {
			conn, err := net.Dial("tcp", f.addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nAccept: application/json, text/event-stream\r\nContent-Length: 500\r\n\r\n{\"half", test.path, f.addr(), test.token, test.kind)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if got := gjson.GetBytes(body, test.message).Str; res.StatusCode != http.StatusRequestTimeout || !strings.Contains(got, "did not arrive in time: send it faster") {
				t.Errorf("got %d %s", res.StatusCode, body)
			}
			if test.call != "" && gjson.GetBytes(body, test.call).Str == "" {
				t.Errorf("no record of it: %s", body)
			}
			if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the connection goes on: %v", err)
			}
		})
	}
}
