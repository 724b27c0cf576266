// Package packs has the policies that come with callgate: rows that hold calls by what
// their run has read and from where their values come. They allow nothing by themselves.
package packs

import (
	"embed"
	"io/fs"
	"slices"
	"strings"
)

//go:embed *.csv
var files embed.FS

// Prefix is what the name of a pack begins with where a file could stand: pack:strict.
const Prefix = "pack:"

// Rows are those of the pack of that name, without [Prefix].
func Rows(name string) ([]byte, bool) {
	text, err := files.ReadFile(name + ".csv")
	return text, err == nil
}

// Names are those of all packs.
func Names() []string {
	list, _ := fs.Glob(files, "*.csv") // the pattern is right
	for i := range list {
		list[i] = strings.TrimSuffix(list[i], ".csv")
	}
	slices.Sort(list)
	return list
}
