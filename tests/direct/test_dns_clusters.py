"""STRICT_DNS and LOGICAL_DNS clusters: which addresses are used, when they are asked for again, what survives a change."""
import time

import pytest
from support import config as c
from support.dns import NameServer
from support.wait import eventually, free_port


def named(dns, name, port, kind="STRICT_DNS", refresh="0.2s", **fields):
    """The cluster `named`, whose only endpoint is that name."""
    cluster = c.cluster("named", kind=kind, dns_lookup_family="V4_ONLY", dns_refresh_rate=refresh,
                        typed_dns_resolver_config=dns.resolver(), **fields)
    cluster["load_assignment"] = c.assignment("named", c.endpoint(port, name))
    return cluster


def two_origins(lab):
    """Origins with one port at 127.0.0.1 and 127.0.0.2."""
    first = lab.origin("first")
    return first, lab.origin("second", host="127.0.0.2", port=first.port)


def texts(lab, port, count=8):
    out = set()
    for _ in range(count):
        client = lab.client(port)
        out.add(client.get("/").text)
        client.close()
    return out


@pytest.fixture
def dns(lab):
    return lab.keep(NameServer())


def test_strict_dns_serves_all_addresses_and_follows_their_changes(lab, dns):
    first, _ = two_origins(lab)
    dns.names["svc.test"] = ["127.0.0.1", "127.0.0.2"]
    proxy = lab.http(named(dns, "svc.test", first.port))
    eventually(lambda: texts(lab, proxy.port) == {"first", "second"})
    dns.names["svc.test"] = ["127.0.0.2"]
    eventually(lambda: texts(lab, proxy.port) == {"second"})
    del dns.names["svc.test"]
    eventually(lambda: lab.client(proxy.port).get("/").status == 503, what="no such name: no endpoints")
    dns.names["svc.test"] = ["127.0.0.1"]
    eventually(lambda: texts(lab, proxy.port) == {"first"})


def test_a_server_that_falls_silent_leaves_the_addresses_it_told(lab, dns):
    first, _ = two_origins(lab)
    dns.names["svc.test"] = ["127.0.0.1"]
    cluster = named(dns, "svc.test", first.port)
    cluster["typed_dns_resolver_config"]["typed_config"].update(query_timeout_seconds=1, query_tries=1)
    proxy = lab.http(cluster)
    assert texts(lab, proxy.port) == {"first"}
    dns.silent = True
    eventually(lambda: "svc.test: " in proxy.log(), 5)
    assert texts(lab, proxy.port) == {"first"}


def test_logical_dns_uses_one_address_and_keeps_its_connections_while_the_others_rotate(lab, dns):
    first, second = two_origins(lab)
    dns.names["svc.test"] = ["127.0.0.1", "127.0.0.2"]
    proxy = lab.http(named(dns, "svc.test", first.port, kind="LOGICAL_DNS"))
    client = lab.client(proxy.port)
    assert client.get("/").text == "first"
    for _ in range(3):
        before = len(dns.asked)
        dns.names["svc.test"] = dns.names["svc.test"][::-1]
        eventually(lambda: len(dns.asked) > before + 1)
        assert client.get("/").text == "first"
    assert proxy.stat("cluster.named.upstream_cx_total") == 1
    dns.names["svc.test"] = ["127.0.0.2"]
    eventually(lambda: client.get("/").text == "second")
    before = len(dns.asked)
    del dns.names["svc.test"]
    eventually(lambda: len(dns.asked) > before + 2)
    assert client.get("/").text == "second", "no answer takes the last address away"


@pytest.mark.parametrize("respect, asked_again", [(True, True), (False, False)])
def test_the_records_ttl_counts_where_it_is_respected(lab, dns, respect, asked_again):
    first, _ = two_origins(lab)
    dns.names["svc.test"], dns.ttl = ["127.0.0.1"], 1
    lab.http(named(dns, "svc.test", first.port, refresh="60s", respect_dns_ttl=respect))
    time.sleep(1.6)
    assert (len(dns.asked) > 1) == asked_again


def test_endpoints_by_name_have_health_priority_and_metadata_as_others_do(lab, dns):
    first, _ = two_origins(lab)
    dns.names["one.test"], dns.names["two.test"] = ["127.0.0.1"], ["127.0.0.2"]
    cluster = named(dns, "one.test", first.port)
    cluster["load_assignment"] = c.assignment("named", c.endpoint(first.port, "one.test", health="UNHEALTHY"),
                                              c.endpoint(first.port, "two.test"))
    proxy = lab.http(cluster)
    assert texts(lab, proxy.port) == {"second"}


def by_cds(lab, dns, cluster):
    ads, port = lab.ads(), free_port()
    ads.set("cluster", cluster)
    ads.set("listener", c.listener("main", port, c.hcm([c.route("/", "named")])))
    return ads, port, lab.proxy(c.ads_bootstrap(ads.address), wait_ready=False)


def test_the_same_cluster_again_does_not_begin_its_warming_anew(lab, dns):
    """A control plane pushes everything again and again; a slow name server must not hold the start up for ever."""
    first, _ = two_origins(lab)
    dns.names["svc.test"], dns.silent = ["127.0.0.1"], True
    cluster = named(dns, "svc.test", first.port)
    cluster["typed_dns_resolver_config"]["typed_config"].update(query_timeout_seconds=1, query_tries=2)
    ads, port, proxy = by_cds(lab, dns, cluster)
    eventually(lambda: dns.asked)
    start = time.monotonic()
    for i in range(10):
        other = c.cluster(f"other{i}", first.port)
        ads.change({"cluster": [other, cluster]})
        time.sleep(0.3)
    proxy.wait_ready()
    assert time.monotonic() - start < 6
    assert len(dns.asked) < 12, "each push asked again"


def test_a_name_that_becomes_an_address_before_it_was_answered(lab, dns):
    first, _ = two_origins(lab)
    dns.silent = True
    cluster = named(dns, "svc.test", first.port)
    cluster["typed_dns_resolver_config"]["typed_config"].update(query_timeout_seconds=1, query_tries=1)
    ads, port, proxy = by_cds(lab, dns, cluster)
    eventually(lambda: dns.asked)
    ads.change({"cluster": [c.cluster("named", kind="EDS")]})  # and its endpoints do not come
    eventually(lambda: "named" in ads.subscribed("endpoints"))
    time.sleep(2.5)
    proxy.check_alive()
    ads.change({"endpoints": [c.assignment("named", first.port)]})
    proxy.wait_ready()
    assert texts(lab, port) == {"first"}


def test_the_old_names_serve_while_the_new_ones_are_not_answered(lab, dns):
    first, second = two_origins(lab)
    dns.names["old.test"] = ["127.0.0.1"]
    ads, port, proxy = by_cds(lab, dns, named(dns, "old.test", first.port))
    proxy.wait_ready()
    quiet = lab.keep(NameServer())
    quiet.silent = True
    new = named(quiet, "new.test", first.port, connect_timeout="3s")
    ads.change({"cluster": [new]})
    eventually(lambda: quiet.asked)
    dns.names["old.test"] = ["127.0.0.2"]
    eventually(lambda: texts(lab, port) == {"second"}, what="the old names are still asked for")
    quiet.names["new.test"], quiet.silent = ["127.0.0.1"], False
    eventually(lambda: texts(lab, port) == {"first"}, 8)
