package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"callgate/audit"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

// errFlawed ends a verification that found something: what, is told already.
var errFlawed = errors.New("the record is not as it was written")

// ledgerFolder is where the ledger is whose files are read.
func (p *program) ledgerFolder() (string, error) {
	dir, _ := p.folder()
	dir = filepath.Join(dir, "ledger")
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("there is no ledger in %s: say where the gate's data is with --data", dir)
	}
	return dir, nil
}

func (p *program) auditVerify() *cobra.Command {
	var key, checkpoint, against, proof string
	cmd := &cobra.Command{
		Use: "verify", Short: "verify that nothing in the record was changed, taken out, moved or cut off",
		Long: `Verify that nothing in the record was changed, taken out, moved or cut off: every
checksum, hash and link of the ledger's files, and every checkpoint that the gate has
signed. It reads the files in the data folder, needs no server, and changes nothing; it
may run beside one.

Whoever can write to the folder could sign all anew with a key of his own, or put it all
back to an earlier time. So keep the public key (callgate audit key) and now and then a
checkpoint elsewhere, and give them with --key and --checkpoint.

With --proof a file of callgate audit prove is verified, by --key alone.`,
		Example: `  callgate audit verify
  callgate audit verify --data /backup/callgate-data --key "$(cat callgate.key)" --checkpoint kept.txt
  callgate audit verify --proof call.proof --key "$(cat callgate.key)"`,
		Args: exactly(0, "no arguments; flags say what to verify"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if proof != "" {
				return p.verifyProof(proof, key)
			}
			dir, err := p.ledgerFolder()
			if err != nil {
				return err
			}
			cfg := audit.VerifyConfig{Key: key}
			if checkpoint != "" {
				if cfg.Checkpoint, err = os.ReadFile(checkpoint); err != nil {
					return err
				}
			}
			if against != "" {
				if cfg.Against, err = os.ReadFile(against); err != nil {
					return err
				}
			}
			var done int64
			told := time.Now()
			cfg.Progress = func(n int64) {
				if done += n; time.Since(told) > 2*time.Second {
					told = time.Now()
					fmt.Fprintf(p.err, "%d MiB verified\n", done>>20)
				}
			}
			v, err := audit.Verify(dir, cfg)
			if err != nil {
				return err
			}
			return p.printVerified(v)
		},
	}
	f := cmd.Flags()
	f.StringVar(&key, "key", "", "public key of the ledger (default: the one in the folder)")
	f.StringVar(&checkpoint, "checkpoint", "", "file with a checkpoint that was kept elsewhere")
	f.StringVar(&against, "against", "", "file with all checkpoints that a second place has (audit.checkpoints)")
	f.StringVar(&proof, "proof", "", "file of callgate audit prove, to be verified instead")
	return p.withJSON(cmd)
}

func (p *program) printVerified(v *audit.Verification) error {
	if p.json {
		if err := p.printJSON(v); err != nil {
			return err
		}
	} else {
		for _, f := range v.Flaws {
			fmt.Fprintln(p.out, p.colour(red, "flaw")+"  "+tame(f.String()))
		}
		signed := fmt.Sprintf("%d of them are signed, by %d checkpoints", v.Signed, v.Checkpoints)
		if v.Checkpoints == 0 {
			signed = "none of them is signed"
		}
		if v.Dropped > 0 {
			fmt.Fprintf(p.out, "Records 1 to %d are not there any more: a signed record says that retention dropped them. Their hashes are there, and are what was signed.\n", v.Dropped)
		}
		fmt.Fprintf(p.out, "%d records in %d files; %s.\n", v.Records, v.Segments, signed)
		if v.Unread > 0 {
			fmt.Fprintf(p.err, "The last %d bytes of the file that was given are no checkpoint; those before were compared.\n", v.Unread)
		}
		if !v.GivenKey && v.Key != "" {
			fmt.Fprintf(p.err, "By the key in the folder: %s\nGive one that you have kept elsewhere with --key: this one could have been changed with the rest.\n", v.Key)
		}
	}
	if len(v.Flaws) > 0 {
		return errFlawed
	}
	return nil
}

