package controller

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/xds"
)

// serviceAccountPrefix is the prefix of the user name of every service account, before namespace:name.
const serviceAccountPrefix = "system:serviceaccount:"

// reviewed is how long a confirmed token is trusted without another review.
const reviewed = time.Minute

// Identities finds the fleets that a proxy's service-account token is valid for, by asking the API server. It reads the
// claims of the token first: it rejects tokens of other accounts, for another audience or after their expiry without
// asking.
type Identities struct {
	client   client.Client
	audience string
	attempts attempts
	// confirming has one place for each token of a running stream that the API server may review at the same time.
	confirming chan struct{}
	// trusted is how long an answer of the API server is valid.
	trusted time.Duration

	mu sync.Mutex
	// fleets has the fleets of each account, accounts has the accounts of each fleet.
	fleets, accounts map[string][]string

	changed func(fleet string)
	known   map[[sha256.Size]byte]review
	refused map[[sha256.Size]byte]refusal
}

// review is the API server's answer about one token.
type review struct {
	account, pod string
	// until is the end of the answer's validity, expires that of the token.
	until, expires time.Time
}

// refusal is why a token is rejected, and until when the API server is not asked again.
type refusal struct {
	err   error
	until time.Time
}

// NewIdentities returns identities of tokens for an audience; empty means the API server's own. The client should be
// used for nothing else, because there may be many requests about tokens.
func NewIdentities(c client.Client, audience string) *Identities {
	return &Identities{
		client: c, audience: audience, trusted: reviewed, changed: func(string) {},
		attempts: attempts{peers: map[string]*attempted{}}, confirming: make(chan struct{}, confirmations),
		fleets: map[string][]string{}, accounts: map[string][]string{}, known: map[[sha256.Size]byte]review{},
		refused: map[[sha256.Size]byte]refusal{},
	}
}

// OnChange sets a function that is called after the accounts of a fleet have changed. It must be called before all
// other methods.
func (i *Identities) OnChange(changed func(fleet string)) { i.changed = changed }

// Set sets the service accounts (namespace/name) of a fleet; none means that the fleet does not exist any more.
func (i *Identities) Set(fleet string, accounts ...string) {
	if i.set(fleet, accounts) {
		i.changed(fleet)
	}
}

func (i *Identities) set(fleet string, accounts []string) (changed bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, a := range i.accounts[fleet] {
		if slices.Contains(accounts, a) {
			continue
		}
		changed = true
		i.fleets[a] = slices.DeleteFunc(i.fleets[a], func(f string) bool { return f == fleet })
		if len(i.fleets[a]) == 0 {
			delete(i.fleets, a)
		}
	}
	if i.accounts[fleet] = slices.Clone(accounts); len(accounts) == 0 {
		delete(i.accounts, fleet)
	}
	for _, account := range accounts {
		if !slices.Contains(i.fleets[account], fleet) {
			changed = true
			i.fleets[account] = append(i.fleets[account], fleet)
		}
	}
	return changed
}

// Authenticate returns the fleets of the token's service account. The error has the gRPC code Unavailable if the API
// server does not say whether the token is valid, or if the peer of the call has asked too often.
func (i *Identities) Authenticate(ctx context.Context, token string) (xds.Identity, error) {
	return i.identity(ctx, token, i.attempts.begin)
}

// Confirm is Authenticate for a token that was accepted before. Requests of others with the same address do not count
// against it: it waits only for other tokens that were accepted before. The error has the gRPC code Unavailable if ctx
// ends before its turn.
func (i *Identities) Confirm(ctx context.Context, token string) (xds.Identity, error) {
	return i.identity(ctx, token, i.confirm)
}

// confirm waits until the API server may review another token that was accepted before.
func (i *Identities) confirm(ctx context.Context) (done func(), err error) {
	select {
	case i.confirming <- struct{}{}:
		return func() { <-i.confirming }, nil
	case <-ctx.Done():
		return nil, status.Error(codes.Unavailable, "the API server is slow to tell about tokens: try again")
	}
}

func (i *Identities) identity(ctx context.Context, token string, begin begin) (xds.Identity, error) {
	r, err := i.review(ctx, token, func(account string) bool { return len(i.fleetsOf(account)) > 0 }, begin)
	if err != nil {
		return xds.Identity{}, err
	}
	return xds.Identity{Subject: r.account, Pod: r.pod, Fleets: i.fleetsOf(r.account), Expires: r.expires}, nil
}

func (i *Identities) fleetsOf(account string) []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.fleets[account])
}

// Admit returns an error unless the token is a valid token of the service account (namespace/name).
func (i *Identities) Admit(ctx context.Context, token, account string) error {
	_, err := i.review(ctx, token, func(claimed string) bool { return claimed == account }, i.attempts.begin)
	return err
}

