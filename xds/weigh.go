package xds

import (
	"errors"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Numbers of fields of DeltaDiscoveryRequest, and of its error_detail, a google.rpc.Status.
const (
	fieldTypeURL         protowire.Number = 2
	fieldSubscribe       protowire.Number = 3
	fieldUnsubscribe     protowire.Number = 4
	fieldInitialVersions protowire.Number = 5
	fieldNonce           protowire.Number = 6
	fieldErrorDetail     protowire.Number = 7

	fieldErrorMessage protowire.Number = 2
)

const (
	// nameGrowth and versionGrowth are how many bytes a name, and a name with a version, take besides their own when they are decoded, with what
	// the list or map leaves behind as it grows.
	nameGrowth, versionGrowth = 64, 160
	// messageGrowth is how many bytes of memory a byte of a nested message takes at most when it is decoded: an empty message of two bytes becomes a
	// struct of up to 150.
	messageGrowth = 80
)

// incoming is a request that is weighed before it is decoded.
type incoming struct {
	request    discovery.DeltaDiscoveryRequest
	connection *connection
	// size is what the request counts for until it is handled, in bytes.
	size int
}

// codec decodes an incoming request if its connection may take the memory for it. Other messages are encoded and decoded as ever.
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
	size, err := weigh(whole.ReadOnlyData())
	if err != nil {
		return err
	}
	if in.size = whole.Len() + size; !in.connection.take(in.size) {
		return errors.New("the connection has ended")
	}
	return proto.Unmarshal(whole.ReadOnlyData(), &in.request)
}

// weigh estimates from above how many bytes of memory an encoded DeltaDiscoveryRequest takes when it is decoded.
func weigh(request []byte) (size int, err error) {
	err = eachField(request, func(field protowire.Number, wire int, value []byte) error {
		switch field {
		case fieldSubscribe, fieldUnsubscribe:
			size += nameGrowth + wire
		case fieldInitialVersions:
			size += versionGrowth + wire
		case fieldTypeURL, fieldNonce:
			size += wire
		case fieldErrorDetail:
			detail, err := weighError(value)
			size += detail
			return err
		default:
			size += messageGrowth * wire
		}
		return nil
	})
	return size, err
}

// weighError does so for a google.rpc.Status, of which the message may be long. Its length precedes it.
func weighError(value []byte) (size int, err error) {
	detail, n := protowire.ConsumeBytes(value)
	if n < 0 {
		return 0, protowire.ParseError(n)
	}
	err = eachField(detail, func(field protowire.Number, wire int, _ []byte) error {
		if field != fieldErrorMessage {
			wire *= messageGrowth
		}
		size += wire
		return nil
	})
	return size, err
}

// eachField calls f with the number of each field of a message, its size on the wire in bytes, and its encoded value.
func eachField(message []byte, f func(field protowire.Number, wire int, value []byte) error) error {
	for len(message) > 0 {
		field, typ, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return protowire.ParseError(tag)
		}
		value := protowire.ConsumeFieldValue(field, typ, message[tag:])
		if value < 0 {
			return protowire.ParseError(value)
		}
		if err := f(field, tag+value, message[tag:tag+value]); err != nil {
			return err
		}
		message = message[tag+value:]
	}
	return nil
}
