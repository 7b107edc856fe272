"""The fixture `lab`: makes origins, clients, proxies and control planes, and takes all down in the right order."""
import pytest

from . import config as c
from .client import RawClient
from .origin import Origin
from .pki import Ca
from .proxy import PINNACE, Proxy
from .wait import RefusedPort, SilentPort, free_port


class Lab:
    def __init__(self, directory):
        self.directory, self.things, self.clients, self.proxies, self._ca = directory, [], [], [], None

    def keep(self, thing):
        self.things.append(thing)
        return thing

    def origin(self, name="origin", **options):
        return self.keep(Origin(name, **options))

    def refused_port(self):
        return self.keep(RefusedPort()).port

    def silent_port(self):
        return self.keep(SilentPort()).port

    def client(self, port, **options):
        self.clients.append(RawClient(port, **options))
        return self.clients[-1]

    def ca(self, name="ca"):
        return Ca(self.directory / "pki", name)

    def ads(self, **options):
        from .xds_server import AdsServer
        return self.keep(AdsServer(**options))

    def proxy(self, config, binary=PINNACE, **options):
        proxy = Proxy(self.directory / f"proxy{len(self.proxies)}", config, binary=binary, **options)
        self.proxies.append(proxy)
        return proxy

    def http(self, *clusters, routes=None, hosts=None, listener=None, chain=None, binary=PINNACE, options=None, **hcm):
        """A proxy with one HTTP listener (proxy.port). Without routes everything goes to the first cluster.

        Clusters may be origins. listener and chain: further fields; options: of Proxy; the rest: fields of the HCM.
        """
        clusters = [x if isinstance(x, dict) else c.cluster(x.name, x.port) for x in clusters]
        if routes is None and hosts is None:
            routes = [c.route("/", clusters[0]["name"])]
        port = free_port()
        fields = dict(listener or {})
        inspect = fields.pop("inspect", ())
        made = c.listener("http", port, c.chain(c.hcm(routes, hosts, **hcm), **(chain or {})), inspect=inspect, **fields)
        proxy = self.proxy(c.bootstrap([made], clusters), binary=binary, **(options or {}))
        proxy.port = port
        return proxy

    def tcp(self, *clusters, to=None, options=None, **fields):
        """A proxy with one tcp_proxy listener (proxy.port)."""
        clusters = [x if isinstance(x, dict) else c.cluster(x.name, x.port) for x in clusters]
        port = free_port()
        made = c.listener("tcp", port, c.tcp_proxy(to or clusters[0]["name"], **fields))
        proxy = self.proxy(c.bootstrap([made], clusters), **(options or {}))
        proxy.port = port
        return proxy

    def close(self):
        for client in self.clients:
            client.close()
        errors = []
        for proxy in reversed(self.proxies):  # who dials goes before who is dialled
            try:
                proxy.stop()
            except AssertionError as error:
                errors.append(str(error))
        for thing in reversed(self.things):
            thing.close()
        if errors:
            raise AssertionError("\n".join(errors))


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path)
    try:
        yield made
    finally:
        made.close()
