package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A client speaks with the admin API of a gate that runs.
type client struct {
	base, token string
	http        *http.Client
}

const answerTimeout = time.Minute // for the gate to answer; it waits for news for less

// files that serve leaves in the data folder for the commands to find it by
const (
	addrFile  = "admin.addr"
	tokenFile = "admin.token"
	gateFile  = "gate.url" // where agents on this machine reach it
)

// client finds the gate: by --data, else by CALLGATE_URL and
// CALLGATE_ADMIN_TOKEN, and what they leave open by the data folder.
func (p *program) client() (*client, error) {
	dir, flag := p.folder()
	base, token := "", ""
	if !flag {
		base, _ = p.env("CALLGATE_URL")
		token, _ = p.env("CALLGATE_ADMIN_TOKEN")
	}
	if base == "" {
		addr, err := os.ReadFile(filepath.Join(dir, addrFile))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("no gate runs with the data folder %s: start one with callgate serve, or say where it is with --data or CALLGATE_URL", dir)
		}
		if err != nil {
			return nil, fmt.Errorf("find the gate: %w", err)
		}
		base = "http://" + strings.TrimSpace(string(addr)) // which is on this machine
	} else if !mayCarryTokens(base) {
		return nil, fmt.Errorf("CALLGATE_URL is %q: want https://host, or http:// for this machine; the admin token must not cross a network in clear", base)
	}
	if token == "" {
		text, err := os.ReadFile(filepath.Join(dir, tokenFile))
		if err != nil {
			return nil, fmt.Errorf("read the admin token (or set CALLGATE_ADMIN_TOKEN): %w", err)
		}
		token = strings.TrimSpace(string(text))
	}
	return &client{
		base: strings.TrimSuffix(base, "/"), token: token,
		http: direct(answerTimeout),
	}, nil
}

// direct is an HTTP client that goes nowhere else than it is told to.
func direct(timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// mayCarryTokens says whether address is the URL of a host to which nobody on the
// way can read along.
func mayCarryTokens(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()))
}

// An apiError is what the admin API answered instead.
type apiError struct {
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Details []string `json:"details"`
}

func (e *apiError) Error() string {
	return strings.Join(append([]string{e.Message}, e.Details...), "\n  ")
}

// call asks for path and reads the answer into out, a pointer. in is the body,
// nil for none.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	body, err := c.open(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	if raw, ok := out.(*json.RawMessage); ok {
		*raw, err = io.ReadAll(body)
		return err
	}
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return fmt.Errorf("read the gate's answer: %w", err)
	}
	return nil
}

// open asks for path and returns the body of the answer.
func (c *client) open(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		doc, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(doc)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the gate at %s does not answer (is callgate serve running?): %w", c.base, cause(err))
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var answer struct{ Error *apiError }
	if json.Unmarshal(text, &answer) == nil && answer.Error != nil {
		return nil, answer.Error
	}
	return nil, fmt.Errorf("%s answered %s: is it the admin address of a callgate?", c.base, resp.Status)
}

// cause is err without the method and URL that net/http puts before it.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
