package controller

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/xds"
)

// serviceAccountPrefix begins the user name of every service account, before namespace:name.
const serviceAccountPrefix = "system:serviceaccount:"

// reviewed is how long a token that the API server has confirmed is trusted without asking again.
const reviewed = time.Minute

// Identities tells which fleets a proxy's service-account token is for, by asking the API server.
type Identities struct {
	client   client.Client
	audience string

	mu     sync.Mutex
	fleets map[string][]string
	known  map[[sha256.Size]byte]review
}

// review is the API server's answer about one token.
type review struct {
	account string
	until   time.Time
}

// NewIdentities returns identities of tokens for an audience; the empty one stands for the API server's own.
func NewIdentities(c client.Client, audience string) *Identities {
	return &Identities{client: c, audience: audience, fleets: map[string][]string{}, known: map[[sha256.Size]byte]review{}}
}

// Set tells the service account (namespace/name) of a fleet; empty means that the fleet is gone.
func (i *Identities) Set(fleet, account string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for a, fleets := range i.fleets {
		i.fleets[a] = slices.DeleteFunc(fleets, func(f string) bool { return f == fleet })
		if len(i.fleets[a]) == 0 {
			delete(i.fleets, a)
		}
	}
	if account != "" {
		i.fleets[account] = append(i.fleets[account], fleet)
	}
}

// Authenticate answers with the fleets of the token's service account.
func (i *Identities) Authenticate(ctx context.Context, token string) (xds.Identity, error) {
	account, err := i.Account(ctx, token)
	if err != nil {
		return xds.Identity{}, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return xds.Identity{Subject: account, Fleets: slices.Clone(i.fleets[account])}, nil
}

// Account answers with the namespace/name of the token's service account, if the token is valid for the audience.
func (i *Identities) Account(ctx context.Context, token string) (string, error) {
	sum := sha256.Sum256([]byte(token))
	i.mu.Lock()
	known, ok := i.known[sum]
	i.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.account, nil
	}
	ask := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if i.audience != "" {
		ask.Spec.Audiences = []string{i.audience}
	}
	if err := i.client.Create(ctx, ask); err != nil {
		return "", fmt.Errorf("ask the API server about a token: %w", err)
	}
	user, isAccount := strings.CutPrefix(ask.Status.User.Username, serviceAccountPrefix)
	if !ask.Status.Authenticated || !isAccount || (i.audience != "" && !slices.Contains(ask.Status.Audiences, i.audience)) {
		return "", fmt.Errorf("the token is not one of a service account for audience %q: %s", i.audience, ask.Status.Error)
	}
	account := strings.Replace(user, ":", "/", 1)
	i.mu.Lock()
	defer i.mu.Unlock()
	for s, r := range i.known {
		if time.Now().After(r.until) {
			delete(i.known, s)
		}
	}
	i.known[sum] = review{account, time.Now().Add(reviewed)}
	return account, nil
}
