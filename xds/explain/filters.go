package explain

import (
	"bytes"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/policies"
)

// levels are the per-filter configurations that hold for a route, the most specific first.
type levels []map[string]*anypb.Any

func levelsOf(c *routev3.RouteConfiguration, v *routev3.VirtualHost, r *routev3.Route) levels {
	return levels{r.GetTypedPerFilterConfig(), v.GetTypedPerFilterConfig(), c.GetTypedPerFilterConfig()}
}

// enabled reports whether a request passes a filter that does something, and returns its configuration on the route,
// nil if it has none.
func (l levels) enabled(f *hcmv3.HttpFilter) (*anypb.Any, bool) {
	for _, configs := range l {
		config, found := configs[f.Name]
		if !found {
			continue
		}
		if off := policies.Off(f.Name); off != nil && config.TypeUrl == off.TypeUrl && bytes.Equal(config.Value, off.Value) {
			return config, false
		}
		setting := &routev3.FilterConfig{}
		if config.MessageIs(setting) && config.UnmarshalTo(setting) == nil {
			return setting.Config, !setting.Disabled
		}
		return config, true
	}
	return nil, !f.Disabled
}

// router is the last filter, which forwards.
const router = "envoy.filters.http.router"

// passed lists the filters that a request passes on a route, in their order, without the router.
func passed(m *hcmv3.HttpConnectionManager, l levels) (names []string) {
	for _, f := range m.HttpFilters {
		if _, on := l.enabled(f); on && f.Name != router {
			names = append(names, f.Name)
		}
	}
	return names
}

// rechosen returns what filters put into the filter state before they make Envoy choose a route again, nil if they do
// not. Filters that may do so in another way are unknown.
func rechosen(where string, m *hcmv3.HttpConnectionManager, l levels) (state map[string]string, err error) {
	for _, f := range m.HttpFilters {
		own, on := l.enabled(f)
		if !on {
			continue
		}
		set := &statev3.Config{}
		if f.GetTypedConfig().MessageIs(set) && f.GetTypedConfig().UnmarshalTo(set) == nil && set.ClearRouteCache {
			state = map[string]string{}
			for _, value := range set.OnRequestHeaders {
				source := value.GetFormatString().GetTextFormatSource()
				state[value.GetObjectKey()] = source.GetInlineString()
			}
			continue
		}
		if chooses(f.GetTypedConfig()) || chooses(own) {
			return nil, &Unknown{Where: where, What: "filter " + f.Name + ", which may make Envoy choose another route"}
		}
	}
	return state, nil
}

// chooses reports whether the configuration of a filter may make Envoy choose another route.
func chooses(config *anypb.Any) bool {
	if config == nil || config.TypeUrl == "" {
		return false
	}
	m, err := config.UnmarshalNew()
	return err != nil || choosesIn(m.ProtoReflect())
}

func choosesIn(m protoreflect.Message) (found bool) {
	if packed, ok := m.Interface().(*anypb.Any); ok {
		return chooses(packed)
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Name() == "clear_route_cache" || field.Name() == "route_cache_action":
			found = true
		case field.IsMap() && field.MapValue().Message() != nil:
			value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				found = found || choosesIn(v.Message())
				return !found
			})
		case field.IsMap() || field.Message() == nil:
		case field.IsList():
			for i := 0; i < value.List().Len() && !found; i++ {
				found = choosesIn(value.List().Get(i).Message())
			}
		default:
			found = choosesIn(value.Message())
		}
		return !found
	})
	return found
}

// injectedFaults is the filter with the faults of BackendTrafficPolicies.
const injectedFaults = "envoy.filters.http.fault"

// aborted returns the status with which a filter answers a request before it is forwarded, 0 if none does. Faults by chance
// answer none here: the explanation has a note about them.
func aborted(where string, m *hcmv3.HttpConnectionManager, l levels, s *seen) (int, error) {
	for _, f := range m.HttpFilters {
		fault := &faultv3.HTTPFault{}
		own, on := l.enabled(f)
		if !on || !f.GetTypedConfig().MessageIs(fault) {
			continue
		}
		config := f.GetTypedConfig()
		if own != nil && own.MessageIs(fault) {
			config = own
		}
		if err := config.UnmarshalTo(fault); err != nil {
			return 0, &Unknown{Where: where, What: "filter " + f.Name}
		}
		if f.Name == injectedFaults {
			continue
		}
		if share := fault.GetAbort().GetPercentage(); fault.Delay != nil || share.GetNumerator() != 100 ||
			share.GetDenominator() != typev3.FractionalPercent_HUNDRED {
			return 0, &Unknown{Where: where, What: "filter " + f.Name + " with a delay or a share"}
		}
		met := true
		for _, h := range fault.Headers {
			why, err := s.meetsHeader(where, h)
			if err != nil {
				return 0, err
			}
			met = met && why == ""
		}
		if met {
			return int(fault.Abort.GetHttpStatus()), nil
		}
	}
	return 0, nil
}
