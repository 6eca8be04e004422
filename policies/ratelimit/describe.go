package ratelimit

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/paths"
)

// description says by which entries Envoy describes the requests that a rule counts. An action that finds its condition
// not met makes no entry, and then the rule does not count the request.
type description struct {
	actions []*routev3.RateLimit_Action
	entries []*ratelimitv3.RateLimitDescriptor_Entry
	// expressions are the regular expressions.
	expressions []string

	// each is what has limits of its own: an entry for each of them has any value.
	each []string
	// The rest is for those who judge the limits: the ranges of clients, and whether there are other conditions.
	ranges    []string
	selective bool

	// prefix begins the names of the entries, and conditions is how many headers and parameters there are.
	prefix     string
	conditions int
}

// describe describes the requests that the rule with an index counts.
func describe(i int, rule *v1alpha1.RateLimitRule) *description {
	d := &description{prefix: fmt.Sprintf("rule-%d-", i)}
	for s := range rule.ClientSelectors {
		selector, part := &rule.ClientSelectors[s], ""
		if s > 0 {
			part = fmt.Sprintf("-%d", s)
		}
		for h := range selector.Headers {
			d.header(&selector.Headers[h])
		}
		d.methods("method"+part, selector.Methods)
		d.path("path"+part, selector.Path)
		d.source(part, selector.SourceCIDR)
		for q := range selector.QueryParams {
			d.parameter(&selector.QueryParams[q])
		}
	}
	if len(d.actions) == 0 {
		d.fixed("all", &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_GenericKey_{
			GenericKey: &routev3.RateLimit_Action_GenericKey{DescriptorKey: d.prefix + "all", DescriptorValue: d.prefix + "all"},
		}})
	}
	return d
}

// fixed adds an action whose entry has its own name as the value.
func (d *description) fixed(name string, action *routev3.RateLimit_Action) {
	d.actions = append(d.actions, action)
	d.entries = append(d.entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: d.prefix + name, Value: d.prefix + name})
}

// any adds an action whose entry has any value. Each says of what.
func (d *description) any(key, each string, action *routev3.RateLimit_Action) {
	d.actions = append(d.actions, action)
	d.entries = append(d.entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: key})
	d.each = append(d.each, each)
}

// beginning is the command operator of Envoy for the first maxValue bytes of a header or a parameter. The start
// configuration of Envoy has it be read in descriptors (infra/bootstrap).
func beginning(operator, name string) string {
	return fmt.Sprintf("%%%s(%s):%d%%", operator, name, maxValue)
}

// next is the name of the next condition on a header or a parameter.
func (d *description) next() string {
	d.conditions++
	return fmt.Sprintf("match-%d", d.conditions-1)
}

// text matches a value.
func (d *description) text(kind *v1alpha1.RateLimitValueMatchType, value *string) *matcherv3.StringMatcher {
	text := ptr.Deref(value, "")
	if ptr.Deref(kind, "") == v1alpha1.RateLimitMatchRegularExpression {
		return d.matching(text)
	}
	return feature.Exactly(text)
}

func (d *description) matching(expression string) *matcherv3.StringMatcher {
	d.expressions = append(d.expressions, expression)
	return feature.Matching(expression)
}

func (d *description) header(match *v1alpha1.RateLimitHeaderMatch) {
	name := d.next()
	if ptr.Deref(match.Type, "") == v1alpha1.RateLimitMatchDistinct {
		d.any(d.prefix+name, "header "+strings.ToLower(match.Name), &routev3.RateLimit_Action{
			ActionSpecifier: &routev3.RateLimit_Action_HeaderValueMatch_{
				HeaderValueMatch: &routev3.RateLimit_Action_HeaderValueMatch{
					DescriptorKey: d.prefix + name, DescriptorValue: beginning("REQ", match.Name), DefaultValue: d.prefix + name,
					Headers: []*routev3.HeaderMatcher{{
						Name: match.Name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
					}},
				},
			},
		})
		d.selective = true // Requests without the header are not counted.
		return
	}
	d.value(name, ptr.Deref(match.Invert, false), feature.HeaderIs(match.Name, d.text(match.Type, match.Value)))
}

// value adds a condition on a header or a pseudo-header.
func (d *description) value(name string, inverted bool, header *routev3.HeaderMatcher) {
	d.selective = true
	d.fixed(name, &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_HeaderValueMatch_{
		HeaderValueMatch: &routev3.RateLimit_Action_HeaderValueMatch{
			DescriptorKey: d.prefix + name, DescriptorValue: d.prefix + name, ExpectMatch: wrapperspb.Bool(!inverted),
			Headers: []*routev3.HeaderMatcher{header},
		},
	}})
}

