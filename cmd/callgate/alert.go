package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"callgate/audit"
	"callgate/cmd/callgate/internal/console"
	"callgate/cmd/callgate/internal/export"
	"callgate/identity"
)

// An alert is what is sent to the operator's webhook, as JSON.
type alert struct {
	Type string    `json:"type"` // "drift", "approval"
	At   time.Time `json:"at"`
	*audit.Drift
	Approval *console.Approval `json:"approval,omitempty"` // that people are asked for
}

// about is what the alert is about, in a few words.
func (a *alert) about() string {
	if a.Approval != nil {
		return "approval " + a.Approval.ID
	}
	return fmt.Sprintf("%s %s of call %s", a.Kind, a.Seen, a.Drift.Call)
}

const (
	maxAlerts     = 1000             // that wait
	alertTries    = 7                // of one, the last of them two minutes after the first
	alertDeadline = 10 * time.Second // of one try
	alertFarewell = 5 * time.Second  // for what waits when the gate is stopped
)

// alerts sends alerts to a webhook, one after the other. Who adds one never waits. What
// cannot be sent is put on record as lost.
type alerts struct {
	queue  chan alert
	lost   atomic.Int64 // that did not fit
	aimed  atomic.Pointer[aim]
	client *http.Client
	pause  time.Duration // after the first try; twice as long after each
	record func(what, by, name, state string) error
}

// An aim is where alerts go.
type aim struct {
	url    string
	secret identity.Secret
}

func newAlerts(record func(what, by, name, state string) error) *alerts {
	return &alerts{
		queue: make(chan alert, maxAlerts), record: record, pause: time.Second,
		client: &http.Client{Timeout: alertDeadline, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// aim has alerts go to url from now on; "" is nowhere.
func (a *alerts) aim(url string, secret identity.Secret) { a.aimed.Store(&aim{url, secret}) }

// add has one be sent, if there is anywhere to send it.
func (a *alerts) add(one alert) {
	if to := a.aimed.Load(); to == nil || to.url == "" {
		return
	}
	select {
	case a.queue <- one:
	default:
		a.lost.Add(1)
	}
}

// run sends what is added until ctx ends, and then for a little while what still waits.
func (a *alerts) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case one := <-a.queue:
			a.deliver(ctx, one, alertTries)
		case <-ctx.Done():
		}
		a.tellLost()
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), alertFarewell)
	defer cancel()
	for {
		select {
		case one := <-a.queue:
			a.deliver(last, one, 1)
		default:
			a.tellLost()
			return
		}
	}
}

func (a *alerts) tellLost() {
	if n := a.lost.Swap(0); n > 0 {
		_ = a.record("alert.lost", "system", "webhook", fmt.Sprintf("%d alerts did not fit into the queue of %d", n, maxAlerts)) // which logs what is wrong
	}
}

// deliver tries to send one.
func (a *alerts) deliver(ctx context.Context, one alert, tries int) {
	pause := a.pause
	var err error
	for try := range tries {
		if try > 0 {
			select {
			case <-time.After(pause):
				pause *= 2
			case <-ctx.Done(): // the gate is being stopped: once more, and that is it
				last, cancel := context.WithTimeout(context.WithoutCancel(ctx), alertFarewell)
				defer cancel()
				ctx, tries = last, 0
			}
		}
		if err = a.send(ctx, one); err == nil {
			return
		}
		if tries == 0 {
			break
		}
	}
	_ = a.record("alert.lost", "system", "webhook", fmt.Sprintf("%s: %v", one.about(), err))
}

// send sends one, signed.
func (a *alerts) send(ctx context.Context, one alert) error {
	to := a.aimed.Load()
	if to.url == "" {
		return fmt.Errorf("no webhook is configured any more")
	}
	body, err := json.Marshal(one)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Callgate-Signature", export.Signature(to.secret.Reveal(), time.Now(), body))
	res, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("the webhook answers %s", res.Status)
	}
	return nil
}
