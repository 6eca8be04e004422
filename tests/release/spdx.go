package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"gatehouse/tests/supply/bill"
)

// spdxOf is the bill of materials in SPDX 2.3, which registries and scanners read.
func spdxOf(o *options) ([]byte, error) {
	from, err := os.Open(o.Bill)
	if err != nil {
		return nil, fmt.Errorf("opening the bill of materials; make sbom writes it: %w", err)
	}
	defer from.Close()
	components, err := bill.Read(from)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Bill, err)
	}
	var out bytes.Buffer
	if err := spdxjson.Write(document(o, components), &out, spdxjson.Indent(" ")); err != nil {
		return nil, fmt.Errorf("writing SPDX: %w", err)
	}
	return out.Bytes(), nil
}

func document(o *options, components []bill.Component) *v2_3.Document {
	const program = common.ElementID("gatehouse")
	name := "gatehouse " + o.Version
	doc := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: name,
		DocumentNamespace: "urn:gatehouse:" + o.Version + ":" + o.Commit,
		CreationInfo: &v2_3.CreationInfo{
			Created: o.Created.Format(time.RFC3339),
			Creators: []common.Creator{
				{CreatorType: "Tool", Creator: "cyclonedx-gomod"},
				{CreatorType: "Tool", Creator: "gatehouse-release"},
			},
		},
		Packages: []*v2_3.Package{{
			PackageName: "gatehouse", PackageSPDXIdentifier: program, PackageVersion: o.Version,
			PackageDownloadLocation: "NOASSERTION",
			PackageLicenseConcluded: "Apache-2.0", PackageLicenseDeclared: "Apache-2.0", PackageCopyrightText: "NOASSERTION",
		}},
		Relationships: []*v2_3.Relationship{{
			RefA: common.MakeDocElementID("", "DOCUMENT"), RefB: common.MakeDocElementID("", string(program)),
			Relationship: common.TypeRelationshipDescribe,
		}},
	}
	for i := range components {
		p := packageOf(&components[i], i)
		doc.Packages = append(doc.Packages, p)
		doc.Relationships = append(doc.Relationships, &v2_3.Relationship{
			RefA: common.MakeDocElementID("", string(program)), RefB: common.MakeDocElementID("",
				string(p.PackageSPDXIdentifier)),
			Relationship: common.TypeRelationshipDependsOn,
		})
	}
	return doc
}

func packageOf(c *bill.Component, i int) *v2_3.Package {
	p := &v2_3.Package{
		PackageName: c.Name, PackageSPDXIdentifier: common.ElementID(fmt.Sprintf("component-%d", i+1)),
		PackageVersion:          c.Version,
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
	if licences := c.Licences(); len(licences) > 0 {
		p.PackageLicenseConcluded = strings.Join(licences, " AND ")
	}
	return p
}
