package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress shows on a terminal how far a command is that takes more than a second. Elsewhere it shows nothing.
type progress struct {
	// to is nil if nothing is shown.
	to    io.Writer
	now   func() time.Time
	next  time.Time
	shown bool
}

func newProgress(to io.Writer) *progress {
	p := &progress{now: time.Now}
	if file, ok := to.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			p.to = to
		}
	}
	p.next = p.now().Add(time.Second)
	return p
}

// stage shows how much of a stage is done.
func (p *progress) stage(name string, done, all int) {
	if p.to == nil {
		return
	}
	now := p.now()
	if now.Before(p.next) {
		return
	}
	p.shown, p.next = true, now.Add(100*time.Millisecond)
	fmt.Fprintf(p.to, "\r\x1b[K%s: %d of %d", name, done, all)
}

// end removes what is shown.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}
