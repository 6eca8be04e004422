package admissionrule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	celmutation "k8s.io/apiserver/pkg/cel/mutation"
)

// literals checks what the expression of a mutation writes against the fields of a kind: the CEL types Object and
// JSONPatch know nothing of them.
type literals struct {
	*compiler
	field string
	ast   *ast.AST
	// reported are the paths of fields that were reported.
	reported map[string]bool
}

// each calls a function for each structure of the expression that is written out.
func (l *literals) each(do func(id int64, of ast.StructExpr)) {
	ast.PreOrderVisit(l.ast.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.StructKind {
			do(e.ID(), e.AsStruct())
		}
	}))
}

// mistake reports what is wrong at a place of the expression.
func (l *literals) mistake(id int64, wrong, way string) {
	c := l.compiler
	c.wrong(l.field, c.at(l.ast.SourceInfo().GetStartLocation(id), wrong, way))
}

// objects checks the fields of Object, Object.spec and so on.
func (l *literals) objects() {
	l.reported = map[string]bool{}
	l.each(func(id int64, of ast.StructExpr) {
		path := strings.Split(of.TypeName(), ".")
		if path[0] != celmutation.ObjectTypeName {
			return
		}
		path = path[1:]
		at, _, known := l.below(path)
		if !known && !l.reported[fieldOf(path)] {
			l.mistake(id, fmt.Sprintf("undefined field '%s'", fieldOf(path)), "correct the type")
		}
		for _, entry := range of.Fields() {
			if name := entry.AsStructField().Name(); known {
				l.object(entry, at, append(slices.Clone(path), name))
			} else {
				l.reported[fieldOf(append(slices.Clone(path), name))] = true
			}
		}
	})
}

// object checks one field of a structure with a schema.
func (l *literals) object(entry ast.EntryExpr, of *schema.Structural, path []string) {
	field, value := fieldOf(path), entry.AsStructField().Value()
	inner, declared, known := step(of, path[len(path)-1])
	why, way := fixed(path...), "correct the expression"
	if field == "metadata" {
		why = "" // Its fields are checked one by one.
	}
	switch {
	case why != "":
	case !known:
		why = fmt.Sprintf("undefined field '%s'", field)
	case isAtomic(inner):
		why = field + " is atomic, and an ApplyConfiguration cannot change a part of it"
		way = "write a JSONPatch"
	case declared:
		why = l.mistyped(field, inner, l.ast.GetType(value.ID()))
	}
	if why != "" {
		l.reported[field] = true
		l.mistake(entry.ID(), why, way)
	}
}

// mistyped is why a value cannot be in a field; empty if it can, or if that is not known.
func (l *literals) mistyped(field string, s *schema.Structural, of *cel.Type) string {
	want := map[string]*cel.Type{"string": cel.StringType, "boolean": cel.BoolType, "integer": cel.IntType}[s.Type]
	if of.Kind() == types.OpaqueKind && of.TypeName() == "optional_type" && len(of.Parameters()) == 1 {
		of = of.Parameters()[0]
	}
	if want == nil || s.XIntOrString || of.Kind() == types.DynKind || of.Kind() == types.AnyKind || of.Kind() == types.TypeParamKind || of.IsExactType(want) {
		return ""
	}
	return fmt.Sprintf("expected type of field '%s' is %s, but the value is of type %s", field, want, of)
}

// patches checks the operations of JSONPatch, and their paths as far as they are written out.
func (l *literals) patches() {
	l.each(func(_ int64, of ast.StructExpr) {
		if of.TypeName() != celmutation.JSONPatchTypeName {
			return
		}
		for _, entry := range of.Fields() {
			f := entry.AsStructField()
			text := constant(f.Value())
			switch f.Name() {
			case "op":
				if ops := []string{"add", "copy", "move", "remove", "replace", "test"}; !strings.Contains(text, unknown) && !slices.Contains(ops, text) {
					l.mistake(f.Value().ID(), fmt.Sprintf("operation %q is unknown", text), "write one of "+strings.Join(ops, ", "))
				}
			case "path", "from":
				if why := l.pointer(text); why != "" {
					l.mistake(f.Value().ID(), why, "correct the path")
				}
			}
		}
	})
}

