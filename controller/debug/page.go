package debug

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
)

// page is a table with a title, and a text below it.
type page struct {
	Title   string
	Columns []string
	Rows    [][]cell
	Text    string
}

// cell is a text with an optional link.
type cell struct{ Text, Href string }

func link(href, text string) cell { return cell{Text: text, Href: href} }

func number(n int) cell { return cell{Text: strconv.Itoa(n)} }

// rowLink links to a row. The slashes of keys stay as they are in a path.
func rowLink(table, key, text string) cell {
	return link("/tables/"+url.PathEscape(table)+"/"+strings.ReplaceAll(url.PathEscape(key), "%2F", "/"), text)
}

var layout = template.Must(template.New("page").Parse(`<!doctype html>
<meta charset="utf-8"><title>{{.Title}}</title>
<style>body{font:14px monospace;margin:2em}td,th{text-align:left;vertical-align:top;padding:2px 1.5em 2px 0}pre{white-space:pre-wrap}</style>
<p><a href="/">Gatehouse</a></p><h1>{{.Title}}</h1>
<table><tr>{{range .Columns}}<th>{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr>{{range .}}<td>{{if .Href}}<a href="{{.Href}}">{{.Text}}</a>{{else}}{{.Text}}{{end}}</td>{{end}}</tr>
{{end}}</table>
<pre>{{.Text}}</pre>
`))

// show writes a page in the form that the client prefers. An error means that the client has disconnected.
func show(w http.ResponseWriter, r *http.Request, p page) {
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = layout.Execute(w, p)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%s\n\n", p.Title)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.ToUpper(strings.Join(p.Columns, "\t")))
	for _, row := range p.Rows {
		for i, c := range row {
			if i > 0 {
				fmt.Fprint(table, "\t")
			}
			fmt.Fprint(table, c.Text)
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush()
	if p.Text != "" {
		fmt.Fprintf(w, "\n%s\n", p.Text)
	}
}