// begin asks for permission to review another token now. If there is no error, done must be called afterwards.
type begin func(ctx context.Context) (done func(), err error)

// review finds the owner of the token, if the token claims an account that is wanted.
func (i *Identities) review(ctx context.Context, token string, wanted func(account string) bool, begin begin) (review,
	error,
) {
	claims, err := i.claims(token, time.Now())
	if err == nil && !wanted(claims.account()) {
		err = fmt.Errorf("the token is one of %q, which has nothing to ask here", claims.Subject)
	}
	if err != nil {
		return review{}, err
	}
	sum := sha256.Sum256([]byte(token))
	if known, err := i.remembered(sum, time.Now()); known.account != "" || err != nil {
		return known, err
	}
	done, err := begin(ctx)
	if err != nil {
		return review{}, err
	}
	defer done()
	answer, err := i.ask(ctx, token)
	if err == nil {
		answer.expires = time.Unix(claims.Expires, 0)
		if answer.expires.Before(answer.until) {
			answer.until = answer.expires
		}
	}
	i.note(sum, answer, err, time.Now())
	return answer, err
}

// remembered returns what is known of a token: its owner, or why it is rejected.
func (i *Identities) remembered(sum [sha256.Size]byte, now time.Time) (review, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if known := i.known[sum]; now.Before(known.until) {
		return known, nil
	}
	if refused := i.refused[sum]; now.Before(refused.until) {
		return review{}, refused.err
	}
	return review{}, nil
}

// note remembers an answer of the API server.
func (i *Identities) note(sum [sha256.Size]byte, answer review, err error, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	maps.DeleteFunc(i.known, func(_ [sha256.Size]byte, r review) bool { return !now.Before(r.until) })
	switch {
	case err == nil:
		i.known[sum] = answer
	case status.Code(err) != codes.Unavailable:
		delete(i.known, sum)
		if len(i.refused) >= refusalsLimit {
			clear(i.refused)
		}
		i.refused[sum] = refusal{err, now.Add(refusedFor)}
	}
}

// ask sends the token to the API server for review.
func (i *Identities) ask(ctx context.Context, token string) (review, error) {
	ask := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if i.audience != "" {
		ask.Spec.Audiences = []string{i.audience}
	}
	if err := i.client.Create(ctx, ask); err != nil {
		return review{}, status.Errorf(codes.Unavailable, "ask the API server about a token: %v", err)
	}
	user, isAccount := strings.CutPrefix(ask.Status.User.Username, serviceAccountPrefix)
	if !ask.Status.Authenticated || !isAccount || (i.audience != "" &&
		!slices.Contains(ask.Status.Audiences, i.audience)) {
		return review{}, fmt.Errorf("the token is not one of a service account for audience %q: %s", i.audience,
			ask.Status.Error)
	}
	account := strings.Replace(user, ":", "/", 1)
	return review{account: account, pod: podOf(ask.Status.User), until: time.Now().Add(i.trusted)}, nil
}

// podOf is the pod that a token is bound to: namespace, name and UID. It is empty if the token is not bound to a pod.
func podOf(user authenticationv1.UserInfo) string {
	return strings.Join(slices.Concat(user.Extra["authentication.kubernetes.io/pod-name"],
		user.Extra["authentication.kubernetes.io/pod-uid"]), "/")
}

// claims are the claims of a token. They are not trusted before the API server has confirmed the token.
type claims struct {
	Subject  string   `json:"sub"`
	Audience []string `json:"aud"`
	Expires  int64    `json:"exp"`
}

// account is the namespace/name of the service account, empty if the token belongs to something else.
func (c *claims) account() string {
	account, ok := strings.CutPrefix(c.Subject, serviceAccountPrefix)
	if !ok {
		return ""
	}
	return strings.Replace(account, ":", "/", 1)
}

// claims reads a service account's token (a JWT, RFC 7519), and checks it as far as this is possible without its
// signature.
func (i *Identities) claims(token string, now time.Time) (*claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("the token is not one of a service account, which have three parts")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, fmt.Errorf("the token is not one of a service account: %w", err)
	}
	c := &claims{}
	if err := json.Unmarshal(payload, c); err != nil {
		return nil, fmt.Errorf("the token is not one of a service account: %w", err)
	}
	switch {
	case c.account() == "":
		return nil, fmt.Errorf("the token is one of %q, which is not a service account", c.Subject)
	case i.audience != "" && !slices.Contains(c.Audience, i.audience):
		return nil, fmt.Errorf("the token is for the audience %q: it must be for %q", c.Audience, i.audience)
	case !now.Before(time.Unix(c.Expires, 0)):
		return nil, errors.New("the token has expired")
	}
	return c, nil
}
