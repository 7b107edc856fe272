"""Every protocol on either side, whole exchanges and such as are cut: what client and origin see of pinnace and of Envoy."""
import matrix
import matrix_cuts  # noqa: F401
import matrix_h1  # noqa: F401
import matrix_h2  # noqa: F401
import pytest
from support import config as c
from support import h1peer, h2peer, peer, pki
from support.lab import Lab
from support.proxy import ENVOY, PINNACE
from support.wait import eventually, free_port
from matrix_table import DELIBERATE, deliberate

DOWN, UP = ["h1", "h2", "h1-tls", "h2-tls"], ["h1", "h2"]
PEERS = {"h1": h1peer, "h2": h2peer}
VARY = {"x-request-id", "date", "x-envoy-upstream-service-time", "sec-websocket-key"}  # only that they are there
class Side:
    """One proxy with its two origins: `/h1` leads to one, `/h2` to the other."""

    def __init__(self, lab, binary):
        self.binary, self.origins = binary, {"h1": lab.keep(h1peer.origin()), "h2": lab.keep(h2peer.origin())}
        cert = lab.ca().issue("server")
        tls = c.downstream_tls(require=False, cert=cert, alpn=["h2", "http/1.1"])
        self.context = {p: pki.client_context(alpn=[a]) for p, a in (("h1", "http/1.1"), ("h2", "h2"))}
        trailers = {"enable_trailers": True}
        options = {"h1": c.http_options(explicit_http_config={"http_protocol_options": trailers}), "h2": c.http2({"allow_connect": True})}
        clusters = [c.cluster(p, self.origins[p].port, typed_extension_protocol_options=options[p]) for p in UP]
        routes = [c.route("/" + p, p, timeout="0s") for p in UP]
        manager = c.hcm(routes, http_protocol_options=trailers, http2_protocol_options={"allow_connect": True},
                        upgrade_configs=[{"upgrade_type": "websocket"}], delayed_close_timeout="0.2s")
        self.ports = {"clear": free_port(), "tls": free_port()}
        self.proxy = lab.proxy(c.bootstrap([c.listener("clear", self.ports["clear"], manager),
                                            c.listener("tls", self.ports["tls"], c.chain(manager, tls=tls))], clusters), binary=binary)

    def client(self, down):
        protocol, _, tls = down.partition("-")
        return PEERS[protocol].ClientConnection(self.ports["tls" if tls else "clear"], self.context[protocol] if tls else None)

    def settle(self):
        """Every connection is gone, so that the next case finds nothing of this one."""
        for origin in self.origins.values():
            origin.forget()
        gauges = ["http.test.downstream_cx_active", "http.test.downstream_rq_active"]
        gauges += [f"cluster.{p}.upstream_{what}_active" for p in UP for what in ("cx", "rq", "rq_pending")]

        def left():
            return {g: n for g in gauges if (n := self.proxy.stat(g))}
        try:
            eventually(lambda: not left(), 10)
        except AssertionError:
            return left()
        return None


