package audit_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/audit"

	"pgregory.net/rapid"
)

func openPayloads(t testing.TB, dir string, cfg audit.PayloadConfig) *audit.Payloads {
	t.Helper()
	p, err := audit.OpenPayloads(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func put(t testing.TB, p *audit.Payloads, run string, doc []byte) audit.Payload {
	t.Helper()
	at, err := p.Put(run, doc, true)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// stored is the bytes of all packs and keys in dir.
func stored(t testing.TB, dir string) (n int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

// prose is some n bytes that compress as a text does.
func prose(r *rand.Rand, n int) string {
	words := strings.Fields(`the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which one you were all her
		she there would their we him been has when who will more no if out so said what up its about into than them can only other new some could time these two may then do
		first any my now such like our over man me even most made after also did many before must through back years where much your way well down should because each just those
		people how too little state good very make world still own see men work long get here between both life being under never day same another know while last might us great old
		year off come since against go came right used take three system account customer invoice payment order ticket report meeting deploy cluster latency error database table index`)
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))])
		if r.IntN(9) == 0 {
			fmt.Fprintf(&b, " %d", r.IntN(100000))
		}
		b.WriteByte(' ')
	}
	return b.String()
}

// session is the requests of an agent of 50 turns: 33 KB of system prompt and tools, and in
// each turn one to three tools whose results are 2.5 KB in the middle. The mark of what the
// provider is to cache moves with the last message.
func session(r *rand.Rand, turns int) [][]byte {
	type m = map[string]any
	var tools []any
	for i := range 30 {
		tools = append(tools, m{"name": fmt.Sprintf("tool_%d", i), "description": prose(r, 600), "input_schema": m{"type": "object",
			"properties": m{"path": m{"type": "string", "description": prose(r, 100)}}, "required": []string{"path"}}})
	}
	system := prose(r, 8000)
	messages := []any{m{"role": "user", "content": []any{m{"type": "text", "text": prose(r, 400)}}}}
	var docs [][]byte
	for turn := range turns {
		last := messages[len(messages)-1].(m)["content"].([]any)
		block := last[len(last)-1].(m)
		block["cache_control"] = m{"type": "ephemeral"}
		doc, err := json.Marshal(m{"model": "claude-sonnet-4-5", "max_tokens": 8192, "stream": true, "system": []any{m{"type": "text", "text": system, "cache_control": m{"type": "ephemeral"}}}, "tools": tools, "messages": messages})
		if err != nil {
			panic(err)
		}
		delete(block, "cache_control")
		docs = append(docs, doc)
		says, gets := []any{m{"type": "text", "text": prose(r, 200)}}, []any{}
		for i := range 1 + r.IntN(3) {
			id := fmt.Sprintf("toolu_%016x%d%d", r.Uint64(), turn, i)
			says = append(says, m{"type": "tool_use", "id": id, "name": "tool_3", "input": m{"path": "/srv/docs/" + prose(r, 20)}})
			size := int(2500 * (0.2 + 1.6*r.Float64()))
			if r.IntN(20) == 0 {
				size *= 8
			}
			gets = append(gets, m{"type": "tool_result", "tool_use_id": id, "content": []any{m{"type": "text", "text": prose(r, size)}}})
		}
		messages = append(messages, m{"role": "assistant", "content": says}, m{"role": "user", "content": gets})
	}
	return docs
}

