package certificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"strings"
)

// servedKeys says how to replace a key that Envoy rejects.
const servedKeys = "issue the certificate with an RSA key of 2048 bits or more, an ECDSA key on P-256, P-384 or P-521, or an Ed25519 key"

// keyForms are the private keys that Envoy can read, by the type of their PEM block.
var keyForms = map[string]func(der []byte) (any, error){
	"PRIVATE KEY":     x509.ParsePKCS8PrivateKey,
	"RSA PRIVATE KEY": func(der []byte) (any, error) { return x509.ParsePKCS1PrivateKey(der) },
	"EC PRIVATE KEY":  func(der []byte) (any, error) { return x509.ParseECPrivateKey(der) },
}

// publicKey returns the public key of the private key in tls.key. As in Envoy, the first key counts, and other blocks
// before it are ignored.
func publicKey(text []byte) (crypto.PublicKey, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, fmt.Errorf("has no %s: put the PEM private key there", PrivateKey)
	}
	if len(text) > maxKey {
		return nil, tooLong(PrivateKey, len(text), maxKey, "store one private key there, RSA with at most 8192 bits")
	}
	for blocks := (blocks{key: PrivateKey, rest: text}); ; {
		block, err := blocks.next()
		if err != nil {
			return nil, err
		}
		if block == nil {
			return nil, fmt.Errorf("has a %s that is not PEM or holds no private key: put a PEM private key there", PrivateKey)
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return parseKey(block)
		}
	}
}

func parseKey(block *pem.Block) (crypto.PublicKey, error) {
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, fmt.Errorf("has a %s that is encrypted: store it without a passphrase, as openssl pkey writes it",
			PrivateKey)
	}
	parse, known := keyForms[block.Type]
	if !known || len(block.Headers) > 0 {
		return nil, fmt.Errorf("has a PEM block %q in %s, of which Envoy reads no key: write the key as PKCS #8 (PRIVATE KEY), as openssl pkey does", block.Type, PrivateKey)
	}
	if bits, isRSA := rsaBits(block); isRSA && (bits < minRSA || bits > maxRSA) {
		return nil, fmt.Errorf("has an RSA key of %d bits in %s, and Envoy takes %d to %d: issue the certificate with another key", bits, PrivateKey, minRSA, maxRSA)
	}
	key, err := parse(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("has a key in %s that cannot be read (%w): %s", PrivateKey, err, servedKeys)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("has a key in %s that cannot sign (%T): %s", PrivateKey, key, servedKeys)
	}
	switch public := signer.Public().(type) {
	case *ecdsa.PublicKey:
		if public.Curve == elliptic.P224() {
			return nil, fmt.Errorf("has a key on curve %s in %s: %s", public.Curve.Params().Name, PrivateKey, servedKeys)
		}
		return public, nil
	case ed25519.PublicKey, interface{ Size() int }: // An RSA key has a size.
		return public, nil
	default:
		return nil, fmt.Errorf("has a key of type %T in %s: %s", key, PrivateKey, servedKeys)
	}
}

// rsaBits returns the length of an RSA key's modulus without any computation with the key. It returns false for other
// keys, and for unreadable ones.
func rsaBits(block *pem.Block) (bits int, ok bool) {
	der := block.Bytes
	if block.Type == "PRIVATE KEY" {
		var outer struct {
			Version   int
			Algorithm pkix.AlgorithmIdentifier
			Key       []byte
		}
		if _, err := asn1.Unmarshal(der, &outer); err != nil || !outer.Algorithm.Algorithm.Equal(rsaEncryption) {
			return 0, false
		}
		der = outer.Key
	} else if block.Type != "RSA PRIVATE KEY" {
		return 0, false
	}
	var key struct {
		Version int
		Modulus asn1.RawValue
	}
	if _, err := asn1.Unmarshal(der, &key); err != nil || key.Modulus.Tag != asn1.TagInteger {
		return 0, false
	}
	modulus := bytes.TrimLeft(key.Modulus.Bytes, "\x00")
	if len(modulus) == 0 {
		return 0, true
	}
	bits = 8 * len(modulus)
	for b := modulus[0]; b < 0x80; b <<= 1 {
		bits--
	}
	return bits, true
}

// rsaEncryption identifies RSA in a PKCS #8 key (RFC 8017, appendix A.1).
var rsaEncryption = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
