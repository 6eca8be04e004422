package view

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/translator"
)

// TestSecretsAreHidden shows secrets of each form: as data, as a list, and packed in another message.
func TestSecretsAreHidden(t *testing.T) {
	const hidden = "hidden-content"
	data := func(text string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
	}
	certificate := &tlsv3.TlsCertificate{CertificateChain: data("shown"), PrivateKey: data(hidden), Password: data(hidden)}
	tickets := &tlsv3.TlsSessionTicketKeys{Keys: []*corev3.DataSource{data(hidden)}}
	packed, err := anypb.New(&tlsv3.Secret{Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: certificate}})
	if err != nil {
		t.Fatal(err)
	}
	var resources []*translator.Resource
	for name, m := range map[string]proto.Message{
		"certificate": &tlsv3.Secret{Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: certificate}},
		"tickets":     &tlsv3.Secret{Type: &tlsv3.Secret_SessionTicketKeys{SessionTicketKeys: tickets}},
		"packed": &tlsv3.Secret{Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			CustomValidatorConfig: &corev3.TypedExtensionConfig{Name: "packed", TypedConfig: packed},
		}}},
	} {
		body, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		resources = append(resources, &translator.Resource{
			Type: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", Name: name, Pieces: [][]byte{body},
		})
	}
	fleets, err := Of([]translator.Delta{{Fleet: "shop/web", Changed: resources}}, "secret")
	if err != nil {
		t.Fatal(err)
	}
	for format, write := range map[string]func([]Fleet) ([]byte, error){"YAML": YAML, "JSON": JSON} {
		text, err := write(fleets)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), hidden) || strings.Count(string(text), "shown") != 2 {
			t.Errorf("%s:\n%s", format, text)
		}
	}
}
