"""Where a real Envoy decides otherwise and pinnace is not to follow: each with its reason.

A quirk is a function of a case and both decisions. When it explains a difference between them it takes that difference (no more) out of
both and says so; what is left must be equal. One that never shows any more fails the tests: strike it.
"""
QUIRKS = {}


def quirk(reason):
    def add(function):
        QUIRKS[function.__name__] = (reason, function)
        return function
    return add


def explained(case, envoy, ours):
    """The names of the quirks that took something out of the two decisions."""
    return [name for name, (_, function) in QUIRKS.items() if envoy != ours and function(case, envoy, ours)]


def lines(decision, kind):
    return [line for line in decision["log"] if line["where"].startswith(kind)]


def ended(decision):
    return decision["client"].get("ended", "")


@quirk("A malformed HTTP/2 request ends its stream (RFC 9113 8.1.1); Envoy drops the connection without a word, a second later.")
def malformed_http2(case, envoy, ours):
    if case["kind"] != "http2" or ended(ours) != "StreamReset 1" or ended(envoy) not in ("closed", "silence"):
        return False
    envoy["client"]["ended"] = ours["client"]["ended"]
    return True


@quirk("Envoy joins two host fields by a comma and routes by the result; RFC 9112 3.2 demands 400, and pinnace obeys.")
def two_hosts(case, envoy, ours):
    if "header 'host: " not in case["what"] or ours["client"].get("status") != 400:
        return False
    envoy.clear(), ours.clear()
    return True


@quirk("HTTP/1.0 is refused with 426 by both. Envoy does it before it has decoded the head, so its log lacks method, path and authority.")
def http10_log(case, envoy, ours):
    if not (envoy["client"].get("status") == ours["client"].get("status") == 426):
        return False
    for line in envoy["log"] + ours["log"]:
        for field in ("method", "path", "authority", "protocol"):
            line.pop(field, None)
    return True


@quirk("Envoy's tls_inspector waits for the five bytes of a record's head whatever the first one is; pinnace sees from the first that "
       "it is no TLS. Istio sets no timeout, so with Envoy such a client waits for ever.")
def five_bytes(case, envoy, ours):
    if case["kind"] != "raw" or len(case["send"]) >= 5 or case.get("tls") or ended(envoy) != "silence" or envoy["log"]:
        return False
    envoy.clear(), ours.clear()
    return True


@quirk("Envoy's tcp_proxy connects upstream before the client's certificate is verified; pinnace only after. The client is refused by "
       "both, but Envoy's log names a cluster and the endpoint got an empty connection.")
def upstream_before_handshake(case, envoy, ours):
    if not case.get("tls") or case["tls"]["cert"] == "good" or ours["origin"] or envoy["origin"] or not lines(ours, "TCP"):
        return False
    for line in lines(envoy, "TCP") + lines(ours, "TCP"):
        for field in ("cluster", "upstream", "upstream_from", "peer"):
            line.pop(field, None)
    return True


@quirk("A local answer to HEAD that Envoy makes for want of a route says transfer-encoding: chunked; pinnace's says nothing of a body.")
def head_without_route(case, envoy, ours):
    chunked = ["transfer-encoding", "chunked"]
    if case["kind"] != "http1" or not case["send"].startswith("HEAD ") or chunked not in envoy["client"].get("headers", []):
        return False
    if envoy["client"]["status"] != 404 or envoy["origin"]:
        return False
    envoy["client"]["headers"].remove(chunked)
    return True


@quirk("pinnace passes a half-close of an upgraded stream on, as a tunnel's end (RFC 6455 7.1.1 lets the server go first); Envoy ends "
       "the stream with DC. And connection is each hop's own field: pinnace writes its own, Envoy the origin's spelling of it.")
def end_of_a_websocket(case, envoy, ours):
    if envoy["client"].get("status") != 101 or ours["client"].get("status") != 101:
        return False
    for decision in (envoy, ours):
        decision["client"]["headers"] = [h for h in decision["client"]["headers"] if h[0] != "connection"]
        for line in decision["log"]:
            for field in ("flags", "details"):
                line.pop(field, None)
    return True
