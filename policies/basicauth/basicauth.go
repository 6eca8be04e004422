// Package basicauth is the basicAuth part of a SecurityPolicy: requests need the name and password of a user.
package basicauth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	basicauthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/basic_auth/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const (
	// filter is the HTTP filter that becomes a route's own basic_auth. What basic_auth lets a route override is not
	// enough: the header with the user's name is said to the whole filter.
	filter = "envoy.filters.http.composite/basic_auth"
	// usersKey is the key of the Secret.
	usersKey = ".htpasswd"
	// users is the field that refers to it.
	users = "basicAuth.users"
)

// Feature is the basicAuth part.
var Feature = feature.Feature[v1alpha1.SecurityPolicySpec]{
	Name:       "basicAuth",
	Check:      check,
	Needs:      needs,
	Keys:       []feature.ContentKey{{Kind: "Secret", Key: usersKey}},
	Route:      route,
	Connection: connection,
	Effective:  effective,
	Filters:    []feature.Filter{{Name: filter, Config: feature.Composite(), Off: feature.Nothing()}},
}

func check(spec *v1alpha1.SecurityPolicySpec) []verdict.Problem {
	if spec.BasicAuth == nil || spec.BasicAuth.ForwardUsernameHeader == nil {
		return nil
	}
	return feature.CheckHeaderChange("basicAuth.forwardUsernameHeader", *spec.BasicAuth.ForwardUsernameHeader)
}

func needs(spec *v1alpha1.SecurityPolicySpec) []feature.Need {
	if spec.BasicAuth == nil {
		return nil
	}
	return []feature.Need{{Field: users, Content: feature.SecretContent(&spec.BasicAuth.Users, usersKey, checkUsers)}}
}

func route(spec *v1alpha1.SecurityPolicySpec, have feature.Have, route *feature.Route) {
	if spec.BasicAuth == nil || have.Content[users] == nil {
		return
	}
	config := &basicauthv3.BasicAuth{
		Users: &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: bytes.Join(lines(have.Content[users]), []byte("\n"))}},
	}
	if header := spec.BasicAuth.ForwardUsernameHeader; header != nil && len(check(spec)) == 0 {
		config.ForwardUsernameHeader = *header
	}
	feature.PerRoute(route.Route, filter, feature.Whole(feature.Extension("envoy.filters.http.basic_auth", config)))
}

func connection(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, connection *feature.Connection) {
	if spec.BasicAuth != nil {
		connection.Unprotected = "basicAuth"
	}
}

func effective(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, e *feature.Effective) {
	if spec.BasicAuth != nil {
		e.Authenticate(feature.AuthenticationProvider{Kind: "basicAuth", Secret: e.Secret(&spec.BasicAuth.Users)})
	}
}

// lines are the lines of the users. Empty ones and comments are left out, and so are spaces and carriage returns at the
// ends.
func lines(content []byte) [][]byte {
	var kept [][]byte
	for line := range bytes.Lines(content) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			kept = append(kept, line)
		}
	}
	return kept
}

// checkUsers holds the users to what Envoy reads. An error names a line, and neither the user nor the hash: whoever
// reads the error may not be allowed to read the Secret.
func checkUsers(content []byte) error {
	number, found := 0, map[string]int{}
	for line := range bytes.Lines(content) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		name, err := user(line)
		if err != nil {
			return fmt.Errorf("cannot be used: line %d %w", number, err)
		}
		if first, ok := found[name]; ok {
			return fmt.Errorf("cannot be used: lines %d and %d are for the same user: remove one of the two", first, number)
		}
		found[name] = number
	}
	if len(found) == 0 {
		return errors.New(`has no users: write a line of the form name:{SHA}hash for each, with "htpasswd -s"`)
	}
	return nil
}

// user reads the name in a line. The error fits behind "line 3 ".
func user(line []byte) (string, error) {
	name, hash, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return "", errors.New("does not have the form name:{SHA}hash: correct it")
	}
	if bytes.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", errors.New("has a control character in the name: remove it")
	}
	encoded, ok := bytes.CutPrefix(hash, []byte("{SHA}"))
	if !ok {
		return "", errors.New(`has a hash that Envoy does not know: write it with "htpasswd -s", so that it begins with {SHA}`)
	}
	const sha1 = 20
	if sum, err := base64.StdEncoding.Strict().DecodeString(string(encoded)); err != nil || len(sum) != sha1 {
		return "", errors.New(`has a hash of another length than SHA-1: write it again with "htpasswd -s"`)
	}
	return string(name), nil
}
