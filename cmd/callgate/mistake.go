package main

import (
	"fmt"
	"slices"
	"strings"
)

// A Mistake is something in a file of the operator's that must be put right.
type Mistake struct {
	File      string
	Line, Col int // from 1; 0 means the file as a whole
	Text      string
}

func (m Mistake) String() string {
	switch {
	case m.File == "":
		return m.Text
	case m.Line == 0:
		return m.File + ": " + m.Text
	case m.Col == 0:
		return fmt.Sprintf("%s:%d: %s", m.File, m.Line, m.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Col, m.Text)
}

// Mistakes are all that is wrong with a configuration, so that they can be
// mended in one go.
type Mistakes []Mistake

func (m Mistakes) Error() string { return strings.Join(m.Lines(), "\n") }

// Lines is one line for each mistake.
func (m Mistakes) Lines() []string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].String()
	}
	return lines
}

// sorted is m in the order of each file's text; files stay in the order they
// were first met in.
func (m Mistakes) sorted() Mistakes {
	var files []string
	for _, x := range m {
		if !slices.Contains(files, x.File) {
			files = append(files, x.File)
		}
	}
	slices.SortStableFunc(m, func(a, b Mistake) int {
		if a.File != b.File {
			return slices.Index(files, a.File) - slices.Index(files, b.File)
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Col - b.Col
	})
	return m
}

// closest is the known word that word was probably meant to be, "" if none is near.
func closest(word string, known []string) string {
	best, at := "", 3
	for _, k := range known {
		if d := distance(word, k); d < at && d < len(k) {
			best, at = k, d
		}
	}
	return best
}

// distance is how many letters must be put in, left out or replaced to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
