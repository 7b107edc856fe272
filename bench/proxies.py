"""The programs under test, and what each is told to do.

All do the same work: one thread, connections kept on both sides, to one
origin. pinnace (and Envoy, from the same file) also route, log and count.
"""
import dataclasses
import json
import os
import subprocess

import sidecar
from processes import BenchError, free_port, wait_listening

# Istio's default text format for access logs.
ACCESS_LOG_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% '
    '%PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% '
    '%CONNECTION_TERMINATION_DETAILS% '
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% '
    '%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% '
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" '
    '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% '
    '%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% '
    '%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n')
NO_LIMIT = 4294967295
ONE_SUITE = 'ssl-min-ver TLSv1.3 ciphersuites TLS_AES_128_GCM_SHA256'
STAT_PREFIX = 'bench'
HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'

HAPROXY_COMMON = '''\
global
  nbthread 1
  maxconn 9000
{extra}
defaults
{mode}
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
'''


HTTP_MODE = '  mode http\n  http-reuse always'


class Certificates:
    """A P-256 authority and the identities of both ends of the mTLS hop."""

    def __init__(self, folder):
        self._folder = folder
        self.ca = os.path.join(folder, 'ca.pem')
        ca_key = os.path.join(folder, 'ca.key')
        self._request('/CN=bench', self.ca, ca_key, [
            '-addext', 'keyUsage=critical,keyCertSign'])
        for name in ('server', 'client'):
            chain, key, both = self.chain(name), self.key(name), self.both(name)
            self._request(f'/O=bench/CN={name}', chain, key, [
                '-CA', self.ca, '-CAkey', ca_key,
                '-addext', 'basicConstraints=critical,CA:FALSE',
                '-addext', 'keyUsage=critical,digitalSignature',
                '-addext', 'extendedKeyUsage=serverAuth,clientAuth',
                '-addext', 'subjectAltName=URI:'
                           f'spiffe://cluster.local/ns/bench/sa/{name}'])
            with open(both, 'w') as out:
                for part in (chain, key):
                    with open(part) as f:
                        out.write(f.read())

    def chain(self, name):
        return os.path.join(self._folder, f'{name}.pem')

    def key(self, name):
        return os.path.join(self._folder, f'{name}.key')

    def both(self, name):
        return os.path.join(self._folder, f'{name}.both.pem')

    @staticmethod
    def _request(subject, chain, key, extra):
        done = subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
             'ec_paramgen_curve:P-256', '-nodes', '-sha256', '-days', '2',
             '-subj', subject, '-keyout', key, '-out', chain, *extra],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=60, check=False)
        if done.returncode != 0:
            raise BenchError(f'openssl req: {done.stderr.strip()}')


@dataclasses.dataclass
class Hop:
    """What one proxy is between: its protocol on both sides, and the
    certificates if its clients, or the server behind it, speak mTLS."""
    http2: bool = False
    tcp: bool = False  # bytes, not requests
    sidecar: bool = False  # the whole chain that istiod pushes (sidecar.py)
    istio: bool = False    # with Istio's own filters
    server_tls: Certificates = None
    client_tls: Certificates = None


class Proxy:
    """A running proxy; admin_port and access_log only where it has them. A
    pair of sidecars is the one that is driven, with the other as `next`."""

    def __init__(self, name, process, port, admin_port=None, access_log=None):
        self.name = name
        self.process = process
        self.port = port
        self.admin_port = admin_port
        self.access_log = access_log
        self.driven_port = port  # where wrk goes: the client side, if any
        self.requests = 0        # that wrk saw answered
        self.logged = 0          # lines seen in the access log
        self.next = None

    @property
    def pid(self):
        return self.process.pid

    @property
    def pids(self):
        return [self.pid] + (self.next.pids if self.next else [])

    def check(self):
        self.process.check()
        if self.next:
            self.next.check()


def start_origin(processes, program, size):
    port = free_port()
    process = processes.start('origin', [
        program, '--port', port, '--size', size])
    wait_listening(process, port)
    return port


def start_relay(processes, program, origin_port):
    port = free_port()
    process = processes.start('relay', [program, port, origin_port])
    wait_listening(process, port)
    return Proxy('relay', process, port)