func TestASessionTakesTwoPercent(t *testing.T) {
	dir := t.TempDir()
	p := openPayloads(t, dir, audit.PayloadConfig{})
	docs := session(rand.New(rand.NewPCG(1, 2)), 50)
	raw := 0
	var ats []audit.Payload
	for _, doc := range docs {
		raw += len(doc)
		ats = append(ats, put(t, p, "run", doc))
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := stored(t, dir)
	t.Logf("%d requests of %d KiB take %d KiB: %.2f %%", len(docs), raw>>10, n>>10, 100*float64(n)/float64(raw))
	if n*50 > int64(raw) {
		t.Errorf("%d bytes take %d, more than 2 %%", raw, n)
	}
	for i, at := range ats {
		got, err := p.Get(at)
		if err != nil || !bytes.Equal(got, docs[i]) {
			t.Fatalf("request %d comes back as %d bytes, %v", i, len(got), err)
		}
	}
}

func TestWhatIsPutIsWhatComesBack(t *testing.T) {
	dir := t.TempDir()
	p := openPayloads(t, dir, audit.PayloadConfig{})
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.SliceOfN(rapid.SampledFrom([]string{`{"role":"user","content":"` + strings.Repeat("long ", 60) + `"}`, `1`, `"x"`, `{"a":[` + strings.Repeat("17,", 90) + `2]}`, `{}`, `[[["` + strings.Repeat(`\\\"`, 70) + `"]]]`, ` "` + strings.Repeat("é", 200) + `" `}), 0, 40).Draw(t, "elements")
		n := rapid.IntRange(0, len(base)).Draw(t, "first")
		for _, some := range [][]string{base[:n], base, base[n:]} {
			doc := []byte(`{"model":"m", "messages" : [` + strings.Join(some, ",") + "]\n}" + rapid.SampledFrom([]string{"", "\n", "{", "\n{}\n"}).Draw(t, "behind"))
			run := rapid.SampledFrom([]string{"one", "two"}).Draw(t, "run")
			at, err := p.Put(run, doc, true)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Get(at)
			if err != nil || !bytes.Equal(got, doc) {
				t.Fatalf("%q comes back as %q, %v", doc, got, err)
			}
		}
	})
}

