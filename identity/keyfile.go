package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

// openSeal is the seal of the key that is given, or else of the one in the folder dir,
// which is made where first says that nothing is sealed yet.
func openSeal(dir string, given Secret, first bool) (*Seal, error) {
	if text := given.Reveal(); text != "" {
		s, err := parseSealKey(text)
		if err != nil {
			return nil, fmt.Errorf("the seal key that was given: %w", err)
		}
		return s, nil
	}
	file := filepath.Join(dir, sealFile)
	text, err := readPrivate(file)
	switch {
	case err == nil:
		s, err := parseSealKey(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return s, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case !first:
		return nil, fmt.Errorf("%s is not there, so the signing keys in %s cannot be opened: put it back, give the seal key, or remove %s to begin with a new signing key, which ends all tokens",
			file, signingFile, signingFile)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make a seal key: %w", err)
	}
	return &Seal{id, id.Recipient()}, writePrivate(file, []byte("# callgate: opens "+signingFile+"\n"+id.String()+"\n"))
}

// parseSealKey reads the one identity in text, as age-keygen or a plugin writes it.
// Its errors do not tell of the text.
func parseSealKey(text string) (*Seal, error) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "AGE-PLUGIN-") && !strings.Contains(strings.Replace(text, line, "", 1), "AGE-") {
			return pluginSeal(line)
		}
	}
	list, err := age.ParseIdentities(strings.NewReader(text))
	if err == nil && len(list) == 1 {
		if id, ok := list[0].(*age.X25519Identity); ok {
			return &Seal{id, id.Recipient()}, nil
		}
	}
	return nil, errors.New("want one age identity, AGE-SECRET-KEY-1… or AGE-PLUGIN-…; age-keygen makes one")
}

// pluginSeal is the seal of a key that an age plugin has. Nobody is there whom it
// could ask for anything.
func pluginSeal(text string) (*Seal, error) {
	none := errors.New("callgate cannot ask people for anything: use a key that needs nobody")
	id, err := plugin.NewIdentity(text, &plugin.ClientUI{
		DisplayMessage: func(_, _ string) error { return nil },
		RequestValue:   func(_, _ string, _ bool) (string, error) { return "", none },
		Confirm:        func(_, _, _, _ string) (bool, error) { return false, none },
		WaitTimer:      func(string) {},
	})
	if err != nil {
		return nil, errors.New("it begins as the identity of an age plugin, and is none")
	}
	return &Seal{id, id.Recipient()}, nil
}

// checkPrivate refuses an open file or folder that others than its owner can
// read or change.
func checkPrivate(f *os.File, mode string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if open := info.Mode().Perm() & 0o077; open != 0 && runtime.GOOS != "windows" { // where modes say nothing
		return fmt.Errorf("%s is open to other users of this machine (mode %04o): chmod %s %s", f.Name(), info.Mode().Perm(), mode, f.Name())
	}
	return nil
}

func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder for keys: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return checkPrivate(f, "700")
}

func readPrivate(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkPrivate(f, "600"); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: it is no file of callgate's", file, maxKeyFile)
	}
	return text, nil
}

// writePrivate makes file with text, whole or not at all, durable, and for its
// owner's eyes alone.
func writePrivate(file string, text []byte) error {
	dir := filepath.Dir(file)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", file, err)
	}
	return syncFolder(dir)
}

// syncFolder makes durable that a file in dir has its name.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" { // which has no way to, and no need
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
