// Package debug serves pages that show the state of the control plane and its reasons: tables, rows, what a row read,
// what the last batches cost, and what each proxy has. The pages are for an operator with curl or a browser. They show
// no Secret.
package debug

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/translator"
	"gatehouse/xds"
)

// Server serves the pages at an address, which should be a loopback address: there is no authentication, and kubectl
// port-forward gives access.
type Server struct {
	Address string
	World   *translator.World
	// Proxies are the proxies that are connected to this replica.
	Proxies func() []xds.FleetState
	// Own is the certificate of the control plane.
	Own func() translator.Certificate
}

// NeedLeaderElection returns false: every replica has its own pages.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until the context ends. It returns an error if it cannot listen at the address.
func (s *Server) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listen for the debug pages, see --debug-address: %w", err)
	}
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // A debug page may end abruptly.
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the debug pages: %w", err)
	}
	return nil
}

// Handler serves the pages: as HTML to browsers, as text to all others.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /tables", s.tables)
	mux.HandleFunc("GET /tables/{table}", s.rows)
	mux.HandleFunc("GET /tables/{table}/{key...}", s.row)
	mux.HandleFunc("GET /batches", s.batches)
	mux.HandleFunc("GET /proxies", s.proxies)
	mux.HandleFunc("GET /certificates", s.certificates)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return onLoopback(mux)
}

// onLoopback answers requests for names of the loopback interface, as kubectl port-forward sends them. Others come from
// a web page whose name an attacker has made to resolve to this address (DNS rebinding).
func onLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = strings.Trim(r.Host, "[]")
		}
		if address, err := netip.ParseAddr(host); !strings.EqualFold(host, "localhost") &&
			(err != nil || !address.IsLoopback()) {
			http.Error(w, fmt.Sprintf("host %q is not of the loopback interface: use kubectl port-forward and localhost",
				r.Host), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	show(w, r, page{Title: "Gatehouse", Columns: []string{"page", "what it shows"}, Rows: [][]cell{
		{link("/tables", "/tables"), {Text: "every table: its rows, and the work that it has done"}},
		{link("/batches", "/batches"), {Text: "what the last batches of events cost"}},
		{
			link("/proxies", "/proxies"),
			{Text: "the Envoys that are connected to this replica: what they have, wait for and rejected"},
		},
		{link("/certificates", "/certificates"), {Text: "every certificate in use: where, whose, until when, and why it is not served"}},
		{link("/debug/pprof/", "/debug/pprof/"), {Text: "Go's profiles of this process"}},
	}})
}

func (s *Server) tables(w http.ResponseWriter, r *http.Request) {
	p := page{Title: "Tables, in the order in which they are computed", Columns: []string{
		"table", "rows", "read by rows", "rows read", "computed in the last batch", "in all", "in Try", "last batch took",
	}}
	for _, t := range s.World.Stats() {
		p.Rows = append(p.Rows, []cell{
			link("/tables/"+url.PathEscape(t.Name), t.Name), number(t.Rows), number(t.Readers), number(t.Deps),
			number(t.Computed), number(t.Total),
			number(t.Tried),
			{Text: t.Duration.String()},
		})
	}
	show(w, r, p)
}

func (s *Server) rows(w http.ResponseWriter, r *http.Request) {
	table := r.PathValue("table")
	keys, ok := s.World.Keys(table)
	if !ok {
		http.Error(w, fmt.Sprintf("no table %q; /tables lists them", table), http.StatusNotFound)
		return
	}
	p := page{Title: fmt.Sprintf("Table %s: %d rows", table, len(keys)), Columns: []string{"row"}}
	for _, key := range keys {
		p.Rows = append(p.Rows, []cell{rowLink(table, key, key)})
	}
	show(w, r, p)
}

func (s *Server) row(w http.ResponseWriter, r *http.Request) {
	table, key := r.PathValue("table"), r.PathValue("key")
	read, text, ok := s.World.Explain(table, key)
	if !ok {
		http.Error(w, fmt.Sprintf("table %q knows nothing of %q; /tables/%s lists its rows", table, key,
			url.PathEscape(table)), http.StatusNotFound)
		return
	}
	p := page{Title: fmt.Sprintf("Row %s of table %s", key, table), Columns: []string{"what it read"}, Text: text}
	for _, source := range read {
		p.Rows = append(p.Rows, []cell{origin(source)})
	}
	show(w, r, p)
}

// origin links to something that a row read, if it is a row, written table[key]. The result of an index is written
// table.index[key].
func origin(source string) cell {
	table, rest, _ := strings.Cut(source, "[")
	key, found := strings.CutSuffix(rest, "]")
	if !found || key == "*" || strings.Contains(table, ".") {
		return cell{Text: source}
	}
	return rowLink(table, key, source)
}

func (s *Server) batches(w http.ResponseWriter, r *http.Request) {
	p := page{Title: "The last batches, the newest first", Columns: []string{
		"at", "events", "took", "rows",
		"computed by table",
	}}
	for _, b := range s.World.Batches() {
		total := 0
		var parts []string
		for _, table := range slices.Sorted(maps.Keys(b.Computed)) {
			total += b.Computed[table]
			parts = append(parts, fmt.Sprintf("%s %d", table, b.Computed[table]))
		}
		p.Rows = append(p.Rows, []cell{
			{Text: b.At.UTC().Format("15:04:05.000")},
			number(b.Events),
			{Text: b.Took.String()},
			number(total),
			{Text: strings.Join(parts, ", ")},
		})
	}
	show(w, r, p)
}

func (s *Server) proxies(w http.ResponseWriter, r *http.Request) {
	p := page{Title: "Proxies of this replica", Columns: []string{
		"Gateway", "proxy", "type", "on the proxy",
		"acknowledged", "to send", "unanswered", "to remove",
	}}
	for _, fleet := range s.Proxies() {
		for _, proxy := range fleet.Proxies {
			for _, t := range proxy.Types {
				acknowledged := 0
				for _, version := range t.Versions {
					if version != "" {
						acknowledged++
					}
				}
				p.Rows = append(p.Rows, []cell{
					{Text: fleet.Fleet},
					{Text: proxy.Node},
					{Text: t.Type[strings.LastIndexByte(t.Type, '.')+1:]},
					number(len(t.Versions)),
					number(acknowledged), number(len(t.Pending)), number(len(t.Unanswered)), number(len(t.Leaving)),
				})
			}
			p.Text += notes(proxy)
		}
	}
	show(w, r, p)
}

// notes lists the reasons why a proxy does not have everything.
func notes(proxy xds.ProxyState) string {
	var text strings.Builder
	if proxy.Behind {
		fmt.Fprintf(&text, "%s: is still to be compared with what was published\n", proxy.Node)
	}
	for _, cluster := range proxy.Cold {
		fmt.Fprintf(&text, "%s: routes wait for cluster %s to be warm\n", proxy.Node, cluster)
	}
	for name, words := range proxy.Rejected {
		fmt.Fprintf(&text, "%s: rejected %s %s: %s\n", proxy.Node, name.Type, name.Name, words)
	}
	return text.String()
}
