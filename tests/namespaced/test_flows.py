"""The mesh of the demo under test: real proxies, the translator, iptables, mutual TLS."""

import json
import subprocess
import threading
import time

import pytest

from conftest import edited, envoy, replaced
from demo.dumps import Dump
from demo.flows import FRONTEND_ID, SPIFFE, Flows
from demo.hops import follow
from demo.scene import APP, CLIENT, EGRESS, FRONTEND, INGRESS, LEDGER, PYTHON, REVIEWS_V1, REVIEWS_V2, WORKLOADS, tail
from support.wait import eventually

DIRECTIONS = ["ingress", "service_to_service", "tcp", "egress_registered", "egress_unregistered"]
REVIEWS = "reviews.default.svc.cluster.local"

# Speaks TLS to a sidecar's inbound as a peer of the mesh would, with the given identity, and sends one request.
PEER = """
import socket, ssl, sys
address, alpn, certificate, key = (sys.argv[1:] + [None, None])[:4]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols([alpn])
if certificate:
    context.load_cert_chain(certificate, key)
with socket.create_connection((address, 9080), 5) as plain, context.wrap_socket(plain) as secured:
    secured.sendall(b"GET / HTTP/1.1\\r\\nhost: reviews\\r\\nconnection: close\\r\\n\\r\\n")
    print(secured.makefile("rb").readline().decode())
"""

# Speaks first: a sidecar that takes both looks at the first bytes to tell TLS from plain text, as Istio's does.
PLAIN_TCP = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as connection:
    lines = connection.makefile("rw")
    print("a line", file=lines, flush=True)
    print(lines.readline() + lines.readline(), end="")
