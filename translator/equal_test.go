package translator

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"k8s.io/apimachinery/pkg/labels"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
)

// uncompared are the fields that equal functions leave out, with the reason.
var uncompared = map[string]string{
	"Resource.Pieces":         "Version is a hash of them",
	"routeRow.Key":            "made of Object",
	"routeRow.Kind":           "made of Object",
	"routeRow.Parents":        "made of Object",
	"routeRow.Hostnames":      "made of Object",
	"routeRow.Rules":          "made of Object",
	"gatewayRow.Scoped":       "made of Gateway",
	"listenerRow.Kinds":       "made of Spec",
	"policyRow.Kind":          "made of Policy",
	"policyRow.Policy":        "made of Members",
	"clusterShape.Policy":     "made of Members",
	"policyRow.Attaching":     "made of Policy",
	"backendTLSRow.Attaching": "made of Policy",
	"budgetRow.Attaching":     "made of Policy",
	"budgetRow.Budget":        "made of Policy",
	"sharedName.Some":         "what is read of the listeners is in their keys, which are compared",
	"backend.Filters":         "those of the route, which whoever reads them compares",
	"clusterUse.Once":         "all clusters of an installation have the same",
	"Status.Object":           "its UID and its generation are compared",
	"Status.Desired":          "encoded is it in JSON",
	"virtualHostRow.Body":     "Sum is a hash of it",
	"guardRow.common":         "OnHTTP and OnGRPC are made of it",
	"policyRow.Route":         "made of Policy and Have",
	"policyRow.Connection":    "made of Policy and Have",
	"effectRow.Route":         "encoded is it",
	"filterConfig.Config":     "Entry has it encoded",
	"ruleRow.Conditions":      "made of Route",
	"guardRow.chain":          "OnHTTP and OnGRPC are made of it",
	"Fetch.Check":             "equal forms have equal checks",
	"policyRow.ListenerParts": "made of Policy and Have",
	"policyRow.Lifetimes":     "made of Policy and Have",
}

// TestRowsCompareEachField: two rows of a table of which one field differs, at any depth, are not equal. Otherwise what
// reads a row would not be computed again when only that field changes.
func TestRowsCompareEachField(t *testing.T) {
	w := newWorld(t)
	m, known := &maker{foreign: map[string]reflect.Value{}, uncompared: map[string]bool{}}, map[string]bool{}
	for _, table := range tablesOf(w.tables) {
		equal, name := hidden(table, "equal"), hidden(table, "name")
		row := equal.Type().In(0)
		id := fmt.Sprint(row, equal.Pointer())
		if known[id] || hidden(table, "work").IsNil() && row.Implements(reflect.TypeFor[Object]()) {
			continue // The objects of inputs are compared by sameObject.
		}
		known[id] = true
		a, b := reflect.New(row).Elem(), reflect.New(row).Elem()
		m.fill(a, row.String())
		m.fill(b, row.String())
		same := func() (same bool) {
			defer func() { _ = recover() }() // What is never nil in a row need not be asked.
			return equal.Call([]reflect.Value{a, b})[0].Bool()
		}
		if !same() {
			t.Errorf("%s: a row is not equal to itself", name)
			continue
		}
		content := b
		if row.Kind() == reflect.Pointer {
			content = b.Elem()
		}
		m.vary(content, row.String(), func(path string) {
			if same() {
				t.Errorf("%s: a row is equal to one with another %s", name, path)
			}
		})
	}
	for field := range uncompared {
		if !m.uncompared[field] {
			t.Errorf("no row has a field %s", field)
		}
	}
}

// tablesOf are all tables, as pointers to flow.Table.
func tablesOf(t *Tables) []reflect.Value {
	list := hidden(reflect.ValueOf(t.graph), "tables")
	tables := make([]reflect.Value, list.Len())
	for i := range tables {
		tables[i] = list.Index(i).Elem()
	}
	return tables
}

// hidden is a field of a struct to which v points, exported or not.
func hidden(v reflect.Value, name string) reflect.Value { return open(v.Elem().FieldByName(name)) }

// open lets an unexported field be read and written.
func open(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
}

// maker makes values in which nothing is empty.
type maker struct {
	// foreign are the objects and messages of others, by their place: rows are compared by pointers to these.
	foreign map[string]reflect.Value
	// uncompared are the fields that were found of those that are not compared.
	uncompared map[string]bool
}

// fixed are structs of which there are only those of a list.
var fixed = map[reflect.Type]bool{
	reflect.TypeFor[routeKind](): true, reflect.TypeFor[backendKind](): true, reflect.TypeFor[policies.Kind](): true,
}

