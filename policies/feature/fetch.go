package feature

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse/policies/verdict"
)

// MaxFetched is the maximum of Fetch.MaxBytes. What is fetched is stored in a ConfigMap, which has at most 1 MiB.
const MaxFetched = 512 << 10

// maxURL is the maximum length of a URL, in bytes.
const maxURL = 2048

// Fetch is content that the control plane fetches over HTTP. One replica fetches it and stores it, and all replicas
// read what is stored (docs/decisions/054-fetched-content.md).
type Fetch struct {
	// URL is where the content is, see CheckURL.
	URL string
	// Form is what the content must be, such as "an OpenID Connect discovery document". Equal forms must have equal
	// checks.
	Form string
	// Check returns an error if the content does not have the form. Its text fits behind "the content ". It must not
	// quote the content, because a URL may lead to something that the author of a policy may not read. Of large content
	// it gets the first bytes only, at most HeadBytes.
	Check func(content []byte) error
	// MaxBytes is the maximum size of the content, from 1 to MaxFetched. The operator sets that of large content.
	MaxBytes int64
	// Refresh is the age at which the content is fetched again. If this fails, the older content remains in use.
	// Content with a SHA256 cannot change, and is fetched again only when it is lost.
	Refresh time.Duration
	// Through is the Field of a need for backends, listed before this one, whose endpoints are asked for the URL. It is
	// empty for the addresses that the URL's host has in DNS. Weights and settings do not count: they are for Envoy.
	Through string
	// Large asks for a file on the disk of each replica (Have.Files), and not for the bytes.
	Large bool
	// SHA256 is the digest that large content must have, see CheckSHA256. It is empty for any content.
	SHA256 string
}

// HeadBytes is how much of large content Fetch.Check gets.
const HeadBytes = 512

// File is large content that was fetched.
type File struct {
	// Digest is sha256: and 64 hexadecimal digits in lower case.
	Digest string
	// Size is in bytes.
	Size int64
}

// Key identifies what is fetched, and how: fetches with equal keys are one. It consists of 32 hexadecimal digits, and
// is the same in every replica.
func (f *Fetch) Key() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %d %q %t %q", f.URL, f.Form, f.MaxBytes, f.Refresh, f.Through, f.Large,
		f.SHA256))
	return hex.EncodeToString(sum[:16])
}

// CheckSHA256 finds a text that is not the SHA-256 digest of anything.
func CheckSHA256(field, text string) []verdict.Problem {
	if _, err := hex.DecodeString(text); err != nil || len(text) != 2*sha256.Size || text != strings.ToLower(text) {
		return []verdict.Problem{Invalid(field,
			"%q is not a SHA-256 digest: write the 64 hexadecimal digits that sha256sum prints", text)}
	}
	return nil
}

// CheckURL finds a URL that nothing can be fetched from. It must be absolute, with the scheme http or https, and
// without a user and a fragment. Whether the operator allows its address is known only when it is fetched.
func CheckURL(field, text string) []verdict.Problem {
	u, err := url.Parse(text)
	switch {
	case len(text) > maxURL:
		return []verdict.Problem{Invalid(field, "a URL of %d bytes is too long: write one of at most %d", len(text), maxURL)}
	case err != nil:
		return []verdict.Problem{Invalid(field, "%q is not a URL: write one such as https://example.com/path", text)}
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return []verdict.Problem{Invalid(field, "%q does not name a web server: write a URL such as https://example.com/path",
			text)}
	case u.User != nil:
		return []verdict.Problem{Invalid(field,
			"the URL of host %q has a user, whose password everybody could read: write it without", u.Host)}
	case u.Fragment != "":
		return []verdict.Problem{Invalid(field, "%q has a fragment, which is never sent to a server: remove #%s", text,
			u.Fragment)}
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return []verdict.Problem{Invalid(field, "%q has port %s: write a number from 1 to 65535", text, port)}
		}
	}
	return nil
}
