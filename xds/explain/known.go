package explain

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Unknown is the error for a feature of Envoy that the translation uses and this package does not know. What would
// become of the request cannot be said.
type Unknown struct {
	// Where is the resource, and What the feature.
	Where, What string
}

func (u *Unknown) Error() string {
	return fmt.Sprintf("%s uses %s, which explain does not know yet, so it cannot say what becomes of the request", u.Where,
		u.What)
}

// only returns an error if a message has a field that is not among the known ones.
func only(where string, m proto.Message, known ...protoreflect.Name) (err error) {
	m.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(known, field.Name()) {
			err = &Unknown{Where: where, What: string(field.FullName())}
		}
		return err == nil
	})
	return err
}

// headerChanges are fields that change headers after the route is chosen.
var headerChanges = []protoreflect.Name{
	"request_headers_to_add", "request_headers_to_remove", "response_headers_to_add", "response_headers_to_remove",
}

// The fields that are known of each message. Those that have no influence on the choice of a route are known too.
var (
	knownListener = []protoreflect.Name{
		"name", "address", "additional_addresses", "access_log", "filter_chains", "default_filter_chain", "listener_filters",
		"per_connection_buffer_limit_bytes", "tcp_keepalive", "socket_options", "enable_reuse_port", "stat_prefix",
		"max_connections_to_accept_per_socket_event", "drain_type", "tcp_backlog_size", "bind_to_port", "metadata",
		"listener_filters_timeout",
	}
	knownChain = []protoreflect.Name{
		"name", "filter_chain_match", "filters", "transport_socket", "metadata",
		"transport_socket_connect_timeout",
	}
	// knownLimits are network filters that hold or close connections, and do nothing else.
	knownLimits = []string{
		"envoy.filters.network.rbac", "envoy.filters.network.connection_limit", "envoy.filters.network.sni_dynamic_forward_proxy",
	}
	knownChainMatch = []protoreflect.Name{"server_names", "source_prefix_ranges"}
	knownManager    = []protoreflect.Name{
		"stat_prefix", "access_log", "http_filters", "rds", "scoped_routes", "early_header_mutation_extensions",
		"http2_protocol_options", "http3_protocol_options", "use_remote_address", "server_header_transformation",
		"strip_trailing_host_dot", "upgrade_configs", "common_http_protocol_options", "normalize_path", "merge_slashes",
		"path_with_escaped_slashes_action", "request_timeout", "stream_idle_timeout", "request_headers_timeout",
		"http_protocol_options", "original_ip_detection_extensions", "skip_xff_append", "forward_client_cert_details",
		"set_current_client_cert_details", "generate_request_id", "preserve_external_request_id", "max_request_headers_kb",
		"scheme_header_transformation", "drain_timeout", "delayed_close_timeout", "tracing", "local_reply_config", "stream_flush_timeout",
		"http1_safe_max_connection_duration",
	}
	knownConfig = append([]protoreflect.Name{
		"name", "virtual_hosts", "ignore_port_in_host_matching", "validate_clusters", "typed_per_filter_config",
	}, headerChanges...)
	knownHost = append([]protoreflect.Name{
		"name", "domains", "routes", "retry_policy", "typed_per_filter_config",
	}, headerChanges...)
	knownRoute = append([]protoreflect.Name{
		"name", "match", "route", "redirect", "direct_response", "typed_per_filter_config", "metadata", "decorator", "tracing", "stat_prefix",
	}, headerChanges...)
	knownMatch = []protoreflect.Name{
		"prefix", "path", "connect_matcher", "safe_regex", "path_separated_prefix", "case_sensitive", "headers", "query_parameters",
		"filter_state", "runtime_fraction", "cookies",
	}
)