// opaque makes two values of a type whose fields are not for others; it is nil if they are.
func opaque(t reflect.Type) []any {
	switch t {
	case reflect.TypeFor[time.Time]():
		return []any{time.Unix(1, 0), time.Unix(2, 0)}
	case reflect.TypeFor[netip.Prefix]():
		return []any{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.168.0.0/16")}
	}
	return nil
}

// fill gives v a value, and all that it holds. It is the same one each time for a path.
func (m *maker) fill(v reflect.Value, path string) {
	switch {
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		m.fill(v.Index(0), path+"[0]")
	case v.Kind() == reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		m.fill(key, path+"[key]")
		m.fill(value, path+"[value]")
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case v.Kind() == reflect.Pointer && !stranger(v.Type()):
		v.Set(reflect.New(v.Type().Elem()))
		m.fill(v.Elem(), path)
	case inside(v.Type()):
		for i := range v.NumField() {
			m.fill(open(v.Field(i)), path+"."+v.Type().Field(i).Name)
		}
	case v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface:
		if _, ok := m.foreign[path]; !ok {
			m.foreign[path] = m.another(v)
		}
		v.Set(m.foreign[path])
	default:
		v.Set(m.another(v))
	}
}

// another is another value of v's type.
func (m *maker) another(v reflect.Value) reflect.Value {
	if values := opaque(v.Type()); values != nil {
		if v.IsZero() {
			return reflect.ValueOf(values[0])
		}
		return reflect.ValueOf(values[1])
	}
	other := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.String:
		other.SetString(v.String() + "x")
	case reflect.Bool:
		other.SetBool(!v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int32, reflect.Int64:
		other.SetInt(v.Int() + 1)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		other.SetUint(v.Uint() + 1)
	case reflect.Array:
		other.Index(0).Set(m.another(v.Index(0)))
	case reflect.Pointer:
		other.Set(reflect.New(v.Type().Elem()))
	case reflect.Interface:
		other.Set(implementation(v.Type()))
	case reflect.Func:
		other.Set(reflect.MakeFunc(v.Type(),
			func([]reflect.Value) []reflect.Value { panic("a comparison calls no function") }))
	case reflect.Struct: // One of a fixed list has its name first.
		open(other.Field(0)).Set(m.another(open(v.Field(0))))
	default:
		panic("no other value of " + v.Type().String())
	}
	return other
}

// implementation is a new object behind an interface.
func implementation(t reflect.Type) reflect.Value {
	for _, object := range []any{&v1alpha1.SecurityPolicy{}, &gwapiv1.HTTPRoute{}, labels.Everything()} {
		if reflect.TypeOf(object).Implements(t) {
			return reflect.ValueOf(object)
		}
	}
	panic("no implementation of " + t.String())
}

// vary changes v in one place after the other, has each change looked at, and takes it back.
func (m *maker) vary(v reflect.Value, path string, look func(path string)) {
	was := reflect.New(v.Type()).Elem()
	was.Set(v)
	become := func(value reflect.Value, how string) {
		v.Set(value)
		look(path + how)
		v.Set(was)
	}
	switch {
	case v.Kind() == reflect.Slice:
		become(reflect.Zero(v.Type()), " (none)")
		become(reflect.AppendSlice(was.Slice3(0, 1, 1), was), " (twice)")
		m.vary(v.Index(0), path+"[0]", look)
	case v.Kind() == reflect.Map:
		become(reflect.Zero(v.Type()), " (none)")
		m.varyEntry(v, path, look)
	case v.Kind() == reflect.Pointer:
		become(reflect.Zero(v.Type()), " (none)")
		if !stranger(v.Type()) {
			m.vary(v.Elem(), path, look)
			return
		}
		become(reflect.New(v.Type().Elem()), "")
	case inside(v.Type()):
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			field := v.Type().Name() + "." + name
			if _, ok := uncompared[field]; ok {
				m.uncompared[field] = true
				continue
			}
			m.vary(open(v.Field(i)), path+"."+name, look)
		}
	default:
		become(m.another(v), "")
	}
}

// varyEntry varies the only key of a map and its value.
func (m *maker) varyEntry(v reflect.Value, path string, look func(path string)) {
	was := reflect.ValueOf(v.Interface())
	key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
	key.Set(was.MapKeys()[0])
	value.Set(was.MapIndex(key))
	put := func(path string) {
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
		look(path)
		v.Set(was)
	}
	m.vary(key, path+"[key]", put)
	m.vary(value, path+"[value]", put)
}

// stranger reports whether a pointer is to an object or message that others have made, and so stands for all that is in
// it.
func stranger(pointer reflect.Type) bool {
	t := pointer.Elem()
	return t.Kind() == reflect.Struct && (fixed[t] || !strings.HasPrefix(t.PkgPath(), "gatehouse/") ||
		strings.HasPrefix(t.PkgPath(), "gatehouse/api/"))
}

// inside reports whether the fields of a struct are to be compared.
func inside(t reflect.Type) bool { return t.Kind() == reflect.Struct && !fixed[t] && opaque(t) == nil }
