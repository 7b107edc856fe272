"""grpc's interop programs through two sidecars: client ──► outbound ══mTLS══► inbound ──► server, all of it HTTP/2."""
import socket
import subprocess

from support import config as c
from support import pki
from support.wait import eventually, free_port

# Of grpc's interop cases those that a proxy can get wrong; the others are about credentials, compression and load.
CASES = ["empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream", "custom_metadata",
         "status_code_and_message", "special_status_message", "unimplemented_method", "unimplemented_service", "cancel_after_begin",
         "cancel_after_first_response", "timeout_on_sleeping_server"]
CUT_SHORT = ["cancel_after_begin", "timeout_on_sleeping_server"]  # the client may give up before the server hears of it


class Server:
    """A program that serves on a port until it is closed; its output goes to a file."""

    def __init__(self, command, port, log_path):
        self.log_path = log_path
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        eventually(lambda: self.accepts(port), 60, f"{command[0]} on port {port}")

    def accepts(self, port):
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log()}")
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True

    def log(self):
        return self.log_path.read_text(errors="replace")

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def sidecars(lab, server_port, **binaries):
    """(outbound, inbound), connected by mTLS; outbound.port takes cleartext HTTP/2."""
    ca, between, entry = lab.ca(), free_port(), free_port()
    h2 = {"typed_extension_protocol_options": c.http2()}

    def http(to):
        return c.hcm([c.route("/", to, timeout="0s")], codec_type="HTTP2", stat_prefix=to)
    down = c.downstream_tls(cert=ca.issue("server"), ca=ca.pem, prefix=pki.DOMAIN, alpn=["h2"])
    inbound = lab.proxy(c.bootstrap([c.listener("inbound", between, c.chain(http("server"), tls=down), inspect=["tls"])],
                                    [c.cluster("server", server_port, **h2)]), **binaries)
    up = c.upstream_tls(cert=ca.issue("client"), ca=ca.pem, exact=pki.DOMAIN + "server", sni="outbound_.80_._.a.b", alpn=["h2"],
                        params={"tls_maximum_protocol_version": "TLSv1_3"})
    outbound = lab.proxy(c.bootstrap([c.listener("outbound", entry, http("sidecar"))],
                                     [c.cluster("sidecar", between, transport_socket=up, **h2)]), **binaries)
    outbound.port = entry
    return outbound, inbound


def run(command, seconds=40):
    """(how it ended, what it said)."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds)
        return f"ended with {done.returncode}", (done.stdout or b"").decode(errors="replace")
    except subprocess.TimeoutExpired as hung:
        return f"did not end in {seconds} s", (hung.stdout or b"").decode(errors="replace")


def story(parts, **proxies):
    """What everybody on the path said, for the message of a failure."""
    for name, proxy in proxies.items():
        parts[f"{name}'s access log"] = proxy.access_log.read_text(errors="replace") if proxy.access_log.exists() else ""
        parts[f"{name}'s log"] = proxy.log()
    return "".join(f"\n--- {title}:\n{text[-3000:] or '(nothing)'}" for title, text in parts.items())


def passes_through_two_sidecars(lab, client, server, case):
    """Runs one case; it passes when the client says so and neither sidecar has anything left of it."""
    port = free_port()
    served = lab.keep(Server([*server, "--use_tls=false", f"--port={port}"], port, lab.directory / "server.log"))
    outbound, inbound = sidecars(lab, port)
    ended, output = run([*client, "--use_tls=false", "--server_host=127.0.0.1", f"--server_port={outbound.port}", f"--test_case={case}"])

    def idle(proxy, name):
        return proxy.stat(f"http.{name}.downstream_rq_active") == proxy.stat(f"cluster.{name}.upstream_rq_active") == 0
    try:
        left = not eventually(lambda: idle(outbound, "sidecar") and idle(inbound, "server"), 5)
    except AssertionError as error:
        left = error
    told = story({f"client, which {ended}": output, "server": served.log()}, outbound=outbound, inbound=inbound)
    assert ended == "ended with 0", told
    assert not left, f"a request is left in the sidecars: {left}{told}"
    if case not in CUT_SHORT:
        assert inbound.stat("http.server.downstream_cx_ssl_total") >= 1
        assert inbound.stat("cluster.server.upstream_rq_total") == outbound.stat("cluster.sidecar.upstream_rq_total") >= 1
