package view

import (
	"fmt"

	"github.com/cncf/xds/go/udpa/annotations"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// Redacted stands for what is not shown.
const Redacted = "[redacted]"

// redact replaces what Envoy's API marks as sensitive, such as private keys, in a message and all that is in it.
func redact(m protoreflect.Message) error {
	if packed, ok := m.Interface().(*anypb.Any); ok {
		return redactAny(packed)
	}
	var failed error
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if secret, ok := proto.GetExtension(field.Options(), annotations.E_Sensitive).(bool); ok && secret {
			hide(m, field)
			return true
		}
		failed = eachMessage(field, value, redact)
		return failed == nil
	})
	return failed
}

// eachMessage calls do for the messages of a field.
func eachMessage(field protoreflect.FieldDescriptor, value protoreflect.Value, do func(protoreflect.Message) error,
) (err error) {
	switch {
	case field.IsMap() && field.MapValue().Message() != nil:
		value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
			err = do(v.Message())
			return err == nil
		})
	case field.IsMap() || field.Message() == nil:
	case field.IsList():
		for i := 0; i < value.List().Len() && err == nil; i++ {
			err = do(value.List().Get(i).Message())
		}
	default:
		err = do(value.Message())
	}
	return err
}

// hide replaces a field by a mark if a text can stand there, and removes it otherwise.
func hide(m protoreflect.Message, field protoreflect.FieldDescriptor) {
	source := (&corev3.DataSource{}).ProtoReflect().Descriptor().FullName()
	switch {
	case field.IsList() || field.IsMap():
		m.Clear(field)
	case field.Kind() == protoreflect.StringKind:
		m.Set(field, protoreflect.ValueOfString(Redacted))
	case field.Message() != nil && field.Message().FullName() == source:
		m.Set(field, protoreflect.ValueOfMessage((&corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: Redacted},
		}).ProtoReflect()))
	default:
		m.Clear(field)
	}
}

// redactAny redacts the message in an Any.
func redactAny(packed *anypb.Any) error {
	if packed.TypeUrl == "" {
		return nil
	}
	inner, err := packed.UnmarshalNew()
	if err != nil {
		return fmt.Errorf("reading %s: %w", packed.TypeUrl, err)
	}
	if err := redact(inner.ProtoReflect()); err != nil {
		return err
	}
	packed.Value, err = proto.MarshalOptions{Deterministic: true}.Marshal(inner)
	return err
}