class Talk:
    """One case under way on one side."""

    def __init__(self, side, down, up, name):
        self.side, self.origin, self.path = side, side.origins[up], f"/{up}/{down}/{name}"
        self.client = side.client(down)
        self.calls, self.exchanges, self.asked = [], [], 0

    def call(self, method, **options):
        self.asked += 1
        self.calls.append(self.client.request(method, self.path, **options))
        return self.calls[-1]

    def expect(self, method):
        self.asked += 1
        self.calls.append(self.client.expect(method))
        return self.calls[-1]

    def served(self, timeout=peer.PATIENCE):
        """The origin's end of the next request; with a short timeout None when there is none."""
        try:
            self.exchanges.append(self.origin.next(timeout))
        except AssertionError:
            if timeout == peer.PATIENCE:
                raise
            return None
        return self.exchanges[-1]

    def wait_gone(self, served):
        """Until the origin knows that its exchange was given up."""
        eventually(lambda: served.connection.ended or served.received.late_reset is not None, 3)

    def wait_upstream_gone(self):
        """Until the proxy has seen that its origins closed: what is asked next must not meet a closing connection."""
        eventually(lambda: not any(self.side.proxy.stat(f"cluster.{p}.upstream_cx_active") for p in UP), 3)

    def drive(self, work):
        """None, or at which step the case got stuck."""
        try:
            work(self)
            for call, served in zip(self.calls, self.exchanges):
                if call.received.ended == peer.OUR_END and not served.sent_end:
                    self.wait_gone(served)
        except AssertionError as error:
            return str(error).partition("; came")[0]
        return None

    def story(self, stuck):
        """What both ends saw."""
        for stream in self.calls + self.exchanges:
            try:
                stream.received.wait_end(0.1 if stuck else 3)
            except AssertionError:
                stream.received.end("nothing more comes")
        after = "we ended it" if self.client.wire.stopped else self.client.works(f"{self.path}/after", self.calls[-1])
        return {"stuck": stuck, "client": [seen(x.received) for x in self.calls], "afterwards": after,
                "origin": [seen(x.received) for x in self.exchanges + self.origin.requests[self.origin.taken:]]}

    def logged(self):
        """What the access log says of this case: as many lines as there were calls."""
        def lines():
            text = self.side.proxy.access_log.read_text(errors="replace")
            mine = [dict(zip(c.LOG_FIELDS, x.split("\t"))) for x in text.splitlines() if f"\t{self.path}\t" in x]
            return len(mine) >= self.asked and mine
        try:
            return eventually(lines, 2)
        except (AssertionError, OSError):
            return []

    def evidence(self):
        """What to show when the story is wrong."""
        lines = [f"--- {self.side.binary}"]
        for name, connection in [("client", self.client)] + [("origin", x) for x in self.origin.connections]:
            lines += [f"{name}'s frames:"] * bool(connection.trace) + connection.trace
        return "\n".join(lines + ["access log:"] + ["\t".join(x.values()) for x in self.logged()])


def seen(received):
    def fields(these):
        return sorted((k, "*" if k in VARY else v) for k, v in these or ())
    cut = received.ended != peer.COMPLETE and received.body.size > 1000
    return {"head": fields(received.head), "informational": [fields(x) for x in received.informational],
            "body": "as much as had passed" if cut else received.body.value(), "trailers": fields(received.trailers), "ended": received.ended,
            "reset": None if received.ended == peer.OUR_END else received.late_reset}


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("matrix"))
    yield [Side(lab, binary) for binary in (ENVOY, PINNACE)]
    lab.close()


def run(side, down, up, name):
    """(what both ends saw, what to show when that is wrong)."""
    talk = Talk(side, down, up, name)
    told = talk.story(talk.drive(matrix.CASES[name][0]))
    talk.client.wire.close()
    evidence = talk.evidence()
    log = [{k: x[k] for k in ("code", "flags", "details", "rx", "tx", "protocol")} for x in talk.logged()]
    return {**told, "log": log, "left": side.settle()}, evidence


def differences(theirs, ours, where=""):
    """(where, Envoy's, pinnace's) of everything that differs."""
    if isinstance(theirs, dict):
        return [found for key in theirs for found in differences(theirs[key], ours[key], f"{where} {key}".strip())]
    if isinstance(theirs, list) and len(theirs) == len(ours) and theirs and isinstance(theirs[0], dict):
        return [found for i, (a, b) in enumerate(zip(theirs, ours)) for found in differences(a, b, f"{where} {i}")]
    return [] if theirs == ours else [(where, theirs, ours)]


def combinations():
    for down in DOWN:
        for up in UP:
            for name, (_, only) in matrix.CASES.items():
                if all(word in (f"down {down[:2]}", f"up {up}") for word in only):
                    yield pytest.param(down, up, name, id=f"{down}-{up}-{name}")


@pytest.mark.parametrize("down, up, name", list(combinations()))
def test_client_and_origin_see_the_same_of_both_proxies(sides, down, up, name):
    (theirs, their_evidence), (ours, our_evidence) = (run(side, down, up, name) for side in sides)
    differ = [x for x in differences(theirs, ours) if not deliberate(down[:2], up, name, *x)]
    assert not differ, "\n".join(f"{where}:\n  Envoy:   {a}\n  pinnace: {b}" for where, a, b in differ) + "\n" + their_evidence + "\n" + our_evidence


def test_every_deliberate_difference_names_a_case():
    assert set(matrix.CASES) >= {name for name, _ in DELIBERATE}
