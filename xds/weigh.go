package xds

import (
	"errors"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Numbers of the fields that the server uses: in DeltaDiscoveryRequest, in its node, and in its error_detail, a
// google.rpc.Status.
const (
	fieldNode            protowire.Number = 1
	fieldTypeURL         protowire.Number = 2
	fieldSubscribe       protowire.Number = 3
	fieldUnsubscribe     protowire.Number = 4
	fieldInitialVersions protowire.Number = 5
	fieldNonce           protowire.Number = 6
	fieldErrorDetail     protowire.Number = 7

	fieldNodeID      protowire.Number = 1
	fieldNodeCluster protowire.Number = 2

	fieldErrorMessage protowire.Number = 2
)

// nameGrowth and versionGrowth are the decoded memory of a name, and of a name with a version, in addition to their own
// bytes, including what the list or map leaves behind when it grows.
const nameGrowth, versionGrowth = 64, 160

// incoming is a request whose memory is estimated before it is decoded.
type incoming struct {
	request    discovery.DeltaDiscoveryRequest
	connection *connection
	// wire is the encoded size of the request in bytes. It counts until the request is decoded.
	wire int
	// size is the counted size of the request until it is handled, in bytes.
	size int
}

// codec decodes an incoming request if its connection may use the memory for it. Other messages are encoded and decoded
// as usual.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(encodingproto.Name)} }

// Unmarshal decodes data into v.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	in, ok := v.(*incoming)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	in.wire = whole.Len()
	var err error
	if in.size, err = weigh(whole.ReadOnlyData()); err != nil {
		return err
	}
	if !in.connection.take(in) {
		return errors.New("the connection has ended")
	}
	return decode(whole.ReadOnlyData(), &in.request)
}

// weigh computes an upper estimate of the decoded memory of an encoded DeltaDiscoveryRequest, in bytes.
func weigh(request []byte) (size int, err error) {
	err = eachField(request, func(field protowire.Number, whole, value []byte) error {
		switch field {
		case fieldSubscribe, fieldUnsubscribe:
			size += nameGrowth + len(whole)
		case fieldInitialVersions:
			size += versionGrowth + len(whole)
		case fieldTypeURL, fieldNonce:
			size += len(whole)
		case fieldNode:
			return eachUsed(value, func(used []byte) error { size += len(used); return nil }, fieldNodeID, fieldNodeCluster)
		case fieldErrorDetail:
			return eachUsed(value, func(used []byte) error { size += len(used); return nil }, fieldErrorMessage)
		}
		return nil
	})
	return size, err
}

// decode decodes the fields that the server uses from an encoded DeltaDiscoveryRequest. The rest could take far more
// memory than its encoded size: an empty message of two bytes becomes a struct of up to 150, and each Envoy lists its
// extensions.
func decode(request []byte, into *discovery.DeltaDiscoveryRequest) error {
	return eachField(request, func(field protowire.Number, whole, value []byte) error {
		switch field {
		case fieldTypeURL, fieldSubscribe, fieldUnsubscribe, fieldInitialVersions, fieldNonce:
			return merge(whole, into)
		case fieldNode:
			if into.Node == nil {
				into.Node = &corev3.Node{}
			}
			return eachUsed(value, func(used []byte) error { return merge(used, into.Node) }, fieldNodeID, fieldNodeCluster)
		case fieldErrorDetail:
			if into.ErrorDetail == nil {
				into.ErrorDetail = &rpc.Status{}
			}
			return eachUsed(value, func(used []byte) error { return merge(used, into.ErrorDetail) }, fieldErrorMessage)
		}
		return nil
	})
}

// merge decodes a field into a message.
func merge(field []byte, into proto.Message) error {
	return proto.UnmarshalOptions{Merge: true, DiscardUnknown: true}.Unmarshal(field, into)
}

// eachUsed calls f with each of the given fields of a nested message. The message's length precedes it.
func eachUsed(value []byte, f func(whole []byte) error, fields ...protowire.Number) error {
	message, n := protowire.ConsumeBytes(value)
	if n < 0 {
		return protowire.ParseError(n)
	}
	return eachField(message, func(field protowire.Number, whole, _ []byte) error {
		if slices.Contains(fields, field) {
			return f(whole)
		}
		return nil
	})
}

// eachField calls f with the number of each field of a message, the whole encoded field, and the encoded value in it.
func eachField(message []byte, f func(field protowire.Number, whole, value []byte) error) error {
	for len(message) > 0 {
		field, typ, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return protowire.ParseError(tag)
		}
		value := protowire.ConsumeFieldValue(field, typ, message[tag:])
		if value < 0 {
			return protowire.ParseError(value)
		}
		if err := f(field, message[:tag+value], message[tag:tag+value]); err != nil {
			return err
		}
		message = message[tag+value:]
	}
	return nil
}
