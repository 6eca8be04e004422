package offline

import (
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"gatehouse/policies/verdict"
)

// inExpression is the beginning of a problem of an expression, see admissionrule.Compile.
var inExpression = regexp.MustCompile(`^line (\d+), column (\d+): `)

// placeOf finds the place of a problem of a rule in the tree of the document. If it is about an expression, that is the
// place in the expression, as far as it is written in the file as it is: lines that YAML joins are not followed.
func (d document) placeOf(tree *yaml.Node, p verdict.Problem) Place {
	found := inExpression.FindStringSubmatch(p.Message)
	if found == nil || tree == nil {
		return d.placeIn(tree, p.Field)
	}
	line, _ := strconv.Atoi(found[1])
	column, _ := strconv.Atoi(found[2])
	at := locate(locate(tree, d.within), p.Field)
	switch {
	case at.Style&yaml.LiteralStyle != 0:
		place := d.source.place(at.Line+line, 1)
		place.Column += indent(d.source.place(at.Line+1, 1).Text) + column - 1
		return place
	case at.Style&yaml.FoldedStyle != 0 || line != 1:
		return d.placeIn(tree, p.Field)
	case at.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		column++
	}
	return d.source.place(at.Line, at.Column+column-1)
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
