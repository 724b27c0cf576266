package policy

import (
	"context"
	"slices"
	"sync"
)

// A Memory keeps versions as long as the process lives. It is a [VersionStore];
// the zero Memory is empty.
type Memory struct {
	mu       sync.Mutex
	versions []Version
	acts     []Act
}

// Versions implements [VersionStore].
func (m *Memory) Versions(context.Context) ([]Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Clone(m.versions)
	for i := range list {
		list[i].Files = nil
	}
	return list, nil
}

// Version implements [VersionStore].
func (m *Memory) Version(_ context.Context, number int64) (Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if number < 1 || number > int64(len(m.versions)) {
		return Version{}, nil
	}
	return m.versions[number-1], nil
}

// AddVersion implements [VersionStore].
func (m *Memory) AddVersion(_ context.Context, v Version) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, known := range m.versions {
		if known.Hash == v.Hash {
			return known.Number, nil
		}
	}
	v.Number = int64(len(m.versions)) + 1
	m.versions = append(m.versions, v)
	return v.Number, nil
}

// Acts implements [VersionStore].
func (m *Memory) Acts(context.Context) ([]Act, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.acts), nil
}

// AddAct implements [VersionStore].
func (m *Memory) AddAct(_ context.Context, a Act) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acts = append(m.acts, a)
	return nil
}
