"""A name server on loopback: A records by name, answered as the test says, in time or never (RFC 1035)."""
import socket
import struct
import threading


class NameServer:
    """names: name -> list of IPv4 addresses ([]: there is none of that type; absent: no such name)."""

    def __init__(self, **names):
        self.names, self.ttl, self.silent, self.asked = dict(names), 60, False, []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.1)
        self.stopping = False
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def resolver(self):
        """typed_dns_resolver_config that asks here."""
        return {"name": "envoy.network.dns_resolver.cares", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": self.port}}],
            "dns_resolver_options": {"no_default_search_domain": True}, "udp_max_queries": 100}}

    def close(self):
        self.stopping = True
        self.thread.join(5)
        self.socket.close()

    def _serve(self):
        while not self.stopping:
            try:
                query, peer = self.socket.recvfrom(1500)
            except OSError:  # nothing came in time
                continue
            name, kind, question = self._question(query)
            self.asked.append(name)
            if self.silent:
                continue
            addresses = self.names.get(name)
            records = [b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, self.ttl, 4) + socket.inet_aton(a)
                       for a in (addresses or []) if kind == 1]
            code = 3 if addresses is None else 0
            head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(records), 0, 0)
            self.socket.sendto(head + question + b"".join(records), peer)

    @staticmethod
    def _question(query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind = struct.unpack("!H", query[at + 1:at + 3])[0]
        return ".".join(labels).lower(), kind, query[12:at + 5]
