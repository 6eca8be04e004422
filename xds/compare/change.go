package compare

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"gatehouse/translator"
)

// does says what a route does, in short.
func (e *entry) does() []string {
	switch a := e.route.Action.(type) {
	case *routev3.Route_DirectResponse:
		return []string{fmt.Sprintf("answers %d", a.DirectResponse.Status)}
	case *routev3.Route_Redirect:
		return []string{"redirects with " + a.Redirect.ResponseCode.String()}
	}
	return []string{"forwards to " + backends(e.rule.Backends)}
}

// backends lists backends with their shares.
func backends(all []translator.ServedBackend) string {
	total := uint64(0)
	for _, b := range all {
		if !b.Fallback {
			total += uint64(b.Weight)
		}
	}
	var texts []string
	for _, b := range all {
		name := fmt.Sprintf("%s:%d", b.Ref, b.Port)
		if b.Ref.Name == "" {
			name = "a backendRef that cannot be used"
		}
		if b.TLS.Name != "" {
			name += " with TLS of " + b.TLS.String()
		}
		if b.Fallback {
			name += " as fallback"
		} else {
			name += fmt.Sprintf(" %.4g %%", float64(b.Weight)*100/float64(max(total, 1)))
		}
		texts = append(texts, name)
	}
	if len(texts) == 0 {
		return "no backend"
	}
	return strings.Join(texts, ", ")
}

// differences lists what differs between two versions of a route: what it does, its backends, its settings.
func differences(a, b *entry) (details []string) {
	from, to := strings.Join(a.does(), ", "), strings.Join(b.does(), ", ")
	if from != to {
		details = append(details, to+", before: "+from)
	}
	x, y := bare(a.route), bare(b.route)
	if proto.Equal(x, y) {
		return details
	}
	fields := changedFields("", tree(x), tree(y))
	if from != to { // The clusters follow from the backends.
		fields = slices.DeleteFunc(fields, func(f string) bool {
			return strings.HasPrefix(f, "route.cluster") || strings.HasPrefix(f, "route.weightedClusters") ||
				f == "route" || f == "directResponse" || f == "redirect"
		})
	}
	if len(fields) > 0 {
		details = append(details, "settings: "+strings.Join(fields, ", "))
	}
	return details
}

// bare is a route without its name and match.
func bare(r *routev3.Route) *routev3.Route {
	out := &routev3.Route{}
	proto.Merge(out, r)
	out.Name, out.Match = "", nil
	return out
}

// tree is a message as JSON values.
func tree(m proto.Message) any {
	var value any
	if text, err := protojson.Marshal(m); err == nil {
		_ = json.Unmarshal(text, &value) // protojson has just written it.
	}
	return value
}

// deepest is how many names the path of a changed field has.
const deepest = 2

// changedFields lists the paths of fields that differ.
func changedFields(path string, a, b any) []string {
	x, isMap := a.(map[string]any)
	y, alsoMap := b.(map[string]any)
	if !isMap || !alsoMap || path != "" && strings.Count(path, ".")+1 >= deepest {
		if reflect.DeepEqual(a, b) {
			return nil
		}
		return []string{path}
	}
	keys := slices.AppendSeq(slices.Collect(maps.Keys(x)), maps.Keys(y))
	slices.Sort(keys)
	var all []string
	for _, key := range slices.Compact(keys) {
		all = append(all, changedFields(strings.TrimPrefix(path+"."+key, "."), x[key], y[key])...)
	}
	return all
}

// effective are the policies of entries and listeners: for each policy and place its spec.
type effective map[string]map[string]string

func (e effective) add(place string, all []translator.ServedPolicy) {
	for _, p := range all {
		name := p.Ref.String()
		if e[name] == nil {
			e[name] = map[string]string{}
		}
		e[name][place] = p.Sum
	}
}

// policies compares which policies take effect on routes and listeners that are on both sides.
func (c *comparison) policies() {
	before, after := effective{}, effective{}
	for _, p := range c.kept {
		if p.before.rule == nil || p.after.rule == nil {
			continue
		}
		place := p.after.object
		if p.after.match != "" {
			place = p.after.what()
		}
		place += " on " + p.after.listener
		before.add(place, p.before.rule.Policies)
		after.add(place, p.after.rule.Policies)
	}
	for key, was := range c.before.listeners {
		if is := c.after.listeners[key]; is != nil {
			before.add("listener "+key, was.Policies)
			after.add("listener "+key, is.Policies)
		}
	}
	for _, name := range both(before, after) {
		for _, place := range both(before[name], after[name]) {
			was, had := before[name][place]
			is, has := after[name][place]
			switch {
			case !had:
				c.policy.add(Effective, name, place)
			case !has:
				c.policy.add(Lost, name, place)
			case was != is:
				c.policy.add(Changed, name, place)
			}
		}
	}
}

// problems compares problems. The same words at the same object are the same problem, because indexes of fields move.
func (c *comparison) problems(before, after []Problem) {
	count := map[string]int{}
	text := func(p Problem) (string, string) { return p.Object.String(), p.Message }
	for _, p := range before {
		object, message := text(p)
		count[object+"\x00"+message]++
	}
	for _, p := range after {
		object, message := text(p)
		if count[object+"\x00"+message]--; count[object+"\x00"+message] < 0 {
			c.problem.add(New, object, p.Field, message)
		}
	}
	for _, p := range before {
		object, message := text(p)
		if count[object+"\x00"+message]--; count[object+"\x00"+message] >= 0 {
			c.problem.add(Mended, object, p.Field, message)
		}
	}
}
