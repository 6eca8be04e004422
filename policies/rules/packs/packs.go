// Package packs has the AdmissionRules that are part of Gatehouse and in effect only where somebody asks for them. A pack is
// a folder of manifests with tests.
package packs

import (
	"embed"
	"io/fs"
	"slices"
)

//go:embed */*.yaml
var files embed.FS

// Names lists the packs in order.
func Names() []string {
	folders, err := files.ReadDir(".")
	if err != nil {
		panic(err) // The folder is part of the program.
	}
	var names []string
	for _, f := range folders {
		names = append(names, f.Name())
	}
	return names
}

// Open returns the folder of a pack, and reports whether there is one of that name.
func Open(name string) (fs.FS, bool) {
	if !slices.Contains(Names(), name) {
		return nil, false
	}
	folder, err := fs.Sub(files, name)
	return folder, err == nil
}
