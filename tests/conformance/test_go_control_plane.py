"""go-control-plane's own integration test with pinnace as the proxy: its control plane, its snapshots, its requests.

It updates clusters, endpoints, listeners, routes, runtime (and secrets) three times, calls every listener after each, and
takes the listeners' access logs over gRPC. SRDS and VHDS are not needed under istiod, so their listeners are left out.
"""
import contextlib
import re
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.proxy import PINNACE
from support.wait import eventually, free_port

MESSAGE = "Hi, there!\n"
LISTENERS = 4


def free_ports_in_a_row(count):
    def row():
        first = free_port()
        with contextlib.ExitStack() as held:
            for port in range(first, first + count):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))  # OSError: another try
        return first
    return eventually(row, 10, f"{count} free ports in a row")


CASES = [(mode, tls) for mode in ("ads", "xds", "delta", "delta-ads") for tls in (False, True)]


def run(programs, folder, mode, tls):
    """(exit status, what it said, the proxy's log, whether the proxy outlived it)"""
    folder.mkdir()
    ports = {name: free_port() for name in ("port", "gateway", "upstream", "als", "admin")}
    config = (programs / f"sample/bootstrap-{mode}.yaml").read_text()
    for written, name in ((18000, "port"), (18090, "als"), (19000, "admin")):
        assert f"port_value: {written}" in config
        config = config.replace(f"port_value: {written}", f"port_value: {ports[name]}")
    (folder / "bootstrap.yaml").write_text(config)
    log = folder / "proxy.log"
    with open(log, "wb") as output:
        processes = [subprocess.Popen([programs / "upstream", f"-message={MESSAGE}", f"-upstream={ports['upstream']}"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
                     subprocess.Popen([PINNACE, "-c", folder / "bootstrap.yaml", "--drain-time-s", "1"], stdout=output, stderr=output)]
    try:
        command = [programs / "main", f"-xds={mode}", f"-message={MESSAGE}", "-debug", "-scopedhttp=0", "-vhdshttp=0",
                   f"-runtimes={2 if mode == 'ads' else 1}", f"-base={free_ports_in_a_row(LISTENERS)}", f"-tls={str(tls).lower()}"]
        command += [f"-{name}={ports[name]}" for name in ("port", "gateway", "upstream", "als")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        return done.returncode, done.stdout + done.stderr, log.read_text(), processes[1].poll() is None
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            eventually(lambda p=process: p.poll() is not None, 15, "the process to end")


@pytest.fixture(scope="module")
def runs(go_control_plane, tmp_path_factory):
    """All cases, some at a time: each mostly waits."""
    folder = tmp_path_factory.mktemp("go_control_plane")
    with ThreadPoolExecutor(4) as pool:
        started = {case: pool.submit(run, go_control_plane, folder / f"{case[0]}-{case[1]}", *case) for case in CASES}
        return {case: future.result() for case, future in started.items()}


@pytest.mark.parametrize("mode, tls", CASES, ids=[mode + ("-tls" if tls else "") for mode, tls in CASES])
def test_its_integration_test_passes(runs, mode, tls):
    status, said, log, alive = runs[mode, tls]
    assert status == 0 and f"Test for {mode} passed!" in said, f"{said[-3000:]}\n--- proxy\n{log[-3000:]}"
    # Its batches pass when all listeners answered once; its access-log service has heard of requests to each HTTP one.
    assert re.search(r"\[echo.*cluster-v2-\d", said), said[-3000:]
    assert alive and "refused" not in log.replace("Connection_refused", ""), log
