package certificate

import (
	"bytes"
	"encoding/pem"
	"fmt"
)

// blocks reads the PEM blocks of a text one after the other.
type blocks struct {
	// key is the key of the text, for error messages.
	key  string
	rest []byte
}

// next returns the next block, nil after the last one. A truncated or malformed block is an error, because its content
// would be lost silently.
func (b *blocks) next() (*pem.Block, error) {
	start := boundary(b.rest)
	if start < 0 {
		return nil, nil
	}
	text := b.rest[start:]
	if i := len(begin) + boundary(text[min(len(begin), len(text)):]); bytes.HasPrefix(text, begin) && i >= len(begin) &&
		bytes.HasPrefix(text[i:], end) {
		own, rest := text, []byte(nil)
		if line := bytes.IndexByte(text[i:], '\n'); line >= 0 {
			own, rest = text[:i+line+1], text[i+line+1:]
		}
		if block, _ := pem.Decode(own); block != nil {
			b.rest = rest
			return block, nil
		}
	}
	return nil, fmt.Errorf("has a PEM block in %s that cannot be read: put it there as it was issued, from its BEGIN line to its END line", b.key)
}

var begin, end = []byte("-----BEGIN "), []byte("-----END ")

// boundary returns the position of the next line that begins or ends a block, -1 if there is none.
func boundary(text []byte) int {
	for at := 0; ; {
		if line := text[at:]; bytes.HasPrefix(line, begin) || bytes.HasPrefix(line, end) {
			return at
		}
		i := bytes.IndexByte(text[at:], '\n')
		if i < 0 {
			return -1
		}
		at += i + 1
	}
}