def start_haproxy(processes, origin_port, hop, name='haproxy'):
    port = free_port()
    alpn = 'h2' if hop.http2 else 'http/1.1'
    bind = server = ' proto h2' if hop.http2 else ''
    if hop.server_tls:
        bind = (f' ssl crt {hop.server_tls.both("server")} '
                f'ca-file {hop.server_tls.ca} verify required '
                f'ssl-min-ver TLSv1.2 alpn {alpn}')
    if hop.client_tls:
        server = (f' ssl crt {hop.client_tls.both("client")} '
                  f'ca-file {hop.client_tls.ca} verify required {ONE_SUITE} '
                  f'alpn {alpn}')
    mode = '  mode tcp' if hop.tcp else HTTP_MODE
    config = HAPROXY_COMMON.format(extra='', mode=mode) + f'''
listen bench
  bind 127.0.0.1:{port}{bind}
  server origin 127.0.0.1:{origin_port}{server}
'''
    process = _start_haproxy(processes, name, config)
    wait_listening(process, port)
    return Proxy(name, process, port)


def start_client_side(processes, proxies, certificates, as_sidecar=False):
    """One HAProxy that turns wrk's plain requests into mTLS, with a port for
    each proxy under test. Returns its statistics socket. One cipher suite, so
    that TLS libraries of other tastes have the same work. As a sidecar it also
    says who it is, to all of them."""
    socket_path = os.path.join(processes.folder, 'client-side.sock')
    config = HAPROXY_COMMON.format(
        extra=f'  stats socket {socket_path} level user', mode=HTTP_MODE)
    headers = sidecar.peer_headers() if as_sidecar else {}
    alpn = sidecar.CLIENT_ALPN if as_sidecar else 'http/1.1'
    for proxy in proxies:
        proxy.driven_port = free_port()
        config += f'''
listen {proxy.name}
  bind 127.0.0.1:{proxy.driven_port}
''' + ''.join(f'  http-request set-header {name} {value}\n'
                for name, value in headers.items()) + f'''\
  server hop 127.0.0.1:{proxy.port} pool-purge-delay 600s ssl \
crt {certificates.both("client")} ca-file {certificates.ca} verify required \
{ONE_SUITE} alpn {alpn}
'''
    process = _start_haproxy(processes, 'client-side', config)
    for proxy in proxies:
        wait_listening(process, proxy.driven_port)
    return socket_path


def _start_haproxy(processes, name, config):
    path = os.path.join(processes.folder, f'{name}.cfg')
    with open(path, 'w') as f:
        f.write(config)
    return processes.start(name, ['haproxy', '-db', '-f', path])


def start_envoy_like(processes, name, program, extra_args, origin_port, hop):
    """pinnace, or Envoy: whatever takes Envoy's command line and bootstrap."""
    port, admin_port = free_port(), free_port()
    access_log = os.path.join(processes.folder, f'{name}.access.log')
    path = os.path.join(processes.folder, f'{name}.json')
    with open(path, 'w') as f:
        json.dump(bootstrap(port, admin_port, origin_port, access_log, hop),
                  f, indent=1)
    process = processes.start(name, [
        program, '-c', path, '--concurrency', 1, '-l', 'warning', *extra_args])
    wait_listening(process, port)
    return Proxy(name, process, port, admin_port, access_log)


def bootstrap(port, admin_port, origin_port, access_log, hop):
    filters = ({'name': 'envoy.filters.network.tcp_proxy',
                'typed_config': _tcp_proxy(access_log)} if hop.tcp else
               {'name': 'envoy.filters.network.http_connection_manager',
                'typed_config': _connection_manager(access_log, hop)})
    chain = {'filters': [filters]}
    more = sidecar.LISTENER if hop.sidecar else {}
    stats = {'stats_config': {
        'use_all_default_tags': False, 'stats_tags': sidecar.STATS_TAGS,
        'stats_matcher': sidecar.STATS_MATCHER}} if hop.sidecar else {}
    if hop.sidecar:
        chain['filter_chain_match'] = sidecar.MATCH
    if hop.istio:
        chain['filters'] = sidecar.network_filters() + chain['filters']
    if hop.server_tls:
        chain['transport_socket'] = {
            'name': 'envoy.transport_sockets.tls',
            'typed_config': _downstream_tls(hop.server_tls)}
    return {
        'node': (sidecar.NODE if hop.sidecar else
                 {'id': 'bench', 'cluster': 'bench'}),
        **stats,
        'admin': {'address': _address(admin_port)},
        'static_resources': {
            'listeners': [{'name': 'bench', 'address': _address(port),
                           'filter_chains': [chain], **more}],
            'clusters': [_cluster(origin_port, hop)]}}


