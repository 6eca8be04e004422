package policies

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/certificate"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// answer answers a need as the translation does, with content if it asks for some, and returns what is wrong with the
// content. The names of clusters and secrets come from those of their objects.
func answer(have *feature.Have, need *feature.Need, content []byte) error {
	switch {
	case need.Backend != nil:
		name := string(need.Backend.Refs[0].Name)
		if have.Clusters == nil {
			have.Clusters = map[string]feature.Cluster{}
		}
		have.Clusters[need.Field] = feature.Cluster{Name: "cluster-of-" + name, Host: name + ".test"}
	case need.Credential != nil:
		if err := need.Credential.Check(content); err != nil {
			return fmt.Errorf("key %s %w", need.Credential.Key, err)
		}
		have.AddSecret(need.Field, "credential-of-"+need.Credential.Name)
	case need.Certificate != nil:
		have.AddSecret(need.Field, "secret-of-"+string(need.Certificate.Name))
	case need.Authorities != nil:
		if err := certificate.CheckAuthorities(certificate.AuthoritiesKey, content); err != nil {
			return fmt.Errorf("the object %w", err)
		}
		have.AddContent(need.Field, bytes.TrimSpace(content))
	case need.Content != nil:
		if err := need.Content.Check(content); err != nil {
			return fmt.Errorf("key %s %w", need.Content.Key, err)
		}
		have.AddContent(need.Field, content)
	case need.Fetch != nil && need.Fetch.Large:
		if have.Files == nil {
			have.Files = map[string]feature.File{}
		}
		have.Files[need.Field] = feature.File{
			Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(content)), Size: int64(len(content)),
		}
	case need.Fetch != nil:
		if err := need.Fetch.Check(content); err != nil {
			return fmt.Errorf("the content %w", err)
		}
		have.AddContent(need.Field, content)
	case need.Limits != nil:
		have.AddLimiter(need.Field, feature.Limiter{Cluster: "cluster-of-limits", Policy: "shop/web", Timeout: 20 * time.Millisecond})
	default:
		return errors.New("nothing answers such a need")
	}
	return nil
}

// describe says what a need asks for.
func describe(need *feature.Need) string {
	switch {
	case need.Backend != nil:
		var text strings.Builder
		for i, ref := range need.Backend.Refs {
			fmt.Fprintf(&text, "%s%s: backend %q\n", need.Field, need.Backend.At(i), ref.Name)
		}
		return text.String()
	case need.Certificate != nil:
		return fmt.Sprintf("%s: certificate of Secret %q\n", need.Field, need.Certificate.Name)
	case need.Authorities != nil:
		var text strings.Builder
		for _, ref := range need.Authorities.Refs {
			text.WriteString(" " + strings.TrimPrefix(ref.Group+"/"+ref.String(), "/"))
		}
		return fmt.Sprintf("%s: CA certificates of%s\n", need.Field, text.String())
	case need.Credential != nil:
		return fmt.Sprintf("%s: credential %s of Secret %q\n", need.Field, need.Credential.Key, need.Credential.Name)
	case need.Content != nil:
		return fmt.Sprintf("%s: key %s of %s %q\n", need.Field, need.Content.Key,
			strings.TrimPrefix(need.Content.Group+"/"+need.Content.RefKind, "/"),
			strings.TrimPrefix(need.Content.Namespace+"/"+need.Content.Name, "/"))
	case need.Limits != nil:
		return fmt.Sprintf("%s: the rate limit service\n", need.Field)
	}
	return fmt.Sprintf("%s: %s from %q\n", need.Field, need.Fetch.Form, need.Fetch.URL)
}

// TestGoldensAnswerEveryNeed: a golden can have a need of each kind, and the fuzzer answers it.
func TestGoldensAnswerEveryNeed(t *testing.T) {
	filled := func(content []byte) error {
		if len(content) == 0 {
			return errors.New("is empty")
		}
		return nil
	}
	secret := &gwapiv1.SecretObjectReference{Name: "s"}
	needs := map[string][]feature.Need{
		"Credential":  {{Credential: feature.SecretContent(secret, "key", filled)}},
		"Content":     {{Content: feature.SecretContent(secret, "key", filled)}},
		"Backend":     {{Backend: feature.OneBackend(gwapiv1.BackendObjectReference{Name: "b"})}},
		"Certificate": {{Certificate: secret}},
		"Authorities": {{Authorities: &feature.Authorities{Refs: []verdict.Ref{{Kind: "Secret", Name: "s"}}}}},
		"Limits":      {{Limits: &feature.GlobalLimits{}}},
		"Fetch":       {{Fetch: &feature.Fetch{Check: filled}}, {Fetch: &feature.Fetch{Large: true}}},
	}
	for kind := range reflect.TypeFor[feature.Need]().Fields() {
		if kind.Type.Kind() != reflect.Pointer {
			continue
		}
		if len(needs[kind.Name]) == 0 {
			t.Errorf("a need for %s is not tried", kind.Name)
		}
		for _, need := range needs[kind.Name] {
			need.Field = "field"
			var have feature.Have
			content := []byte("content")
			if need.Authorities != nil {
				content = serverCertificate().chain
			}
			if err := answer(&have, &need, content); err != nil || have.Equal(feature.Have{}) {
				t.Errorf("a need for %s is answered by %v: %v", kind.Name, have, err)
			}
			if !strings.HasPrefix(describe(&need), "field: ") {
				t.Errorf("a need for %s is described as %q", kind.Name, describe(&need))
			}
		}
	}
}

// TestFeaturesWithNeedsAreTried: a test takes away what each feature needs. For a feature of a policy this test finds a
// golden that is served with what it needs, for one of rules a filter that refers to a backend.
func TestFeaturesWithNeedsAreTried(t *testing.T) {
	tried := map[string]bool{gatewayKind + " ": true} // TestCertificatesFailClosed of package translator.
	for _, g := range goldens(t) {
		if g.served() && len(g.feature.needs(g.policy)) > 0 {
			tried[g.feature.kind+" "+g.feature.name] = true // TestNeedsFailClosed of package translator.
		}
	}
	for _, f := range features {
		byFilters := len(f.types) > 0 // TestNeedsOfFiltersFailClosed and TestNeedsOfHTTPRouteFilters of package translator.
		if f.asks != nil && !byFilters && !tried[f.kind+" "+f.name] {
			t.Errorf("no test takes away what feature %q of %s needs: write a golden that has it", f.name, f.kind)
		}
	}
}
