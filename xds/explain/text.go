package explain

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Text writes an answer for people.
func (a *Answer) Text(to io.Writer) error {
	p := &printer{}
	p.line("", a.Request)
	p.line("Gateway", a.Gateway)
	if l := a.Listener; l != nil {
		p.line("listener", fmt.Sprintf("%s of %s: port %d, %s, hostname %s%s", l.Name, l.Object, l.Port, l.Protocol, l.Hostname,
			at(l.Place)))
		p.policies(l.Policies)
	}
	p.line("path", a.Path)
	p.line("host", a.Host)
	p.filters("before", a.Passed)
	if a.Status != nil {
		p.line("answer", answer(*a.Status, a.Why))
	}
	for i := range a.Routes {
		p.route(&a.Routes[i])
	}
	p.list("problems", a.Problems)
	p.candidates("if that were not there, in this order", a.Otherwise)
	p.candidates("with this path, but not matched", a.Missed)
	p.list("note", a.Notes)
	_, err := io.WriteString(to, p.String())
	return err
}

func answer(status int, why string) string {
	if status == 0 {
		return "none, because " + why
	}
	return fmt.Sprintf("%d %s, because %s", status, http.StatusText(status), why)
}

// printer writes lines of a name and a value.
type printer struct{ strings.Builder }

func (p *printer) line(name, value string) {
	switch {
	case value == "":
	case name == "":
		fmt.Fprintln(p, value)
	default:
		fmt.Fprintf(p, "  %-10s%s\n", name, value)
	}
}

func at(place string) string {
	if place == "" {
		return ""
	}
	return " (" + place + ")"
}

func (p *printer) route(r *Route) {
	origin := r.Object
	if origin == "" {
		origin = "Envoy's route " + r.Name
	}
	if r.Field != "" {
		origin += " " + r.Field
	}
	if r.Share != 0 {
		origin += fmt.Sprintf(", for %.4g %% of the requests", r.Share)
	}
	p.line("route", origin+at(r.Place))
	p.line("answer", r.Action)
	for _, b := range r.Backends {
		p.backend(b)
	}
	p.filters("filters", r.Filters)
	p.policies(r.Policies)
}

func (p *printer) backend(b Backend) {
	text := fmt.Sprintf("%.4g %% to %s", b.Share, b.Cluster)
	switch {
	case b.Why != "":
		text += ": " + b.Why
	case b.Endpoints == 1:
		text += ": 1 endpoint"
	default:
		text += fmt.Sprintf(": %d endpoints", b.Endpoints)
	}
	p.line(" ", text)
	for _, of := range b.Of {
		p.line(" ", "  "+of)
	}
}

func (p *printer) filters(name string, filters []Filter) {
	for _, f := range filters {
		p.line(name, fmt.Sprintf("%s, of %s", f.Name, f.From))
		name = " "
	}
}

func (p *printer) policies(all []Policy) {
	name := "policies"
	for _, each := range all {
		text := fmt.Sprintf("%s on %s", each.Object, each.Target)
		if len(each.Fields) > 0 {
			text += ": " + strings.Join(each.Fields, ", ")
		}
		p.line(name, text+at(each.Place))
		name = " "
	}
}

func (p *printer) list(name string, all []string) {
	for _, each := range all {
		p.line(name, each)
		name = " "
	}
}

func (p *printer) candidates(title string, routes []Route) {
	if len(routes) == 0 {
		return
	}
	fmt.Fprintf(p, "%s:\n", title)
	for i := range routes {
		r := &routes[i]
		text := r.Object + " " + r.Field
		if r.Object == "" {
			text = "Envoy's route " + r.Name
		}
		text += " of host " + r.Host
		if r.Why != "" {
			text += ": " + r.Why
		} else {
			text += ": " + r.Action
		}
		p.line(fmt.Sprintf("%d.", i+1), text+at(r.Place))
	}
}