func FuzzPayload(f *testing.F) {
	for _, doc := range [][]byte{nil, []byte(`{"a":`), []byte(`["\`), []byte(`[` + strings.Repeat(`["`+strings.Repeat("a", 300)+`"],`, 4) + `1]`), session(rand.New(rand.NewPCG(1, 1)), 2)[1]} {
		f.Add(doc)
	}
	p := openPayloads(f, f.TempDir(), audit.PayloadConfig{})
	f.Fuzz(func(t *testing.T, doc []byte) {
		at, err := p.Put("run", doc, true)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Get(at); err != nil || !bytes.Equal(got, doc) {
			t.Fatalf("%q comes back as %q, %v", doc, got, err)
		}
	})
}

func TestPayloadsOutliveTheProcess(t *testing.T) {
	dir := t.TempDir()
	doc := []byte(`{"prompt":"` + strings.Repeat("a long one ", 50) + `"}`)
	var ats []audit.Payload
	for range 3 {
		p, err := audit.OpenPayloads(dir, audit.PayloadConfig{})
		if err != nil {
			t.Fatal(err)
		}
		ats = append(ats, put(t, p, "run", doc))
		for _, at := range ats {
			if got, err := p.Get(at); err != nil || !bytes.Equal(got, doc) {
				t.Errorf("%q, %v", got, err)
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	other := openPayloads(t, dir, audit.PayloadConfig{Master: [32]byte{1}})
	if got, err := other.Get(ats[0]); err == nil {
		t.Errorf("another master key opens %q", got)
	}
}

func TestAnErasedRunCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	p := openPayloads(t, dir, audit.PayloadConfig{})
	secret, other := []byte(`{"prompt":"the secret"}`), []byte(`{"prompt":"the other"}`)
	gone, stays := put(t, p, "gone", secret), put(t, p, "stays", other)
	if n, err := p.Erase("gone", "unknown"); err != nil || n != 1 {
		t.Fatalf("%d keys erased, %v", n, err)
	}
	if got, err := p.Get(gone); !errors.Is(err, audit.ErrErased) {
		t.Errorf("what was erased is %q, %v", got, err)
	}
	if got, err := p.Get(stays); err != nil || !bytes.Equal(got, other) {
		t.Errorf("another run's is %q, %v", got, err)
	}
	again := put(t, p, "gone", secret)
	if again.Digest == gone.Digest {
		t.Error("the new digest of an erased document is the old one: it was not by another key")
	}
	if got, err := p.Get(again); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("what the run says later is %q, %v", got, err)
	}
	for _, file := range []string{"00000001.pack", "00000001.keys"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || bytes.Contains(b, []byte("secret")) || bytes.Contains(b, []byte("other")) {
			t.Errorf("%s has it in clear, or cannot be read: %v", file, err)
		}
	}
}

func TestPayloadsThatAreOldAreDeleted(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	p := openPayloads(t, dir, audit.PayloadConfig{Keep: 48 * time.Hour, Now: clock})
	old := put(t, p, "run", []byte(`"old"`))
	mu.Lock()
	now = now.Add(30 * time.Hour) // a new pack, since this one is more than a day old
	mu.Unlock()
	young := put(t, p, "run", []byte(`"young"`))
	if n, err := p.Sweep(); err != nil || n != 0 {
		t.Errorf("%d deleted too early, %v", n, err)
	}
	mu.Lock()
	now = now.Add(30 * time.Hour)
	mu.Unlock()
	put(t, p, "run", []byte(`"newest"`))
	if n, err := p.Sweep(); err != nil || n == 0 {
		t.Errorf("%d deleted, %v", n, err)
	}
	if got, err := p.Get(old); !errors.Is(err, audit.ErrNoPayload) {
		t.Errorf("%q, %v", got, err)
	}
	_ = young
}

func TestOnlyTheDigestIsKept(t *testing.T) {
	dir := t.TempDir()
	p := openPayloads(t, dir, audit.PayloadConfig{})
	doc := []byte(`"what nobody is to read"`)
	at, err := p.Put("run", doc, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Get(at); !errors.Is(err, audit.ErrNoPayload) {
		t.Error(err)
	}
	if kept := put(t, p, "run", doc); kept.Digest != at.Digest {
		t.Error("the digest of a document depends on whether it is kept")
	}
}

// Each byte of a pack, and of its keys, counts: none can be changed without somebody noticing.
func TestAChangedPayloadIsNoticed(t *testing.T) {
	dir := t.TempDir()
	p, err := audit.OpenPayloads(dir, audit.PayloadConfig{})
	if err != nil {
		t.Fatal(err)
	}
	docs := [][]byte{[]byte(`{"a":"` + strings.Repeat("one ", 80) + `"}`), []byte(`{"a":"` + strings.Repeat("one ", 80) + `","b":2}`)}
	var ats []audit.Payload
	for _, doc := range docs {
		ats = append(ats, put(t, p, "run", doc))
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file       string
		from, size int
	}{{"00000001.pack", 64, 1 << 20}, {"00000001.keys", 48, 60}} {
		file := filepath.Join(dir, c.file)
		was, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i := c.from; i < min(len(was), c.from+c.size); i++ {
			b := bytes.Clone(was)
			b[i] ^= 1
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := audit.OpenPayloads(dir, audit.PayloadConfig{})
			if err != nil {
				t.Fatal(err)
			}
			intact := 0
			for n, at := range ats {
				if got, err := p.Get(at); err == nil {
					intact++
					if !bytes.Equal(got, docs[n]) {
						t.Fatalf("byte %d of %s: %q is read", i, c.file, got)
					}
				}
			}
			if intact == len(ats) {
				t.Errorf("byte %d of %s is not noticed", i, c.file)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(file, was, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestManyRunsAtOnce(t *testing.T) {
	p := openPayloads(t, t.TempDir(), audit.PayloadConfig{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 7))
			for n, doc := range session(r, 12) {
				at, err := p.Put(fmt.Sprint("run", i%4), doc, true)
				if err != nil {
					t.Error(err)
					return
				}
				if n%4 == 0 {
					if got, err := p.Get(at); err != nil || !bytes.Equal(got, doc) {
						t.Errorf("%d bytes, %v", len(got), err)
					}
				}
				if n == 6 && i == 1 {
					if _, err := p.Erase("run9"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1 << 10, 32 << 10} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			p := openPayloads(b, b.TempDir(), audit.PayloadConfig{})
			r := rand.New(rand.NewPCG(3, 4))
			docs := make([][]byte, 64)
			for i := range docs {
				docs[i] = []byte(`{"model":"gpt-5","messages":[{"role":"user","content":"` + prose(r, size) + `"}]}`)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := p.Put(fmt.Sprint(i), docs[i%64], true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("turn", func(b *testing.B) { // the fiftieth of a session
		p := openPayloads(b, b.TempDir(), audit.PayloadConfig{})
		docs := session(rand.New(rand.NewPCG(1, 2)), 50)
		b.SetBytes(int64(len(docs[49])))
		for b.Loop() {
			b.StopTimer()
			for _, doc := range docs[:49] {
				put(b, p, "run", doc)
			}
			b.StartTimer()
			put(b, p, "run", docs[49])
			b.StopTimer()
			if _, err := p.Erase("run"); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}

func TestWhereAValueHasTravelled(t *testing.T) {
	p := openPayloads(t, t.TempDir(), audit.PayloadConfig{})
	const iban = "ES9121000418450200051332"
	for run, doc := range map[string]string{
		"plain":   `{"to":"` + iban + `"}`,
		"lower":   `{"to":"` + strings.ToLower(iban) + `"}`,
		"spaced":  `{"text":"pay to ES91 2100 0418 4502 0005 1332 now"}`,
		"base64":  `{"blob":"` + base64.StdEncoding.EncodeToString([]byte("x"+iban+"yz")) + `"}`,
		"base64b": `{"blob":"` + base64.URLEncoding.EncodeToString([]byte("xy"+iban)) + `"}`,
		"hex":     `{"blob":"` + hex.EncodeToString([]byte(iban)) + `"}`,
		"none":    `{"to":"ES9121000418450200051333"}`,
		"erased":  `{"to":"` + iban + `"}`,
	} {
		put(t, p, run, []byte(doc))
	}
	if _, err := p.Erase("erased"); err != nil {
		t.Fatal(err)
	}
	n, err := audit.NewNeedle(iban)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for run, err := range p.Runs(t.Context(), n, time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, run)
	}
	slices.Sort(got)
	if want := "[base64 base64b hex lower plain spaced]"; fmt.Sprint(got) != want {
		t.Errorf("found in %v, want %s", got, want)
	}
	if _, err := audit.NewNeedle("abc"); err == nil {
		t.Error("a value of 3 bytes is looked for")
	}
}

func TestPayloadsThatAreHeldStay(t *testing.T) {
	now := time.Now()
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	held, unknown := map[string]bool{"held": true}, error(nil)
	p := openPayloads(t, t.TempDir(), audit.PayloadConfig{Keep: 48 * time.Hour, Now: clock, Held: func(runs []string) ([]string, error) {
		var list []string
		for _, run := range runs {
			if held[run] {
				list = append(list, run)
			}
		}
		return list, unknown
	}})
	old := put(t, p, "held", []byte(`"old"`))
	put(t, p, "free", []byte(`"beside it"`))
	mu.Lock()
	now = now.Add(100 * time.Hour)
	mu.Unlock()
	put(t, p, "free", []byte(`"young"`))
	if n, err := p.Sweep(); err != nil || n != 0 {
		t.Errorf("%d deleted, %v", n, err)
	}
	if _, err := p.Erase("free", "held"); !errors.Is(err, audit.ErrHeld) {
		t.Errorf("erased: %v", err)
	}
	if n, err := p.Erase("free"); err != nil || n == 0 {
		t.Errorf("%d keys, %v", n, err)
	}
	if got, err := p.Get(old); err != nil || string(got) != `"old"` {
		t.Errorf("%q, %v", got, err)
	}
	held, unknown = nil, errors.New("nobody knows")
	if n, err := p.Sweep(); err == nil || n != 0 {
		t.Errorf("%d deleted though nobody knows what is held", n)
	}
	unknown = nil
	if n, err := p.Sweep(); err != nil || n == 0 {
		t.Errorf("%d deleted, %v", n, err)
	}
}
