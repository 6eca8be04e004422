package main

import (
	"bytes"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgress: progress is shown from the first second on, ten times a second at most, and removed at the end.
func TestProgress(t *testing.T) {
	var shown bytes.Buffer
	now := time.Unix(0, 0)
	p := &progress{to: &shown, now: func() time.Time { return now }, next: now.Add(time.Second)}
	for i := range 113 {
		p.stage("reviewing objects", i, 113)
		now = now.Add(10 * time.Millisecond)
	}
	p.end()
	want := "\r\x1b[Kreviewing objects: 100 of 113\r\x1b[Kreviewing objects: 110 of 113\r\x1b[K"
	if shown.String() != want {
		t.Errorf("shown is %q, want %q", shown.String(), want)
	}
}

// TestLongStages: a stage that has nothing more to tell is shown too, a second after the command began.
func TestLongStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shown bytes.Buffer
		p := &progress{to: &shown, now: time.Now, next: time.Now().Add(time.Second)}
		p.stage("reading", 0, 1)
		p.stage("translating", 0, 1)
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		if shown.Len() > 0 {
			t.Errorf("%q is shown before a second", shown.String())
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		p.stage("writing", 1, 1)
		p.end()
		want := "\r\x1b[Ktranslating: 0 of 1\r\x1b[Kwriting: 1 of 1\r\x1b[K"
		if shown.String() != want {
			t.Errorf("shown is %q, want %q", shown.String(), want)
		}
	})
}

// TestProgressIsForTerminals: nothing is shown in a file or pipe.
func TestProgressIsForTerminals(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	p := newProgress(writer)
	p.next = time.Time{}
	p.stage("reviewing objects", 1, 2)
	p.end()
	_ = writer.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(reader); err != nil || got.Len() > 0 {
		t.Errorf("%q is written to a pipe: %v", got.String(), err)
	}
}
