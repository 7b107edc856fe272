"""How many client connections the process bears: overload_manager, the runtime key, and listeners that are exempt."""
import pytest
from support import config as c
from support.client import Closed, RawClient
from support.wait import eventually, free_port

MONITOR = {"overload_manager": {"resource_monitors": [{"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
    "max_active_downstream_connections": 3}}]}}
RUNTIME = {"layered_runtime": {"layers": [{"name": "limits", "static_layer": {"overload.global_downstream_max_connections": 3}}]}}


def made(lab, limit, concurrency=1, exempt=None, tcp=False):
    """A proxy whose first listener is limited; exempt: fields of a second one (proxy.exempt)."""
    origin = lab.origin()
    port, other = free_port(), free_port()
    filters = c.tcp_proxy("origin") if tcp else c.hcm([c.route("/", "origin")])
    listeners = [c.listener("limited", port, filters)]
    if exempt:
        listeners.append(c.listener("exempt", other, c.hcm([c.route("/", "origin")]), **exempt))
    proxy = lab.proxy(c.bootstrap(listeners, [c.cluster("origin", origin.port)], **limit), concurrency=concurrency)
    proxy.port, proxy.exempt = port, other
    return proxy


def served(client):
    return client.get("/").status == 200


def turned_away(client):
    try:
        client.get("/")
        return False
    except (Closed, ConnectionError):
        return True


def overflow(proxy):
    return proxy.stat(f"listener.127.0.0.1_{proxy.port}.downstream_global_cx_overflow")


@pytest.mark.parametrize("tcp", [False, True], ids=["http", "tcp"])
@pytest.mark.parametrize("limit", [MONITOR, RUNTIME], ids=["monitor", "runtime"])
def test_a_connection_over_the_limit_is_closed_at_once_and_one_that_ends_makes_room(lab, limit, tcp):
    proxy = made(lab, limit, tcp=tcp)
    clients = [lab.client(proxy.port) for _ in range(3)]
    assert all(served(client) for client in clients) and overflow(proxy) == 0
    assert turned_away(lab.client(proxy.port)) and overflow(proxy) == 1
    assert all(served(client) for client in clients)
    clients.pop().close()
    eventually(lambda: not turned_away(RawClient(proxy.port)), what="room again")


def test_the_limit_is_one_for_all_workers(lab):
    proxy = made(lab, MONITOR, concurrency=2)
    clients = [lab.client(proxy.port) for _ in range(3)]
    assert all(served(client) for client in clients)
    assert all(turned_away(lab.client(proxy.port)) for _ in range(5)) and overflow(proxy) == 5
    for client in clients:
        client.close()
    eventually(lambda: proxy.stat(f"listener.127.0.0.1_{proxy.port}.downstream_cx_active") == 0)
    clients = [lab.client(proxy.port) for _ in range(3)]
    assert all(served(client) for client in clients), "places that were handed to another worker came back"


@pytest.mark.parametrize("exempt", ["ignore_global_conn_limit", "bypass_overload_manager"])
def test_an_exempt_listener_is_neither_limited_nor_counted(lab, exempt):
    proxy = made(lab, MONITOR, exempt={exempt: True})
    assert all(served(lab.client(proxy.exempt)) for _ in range(5))
    assert all(served(lab.client(proxy.port)) for _ in range(3))
    assert turned_away(lab.client(proxy.port)) and overflow(proxy) == 1


def test_connections_that_were_never_served_give_their_places_back(lab):
    proxy = made(lab, MONITOR)
    prefix = f"listener.127.0.0.1_{proxy.port}.downstream_cx_"
    for count in range(3, 31, 3):
        for client in [RawClient(proxy.port) for _ in range(3)]:
            client.close()
        eventually(lambda: proxy.stat(prefix + "total") == count and proxy.stat(prefix + "active") == 0)
    assert all(served(lab.client(proxy.port)) for _ in range(3))


def test_istiods_number_is_no_limit(lab):
    huge = {"overload_manager": {"resource_monitors": [{**MONITOR["overload_manager"]["resource_monitors"][0], "typed_config": {
        **MONITOR["overload_manager"]["resource_monitors"][0]["typed_config"], "max_active_downstream_connections": 2147483647}}]}}
    proxy = made(lab, huge)
    assert all(served(lab.client(proxy.port)) for _ in range(20))


def test_another_monitor_is_named_and_left_out(lab):
    other = {"overload_manager": {"resource_monitors": [{"name": "envoy.resource_monitors.fixed_heap", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": 1}}]}}
    proxy = made(lab, other)
    assert served(lab.client(proxy.port)) and "resource_monitors[envoy.resource_monitors.fixed_heap]: not supported by pinnace" in proxy.log()
