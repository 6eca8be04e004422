package controller

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
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
	// until is how long the answer holds, expires when the token ends.
	until, expires time.Time
}

// NewIdentities returns identities of tokens for an audience; the empty one stands for the API server's own.
func NewIdentities(c client.Client, audience string) *Identities {
	return &Identities{client: c, audience: audience, fleets: map[string][]string{}, known: map[[sha256.Size]byte]review{}}
}

// Knows tells whether a service account is known for the fleet.
func (i *Identities) Knows(fleet string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, fleets := range i.fleets {
		if slices.Contains(fleets, fleet) {
			return true
		}
	}
	return false
}

// Set tells the service accounts (namespace/name) of a fleet; none means that the fleet is gone.
func (i *Identities) Set(fleet string, accounts ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for a, fleets := range i.fleets {
		i.fleets[a] = slices.DeleteFunc(fleets, func(f string) bool { return f == fleet })
		if len(i.fleets[a]) == 0 {
			delete(i.fleets, a)
		}
	}
	for _, account := range accounts {
		i.fleets[account] = append(i.fleets[account], fleet)
	}
}

// Authenticate answers with the fleets of the token's service account. The error has the gRPC code Unavailable if the API server does not
// say whether the token is good.
func (i *Identities) Authenticate(ctx context.Context, token string) (xds.Identity, error) {
	r, err := i.review(ctx, token)
	if err != nil {
		return xds.Identity{}, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return xds.Identity{Subject: r.account, Fleets: slices.Clone(i.fleets[r.account]), Expires: r.expires}, nil
}

// Account answers with the namespace/name of the token's service account, if the token is valid for the audience.
func (i *Identities) Account(ctx context.Context, token string) (string, error) {
	r, err := i.review(ctx, token)
	return r.account, err
}

func (i *Identities) review(ctx context.Context, token string) (review, error) {
	sum := sha256.Sum256([]byte(token))
	i.mu.Lock()
	known, ok := i.known[sum]
	i.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known, nil
	}
	ask := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if i.audience != "" {
		ask.Spec.Audiences = []string{i.audience}
	}
	if err := i.client.Create(ctx, ask); err != nil {
		return review{}, status.Errorf(codes.Unavailable, "ask the API server about a token: %v", err)
	}
	user, isAccount := strings.CutPrefix(ask.Status.User.Username, serviceAccountPrefix)
	if !ask.Status.Authenticated || !isAccount || (i.audience != "" && !slices.Contains(ask.Status.Audiences, i.audience)) {
		return review{}, fmt.Errorf("the token is not one of a service account for audience %q: %s", i.audience, ask.Status.Error)
	}
	answer := review{account: strings.Replace(user, ":", "/", 1), until: time.Now().Add(reviewed), expires: expiry(token)}
	if !answer.expires.IsZero() && answer.expires.Before(answer.until) {
		answer.until = answer.expires
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for s, r := range i.known {
		if time.Now().After(r.until) {
			delete(i.known, s)
		}
	}
	i.known[sum] = answer
	return answer, nil
}

// expiry reads when a token ends out of the token itself, which the API server has just found genuine. Zero means that it does not say.
func expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	var claims struct {
		Exp int64 `json:"exp"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.Exp == 0 {
		return time.Time{}
	}
	return time.Unix(claims.Exp, 0)
}
