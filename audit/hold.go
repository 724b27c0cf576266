package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// ErrHeld is the error of an erasure of what is held.
var ErrHeld = errors.New("a legal hold keeps it")

// A Hold keeps what is on record of a run, or of an agent or user, from being deleted:
// by time, and by an erasure.
type Hold struct {
	ID  string    `json:"id"` // of a run, or agent:NAME, user:NAME
	Why string    `json:"why"`
	By  string    `json:"by"`
	At  time.Time `json:"at"`
}

// Holds are the holds in force, in a file. They are used by many goroutines at once.
type Holds struct {
	path string
	mu   sync.Mutex
	list []Hold // in the order in which they were made
}

// OpenHolds reads the holds in a file, none where it is not there.
func OpenHolds(path string) (*Holds, error) {
	h := &Holds{path: path}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return h, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &h.list)
	}
	if err != nil {
		return nil, fmt.Errorf("read the legal holds in %s: %w", path, err)
	}
	return h, nil
}

// Put puts x in force, in the place of one of the same id.
func (h *Holds) Put(x Hold) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.store(append(without(h.list, x.ID), x))
}

// Release ends the hold of an id, and says whether there was one.
func (h *Holds) Release(id string) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := without(h.list, id)
	if len(list) == len(h.list) {
		return false, nil
	}
	return true, h.store(list)
}

func without(list []Hold, id string) []Hold {
	return slices.DeleteFunc(slices.Clone(list), func(x Hold) bool { return x.ID == id })
}

// List is the holds in force.
func (h *Holds) List() []Hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.list)
}

// store writes list to the file, whole or not at all, and then takes it up.
func (h *Holds) store(list []Hold) error {
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(h.path), filepath.Base(h.path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("store legal holds: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), h.path)
	}
	if err == nil {
		err = osDisk{}.syncDir(filepath.Dir(h.path))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("store legal holds: %w", err)
	}
	h.list = list
	return nil
}
