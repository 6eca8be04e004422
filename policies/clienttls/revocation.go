package clienttls

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"gatehouse/policies/feature"
)

// revocationsKey is the key for lists of revoked certificates in ConfigMaps and Secrets.
const revocationsKey = "ca.crl"

// The limits of the lists under one key: bytes of PEM, which is what an object of Kubernetes can have, and lists.
const (
	maxRevocations = 1 << 20
	maxLists       = 64
)

var begin = []byte("-----BEGIN ")

// checkRevocations returns an error if lists of revoked certificates cannot be used. The text of the error fits behind
// "key ca.crl of Secret namespace/name ".
func checkRevocations(text []byte) error {
	if len(text) > maxRevocations {
		return fmt.Errorf("has %d bytes, and %d are the most: leave out certificates that have expired", len(text),
			maxRevocations)
	}
	begun := bytes.Count(text, begin)
	switch {
	case begun == 0:
		return errors.New("has no list: put the PEM block X509 CRL there that the authority issued")
	case begun > maxLists:
		return fmt.Errorf("has %d lists, and %d are the most: spread them over several objects", begun, maxLists)
	}
	for range begun {
		block, rest := pem.Decode(text)
		switch {
		case block == nil || bytes.Count(rest, begin) != bytes.Count(text, begin)-1:
			return errors.New("has a PEM block that cannot be read: put it there as it was issued, from its BEGIN line to its END line")
		case block.Type != "X509 CRL" || len(block.Headers) > 0:
			return fmt.Errorf("has a PEM block %q: leave only blocks X509 CRL without headers there", block.Type)
		}
		if _, err := x509.ParseRevocationList(block.Bytes); err != nil {
			return fmt.Errorf("has a list that cannot be parsed (%w): issue a new one", err)
		}
		text = rest
	}
	return nil
}

// lifetimes is when the lists are valid. Envoy verifies no certificate of an authority without a valid one.
func lifetimes(text []byte) (all []feature.Lifetime) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if list, err := x509.ParseRevocationList(block.Bytes); err == nil {
			all = append(all, feature.Lifetime{
				Of:   fmt.Sprintf("the list of revoked certificates of %q", list.Issuer),
				From: list.ThisUpdate, Until: list.NextUpdate,
				Without: "Envoy refuses all clients with certificates of this authority",
			})
		}
	}
	return all
}
