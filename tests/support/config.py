"""Bootstrap pieces as plain dicts (JSON is YAML). Durations may be given as seconds."""
LOG_FIELDS = ["code", "flags", "details", "utfr", "host", "cluster", "attempts", "method", "path", "rx", "tx", "protocol",
              "route", "local", "sni", "termination", "xff", "duration"]
LOG_FORMAT = "\t".join([
    "%RESPONSE_CODE%", "%RESPONSE_FLAGS%", "%RESPONSE_CODE_DETAILS%", "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "%UPSTREAM_HOST%", "%UPSTREAM_CLUSTER_RAW%", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "%REQ(:METHOD)%", "%REQ(:PATH)%",
    "%BYTES_RECEIVED%", "%BYTES_SENT%", "%PROTOCOL%", "%ROUTE_NAME%", "%UPSTREAM_LOCAL_ADDRESS%",
    "%REQUESTED_SERVER_NAME%", "%CONNECTION_TERMINATION_DETAILS%", "%REQ(X-FORWARDED-FOR)%", "%DURATION%"]) + "\n"
ISTIO_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    '%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n')
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
TCP = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
UP_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
DOWN_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
PREVIOUS_HOSTS = {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}


def address(port, host="127.0.0.1"):
    if isinstance(port, str):
        return {"pipe": {"path": port}}
    return {"socket_address": {"address": host, "port_value": port}}


def access_log(text=LOG_FORMAT, path="@ACCESS_LOG@"):
    return {"name": "file", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": path,
        "log_format": {"text_format_source": {"inline_string": text}}}}


def endpoint(port, host="127.0.0.1", weight=None, health=None, metadata=None, hostname=None):
    out = {"endpoint": {"address": address(port, host)}}
    if weight:
        out["load_balancing_weight"] = weight
    if health:
        out["health_status"] = health
    if metadata:
        out["metadata"] = {"filter_metadata": {"envoy.transport_socket_match": metadata}}
    if hostname:
        out["endpoint"]["hostname"] = hostname
    return out


def assignment(name, *endpoints):
    """endpoints: ports or endpoint() dicts."""
    hosts = [e if isinstance(e, dict) else endpoint(e) for e in endpoints]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]}


def cluster(name, *endpoints, kind="STATIC", **fields):
    out = {"name": name, "type": kind, "connect_timeout": "2s"}
    if kind in ("STATIC", "STRICT_DNS"):
        out["load_assignment"] = assignment(name, *endpoints)
    if kind == "EDS":
        out["eds_cluster_config"] = {"eds_config": {"ads": {}, "resource_api_version": "V3"}}
    out.update(fields)
    return out


def http2(options=None):
    """typed_extension_protocol_options of an h2 cluster."""
    return {OPTIONS: {"@type": "type.googleapis.com/" + OPTIONS,
                      "explicit_http_config": {"http2_protocol_options": options or {}}}}


def http_options(**fields):
    return {OPTIONS: {"@type": "type.googleapis.com/" + OPTIONS, "explicit_http_config": {"http_protocol_options": {}}, **fields}}


def route(match, to, name=None, **fields):
    """match: a prefix or a match dict; to: a cluster, or a dict with route/redirect/direct_response/...; fields go to route."""
    out = {"match": {"prefix": match} if isinstance(match, str) else match}
    if name:
        out["name"] = name
    if isinstance(to, str):
        out["route"] = {"cluster": to, **fields}
    elif {"route", "redirect", "direct_response"} & set(to):
        out.update(to)
    else:
        out["route"] = {**to, **fields}
    return out


def virtual_hosts(routes, domains=("*",), name="all", **fields):
    return [{"name": name, "domains": list(domains), "routes": routes, **fields}]


def route_config(name, routes=None, hosts=None):
    return {"name": name, "virtual_hosts": hosts if hosts is not None else virtual_hosts(routes)}


