package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version is which callgate this is, from the build itself.
type Version struct {
	Version string `json:"version"` // the module's version, or the commit
	Go      string `json:"go"`
	System  string `json:"system"`
}

func thisVersion() Version {
	v := Version{Version: "devel", Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Version = "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return v
}

func (p *program) version() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "version", Short: "print which callgate this is", Args: exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			v := thisVersion()
			if p.json {
				return json.NewEncoder(p.out).Encode(v)
			}
			_, err := fmt.Fprintf(p.out, "callgate %s (%s, %s)\n", v.Version, v.Go, v.System)
			return err
		},
	})
}
