package login

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const patience = 20 * time.Second // with a page

// A person sits before a browser.
type person struct {
	context.Context
	t testing.TB
}

func newPerson(t testing.TB, more ...chromedp.ExecAllocatorOption) *person {
	t.Helper()
	chromium := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
		}
	}
	if chromium == "" {
		t.Skip("SKIPPED: there is no chromium here; .ci/run installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true))
	options = append(options, more...)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	p := &person{ctx, t}
	if err := chromedp.Do(ctx); err != nil { // the browser lives as long as this context
		t.Fatal(err)
	}
	return p
}

func (p *person) does(what string, steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		at, _ := chromedp.Run(p, chromedp.Location())
		p.t.Fatalf("%s: %v, at %s: %s", what, err, at, p.sees())
	}
}

// look is what an action finds on the page.
func look[T any](p *person, a chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p, patience)
	defer cancel()
	found, err := chromedp.Run(ctx, a)
	if err != nil {
		p.t.Fatal(err)
	}
	return found
}

// sees is the text of the page.
func (p *person) sees() string { return look(p, chromedp.Text(chromedp.CSS("body"))) }

// logsIn goes to a page that wants a login, and logs in at the provider.
func (p *person) logsIn(at string) {
	p.t.Helper()
	p.does("go to the provider", chromedp.Navigate(at), chromedp.Click(chromedp.CSS("#provider")), chromedp.WaitVisible(chromedp.CSS("#username")))
	p.does("log in at the provider", chromedp.SendKeys(chromedp.CSS("#username"), "test-user@localhost"), chromedp.SendKeys(chromedp.CSS("#password"), "verysecure"), chromedp.Submit(chromedp.CSS("#password")))
}

func (p *person) logsInAsAdmin(at, token string) {
	p.t.Helper()
	p.does("log in as admin", chromedp.Navigate(at), chromedp.SendKeys(chromedp.CSS("#password"), token), chromedp.Click(chromedp.CSS("#enter")))
}

func (p *person) answers(button string) {
	p.t.Helper()
	p.does("click "+button, chromedp.WaitVisible(chromedp.CSS(button)), chromedp.Click(chromedp.CSS(button)))
}

// onAPhone makes the window narrow.
func onAPhone() chromedp.Action[chromedp.Void] {
	return chromedp.EmulateViewport(320, 640, chromedp.EmulateMobile)
}

// fits says whether the page can be read without scrolling to the side, and all its
// fields have labels.
func (p *person) fits() {
	p.t.Helper()
	wide := look(p, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > document.documentElement.clientWidth`))
	unlabeled := look(p, chromedp.Evaluate[[]string](`[...document.querySelectorAll('input:not([type=hidden])')].filter(i => !i.labels.length).map(i => i.name)`))
	if wide || len(unlabeled) > 0 {
		p.t.Errorf("wider than a phone: %v; fields without labels: %s", wide, strings.Join(unlabeled, ", "))
	}
}