def hcm(routes=None, hosts=None, rds=None, log=True, log_path="@ACCESS_LOG@", **fields):
    """log: True for the tests' own fields, or a format; log_path must be given where the bootstrap does not hold it."""
    config = {"@type": HCM, "stat_prefix": "test", "http_filters": [
        {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}]}
    if rds:
        config["rds"] = {"route_config_name": rds, "config_source": {"ads": {}, "resource_api_version": "V3"}}
    else:
        config["route_config"] = route_config("static", routes, hosts)
    if log:
        config["access_log"] = [access_log(log if isinstance(log, str) else LOG_FORMAT, log_path)]
    config.update(fields)
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def tcp_proxy(to, log=True, **fields):
    config = {"@type": TCP, "stat_prefix": "test"}
    config.update({"cluster": to} if isinstance(to, str) else to)
    if log:
        config["access_log"] = [access_log()]
    config.update(fields)
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": config}


def chain(*filters, tls=None, match=None, name=None, **fields):
    out = {"filters": list(filters), **fields}
    if tls:
        out["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    if match:
        out["filter_chain_match"] = match
    if name:
        out["name"] = name
    return out


def listener(name, port, *chains, host="127.0.0.1", inspect=(), **fields):
    """chains: chain() dicts, or filters that make one chain."""
    if chains and "typed_config" in chains[0]:
        chains = [chain(*chains)]
    out = {"name": name, "address": address(port, host), "filter_chains": list(chains), **fields}
    kinds = {"tls": "tls_inspector.v3.TlsInspector", "http": "http_inspector.v3.HttpInspector",
             "original_dst": "original_dst.v3.OriginalDst"}
    if inspect:
        out["listener_filters"] = [
            {"name": "envoy.filters.listener." + kinds[k].split(".")[0],
             "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener." + kinds[k]}} for k in inspect]
    return out


def pem(text):
    return {"inline_string": text}


def validation(ca, prefix=None, exact=None):
    out = {"trusted_ca": pem(ca)}
    if prefix or exact:
        matcher = {"prefix": prefix} if prefix else {"exact": exact}
        out["match_typed_subject_alt_names"] = [{"san_type": "URI", "matcher": matcher}]
    return out


def common_tls(cert=None, ca=None, prefix=None, exact=None, alpn=(), sds=None, sds_ca=None, params=None):
    """cert: a pki.Cert; sds/sds_ca: names of secrets to get through ADS."""
    out = {}
    ads = {"ads": {}, "resource_api_version": "V3"}
    if cert:
        out["tls_certificates"] = [{"certificate_chain": pem(cert.chain), "private_key": pem(cert.key)}]
    if sds:
        out["tls_certificate_sds_secret_configs"] = [{"name": sds, "sds_config": ads}]
    matchers = validation("x", prefix, exact).get("match_typed_subject_alt_names", [])
    if sds_ca:
        secret = {"name": sds_ca, "sds_config": ads}
        if matchers:
            out["combined_validation_context"] = {
                "default_validation_context": {"match_typed_subject_alt_names": matchers},
                "validation_context_sds_secret_config": secret}
        else:
            out["validation_context_sds_secret_config"] = secret
    elif ca:
        out["validation_context"] = validation(ca, prefix, exact)
    if alpn:
        out["alpn_protocols"] = list(alpn)
    if params:
        out["tls_params"] = params
    return out


def downstream_tls(require=True, **common):
    return {"@type": DOWN_TLS, "common_tls_context": common_tls(**common), "require_client_certificate": require}


def upstream_tls(sni=None, **common):
    typed = {"@type": UP_TLS, "common_tls_context": common_tls(**common)}
    if sni:
        typed["sni"] = sni
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}


def bootstrap(listeners=(), clusters=(), **fields):
    return {"static_resources": {"listeners": list(listeners), "clusters": list(clusters)}, **fields}


def ads_bootstrap(xds_address, delta=True, clusters=(), listeners=(), sds_address=None, **fields):
    """xds_address: port or unix socket path of the test's AdsServer."""
    xds = cluster("xds-grpc", xds_address, typed_extension_protocol_options=http2())
    api = {"api_type": "DELTA_GRPC" if delta else "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": True,
           "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]}
    ads = {"ads": {}, "resource_api_version": "V3"}
    extra = [cluster("sds-grpc", sds_address, typed_extension_protocol_options=http2())] if sds_address else []
    return bootstrap(listeners, [xds] + extra + list(clusters), dynamic_resources={
        "ads_config": api, "cds_config": {**ads, "initial_fetch_timeout": "0s"},
        "lds_config": {**ads, "initial_fetch_timeout": "0s"}}, **fields)
