// Package view shows what fleets get as documents for people and scripts. It shows no secrets.
package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"sigs.k8s.io/yaml"

	"gatehouse/translator"
)

// types are the resources of Envoy by the names that users give them. A type has the place in a document that it has
// here.
var types = []struct {
	name, section string
	messages      []string
}{
	{"listener", "listeners", []string{"envoy.config.listener.v3.Listener"}},
	{"route", "routes", []string{
		"envoy.config.route.v3.RouteConfiguration", "envoy.config.route.v3.ScopedRouteConfiguration",
	}},
	{"cluster", "clusters", []string{"envoy.config.cluster.v3.Cluster"}},
	{"endpoint", "endpoints", []string{"envoy.config.endpoint.v3.ClusterLoadAssignment"}},
	{"secret", "secrets", []string{"envoy.extensions.transport_sockets.tls.v3.Secret"}},
}

// Types lists the names of the types of resources.
func Types() []string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.name
	}
	return names
}

// Fleet is what one fleet gets.
type Fleet struct {
	// Name is that of the Gateway, namespace/name.
	Name     string
	Sections []Section
}

// Section has the resources of one type.
type Section struct {
	// Name is the name of the type in the plural, such as listeners.
	Name      string
	Resources []Resource
}

// Resource is a resource of Envoy in protobuf's JSON, with the keys of each object in order.
type Resource struct {
	Name string
	JSON json.RawMessage
}

// Of decodes what fleets get, in the order of the names of fleets and resources. Only names types; none means all. It
// returns an error for a name that Types does not list.
func Of(deltas []translator.Delta, only ...string) ([]Fleet, error) {
	for _, name := range only {
		if !slices.Contains(Types(), name) {
			return nil, fmt.Errorf("%q is not a type of resources: use %s", name, strings.Join(Types(), ", "))
		}
	}
	var fleets []Fleet
	for _, d := range deltas {
		if d.Gone {
			continue
		}
		f := Fleet{Name: d.Fleet}
		for _, t := range types {
			if len(only) > 0 && !slices.Contains(only, t.name) {
				continue
			}
			section, err := sectionOf(t.section, d.Changed, t.messages)
			if err != nil {
				return nil, fmt.Errorf("fleet %s: %w", d.Fleet, err)
			}
			f.Sections = append(f.Sections, section)
		}
		fleets = append(fleets, f)
	}
	slices.SortFunc(fleets, func(a, b Fleet) int { return strings.Compare(a.Name, b.Name) })
	return fleets, nil
}

// sectionOf decodes the resources of some types.
func sectionOf(name string, resources []*translator.Resource, messages []string) (Section, error) {
	section := Section{Name: name}
	for _, r := range resources {
		if !slices.Contains(messages, r.Type[strings.LastIndexByte(r.Type, '/')+1:]) {
			continue
		}
		m, err := Message(r)
		if err != nil {
			return section, err
		}
		if err := redact(m.ProtoReflect()); err != nil {
			return section, fmt.Errorf("hiding the secrets of %s: %w", r.Name, err)
		}
		text, err := stable(m)
		if err != nil {
			return section, fmt.Errorf("showing %s: %w", r.Name, err)
		}
		section.Resources = append(section.Resources, Resource{Name: r.Name, JSON: text})
	}
	slices.SortFunc(section.Resources, func(a, b Resource) int { return strings.Compare(a.Name, b.Name) })
	return section, nil
}

// Message decodes a resource.
func Message(r *translator.Resource) (proto.Message, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByURL(r.Type)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", r.Type, err)
	}
	m := kind.New().Interface()
	if err := proto.Unmarshal(r.Body(), m); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", r.Name, err)
	}
	return m, nil
}

// stable encodes a message. protojson varies its blanks on purpose, and encoding/json sorts the keys.
func stable(m proto.Message) (json.RawMessage, error) {
	text, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var tree any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	return json.Marshal(tree)
}

// YAML writes each fleet as a document.
func YAML(fleets []Fleet) ([]byte, error) {
	var out bytes.Buffer
	for i, f := range fleets {
		if i > 0 {
			out.WriteString("---\n")
		}
		fmt.Fprintf(&out, "fleet: %s\n", f.Name)
		for _, s := range f.Sections {
			text, err := s.YAML()
			if err != nil {
				return nil, fmt.Errorf("fleet %s: %w", f.Name, err)
			}
			out.Write(text)
		}
	}
	return out.Bytes(), nil
}

// YAML is the section as a key with a list.
func (s Section) YAML() ([]byte, error) {
	list := make([]json.RawMessage, len(s.Resources))
	for i, r := range s.Resources {
		list[i] = r.JSON
	}
	return yaml.Marshal(map[string]any{s.Name: list})
}

// YAML is the resource alone.
func (r Resource) YAML() ([]byte, error) { return yaml.JSONToYAML(r.JSON) }

// JSON writes all fleets as one list.
func JSON(fleets []Fleet) ([]byte, error) {
	list := make([]map[string]any, len(fleets))
	for i, f := range fleets {
		list[i] = map[string]any{"fleet": f.Name}
		for _, s := range f.Sections {
			all := make([]json.RawMessage, len(s.Resources))
			for r := range s.Resources {
				all[r] = s.Resources[r].JSON
			}
			list[i][s.Name] = all
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(list); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
