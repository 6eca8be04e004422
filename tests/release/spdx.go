package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// bill is what is read of a bill of materials in CycloneDX.
type bill struct {
	Components []component `json:"components"`
}

type component struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl"`
	Hashes  []struct {
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

// spdxOf is the bill of materials in SPDX 2.3, which registries and scanners read.
func spdxOf(o *options) ([]byte, error) {
	text, err := os.ReadFile(o.Bill)
	if err != nil {
		return nil, fmt.Errorf("reading the bill of materials; make sbom writes it: %w", err)
	}
	var b bill
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, fmt.Errorf("reading the bill of materials %s: %w", o.Bill, err)
	}
	if len(b.Components) == 0 {
		return nil, fmt.Errorf("the bill of materials %s lists nothing", o.Bill)
	}
	var out bytes.Buffer
	if err := spdxjson.Write(document(o, &b), &out, spdxjson.Indent(" ")); err != nil {
		return nil, fmt.Errorf("writing SPDX: %w", err)
	}
	return out.Bytes(), nil
}

func document(o *options, b *bill) *v2_3.Document {
	const program = common.ElementID("gatehouse")
	name := "gatehouse " + o.Version
	doc := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: name,
		DocumentNamespace: "urn:gatehouse:" + o.Version + ":" + o.Commit,
		CreationInfo: &v2_3.CreationInfo{
			Created:  o.Created.Format(time.RFC3339),
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "cyclonedx-gomod"}, {CreatorType: "Tool", Creator: "gatehouse-release"}},
		},
		Packages: []*v2_3.Package{{
			PackageName: "gatehouse", PackageSPDXIdentifier: program, PackageVersion: o.Version, PackageDownloadLocation: "NOASSERTION",
			PackageLicenseConcluded: "Apache-2.0", PackageLicenseDeclared: "Apache-2.0", PackageCopyrightText: "NOASSERTION",
		}},
		Relationships: []*v2_3.Relationship{{
			RefA: common.MakeDocElementID("", "DOCUMENT"), RefB: common.MakeDocElementID("", string(program)), Relationship: common.TypeRelationshipDescribe,
		}},
	}
	for i := range b.Components {
		p := packageOf(&b.Components[i], i)
		doc.Packages = append(doc.Packages, p)
		doc.Relationships = append(doc.Relationships, &v2_3.Relationship{
			RefA: common.MakeDocElementID("", string(program)), RefB: common.MakeDocElementID("", string(p.PackageSPDXIdentifier)),
			Relationship: common.TypeRelationshipDependsOn,
		})
	}
	return doc
}

func packageOf(c *component, i int) *v2_3.Package {
	p := &v2_3.Package{
		PackageName: c.Name, PackageSPDXIdentifier: common.ElementID(fmt.Sprintf("component-%d", i+1)), PackageVersion: c.Version,
		PackageDownloadLocation: "NOASSERTION", PackageLicenseConcluded: "NOASSERTION", PackageLicenseDeclared: "NOASSERTION",
		PackageCopyrightText: "NOASSERTION",
	}
	if c.PURL != "" {
		p.PackageExternalReferences = []*v2_3.PackageExternalReference{{
			Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: c.PURL,
		}}
	}
	for _, h := range c.Hashes {
		if h.Algorithm == "SHA-256" {
			p.PackageChecksums = append(p.PackageChecksums, common.Checksum{Algorithm: common.SHA256, Value: h.Content})
		}
	}
	var licences []string
	for _, l := range c.Evidence.Licenses {
		licences = append(licences, l.License.ID)
	}
	if len(licences) > 0 {
		p.PackageLicenseConcluded = strings.Join(licences, " AND ")
	}
	return p
}
