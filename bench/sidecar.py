"""The chain that istiod pushes for an inbound HTTP port with mTLS: all its
filters, metrics and access log. Envoy gets it without Istio's own filters.
"""
import base64

from google.protobuf import struct_pb2

TYPED_STRUCT = 'type.googleapis.com/udpa.type.v1.TypedStruct'
EXTENSIONS = 'type.googleapis.com/envoy.extensions.'
LABELS = {'app': 'shop', 'version': 'v1',
          'service.istio.io/canonical-name': 'shop',
          'service.istio.io/canonical-revision': 'v1'}
METADATA = {'NAME': 'shop-v1-0', 'NAMESPACE': 'bench', 'CLUSTER_ID': 'Kubernetes',
            'WORKLOAD_NAME': 'shop-v1', 'ISTIO_VERSION': '1.30.0',
            'OWNER': 'kubernetes://apis/apps/v1/namespaces/bench/deployments/'
                     'shop-v1',
            'LABELS': LABELS}
NODE = {'id': 'sidecar~127.0.0.1~shop-v1-0.bench~bench.svc.cluster.local',
        'cluster': 'shop.bench', 'metadata': METADATA}
STATS_TAGS = [
    {'tag_name': 'cluster_name', 'regex': r'^cluster\.((.+?(\..+?\.svc\.'
                                          r'cluster\.local)?)\.)'},
    {'tag_name': 'http_conn_manager_prefix', 'regex': r'^http\.((.*?)\.)\w+$'},
]
# Only these have names of their own; the rest would count for nobody.
STATS_MATCHER = {'inclusion_list': {'patterns': [
    *({'prefix': p} for p in ('reporter=', 'cluster_manager', 'listener_manager',
                              'server', 'cluster.xds-grpc', 'wasm',
                              'component', 'istio', 'http.bench')),
    *({'suffix': s} for s in ('rbac.allowed', 'rbac.denied',
                              'downstream_cx_active')),
    {'safe_regex': {'regex': r'vhost\..*\.route\..*'}}]}}


def peer_headers():
    """What the client's sidecar says of itself."""
    struct = struct_pb2.Struct()
    struct.update({'NAME': 'cart-v1-0', 'NAMESPACE': 'bench',
                   'WORKLOAD_NAME': 'cart-v1', 'CLUSTER_ID': 'Kubernetes',
                   'OWNER': METADATA['OWNER'].replace('shop', 'cart'),
                   'LABELS': {k: v.replace('shop', 'cart')
                              for k, v in LABELS.items()}})
    words = base64.b64encode(struct.SerializeToString(deterministic=True))
    return {'x-envoy-peer-metadata-id': NODE['id'].replace('shop', 'cart'),
            'x-envoy-peer-metadata': words.decode()}


def network_filters():
    return [{'name': 'istio.metadata_exchange', 'typed_config': {
        '@type': TYPED_STRUCT,
        'type_url': 'type.googleapis.com/envoy.tcp.metadataexchange.config.'
                    'MetadataExchange',
        'value': {'enable_discovery': True,
                  'protocol': 'istio-peer-exchange'}}}]


def http_filters(istio):
    """In istiod's order; `istio`: with its own ones."""
    def filter_of(name, kind, **config):
        return {'name': name, 'typed_config': {'@type': kind, **config}}

    exchange = filter_of(
        'istio.metadata_exchange', TYPED_STRUCT,
        type_url='type.googleapis.com/io.istio.http.peer_metadata.Config',
        value={'downstream_discovery': [{'istio_headers': {}},
                                        {'workload_discovery': {}}],
               'downstream_propagation': [{'istio_headers': {}}]})
    stats = filter_of('istio.stats', 'type.googleapis.com/stats.PluginConfig',
                      disable_host_header_fallback=True)
    common = [
        filter_of('envoy.filters.http.grpc_stats',
                  EXTENSIONS + 'filters.http.grpc_stats.v3.FilterConfig',
                  emit_filter_state=True, stats_for_all_methods=False),
        filter_of('envoy.filters.http.fault',
                  EXTENSIONS + 'filters.http.fault.v3.HTTPFault'),
        filter_of('envoy.filters.http.cors',
                  EXTENSIONS + 'filters.http.cors.v3.Cors')]
    router = filter_of('envoy.filters.http.router',
                       EXTENSIONS + 'filters.http.router.v3.Router')
    if not istio:
        return [*common, router]
    return [exchange, *common, stats, router]


# Further fields of the connection manager.
MANAGER = {
    'tracing': {'client_sampling': {'value': 100},
                'random_sampling': {'value': 1},
                'overall_sampling': {'value': 100}},
    'server_name': 'istio-envoy', 'stream_idle_timeout': '0s',
    'use_remote_address': False,
    'forward_client_cert_details': 'APPEND_FORWARD',
    'set_current_client_cert_details': {'subject': True, 'dns': True,
                                        'uri': True},
    'proxy_100_continue': True,
    'upgrade_configs': [{'upgrade_type': 'websocket'}],
    'normalize_path': True,
    'path_with_escaped_slashes_action': 'KEEP_UNCHANGED',
    'request_id_extension': {'typed_config': {
        '@type': EXTENSIONS + 'request_id.uuid.v3.UuidRequestIdConfig',
        'use_request_id_for_trace_sampling': True}},
}
# Further fields of its one route.
ROUTE = {
    'timeout': '0s',
    'retry_policy': {'retry_on': 'reset-before-request', 'num_retries': 2},
    'max_stream_duration': {'max_stream_duration': '0s',
                            'grpc_timeout_header_max': '0s'},
}
LISTENER = {
    'traffic_direction': 'INBOUND',
    'listener_filters_timeout': '0s',
    'continue_on_listener_filters_timeout': True,
    'max_connections_to_accept_per_socket_event': 1,
    'listener_filters': [{
        'name': 'envoy.filters.listener.' + kind, 'typed_config': {
            '@type': f'{EXTENSIONS}filters.listener.{kind}.v3.{message}'}}
        for kind, message in (('tls_inspector', 'TlsInspector'),
                              ('http_inspector', 'HttpInspector'))],
}
MATCH = {'transport_protocol': 'tls',
         'application_protocols': ['istio', 'istio-peer-exchange',
                                   'istio-http/1.0', 'istio-http/1.1',
                                   'istio-h2']}
# What a sidecar's client offers (istio.alpn for HTTP/1.1).
CLIENT_ALPN = 'istio-http/1.1,istio,http/1.1'