def _address(port):
    return {'socket_address': {'address': '127.0.0.1', 'port_value': port}}


def _cluster(origin_port, hop):
    more = {}
    if hop.http2:
        more['typed_extension_protocol_options'] = {HTTP_OPTIONS: {
            '@type': 'type.googleapis.com/' + HTTP_OPTIONS,
            'explicit_http_config': {'http2_protocol_options': {}}}}
    if hop.client_tls:
        more['transport_socket'] = {
            'name': 'envoy.transport_sockets.tls',
            'typed_config': _upstream_tls(hop)}
    limits = ('max_connections', 'max_pending_requests', 'max_requests',
              'max_retries')
    return {
        'name': 'origin', 'type': 'STATIC', 'connect_timeout': '1s', **more,
        'circuit_breakers': {'thresholds': [dict.fromkeys(limits, NO_LIMIT)]},
        'load_assignment': {
            'cluster_name': 'origin',
            'endpoints': [{'lb_endpoints': [
                {'endpoint': {'address': _address(origin_port)}}]}]}}


def _connection_manager(access_log, hop):
    manager = _plain_manager(access_log)
    if hop.sidecar:
        manager.update(sidecar.MANAGER)
        manager['http_filters'] = sidecar.http_filters(hop.istio)
        manager['route_config']['virtual_hosts'][0]['routes'][0][
            'route'].update(sidecar.ROUTE)
    return manager


def _plain_manager(access_log):
    return {
        '@type': 'type.googleapis.com/envoy.extensions.filters.network.'
                 'http_connection_manager.v3.HttpConnectionManager',
        'stat_prefix': STAT_PREFIX,
        'route_config': {
            'name': 'bench',
            'virtual_hosts': [{
                'name': 'all', 'domains': ['*'],
                'routes': [{'name': 'origin', 'match': {'prefix': '/'},
                            'route': {'cluster': 'origin',
                                      'timeout': '0s'}}]}]},
        'http_filters': [{
            'name': 'envoy.filters.http.router',
            'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.'
                                      'filters.http.router.v3.Router'}}],
        'access_log': _access_log(access_log)}


def _tcp_proxy(access_log):
    return {
        '@type': 'type.googleapis.com/envoy.extensions.filters.network.'
                 'tcp_proxy.v3.TcpProxy',
        'stat_prefix': STAT_PREFIX, 'cluster': 'origin',
        'access_log': _access_log(access_log)}


def _access_log(path):
    return [{
        'name': 'envoy.access_loggers.file',
        'typed_config': {
            '@type': 'type.googleapis.com/envoy.extensions.'
                     'access_loggers.file.v3.FileAccessLog',
            'path': path,
            'log_format': {'text_format_source': {
                'inline_string': ACCESS_LOG_FORMAT}}}}]


def _upstream_tls(hop):
    certificates = hop.client_tls
    return {
        '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.'
                 'tls.v3.UpstreamTlsContext',
        'common_tls_context': {
            'alpn_protocols': ['h2' if hop.http2 else 'http/1.1'],
            'tls_params': {'tls_minimum_protocol_version': 'TLSv1_3',
                           'tls_maximum_protocol_version': 'TLSv1_3'},
            'tls_certificates': [{
                'certificate_chain': {'filename': certificates.chain('client')},
                'private_key': {'filename': certificates.key('client')}}],
            'validation_context': _validation(certificates)}}


def _validation(certificates):
    return {'trusted_ca': {'filename': certificates.ca},
            'match_typed_subject_alt_names': [{
                'san_type': 'URI',
                'matcher': {'prefix': 'spiffe://cluster.local/'}}]}


def _downstream_tls(certificates):
    return {
        '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.'
                 'tls.v3.DownstreamTlsContext',
        'require_client_certificate': True,
        'common_tls_context': {
            'alpn_protocols': ['h2', 'http/1.1'],
            'tls_params': {'tls_minimum_protocol_version': 'TLSv1_2',
                           'tls_maximum_protocol_version': 'TLSv1_3'},
            'tls_certificates': [{
                'certificate_chain': {'filename': certificates.chain('server')},
                'private_key': {'filename': certificates.key('server')}}],
            'validation_context': _validation(certificates)}}
