"""The ground of all namespaced tests: what a pod is, before any proxy runs in it.

Runs as root, and as an ordinary user with subordinate ids.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from demo.pods import Mesh, PodsUnavailable, rootless, runs  # noqa: E402

APP, PROXY = 1000, 1337
VIP, VIP6 = "10.96.0.1", "fd00:96::1"
# An interpreter that every uid may run: the one of a virtual environment may be in a closed home.
PYTHON = shutil.which("python3", path=os.defpath) or sys.executable

# Answers each connection with one line of JSON: which port took it, where it was meant to go, and
# where it came from.
LISTENER = """
import json, socket, struct, sys
SO_ORIGINAL_DST = 80

def original_destination(connection, ipv4):
    try:
        if ipv4:
            raw = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
            return socket.inet_ntop(socket.AF_INET, raw[4:8]), struct.unpack("!H", raw[2:4])[0]
        raw = connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), struct.unpack("!H", raw[2:4])[0]
    except FileNotFoundError:  # a pod without rules keeps no record of connections
        return connection.getsockname()[0].removeprefix("::ffff:"), connection.getsockname()[1]

server = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    connection, peer = server.accept()
    with connection:
        ipv4 = peer[0].startswith("::ffff:")
        address, port = original_destination(connection, ipv4)
        answer = {"taken_by": server.getsockname()[1], "meant_for": address, "port": port,
                  "peer": peer[0].removeprefix("::ffff:")}
        connection.sendall(json.dumps(answer).encode())
"""

CALLER = """
import socket, sys
source = (sys.argv[3], 0) if len(sys.argv) > 3 else None
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5, source) as connection:
    print(connection.makefile().read())