"""

# Requests one after the other, each second one on a new connection, until a file appears; says what they gave.
LOAD = """
import collections, http.client, os, sys
host, port, path, end = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
seen, connection, count = collections.Counter(), None, 0
while not os.path.exists(end):
    try:
        connection = connection or http.client.HTTPConnection(host, port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        seen[str(answer.status)] += 1
    except Exception as error:
        seen[repr(error)] += 1
        connection = None
    count += 1
    if connection and count % 2 == 0:
        connection.close()
        connection = None
import json
print(json.dumps(seen))
"""


def assert_good(told):
    assert told.good, [what for what, holds in told.checks if not holds] + [told.answer, *map(str, told.hops)]


def get(scene, pod, url):
    """The status, or what curl says of the failure, and the JSON that came."""
    done = scene.pods[pod].run(["curl", "-sS", "-m", "10", "-w", "\n%{http_code}", url], uid=APP, timeout=15)
    body, _, code = done.stdout.rpartition("\n")
    return (done.stderr.strip() if code == "000" else code), json.loads(body) if body.startswith("{") else body


def xfcc(document):
    return dict(document["headers"]).get("x-forwarded-client-cert", "")


class Load:
    """Requests from several pods at once while the block runs; `seen` afterwards, by status."""

    def __init__(self, scene, *sources):
        self.scene, self.sources, self.seen = scene, sources, {}

    def __enter__(self):
        self.end = {pod: self.scene.pods[pod].folder / "load-ends" for pod, *_ in self.sources}
        self.threads = [threading.Thread(target=self._run, args=source) for source in self.sources]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for end in self.end.values():
            end.touch()
        for thread in self.threads:
            thread.join()
        for end in self.end.values():
            end.unlink()

    def _run(self, pod, host, port, path):
        done = self.scene.pods[pod].run([PYTHON, "-c", LOAD, host, port, path, self.end[pod]], uid=APP, timeout=90)
        for result, count in json.loads(done.stdout or json.dumps({done.stderr: 1})).items():
            self.seen[result] = self.seen.get(result, 0) + count


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_each_direction_over_iptables(flows, direction):
    assert_good(getattr(flows, direction)())


def test_proxies_run_as_uid_1337_without_capabilities(scene):
    for workload in WORKLOADS:
        status = open(f"/proc/{scene.proxies[workload.name].find_pid()}/status").read()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split() == ["1337"] * 4
        assert fields["CapPrm"] == fields["CapEff"] == fields["CapBnd"] == "0" * 16, workload.name


def test_strict_refuses_plain_text(flows):
    assert_good(flows.plain_refused())


def test_permissive_takes_plain_text_and_mtls(scene, flows):
    address = scene.pods[REVIEWS_V1].address
    with edited(scene, "peer-authentication.yaml", ("STRICT", "PERMISSIVE"), until=Dump.takes_plain_text,
                pods=[REVIEWS_V1, REVIEWS_V2, LEDGER]):
        status, document = get(scene, CLIENT, f"http://{address}:9080/plain")
        assert (status, document["service"], xfcc(document)) == ("200", "reviews", "")
        status, document = get(scene, FRONTEND, "http://reviews:9080/mutual")
        assert status == "200" and xfcc(document).endswith("URI=" + FRONTEND_ID)
        done = scene.pods[CLIENT].run([PYTHON, "-c", PLAIN_TCP, scene.pods[LEDGER].address, "7000"], uid=APP)
        assert done.stdout.splitlines() == ["hello from ledger v1", "a line"], done.stderr
    assert_good(flows.plain_refused())


def make_identity(scene, name, uri, ca=None):
    """A certificate for `uri` in the client's folder, of the mesh's root or of one made for it."""
    folder = scene.pods[CLIENT].folder
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    issuer = ["-CA", ca / "root-cert.pem", "-CAkey", ca / "root-key.pem"] if ca else []
    subprocess.run([*argv, "-subj", "/O=test", "-addext", f"subjectAltName=critical,URI:{uri}",
                    "-addext", "basicConstraints=critical,CA:FALSE", *issuer, "-keyout", key, "-out", certificate],
                   check=True, capture_output=True, timeout=20)
    key.chmod(0o644)
    return [certificate, key]


@pytest.mark.parametrize("alpn", ["istio-http/1.1", "http/1.1"])
@pytest.mark.parametrize("peer, taken", [
    ("of the mesh", True), ("of another trust domain", False), ("signed by another root", False),
    ("without any", False)])
def test_a_sidecar_takes_only_peers_of_its_mesh(scene, peer, taken, alpn):
    ca = scene.mesh.temp / "pods" / "ca"
    identity = {
        "of the mesh": lambda: make_identity(scene, "good", SPIFFE.format("default", "visitor"), ca),
        "of another trust domain": lambda: make_identity(
            scene, "wrong", "spiffe://other.domain/ns/default/sa/frontend", ca),
        "signed by another root": lambda: make_identity(scene, "foreign", FRONTEND_ID),
        "without any": list,
    }[peer]()
    before = scene.apps[REVIEWS_V1].output()
    done = scene.pods[CLIENT].run([PYTHON, "-c", PEER, scene.pods[REVIEWS_V1].address, alpn, *identity], uid=APP)
    if taken:
        assert done.stdout.startswith("HTTP/1.1 200"), done.stderr
    else:
        assert "alert" in done.stderr or "reset" in done.stderr or "EOF" in done.stderr, (done.stdout, done.stderr)
        assert done.stdout.strip() == "" and scene.apps[REVIEWS_V1].output() == before


def test_a_server_with_the_wrong_identity_is_refused(scene):
    other = SPIFFE.format("default", "somebody-else")
    rule = "  host: reviews\n"
    strict = rule + f"  trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL, subjectAltNames: ['{other}']}}}}\n"
    cluster = f"outbound|9080|v1|{REVIEWS}"
    with edited(scene, "reviews.yaml", (rule, strict), pods=[FRONTEND],
                until=lambda dump: other in str(dump.cluster(cluster))):
        before = scene.apps[REVIEWS_V1].output() + scene.apps[REVIEWS_V2].output()
        status, body = get(scene, FRONTEND, "http://reviews:9080/wrong-server")
        assert status == "503" and "remote connection failure" in body, (status, body)
        hop = follow(scene, lambda hop: hop.path == "/wrong-server", 1)[0]
        assert hop.pod == FRONTEND and "UF" in hop.flags and "CERTIFICATE_VERIFY_FAILED" in hop.failure
        assert scene.apps[REVIEWS_V1].output() + scene.apps[REVIEWS_V2].output() == before
    assert get(scene, FRONTEND, "http://reviews:9080/")[0] == "200"


@pytest.mark.parametrize("pod, directions", [
    (FRONTEND, DIRECTIONS), (LEDGER, ["tcp"]), (EGRESS, ["egress_registered"]), (INGRESS, ["ingress"])])
def test_an_envoy_in_place_of_a_pinnace_agrees_with_the_others(scene, pod, directions):
    with replaced(scene, pod, envoy):
        flows = Flows(scene)
        for direction in directions:
            assert_good(getattr(flows, direction)())


def test_a_weight_change_moves_the_split(scene, flows):
    def shares():
        counts = flows.split(200)
        assert set(counts) <= {"200 reviews-v1", "200 reviews-v2"}, counts
        return counts.get("200 reviews-v2", 0)
    assert 1 <= shares() <= 45  # 20 expected
    moved = [("weight: 90", "weight: 21"), ("weight: 10", "weight: 79")]
    with edited(scene, "reviews-split.yaml", *moved, pods=[FRONTEND],
                until=lambda dump: list(dump.weights(REVIEWS).values()) == [21, 79]):
        assert 130 <= shares() <= 185  # 158 expected


def test_no_request_fails_while_the_translator_is_killed_and_restarted(scene):
    def weights():
        return list(Dump(scene, FRONTEND).weights(REVIEWS).values())
    sources = [(FRONTEND, "reviews", 9080, "/load"), (CLIENT, "shop.example.com", 80, "/load")]
    with Load(scene, *sources) as load:
        time.sleep(0.5)
        scene.translator.kill()
        known = len(scene.translator.output())
        time.sleep(1)  # the time without a control plane
        scene.edit("reviews-split.yaml", ("weight: 90", "weight: 60"), ("weight: 10", "weight: 40"))
        scene.start_translator()
        for workload in WORKLOADS:
            namespace, _, name = workload.name.partition(".")
            eventually(lambda: f"connected: {name}.{namespace} (" in scene.translator.output()[known:],
                       timeout=40, what=f"{workload.name} is connected again")
        eventually(lambda: weights() == [60, 40], timeout=20, what="the new weights come after the restart")
        scene.edit("reviews-split.yaml", ("weight: 60", "weight: 90"), ("weight: 40", "weight: 10"))
        eventually(lambda: weights() == [90, 10], timeout=20, what="a later edit comes")
        time.sleep(0.5)
    assert set(load.seen) == {"200"} and load.seen["200"] > 100, load.seen


def test_no_request_fails_while_certificates_rotate_and_configuration_changes(scene):
    def serials(pod):
        return {one["serial_number"] for entry in Dump(scene, pod).certificates for one in entry.get("cert_chain", [])}
    edits = [[("weight: 10", "weight: 20"), ("weight: 90", "weight: 80")]]
    edits.append([(new, old) for old, new in edits[0]])
    sources = [(FRONTEND, "reviews", 9080, "/load"), (CLIENT, "shop.example.com", 80, "/load"),
               (FRONTEND, "partner.example.com", 80, "/load")]
    scene.translator.stop()
    scene.start_translator("--cert-ttl", "4s")
    seen = {pod: set() for pod in (FRONTEND, REVIEWS_V1, EGRESS)}
    pushes = 0
    with Load(scene, *sources) as load:
        until = time.monotonic() + 40
        while (pushes < 50 or any(len(one) < 4 for one in seen.values())) and time.monotonic() < until:
            for edit in edits * 5:
                scene.edit("reviews-split.yaml", *edit)
                pushes += 1
                time.sleep(0.06)  # the translator waits 50 ms for more
            for pod in seen:
                seen[pod] |= serials(pod)
    scene.translator.stop()
    scene.start_translator()
    assert all(len(one) >= 4 for one in seen.values()), seen
    assert set(load.seen) == {"200"} and load.seen["200"] > 100, load.seen


def test_a_proxy_asked_to_end_finishes_what_it_has_begun(scene):
    def asked():
        """The sidecar of reviews that has a request of frontend's."""
        clusters = scene.admin(FRONTEND, "/clusters")
        return next((pod for pod in (REVIEWS_V1, REVIEWS_V2)
                     if f"{scene.pods[pod].address}:9080::rq_active::1" in clusters), None)
    results = []
    slow = threading.Thread(target=lambda: results.append(get(scene, FRONTEND, "http://reviews:9080/delay/1500")[0]))
    slow.start()
    pod = eventually(asked, what="the request is under way")
    proxy = scene.proxies[pod]
    status = proxy.stop(deadline=20)
    slow.join()
    scene.start_proxy(scene.pods[pod])
    scene.wait_ready([pod])
    assert results == ["200"] and status == 0, tail(proxy, 5)
