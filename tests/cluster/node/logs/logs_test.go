package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// written returns a complete log with n lines on stdout and one on stderr.
func written(t *testing.T, n int) *File {
	t.Helper()
	f, err := Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"stdout", "stderr"} {
		w, err := f.Stream(stream)
		if err != nil {
			t.Fatal(err)
		}
		if stream == "stderr" {
			n = 1
		}
		for i := range n {
			if _, err := fmt.Fprintln(w, stream, i); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		f.streams.Wait()
	}
	if err := f.Wait(); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRead(t *testing.T) {
	f := written(t, 3)
	for name, tc := range map[string]struct {
		o    Options
		want string
	}{
		"all":          {Options{Tail: -1}, "stdout 0\nstdout 1\nstdout 2\nstderr 0\n"},
		"last lines":   {Options{Tail: 2}, "stdout 2\nstderr 0\n"},
		"no line":      {Options{Tail: 0}, ""},
		"more lines":   {Options{Tail: 9}, "stdout 0\nstdout 1\nstdout 2\nstderr 0\n"},
		"one stream":   {Options{Tail: -1, Stream: "stderr"}, "stderr 0\n"},
		"from now on":  {Options{Tail: -1, Since: time.Now().Add(time.Minute)}, ""},
		"since before": {Options{Tail: -1, Since: time.Now().Add(-time.Minute), Limit: 12}, "stdout 0\nstd"},
		"followed":     {Options{Tail: 1, Follow: true}, "stderr 0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := f.Read(t.Context(), &got, tc.o); err != nil || got.String() != tc.want {
				t.Errorf("got %q, %v; want %q", got.String(), err, tc.want)
			}
		})
	}
	var got bytes.Buffer
	if err := f.Read(t.Context(), &got, Options{Tail: 1, Timestamps: true}); err != nil {
		t.Fatal(err)
	}
	at, text, _ := strings.Cut(got.String(), " ")
	if _, err := time.Parse(time.RFC3339Nano, at); err != nil || text != "stderr 0\n" {
		t.Errorf("with timestamps: %q %v", got.String(), err)
	}
}

func TestTailOfAFileOfManyBlocks(t *testing.T) {
	f := written(t, 10_000)
	var got bytes.Buffer
	if err := f.Read(t.Context(), &got, Options{Tail: 8_001}); err != nil {
		t.Fatal(err)
	}
	if first, _, _ := strings.Cut(got.String(), "\n"); first != "stdout 2000" {
		t.Errorf("first line %q", first)
	}
}

func TestFollow(t *testing.T) {
	f, err := Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := f.Stream("stdout")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- f.Read(ctx, write, Options{Tail: -1, Follow: true}) }()
	long := strings.Repeat("x", 3*lineLimit) + "\n"
	for _, line := range []string{"one\n", "two\n", long} {
		if _, err := io.WriteString(w, line); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(line))
		if _, err := io.ReadFull(read, got); err != nil || string(got) != line {
			t.Fatalf("got %d bytes %.20q, %v; want %d bytes", len(got), got, err, len(line))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || ctx.Err() != nil {
		t.Errorf("the reading does not end with the log: %v %v", err, ctx.Err())
	}
}

func TestLogBeginsAnew(t *testing.T) {
	defer func(limit int64) { partLimit = limit }(partLimit)
	partLimit = 400
	f := written(t, 25)
	var got bytes.Buffer
	if err := f.Read(t.Context(), &got, Options{Tail: -1}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(got.String(), "\n")
	if n := len(lines); n < 9 || n > 20 || lines[n-2] != "stderr 0" || lines[n-3] != "stdout 24" ||
		lines[n-4] != "stdout 23" {
		t.Errorf("%d lines: %q", n, lines)
	}
}