"""


def listen(pod, *ports):
    for port in ports:
        process = pod.popen([PYTHON, "-c", LISTENER, port], name=f"listener-{port}")
        pod.wait_port(port, process=process)


def call(pod, address, port, *source, uid=APP, gid=None):
    done = pod.run([PYTHON, "-c", CALLER, address, port, *source], uid=uid, gid=gid)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def mesh():
    with Mesh(ipv6=True, hosts={"reviews.default": VIP}) as made:
        for name in ("client", "server"):
            listen(made.add_pod(name), 15001, 15006, 8080)
        listen(made.add_pod("outside", redirect=False, extra_addresses=["203.0.113.9"]), 8080)
        yield made


@pytest.fixture(scope="module")
def dns(mesh):
    return mesh.start_dns({"ratings.default": VIP})


@pytest.fixture(params=["IPv4", "IPv6"])
def family(request):
    return 1 if request.param == "IPv6" else 0


def test_inbound_goes_to_15006_which_learns_the_port_that_was_meant(mesh, family):
    server = mesh.pods["server"].addresses[family]
    answer = call(mesh.pods["outside"], server, 8080)
    assert (answer["taken_by"], answer["meant_for"], answer["port"]) == (15006, server, 8080)
    assert answer["peer"] == mesh.pods["outside"].addresses[family]


def test_outbound_goes_to_15001_which_learns_the_service_that_was_meant(mesh, family):
    service = (VIP, VIP6)[family]
    answer = call(mesh.pods["client"], service, 9080)
    assert (answer["taken_by"], answer["meant_for"], answer["port"]) == (15001, service, 9080)


def test_a_service_is_found_by_the_hosts_file_and_redirected(mesh):
    answer = call(mesh.pods["client"], "reviews.default", 9080)
    assert (answer["taken_by"], answer["meant_for"]) == (15001, VIP)


@pytest.mark.parametrize("uid, gid", [(PROXY, PROXY), (APP, PROXY), (PROXY, APP)])
def test_what_the_proxy_sends_is_not_redirected(mesh, family, uid, gid):
    outside = mesh.pods["outside"].addresses[family]
    assert call(mesh.pods["client"], outside, 8080, uid=uid, gid=gid)["taken_by"] == 8080


def test_proxy_reaches_another_pods_inbound(mesh, family):
    server = mesh.pods["server"].addresses[family]
    assert call(mesh.pods["client"], server, 8080, uid=PROXY)["taken_by"] == 15006


def test_inbound_proxy_reaches_its_application_from_127_0_0_6(mesh):
    server = mesh.pods["server"]
    answer = call(server, server.address, 8080, "127.0.0.6", uid=PROXY)
    assert (answer["taken_by"], answer["peer"]) == (8080, "127.0.0.6")


def test_outbound_proxy_that_calls_its_own_pod_comes_in_by_15006(mesh, family):
    server = mesh.pods["server"]
    assert call(server, server.addresses[family], 8080, uid=PROXY)["taken_by"] == 15006


def test_application_reaches_itself_directly(mesh, family):
    server = mesh.pods["server"]
    for address in (server.addresses[family], ("127.0.0.1", "::1")[family]):
        assert call(server, address, 8080)["taken_by"] == 8080


def test_ports_of_the_sidecar_itself_are_not_redirected(mesh):
    server, ports = mesh.pods["server"], (15008, 15020, 15021, 15090)
    listen(server, *ports)
    taken_by = [call(mesh.pods["outside"], server.address, port)["taken_by"] for port in ports]
    assert taken_by == list(ports)


def test_extra_addresses_are_reached_through_the_node(mesh):
    answer = call(mesh.pods["client"], "203.0.113.9", 8080, uid=PROXY)
    assert (answer["taken_by"], answer["meant_for"]) == (8080, "203.0.113.9")


def test_an_address_that_nobody_has_refuses_at_once(mesh, family):
    done = mesh.pods["client"].run(
        [PYTHON, "-c", CALLER, (VIP, VIP6)[family], 9080], uid=PROXY, timeout=5
    )
    assert "ConnectionRefusedError" in done.stderr


def test_hosts_file_of_one_pod_and_of_all_change_at_run_time(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    mesh.set_hosts({"reviews.default": VIP, "everywhere": "10.96.0.7"})
    client.set_hosts({"only-here": ["10.96.0.8", "fd00:96::8"]})
    for pod in (client, server):
        assert "10.96.0.7" in pod.run(["getent", "hosts", "everywhere"]).stdout
    assert "10.96.0.8" in client.run(["getent", "ahostsv4", "only-here"]).stdout
    assert server.run(["getent", "hosts", "only-here"]).returncode != 0


def test_dns_answers_from_its_table_which_changes_at_run_time(mesh, dns):
    def lookup(name):
        return mesh.pods["client"].run(["getent", "ahostsv4", name], uid=APP).stdout.split()[:1]

    assert lookup("ratings.default") == [VIP] and lookup("unknown.default") == []
    dns.update({"details.default": ["10.96.0.2", "10.96.0.3"]})
    assert lookup("ratings.default") == [] and lookup("details.default")[0].startswith("10.96.0.")


def test_proxy_has_no_capabilities_and_no_way_to_get_any(mesh):
    status = mesh.pods["client"].run(["cat", "/proc/self/status"], uid=PROXY, check=True).stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"] == "\t".join([str(PROXY)] * 4) and fields["NoNewPrivs"] == "1"
    assert {int(fields[f"Cap{which}"], 16) for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}


def test_a_pod_sees_its_own_folder_only_and_every_uid_may_write_there(mesh):
    client, seen = mesh.pods["client"], mesh.temp / "pods"
    assert client.run(["ls", seen]).stdout.split() == ["client"]
    client.run(["sh", "-c", 'echo proxy > "$1/file"', "sh", client.folder], uid=PROXY, check=True)
    assert (client.folder / "file").read_text() == "proxy\n"
    assert {"client", "server"} <= set(mesh.node.run(["ls", seen]).stdout.split())


def test_installed_program_runs_as_proxy_out_of_a_closed_folder(mesh, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nid -u\n")
    program.chmod(0o700)
    tmp_path.chmod(0o700)
    assert mesh.pods["client"].run([mesh.install(program)], uid=PROXY).stdout == f"{PROXY}\n"


def test_process_has_its_own_id_log_and_status(mesh):
    client = mesh.pods["client"]
    process = client.popen(["sh", "-c", "echo $WORD; exec sleep 600"], env={"WORD": "hi"}, uid=APP)
    wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
    assert process.output() == "hi\n" and process.alive
    assert process.stop() == -signal.SIGTERM
    stubborn = client.popen(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"], name="stubborn")
    wait_until(lambda: stubborn.output() == "ready\n")
    stubborn.signal(signal.SIGSTOP)
    assert stubborn.stop(deadline=0.2) == -signal.SIGKILL


def test_run_that_takes_too_long_is_ended(mesh):
    with pytest.raises(subprocess.TimeoutExpired):
        mesh.pods["client"].run(["sleep", "601"], timeout=0.2)
    assert "sleep\0601" not in mesh.node.run(["sh", "-c", "cat /proc/[0-9]*/cmdline"]).stdout


def test_wait_port_tells_why_a_process_ended(mesh):
    client = mesh.pods["client"]
    process = client.popen(["sh", "-c", "echo no such luck; exit 3"])
    with pytest.raises(RuntimeError, match="no such luck"):
        client.wait_port(1, process=process)


def test_removed_pod_gives_back_its_name_and_address(mesh):
    for _ in range(2):
        pod = mesh.add_pod("brief", address="10.44.9.9", extra_addresses=["203.0.113.10"], redirect=False)
        listen(pod, 8080)
        assert call(mesh.pods["client"], "10.44.9.9", 8080, uid=PROXY)["taken_by"] == 8080
        assert call(mesh.pods["client"], "203.0.113.10", 8080, uid=PROXY)["taken_by"] == 8080
        pod.close()
        assert not pod.processes[0].alive and not pod.folder.exists()


def test_meshes_beside_each_other_do_not_collide(mesh):
    with Mesh() as other:
        pod = other.add_pod("client", redirect=False)
        assert pod.address == mesh.pods["client"].address
        assert pod.listening_ports() == set() != mesh.pods["client"].listening_ports()


def test_command_line_reaches_into_a_mesh(mesh):
    def pods(*arguments):
        return subprocess.run([sys.executable, "-m", "demo.pods", *arguments], cwd=ROOT, text=True,
                              capture_output=True, timeout=20)

    assert "client" in pods("list").stdout
    done = pods("exec", "--run", mesh.temp.name, "client", "--", "sh", "-c", "id -u; ls " + str(mesh.temp / "pods"))
    assert done.stdout == "1000\nclient\n"
    assert "no pod 'nobody'" in pods("exec", "--run", mesh.temp.name, "nobody").stderr


def test_what_is_missing_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(rootless, "is_root", lambda: False)
    monkeypatch.setattr(rootless, "_user_name", lambda: "somebody-without-ids")
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    monkeypatch.setattr(shutil, "which", lambda tool, path: None if tool == "newuidmap" else tool)
    with pytest.raises(PodsUnavailable) as error:
        rootless.check()
    text = str(error.value)
    assert "\n" not in text and "apt-get install uidmap" in text and "usermod --add-subuids" in text


# --- the end of a mesh ---

RUNNER = """
import json, signal, sys
from demo.pods import Mesh
signal.signal(signal.SIGINT, signal.default_int_handler)
with Mesh() as mesh:
    pod = mesh.add_pod("client")
    sleeper = pod.popen(["sleep", sys.argv[1]], uid=1337)
    pod.run(["sh", "-c", 'mkdir -m 700 "$1/own" && touch "$1/own/file"', "sh", pod.folder], uid=1337)
    parent = pod.popen(["sh", "-c", 'setsid sleep "$1" & exec sleep "$1"', "sh", sys.argv[1]], uid=1000)
    print(json.dumps({"temp": str(mesh.temp), "keeper": mesh.node.pid,
                      "pids": [mesh.node.pid, pod.pid, sleeper.pid, parent.pid]}), flush=True)
    if sys.stdin.readline() == "raise\\n":
        raise ValueError("by request")
