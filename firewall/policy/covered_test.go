package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"callgate/firewall"
	"callgate/firewall/policy"

	"pgregory.net/rapid"
)

// A row that is said to do nothing may go: no decision is another without it.
func TestARowThatDoesNothingMayGo(t *testing.T) {
	enough(t, "1500")
	seen := tally{}
	rapid.Check(t, func(t *rapid.T) {
		rows := anyPolicy(t)
		source := policy.Source{Name: "p", Text: []byte(strings.Join(rows, "\n"))}
		p, err := policy.Load(source)
		if err != nil {
			t.Skip(err)
		}
		for _, problem := range policy.Check(source) {
			word, _, _ := strings.Cut(problem.Text, ":")
			idle := slices.Contains([]string{"never decides", "never allows", "adds nothing", "never applies"}, word)
			row := rows[problem.Line-1]
			if word == "its condition limits nothing" {
				idle = true
			}
			if !idle {
				continue
			}
			seen[word]++
			without, err := policy.Load(policy.Source{Name: "p", Text: []byte(strings.Join(slices.Delete(slices.Clone(rows), problem.Line-1, problem.Line), "\n"))})
			if err != nil {
				t.Fatal(err)
			}
			conditional := !strings.Contains(row, `"true"`)
			for range 3 {
				call := anyCall(t, anyCaller(t))
				before, after := p.Decide(call), without.Decide(call)
				if conditional && strings.Contains(before.Reason, "could not be evaluated") {
					continue // its condition can still fail, which denies
				}
				same := before.Effect == after.Effect
				if before.Effect == firewall.Allow {
					same = same && fmt.Sprint(before.Obligations) == fmt.Sprint(after.Obligations)
				}
				if !same {
					t.Fatalf("%s\nwith %q: %s; without: %s", problem.Text, row, said(before), said(after))
				}
			}
		}
	})
	t.Logf("warnings: %v", seen)
	for _, word := range []string{"never decides", "never allows", "adds nothing", "never applies", "its condition limits nothing"} {
		if seen[word] == 0 && !t.Failed() {
			t.Errorf("no row was said to be so: %s", word)
		}
	}
}

func TestManyRowsAreCheckedInTime(t *testing.T) {
	var b strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&b, "p, role:r%d, *, tool:s%d/t%d, call, true, allow, R%d\n", i%10_000, i%300, i, i)
	}
	for i := range 1000 {
		fmt.Fprintf(&b, "p2, role:r%d, *, tool:s%d/*, call, true, allow, limit:calls=5/1h, O%d\ng, agent:a%d, role:r%d, default\n", i, i%300, i, i, i)
	}
	began := time.Now()
	problems := policy.Check(policy.Source{Name: "p", Text: []byte(b.String())})
	if took := time.Since(began); took > 15*time.Second { // 2 s, but machines differ
		t.Errorf("it took %v", took)
	}
	if len(problems) > 0 {
		t.Errorf("%d problems, such as %s", len(problems), problems[0])
	}
}
