package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// signs begin the lines of changes.
var signs = map[Kind]string{
	Added: "+", Removed: "-", Changed: "~", Moved: ">", Shadowed: "!", Reachable: "*", Effective: "+", Lost: "-", New: "!",
	Mended: "*",
}

// shown is how many places of a change are listed; the others are counted.
const shown = 5

// places lists the places of a change.
func (c *Change) places() string {
	listed := c.Places[:min(len(c.Places), shown)]
	text := strings.Join(listed, "; ")
	if more := len(c.Places) - len(listed); more > 0 {
		text += fmt.Sprintf("; %d more", more)
	}
	return text
}

// details returns the details that are not empty.
func (c *Change) details() (all []string) {
	for _, d := range c.Details {
		if d != "" {
			all = append(all, d)
		}
	}
	return all
}

// Text writes the report for a terminal.
func (r *Report) Text(to io.Writer) error {
	var b strings.Builder
	for _, s := range r.sections() {
		if len(s.changes) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s\n", s.title)
		for i := range s.changes {
			c := &s.changes[i]
			fmt.Fprintf(&b, "  %s %s %s\n", signs[c.Kind], c.What, c.Kind)
			for _, d := range c.details() {
				fmt.Fprintf(&b, "      %s\n", d)
			}
			if len(c.Places) > 0 {
				fmt.Fprintf(&b, "      on %s\n", c.places())
			}
		}
	}
	if r.Empty() {
		b.WriteString("The traffic does not change.\n")
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// Markdown writes the report for a pull request.
func (r *Report) Markdown(to io.Writer) error {
	var b strings.Builder
	b.WriteString("### What changes in the traffic\n")
	if r.Empty() {
		b.WriteString("\nNothing.\n")
	}
	for _, s := range r.sections() {
		if len(s.changes) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n**%s**\n\n", s.title)
		for i := range s.changes {
			c := &s.changes[i]
			fmt.Fprintf(&b, "- %s **%s**\n", code(c.What), c.Kind)
			for _, d := range c.details() {
				fmt.Fprintf(&b, "  - %s\n", plain.Replace(d))
			}
			if len(c.Places) > 0 {
				fmt.Fprintf(&b, "  - on %s\n", plain.Replace(c.places()))
			}
		}
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// plain escapes what Markdown or HTML would read as more than text.
var plain = strings.NewReplacer("\\", "\\\\", "*", "\\*", "_", "\\_", "`", "\\`", "<", "&lt;", ">", "&gt;", "|", "\\|",
	"[", "\\[", "@", "&#64;", "#", "\\#", "~", "\\~")

// code is a text in the form of code. A backtick cannot be in it.
func code(text string) string { return "`" + strings.ReplaceAll(text, "`", "'") + "`" }

// JSON writes the report for scripts. Lists without changes are empty.
func (r *Report) JSON(to io.Writer) error {
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}
