// Package bill reads bills of materials.
package bill

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// known are the licences of components whose licence is not found where their modules are.
var known = map[string][]string{"std": {"BSD-3-Clause"}} // https://go.dev/LICENSE

// Component is a part of the program: a module, or Go's own library.
type Component struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// PURL is its package URL, empty if it has none.
	PURL   string `json:"purl"`
	Hashes []struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	} `json:"hashes"`
	Evidence struct {
		Licenses []struct {
			License struct {
				ID string `json:"id"`
			} `json:"license"`
		} `json:"licenses"`
	} `json:"evidence"`
}

// Licences are the SPDX identifiers of the component's licences; none if none was found.
func (c *Component) Licences() []string {
	var ids []string
	ids = append(ids, known[c.Name]...)
	for _, l := range c.Evidence.Licenses {
		ids = append(ids, l.License.ID)
	}
	return ids
}

// Read answers with the components of a bill of materials in CycloneDX JSON. It is an error if there are none.
func Read(from io.Reader) ([]Component, error) {
	var b struct {
		Components []Component `json:"components"`
	}
	if err := json.NewDecoder(from).Decode(&b); err != nil {
		return nil, fmt.Errorf("reading the bill of materials: %w", err)
	}
	if len(b.Components) == 0 {
		return nil, errors.New("the bill of materials lists nothing")
	}
	return b.Components, nil
}
