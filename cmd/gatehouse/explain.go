package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/policies/verdict"
	"gatehouse/translator"
	"gatehouse/xds/explain"
)

type explainOptions struct {
	manifestOptions
	files, headers          []string
	format, gateway, source string
	old                     bool
}

func explainCommand() *cobra.Command {
	o := explainOptions{}
	cmd := &cobra.Command{
		Use:   "explain [METHOD] URL -f FILE|FOLDER|- ...",
		Short: "Say what becomes of a request, and by which objects, without a cluster",
		Long: `Say what becomes of a request, and by which objects, without a cluster.

Explain translates objects as check does, and looks for the request in what Envoy would get: the listener, the virtual
host, the rule and its match, the filters and policies with the objects from which they come, and the backends with their
shares, or why the request gets another answer. Then it lists which other rules would take the request, and which only
have its path. If something of Envoy that explain does not know is in the way of the request, it says so and gives no
answer.

Exit codes: 0 if there is an answer, whatever it is, 1 if there is none, 2 if the files cannot be read or a flag is wrong.`,
		Example: `  # What becomes of a request
  gatehouse explain https://shop.example.com/cart?id=7 -f deploy/

  # With another method, and headers
  gatehouse explain POST https://shop.example.com/cart -H 'x-canary: 1' -f deploy/

  # In a cluster, as if the files were applied to it
  gatehouse explain https://shop.example.com/cart --context production -f deploy/

  # With what kustomize or helm write, for scripts
  kustomize build overlays/production | gatehouse explain http://shop.example.com/ -f - -o json`,
		Args: arguments(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&o.files, "file", "f", nil, "file or folder with the objects, or - for stdin; may be repeated")
	flags.StringArrayVarP(&o.headers, "header", "H", nil, "header of the request, 'name: value'; may be repeated")
	flags.StringVarP(&o.format, "output", "o", "text", "format: text or json")
	flags.StringVar(&o.gateway, "gateway", "", "the Gateway that the request reaches, namespace/name; needed if several serve its port")
	flags.StringVar(&o.source, "from", "", "address of the client")
	flags.BoolVar(&o.old, "http1.0", false, "the client speaks HTTP/1.0")
	o.register(flags)
	return cmd
}

// parse reads the request.
func (o *explainOptions) parse(args []string) (*explain.Request, error) {
	method, url := "", args[0]
	if len(args) == 2 {
		method, url = args[0], args[1]
	}
	r, err := explain.Parse(method, url, o.headers)
	if err != nil {
		return nil, err
	}
	r.HTTP10 = o.old
	if o.source != "" {
		if r.Source, err = netip.ParseAddr(o.source); err != nil {
			return nil, fmt.Errorf("--from: %q is not an address: write one such as 192.0.2.1", o.source)
		}
	}
	return r, nil
}

func (o *explainOptions) run(cmd *cobra.Command, args []string) error {
	if !slices.Contains([]string{"text", "json"}, o.format) {
		return usageError{fmt.Errorf("--output: %q is not a format: use text or json", o.format)}
	}
	if len(o.files) == 0 && o.cluster.context == "" {
		return usageError{errors.New("no objects are given: name files or folders by -f, or a cluster by --context")}
	}
	request, err := o.parse(args)
	if err != nil {
		return usageError{err}
	}
	stored, err := o.cluster.read(cmd)
	if err != nil {
		return err
	}
	t, err := o.read(stored, o.files, cmd.InOrStdin())
	if err != nil {
		return err
	}
	t.warn(cmd, o.files)
	if err := t.served(); err != nil {
		return err
	}
	fleet, err := o.reached(t, request)
	if err != nil {
		return err
	}
	answer, err := explain.Explain(fleet, t.background(), request, strings.Join(args, " "))
	if err != nil {
		return err
	}
	if err := o.write(cmd.OutOrStdout(), answer); err != nil {
		return err
	}
	if answer.Status != nil && *answer.Status == 0 {
		return errors.New("the request gets no answer")
	}
	return nil
}

func (o *explainOptions) write(to io.Writer, answer *explain.Answer) error {
	if o.format == "text" {
		return answer.Text(to)
	}
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(answer)
}

// reached is the fleet that a request reaches: the given one, the only one that has its port, or the only one of these
// that does not answer 404.
func (o *explainOptions) reached(t *translated, r *explain.Request) (*explain.Fleet, error) {
	deltas, err := ofGateway(t.Outcome.Deltas, o.gateway)
	if err != nil {
		return nil, err
	}
	var having, serving []*explain.Fleet
	for _, d := range deltas {
		if d.Fleet == translator.RateLimitFleet && d.Fleet != o.gateway {
			continue // No request reaches it.
		}
		f, err := explain.NewFleet(d, t.Outcome.Requirements[d.Fleet])
		if err != nil || len(deltas) == 1 {
			return f, err
		}
		met, err := f.Meet(r)
		unknown := err != nil // Whoever explains the request says so.
		if unknown || met.Listener != "" {
			having = append(having, f)
		}
		if unknown || met.Reply == nil || met.Reply.Status != 404 && met.Reply.Status != 0 {
			serving = append(serving, f)
		}
	}
	return only(r, having, serving)
}

// only is the only fleet that serves a request, or the only one that has its port.
func only(r *explain.Request, having, serving []*explain.Fleet) (*explain.Fleet, error) {
	switch {
	case len(serving) == 1:
		return serving[0], nil
	case len(having) == 1:
		return having[0], nil
	case len(having) == 0:
		return nil, fmt.Errorf("no Gateway serves port %d: write another port into the URL", r.Port)
	}
	names := make([]string, len(having))
	for i, f := range having {
		names[i] = f.Name
	}
	return nil, usageError{fmt.Errorf("several Gateways serve port %d: choose one by --gateway: %s", r.Port,
		strings.Join(names, ", "))}
}

// background is what explain must know of the objects.
func (t *translated) background() *explain.Background {
	b := &explain.Background{
		Served: t.world.Served(), Listeners: t.world.Listeners(), Statuses: t.Outcome.Statuses,
		Endpoints: slices.ContainsFunc(t.Judged, func(r verdict.Ref) bool { return r.Kind == "EndpointSlice" }),
		Place: func(object verdict.Ref, field string) string {
			if place, ok := t.Place(object, field); ok {
				return fmt.Sprintf("%s:%d", place.File, place.Line)
			}
			return ""
		},
	}
	for _, f := range t.Findings {
		b.Findings = append(b.Findings, explain.Problem{Object: f.Object, Field: f.Field, Message: f.Message})
	}
	return b
}
