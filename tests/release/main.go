// Command release puts what is built into the forms in which it is shared, without docker: an OCI image for several
// platforms, its bill of materials in SPDX, and the Helm charts that name the image by its digest.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// options are what a release is made of and where it goes.
type options struct {
	// Root is the repository.
	Root string
	// Version is that of the program, such as v1.2.3. Commit is told in the image's labels.
	Version, Commit string
	// Created is the time of the commit, so that the same commit makes the same image whenever it is built.
	Created time.Time
	// Platforms are what the image is for, such as linux/amd64.
	Platforms []string
	// Bill is a bill of materials in CycloneDX.
	Bill string
	// Out is the folder of the image as an OCI layout, which is replaced.
	Out string
	// Push is where image, bill and charts go, such as registry.example/gatehouse; empty for nowhere.
	Push string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		stop()
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var o options
	var created int64
	c := &cobra.Command{
		Use:           "release",
		Short:         "Build the OCI image of gatehouse, and push it with its bill of materials and the charts",
		Example:       "  make image\n  make image PUSH=registry.example/gatehouse",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Created = time.Unix(created, 0).UTC()
			return release(c.Context(), &o, func(format string, args ...any) {
				fmt.Fprintf(c.OutOrStdout(), format+"\n",
					args...)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&o.Root, "root", ".", "the repository")
	f.StringVar(&o.Version, "version", "", "version of the program, such as v1.2.3")
	f.StringVar(&o.Commit, "commit", "", "commit that is built")
	f.Int64Var(&created, "created", 0, "time of the commit in seconds since 1970")
	f.StringSliceVar(&o.Platforms, "platform", []string{"linux/amd64", "linux/arm64"}, "platforms of the image")
	f.StringVar(&o.Bill, "bill", "bin/gatehouse.cdx.json", "bill of materials in CycloneDX")
	f.StringVar(&o.Out, "out", "bin/image", "folder for the image as an OCI layout")
	f.StringVar(&o.Push, "push", "",
		"repository to push image, bill and charts to; it is asked over HTTPS, or over HTTP on loopback")
	for _, name := range []string{"version", "commit", "created"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // There is no such flag.
		}
	}
	return c
}

// release builds and, if asked, pushes. It says what it does as it goes on.
func release(ctx context.Context, o *options, say func(format string, args ...any)) error {
	if err := o.complete(); err != nil {
		return err
	}
	bill, err := spdxOf(o)
	if err != nil {
		return err
	}
	programs, err := build(ctx, o, say)
	if err != nil {
		return err
	}
	index, err := imageIndex(o, programs)
	if err != nil {
		return err
	}
	digest, err := writeLayout(o.Out, o.Version, index)
	if err != nil {
		return err
	}
	say("image %s as an OCI layout in %s", digest, o.Out)
	if o.Push == "" {
		return nil
	}
	if err := pushImage(ctx, o, index, bill, say); err != nil {
		return err
	}
	return pushCharts(ctx, o, digest, say)
}

func (o *options) complete() error {
	if len(o.Version) < 2 || o.Version[0] != 'v' {
		return fmt.Errorf("version %q: write it as v1.2.3", o.Version)
	}
	if o.Push != "" && strings.HasSuffix(o.Version, "-dirty") {
		return fmt.Errorf("version %s has what is not committed: commit it before PUSH", o.Version)
	}
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return fmt.Errorf("the repository's folder: %w", err)
	}
	o.Root = root
	for _, path := range []*string{&o.Bill, &o.Out} {
		if !filepath.IsAbs(*path) {
			*path = filepath.Join(root, *path)
		}
	}
	return nil
}
