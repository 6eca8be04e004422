package translator

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/policies/feature"
)

// typePrefix precedes a message's full name in a type URL.
const typePrefix = "type.googleapis.com/"

func encode(m proto.Message) []byte { return feature.Encode(m) }

// packed wraps a message for a typed_config.
func packed(m proto.Message) *anypb.Any { return feature.Any(m) }

// resource makes the xDS resource of a message.
func resource(m proto.Message, name string, needs ...Name) *Resource {
	return encodedResource(typePrefix+string(m.ProtoReflect().Descriptor().FullName()), name, encode(m), needs)
}

func encodedResource(typeURL, name string, body []byte, needs []Name) *Resource {
	return &Resource{Type: typeURL, Name: name, Version: hash(body, 16), Pieces: [][]byte{body}, Needs: needs}
}

// hash is the first n bytes of the SHA-256, in hex.
func hash(b []byte, n int) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:n])
}

// appendMessage appends an encoded message as the field of another: protobuf lets repeated fields be concatenated.
func appendMessage(b []byte, field protowire.Number, message []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, message)
}

// equalResources compares what Envoy would get.
func equalResources(a, b *Resource) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Version == b.Version && a.Name == b.Name && a.Type == b.Type && a.Warms == b.Warms && slices.Equal(a.Needs, b.Needs)
}

func equalResourceLists(a, b []*Resource) bool { return slices.EqualFunc(a, b, equalResources) }