func (p *program) verifyProof(file, key string) error {
	if key == "" {
		return usageError{errors.New("want the ledger's public key with --key: callgate audit key prints it")}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	list, err := audit.CheckProof(text, key)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, proven := range list {
		if p.json {
			if err := p.printJSON(struct {
				audit.Proven
				Record json.RawMessage `json:"record"`
			}{proven, proven.Record}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(p.out, "record %d of %s, when %d were signed:\n", proven.Seq, tame(proven.Ledger), proven.Size)
		var b bytes.Buffer
		if err := json.Indent(&b, proven.Record, "  ", "  "); err != nil {
			return err
		}
		fmt.Fprintf(p.out, "  %s\n", tameLines(b.String()))
	}
	return nil
}

// tameLines is [tame] for a text of many lines.
func tameLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = tame(lines[i])
	}
	return strings.Join(lines, "\n")
}

func (p *program) auditProve() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "prove ID", Short: "make a proof of what is on record of a call, for somebody who has no access to it",
		Long: `Make a proof that a record is in the ledger: the record itself, its place in the Merkle
tree, and the checkpoint that the gate has signed. It can be verified with nothing but the
ledger's public key, by callgate audit verify --proof, or by standard tools for transparency
logs (C2SP tlog-proof, tlog-checkpoint, signed-note). ID is that of a call, all of whose
records are proven, or the position of one record.`,
		Example: "  callgate audit prove 0199d3a2-7a51-7c3e-9f7e-1b1f0a6c2d4e -o call.proof\n  callgate audit prove 4711",
		Args:    exactly(1, "the id of a call, or the position of a record"),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := p.ledgerFolder()
			if err != nil {
				return err
			}
			id, since := args[0], time.Time{}
			seq, err := strconv.ParseUint(id, 10, 64)
			if err == nil {
				id = ""
			} else if u, err := uuid.Parse(id); err == nil && u.Version() == 7 {
				sec, nsec := u.Time().UnixTime()
				since = time.Unix(sec, nsec).Add(-time.Minute)
			}
			text, err := audit.Prove(dir, id, seq, since)
			if err != nil {
				return err
			}
			if out == "" || out == "-" {
				_, err = p.out.Write(text)
				return err
			}
			return os.WriteFile(out, text, 0o644)
		},
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", "file to write it to (default: standard output)")
	return cmd
}

func (p *program) auditKey() *cobra.Command {
	return &cobra.Command{
		Use: "key", Short: "print the public key that the ledger's checkpoints are signed with", Args: exactly(0, "no arguments"),
		Long:    "Print the public key that the ledger's checkpoints are signed with. Keep it elsewhere than the\nledger: by it, callgate audit verify knows whether somebody has signed another one.",
		Example: "  callgate audit key > callgate.key",
		RunE: func(*cobra.Command, []string) error {
			dir, err := p.ledgerFolder()
			if err != nil {
				return err
			}
			text, err := os.ReadFile(filepath.Join(dir, "key"))
			if errors.Is(err, fs.ErrNotExist) {
				return errors.New("the ledger is not signed yet: callgate serve makes the key")
			}
			if err != nil {
				return err
			}
			_, err = p.out.Write(text)
			return err
		},
	}
}

// openSealer has the ledger signed with the key in file, which is made with the ledger.
func openSealer(l *audit.Ledger, file string, cfg audit.SealerConfig) (*audit.Sealer, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		secret, _, err := audit.NewLogKey(l.Origin())
		if err == nil {
			err = writeFile(file, secret+"\n")
		}
		if err != nil {
			return nil, fmt.Errorf("make the key that signs the ledger: %w", err)
		}
		text = []byte(secret)
	} else if err != nil {
		return nil, fmt.Errorf("read the key that signs the ledger: %w", err)
	}
	cfg.Key = strings.TrimSpace(string(text))
	return audit.NewSealer(l, cfg)
}
