package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progress shows on a terminal how far a command is that takes more than a second. Elsewhere it shows nothing.
type progress struct {
	// to is nil if nothing is shown.
	to  io.Writer
	now func() time.Time

	mu    sync.Mutex
	next  time.Time
	shown bool
	// line is the newest stage, and timer shows it if no other one comes before it may be shown.
	line  string
	timer *time.Timer
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
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = fmt.Sprintf("%s: %d of %d", name, done, all)
	p.show()
}

// show shows the newest stage, or has it shown as soon as it may be. p.mu must be held.
func (p *progress) show() {
	now := p.now()
	if wait := p.next.Sub(now); wait > 0 {
		if p.timer == nil {
			p.timer = time.AfterFunc(wait, p.late)
		}
		return
	}
	p.stop()
	p.shown, p.next = true, now.Add(100*time.Millisecond)
	fmt.Fprint(p.to, "\r\x1b[K", p.line)
	p.line = ""
}

// late shows a stage that began before it could be shown.
func (p *progress) late() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer = nil; p.line != "" {
		p.show()
	}
}

// stop stops the timer. p.mu must be held.
func (p *progress) stop() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// end removes what is shown.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop()
	if p.line = ""; p.shown {
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}