"""


class Runner:
    """Another process with a mesh of its own, and what must be gone after it: every process that it
    has marked, namespaces therefore too, its folder, and what it changed of the machine."""

    def __init__(self):
        self.machine = machine_state()
        self.mark = str(10**9 + secrets.randbelow(10**9))
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, self.mark], cwd=ROOT, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PODS_TEST": self.mark},
            # Under nohup it is ignored, and that is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        told = json.loads(self.process.stdout.readline())
        self.temp, self.keeper, self.pids = Path(told["temp"]), told["keeper"], told["pids"]
        assert set(self.pids) < self.marked()

    def end(self):
        self.process.communicate(timeout=20)

    def marked(self):
        """All that have inherited its mark, or (where a subordinate id hides that) carry it as an
        argument."""
        found = set()
        for file in (*Path("/proc").glob("[0-9]*/environ"), *Path("/proc").glob("[0-9]*/cmdline")):
            try:
                if self.mark.encode() in file.read_bytes():
                    found.add(int(file.parent.name))
            except OSError:
                pass
        return found

    def has_left_nothing(self):
        return not self.marked() and not self.temp.exists() and machine_state() == self.machine


def machine_state():
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True,
                           env={"PATH": rootless.search_path()}).stdout
    return Path("/proc/self/mounts").read_text(), links


def wait_until(condition, deadline=10.0):
    until = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.01)


@pytest.fixture
def runner():
    made = Runner()
    yield made
    made.process.kill()
    made.end()


@pytest.mark.parametrize("word, status", [("go\n", 0), ("raise\n", 1)])
def test_nothing_is_left_at_the_end_or_after_an_exception(runner, word, status):
    runner.process.stdin.write(word)
    runner.end()
    assert runner.process.returncode == status and runner.has_left_nothing()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_after_a_signal(runner, number):
    runner.process.send_signal(number)
    runner.end()
    assert runner.process.returncode != 0 and runner.has_left_nothing()


def test_nothing_is_left_after_kill_9_of_the_runner(runner):
    runner.process.kill()
    runner.end()
    wait_until(runner.has_left_nothing)


def test_clean_removes_what_the_runner_and_its_keeper_left_when_both_were_killed(runner):
    os.kill(runner.keeper, signal.SIGKILL)
    os.kill(runner.process.pid, signal.SIGKILL)
    runner.end()
    wait_until(lambda: not runner.marked())
    done = subprocess.run([sys.executable, "-m", "demo.pods", "clean"], cwd=ROOT, text=True, capture_output=True)
    # Another mesh that starts at the same time cleans as well, and may have been first.
    assert done.stdout.startswith("removed ") or not runner.temp.exists()
    wait_until(runner.has_left_nothing)


def test_clean_leaves_a_living_mesh_alone(runner):
    assert runner.temp.name not in runs.clean()
    assert runner.temp.exists() and set(runner.pids) < runner.marked()
