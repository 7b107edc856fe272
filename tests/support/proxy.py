"""A proxy process (pinnace or Envoy): started from a bootstrap, watched, stopped; its log is part of every failure."""
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from .client import RawClient
from .wait import eventually, free_port

ROOT = Path(__file__).resolve().parents[2]
PINNACE = os.environ.get("PINNACE_BIN", str(ROOT / "build/release/bin/pinnace"))


def envoy_binary():
    if "ENVOY_BIN" in os.environ:
        return os.environ["ENVOY_BIN"]
    found = list((ROOT / "build/venv/lib").glob("python3*/site-packages/envoy/_bin/envoy"))
    return str(found[0]) if found else str(ROOT / "build/venv/bin/envoy")


ENVOY = envoy_binary()
BAD_SIGNS = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|Assertion|terminate called|"
                       r"Caught (Segmentation fault|Aborted)")


class Proxy:
    def __init__(self, directory, config, binary=PINNACE, arguments=(), wait_ready=True, concurrency=1, drain_s=30):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.admin_port = free_port()
        self.binary = binary
        self.port = None  # the listener most tests mean
        self.access_log = self.directory / "access.log"
        config = dict(config)
        config.setdefault("admin", {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin_port}}})
        config.setdefault("node", {"id": "sidecar~127.0.0.1~test.default~default.svc", "cluster": "test.default"})
        self.config_path = self.directory / "bootstrap.json"
        self.config_path.write_text(json.dumps(config, indent=1).replace("@ACCESS_LOG@", str(self.access_log)))
        self.log_path = self.directory / "proxy.log"
        self.stopped = self.told_to_stop = False
        self._read_lines = 0
        command = [binary, "-c", str(self.config_path), "--concurrency", str(concurrency), "--drain-time-s", str(drain_s),
                   "--file-flush-interval-msec", "10", "--drain-strategy", "immediate", "--disable-hot-restart", "-l", os.environ.get("PROXY_LOG", "info")]
        with open(self.log_path, "wb") as log:
            environment = {"ASAN_OPTIONS": "quarantine_size_mb=4", "UBSAN_OPTIONS": "print_stacktrace=1", **os.environ}
            self.process = subprocess.Popen(command + list(arguments), stdout=log, stderr=subprocess.STDOUT, env=environment)
        if wait_ready:
            self.wait_ready()

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def fail(self, why):
        raise AssertionError(f"{why}\n--- {self.binary} log:\n{self.log()[-6000:]}")

    def check_alive(self):
        if self.process.poll() is not None:
            self.fail(f"the proxy ended with {self.process.returncode}")

    def wait_ready(self, timeout=15):
        def ready():
            self.check_alive_or_raise()
            return self.admin("/ready").status == 200
        eventually(ready, timeout, f"{self.binary} ready; log:\n{self.log()}")

    def check_alive_or_raise(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the proxy ended with {self.process.returncode}:\n{self.log()[-6000:]}")

    def admin(self, path, method="GET", timeout=10):
        client = RawClient(self.admin_port, timeout=timeout)
        try:
            client.send(f"{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")
            return client.response(method)
        finally:
            client.close()

    def admin_json(self, path):
        return json.loads(self.admin(path).body)

    def stat(self, name):
        """The value of one counter or gauge; 0 when it does not exist."""
        for line in self.admin("/stats?filter=^" + re.escape(name) + "$").text.splitlines():
            key, _, value = line.partition(": ")
            if key == name and re.fullmatch(r"\d+", value):
                return int(value)
        return 0

    def next_log(self, timeout=8):
        """The next line of the access log, as a dict when it has the tests' own format (config.LOG_FIELDS)."""
        from .config import LOG_FIELDS

        def line():
            self.check_alive_or_raise()
            if not self.access_log.exists():
                return None
            lines = self.access_log.read_bytes().split(b"\n")[:-1]
            return lines[self._read_lines] if len(lines) > self._read_lines else None
        got = eventually(line, timeout, "an access log line").decode("latin-1")
        self._read_lines += 1
        parts = got.split("\t")
        return dict(zip(LOG_FIELDS, parts)) if len(parts) == len(LOG_FIELDS) else got

    def rss_allowance_kib(self):
        """How much a bounded buffer may add; a sanitizer's own bookkeeping multiplies it."""
        program = Path(self.binary).read_bytes()
        return (64 if b"__tsan_init" in program else 32 if b"__asan_init" in program else 6) * 1024

    def rss_kib(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def sockets(self):
        return sum(1 for fd in Path(f"/proc/{self.pid}/fd").iterdir() if os.path.islink(fd) and "socket:" in os.readlink(fd))

    def kill(self):
        self.stopped = True
        self.process.kill()
        self.process.wait()

    def terminate(self):
        self.told_to_stop = True
        self.process.send_signal(signal.SIGTERM)

    def wait_exit(self, timeout=5):
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            self.fail(f"still running {timeout} s after it was told to stop")
        self.stopped = True
        return code

    def stop(self):
        """SIGTERM → exit code 0 within 5 s, and no sanitizer report."""
        if self.stopped:
            return
        early = self.process.poll()
        started = time.monotonic()
        if early is None:
            self.terminate()
        code = self.wait_exit()
        if early is not None and not self.told_to_stop:
            self.fail(f"the proxy ended by itself with {early}")
        if code != 0 or BAD_SIGNS.search(self.log()):
            self.fail(f"after SIGTERM: exit code {code} in {time.monotonic() - started:.1f} s")