// unknown stands for the parts of a text that are computed.
const unknown = "\x00"

// constant is the text of an expression, with unknown for the parts that are computed.
func constant(e ast.Expr) string {
	switch e.Kind() {
	case ast.LiteralKind:
		if text, ok := e.AsLiteral().(types.String); ok {
			return string(text)
		}
	case ast.CallKind:
		if call := e.AsCall(); call.FunctionName() == "_+_" && len(call.Args()) == 2 {
			return constant(call.Args()[0]) + constant(call.Args()[1])
		}
	default:
	}
	return unknown
}

// pointer is what is wrong with a path of a JSON patch; empty if nothing is.
func (l *literals) pointer(text string) string {
	if strings.HasPrefix(text, unknown) {
		return ""
	}
	steps := strings.Split(text, "/")
	if steps[0] != "" || len(steps) < 2 {
		return fmt.Sprintf("path %q does not begin with /", text)
	}
	var path, shown []string
	at := l.root()
	for _, name := range steps[1:] {
		name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		path = append(path, name)
		computed := strings.Contains(name, unknown)
		if computed && at.Type != "array" && at.AdditionalProperties == nil {
			return "" // A field with a computed name.
		}
		if why := fixed(path...); why != "" && (len(path) > 1 || len(steps) == 2) {
			return why
		}
		if at.Type == "array" {
			if !computed && !isIndex(name) {
				return fmt.Sprintf("undefined field '%s', because %s is a list", fieldOf(append(shown, name)), fieldOf(shown))
			}
			name = "[" + name + "]"
		}
		shown = append(shown, strings.ReplaceAll(name, unknown, "*"))
		next, _, known := step(at, name)
		if !known {
			return fmt.Sprintf("undefined field '%s'", fieldOf(shown))
		}
		at = next
	}
	return ""
}

// isIndex reports whether a step of a JSON patch is an entry of a list.
func isIndex(step string) bool {
	_, err := strconv.Atoi(step)
	return err == nil || step == "-"
}

// root is the schema of the whole object.
func (l *literals) root() *schema.Structural {
	whole := *l.fields
	whole.Properties = map[string]schema.Structural{}
	for name, property := range l.fields.Properties {
		whole.Properties[name] = property
	}
	whole.Properties["metadata"] = metadata()
	return &whole
}

// below is the schema of a field. In the types of CEL, an item of a list has the path of the list.
func (l *literals) below(path []string) (at *schema.Structural, declared, known bool) {
	at = l.root()
	for _, name := range path {
		if at, declared, known = step(items(at), name); !known {
			return nil, false, false
		}
	}
	return items(at), declared, true
}

func items(s *schema.Structural) *schema.Structural {
	for s.Type == "array" && s.Items != nil {
		s = s.Items
	}
	return s
}

// step is the schema of a field, a value of a map or an item of a list. It is not declared if it may be anything.
func step(s *schema.Structural, name string) (next *schema.Structural, declared, known bool) {
	switch property, ok := s.Properties[name]; {
	case ok:
		return &property, true, true
	case s.Type == "array" && s.Items != nil:
		return s.Items, true, true
	case s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil:
		return s.AdditionalProperties.Structural, true, true
	case len(s.Properties) > 0:
		return nil, false, false
	case s.Type == "" || s.Type == "object" || s.XIntOrString:
		return &schema.Structural{}, false, true
	}
	return nil, false, false // It is a text or a number.
}

// isAtomic reports whether server-side apply takes a list or map only as a whole.
func isAtomic(s *schema.Structural) bool {
	return s.Type == "array" && (s.XListType == nil || *s.XListType == "atomic") || s.XMapType != nil && *s.XMapType == "atomic"
}