// methods adds the condition that one of several conditions on the method holds.
func (d *description) methods(name string, matches []v1alpha1.RateLimitMethodMatch) {
	var named, others []string
	for _, m := range matches {
		if ptr.Deref(m.Invert, false) {
			others = append(others, string(m.Value))
		} else {
			named = append(named, string(m.Value))
		}
	}
	slices.Sort(others)
	switch others = slices.Compact(others); {
	case len(matches) == 0, len(others) > 1, len(others) == 1 && slices.Contains(named, others[0]):
		// Every method meets one of the conditions.
	case len(others) == 1:
		d.value(name, true, feature.HeaderIs(feature.MethodHeader, feature.Exactly(others[0])))
	case len(named) == 1:
		d.value(name, false, feature.HeaderIs(feature.MethodHeader, feature.Exactly(named[0])))
	default:
		for i := range named {
			named[i] = regexp.QuoteMeta(named[i])
		}
		d.value(name, false, feature.HeaderIs(feature.MethodHeader, d.matching(strings.Join(named, "|"))))
	}
}

// path adds a condition on the path. Envoy has it together with the query.
func (d *description) path(name string, match *v1alpha1.RateLimitPathMatch) {
	if match == nil {
		return
	}
	const query = `(?:\?.*)?`
	inverted := ptr.Deref(match.Invert, false)
	path := &gwapiv1.HTTPPathMatch{Type: match.Type, Value: match.Value}
	value := paths.Value(path)
	pattern, _ := paths.Pattern(value)
	switch kind := cmp.Or(ptr.Deref(match.Type, ""), gwapiv1.PathMatchPathPrefix); {
	case kind == gwapiv1.PathMatchPathPrefix && value == "/" && !inverted:
		return
	case kind == gwapiv1.PathMatchRegularExpression:
		pattern = "(?:" + value + ")" + query
	case kind == gwapiv1.PathMatchExact:
		pattern += query
	case value == "/":
		pattern = ".*"
	default:
		pattern += "(?:/.*)?" + query
	}
	d.value(name, inverted, feature.HeaderIs(":path", d.matching(pattern)))
}

// source adds a condition on the address of the client.
func (d *description) source(part string, match *v1alpha1.RateLimitSourceMatch) {
	if match == nil {
		return
	}
	prefix, err := feature.ParsePrefix(match.Value)
	if err != nil {
		return
	}
	name := "masked-remote-address" + part
	inverted := ptr.Deref(match.Invert, false)
	d.fixed(name, &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RemoteAddressMatch_{
		RemoteAddressMatch: &routev3.RateLimit_Action_RemoteAddressMatch{
			DescriptorKey: d.prefix + name, DescriptorValue: d.prefix + name,
			AddressMatcher: &matcherv3.AddressMatcher{Ranges: []*xdscorev3.CidrRange{{
				AddressPrefix: prefix.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(prefix.Bits())),
			}}, InvertMatch: inverted},
		},
	}})
	if inverted {
		d.selective = true
	} else {
		d.ranges = append(d.ranges, prefix.String())
	}
	if ptr.Deref(match.Type, "") == v1alpha1.RateLimitSourceDistinct {
		d.any("remote_address", "client address", &routev3.RateLimit_Action{
			ActionSpecifier: &routev3.RateLimit_Action_RemoteAddress_{RemoteAddress: &routev3.RateLimit_Action_RemoteAddress{}},
		})
	}
}

func (d *description) parameter(match *v1alpha1.RateLimitQueryParamMatch) {
	name := d.next()
	d.selective = true
	if ptr.Deref(match.Type, "") == v1alpha1.RateLimitMatchDistinct {
		d.any(d.prefix+name, "query parameter "+match.Name, &routev3.RateLimit_Action{
			ActionSpecifier: &routev3.RateLimit_Action_QueryParameterValueMatch_{
				QueryParameterValueMatch: &routev3.RateLimit_Action_QueryParameterValueMatch{
					DescriptorKey: d.prefix + name, DescriptorValue: beginning("QUERY_PARAM", match.Name),
					DefaultValue: d.prefix + name,
					QueryParameters: []*routev3.QueryParameterMatcher{{
						Name: match.Name, QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true},
					}},
				},
			},
		})
		return
	}
	d.fixed(name, &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_QueryParameterValueMatch_{
		QueryParameterValueMatch: &routev3.RateLimit_Action_QueryParameterValueMatch{
			DescriptorKey: d.prefix + name, DescriptorValue: d.prefix + name,
			ExpectMatch: wrapperspb.Bool(!ptr.Deref(match.Invert, false)),
			QueryParameters: []*routev3.QueryParameterMatcher{{
				Name: match.Name, QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{
					StringMatch: d.text(match.Type, match.Value),
				},
			}},
		},
	}})
}
