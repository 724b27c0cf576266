package firewall

import (
	"context"
	"sync"
)

// A Memory keeps what the firewall must find again as long as the process lives.
// It is an [ApprovalStore], a [CountStore], a [PropertyStore] and a [RunStore]; the zero Memory is
// empty.
type Memory struct {
	mu        sync.Mutex
	approvals []Approval
	counts    map[string]Count
	runs      map[string]LabelledRun

	properties map[[2]string][]Property // by kind and id
}

// Approvals implements [ApprovalStore].
func (m *Memory) Approvals(context.Context) ([]Approval, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Approval(nil), m.approvals...), nil
}

// PutApproval implements [ApprovalStore].
func (m *Memory) PutApproval(_ context.Context, a Approval) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.approvals {
		if m.approvals[i].ID == a.ID {
			m.approvals[i] = a
			return nil
		}
	}
	m.approvals = append(m.approvals, a)
	return nil
}

// Counts implements [CountStore].
func (m *Memory) Counts(context.Context) ([]Count, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Count
	for _, c := range m.counts {
		list = append(list, c)
	}
	return list, nil
}

// PutCounts implements [CountStore].
func (m *Memory) PutCounts(_ context.Context, counts []Count) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts == nil {
		m.counts = make(map[string]Count)
	}
	for _, c := range counts {
		if len(c.Used) == 0 {
			delete(m.counts, c.Name)
			continue
		}
		m.counts[c.Name] = c
	}
	return nil
}

// LabelledRuns implements [RunStore].
func (m *Memory) LabelledRuns(context.Context) ([]LabelledRun, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []LabelledRun
	for _, r := range m.runs {
		list = append(list, r)
	}
	return list, nil
}

// PutLabels implements [RunStore].
func (m *Memory) PutLabels(_ context.Context, r LabelledRun) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.runs == nil {
		m.runs = make(map[string]LabelledRun)
	}
	r.Labels |= m.runs[r.ID].Labels
	m.runs[r.ID] = r
	return nil
}

// DropRun implements [RunStore].
func (m *Memory) DropRun(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.runs, id)
	return nil
}
