"""The demo's mesh, up and running: pods, translator, proxies, applications, and two systems outside.

Everything is started by `with Scene(...)` and gone after it. The demo and tests/namespaced stand on it.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from demo.pods import Mesh, Pod, Process

HERE = Path(__file__).resolve().parent
APP, PROXY = 1000, 1337
ADMIN = "http://127.0.0.1:15000"
READY_DEADLINE = 40.0
# An interpreter that every uid may run: the one of a virtual environment may be in a closed home.
PYTHON = shutil.which("python3", path=os.defpath) or "python3"


@dataclass(frozen=True)
class Workload:
    """A pod of mesh/*.yaml: where it is, which packet rules it has, and what its application is told."""

    name: str
    address: str
    app: tuple[str, ...] = ()
    redirect: bool = True


INGRESS, EGRESS = "istio-system.ingressgateway", "istio-system.egressgateway"
FRONTEND, REVIEWS_V1, REVIEWS_V2, LEDGER = (
    "default.frontend-v1", "default.reviews-v1", "default.reviews-v2", "default.ledger-v1")

WORKLOADS = (
    Workload(INGRESS, "10.44.0.10", redirect=False),
    Workload(EGRESS, "10.44.0.11", redirect=False),
    Workload(FRONTEND, "10.44.0.20", ("--name", "frontend", "--port", "9080")),
    Workload(REVIEWS_V1, "10.44.0.21", ("--name", "reviews", "--port", "9080")),
    Workload(REVIEWS_V2, "10.44.0.22", ("--name", "reviews", "--version", "v2", "--port", "9080")),
    Workload(LEDGER, "10.44.0.23", ("--name", "ledger", "--tcp-port", "7000")),
)

CLIENT, PARTNER, WEATHER = "outside.client", "outside.partner", "outside.weather"
OUTSIDE = {CLIENT: "10.44.1.10", PARTNER: "10.44.1.20", WEATHER: "10.44.1.30"}

SERVICES = {"ingressgateway.istio-system": "10.96.0.10", "egressgateway.istio-system": "10.96.0.11",
            "frontend": "10.96.0.20", "reviews": "10.96.0.21", "ledger": "10.96.0.23"}
NAMES = {"shop.example.com": "10.44.0.10", "partner.example.com": OUTSIDE[PARTNER],
         "weather.example.org": OUTSIDE[WEATHER]}


@dataclass
class Programs:
    """What the scene runs. `proxies` replaces the proxy of single pods (a test's Envoy)."""

    pinnace: Path
    translator: Path
    app: Path
    proxies: dict[str, Callable[["Scene", Pod], Process]] = field(default_factory=dict)

    @classmethod
    def of_build(cls, build: Path) -> "Programs":
        programs = cls(*(build / "bin" / name for name in ("pinnace", "pinnace-translator", "pinnace-demo-app")))
        for path in (programs.pinnace, programs.translator, programs.app):
            if not path.exists():
                raise FileNotFoundError(f"{path} is missing: build it first (make build)")
        return programs


class Scene:
    """mesh, pods by name, proxies and apps by pod; `config` is the folder of YAML in force, a copy."""

    def __init__(self, programs: Programs, progress: Callable[[str], None] = lambda text: None):
        self.programs = programs
        self.progress = progress
        self.proxies: dict[str, Process] = {}
        self.apps: dict[str, Process] = {}
        self.translator: Process | None = None
        names = {f"{name}{tail}": address for name, address in SERVICES.items()
                 for tail in (("", ".default", ".default.svc.cluster.local") if "." not in name
                              else ("", ".svc.cluster.local"))}
        self.mesh = Mesh(hosts=names)

    def __enter__(self) -> "Scene":
        self.mesh.__enter__()
        try:
            self._start()
        except BaseException:
            self.mesh.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.mesh.close(deadline=2.0)

    @property
    def pods(self) -> dict[str, Pod]:
        return self.mesh.pods

    @property
    def config(self) -> Path:
        return self.mesh.temp / "config"

    def start_translator(self, *options: str) -> None:
        self.translator = self.mesh.node.popen(
            [self._bin(self.programs.translator), "--config", self.config, "--run-dir", self.mesh.temp / "pods",
             "--mesh-config", HERE / "mesh-config.yaml", "--credentials-dir", self.mesh.temp / "credentials",
             *options],
            name="translator")

    def start_proxy(self, pod: Pod) -> Process:
        """Pinnace, or what `programs.proxies` names for the pod, as uid 1337 without capabilities."""
        make = self.programs.proxies.get(pod.name, type(self).pinnace)
        self.proxies[pod.name] = make(self, pod)
        return self.proxies[pod.name]

    def pinnace(self, pod: Pod) -> Process:
        return pod.popen(
            [self._bin(self.programs.pinnace), "-c", pod.folder / "bootstrap.json", "--concurrency", "1",
             "--file-flush-interval-msec", "20"],
            uid=PROXY, name="proxy", log=self.proxy_log(pod.name))

    def proxy_log(self, pod: str) -> Path:
        """Writable to the proxy, which opens /dev/stdout by name."""
        path = self.mesh.temp / "logs" / f"{pod}-proxy.log"
        path.touch()
        path.chmod(0o666)
        return path

    def admin(self, pod: str, path: str) -> str:
        done = self.pods[pod].run(["curl", "-sS", "--fail", "--globoff", "-m", "5", ADMIN + path], uid=PROXY)
        if done.returncode != 0:
            raise RuntimeError(f"{pod}: {path}: {done.stderr.strip()}")
        return done.stdout

    def dump(self, pod: str, resource: str) -> list[dict]:
        return json.loads(self.admin(pod, f"/config_dump?resource={resource}")).get("configs", [])

    def wait_ready(self, pods: list[str], deadline: float = READY_DEADLINE) -> None:
        """Until each of these proxies says so on its admin; the translator must stay alive meanwhile."""
        until = time.monotonic() + deadline
        waiting = list(pods)
        while waiting:
            for pod in list(waiting):
                answer = self.pods[pod].run(["curl", "-s", "-m", "5", ADMIN + "/ready"], uid=PROXY)
                if answer.stdout.strip() == "LIVE":
                    waiting.remove(pod)
                    self.progress(f"{pod} is ready")
                    continue
                for process in (self.proxies[pod], self.translator):
                    if not process.alive:
                        raise RuntimeError(f"{process.name} ended with {process.returncode}:\n{tail(process)}")
            if waiting and time.monotonic() > until:
                process = self.proxies[waiting[0]]
                raise TimeoutError(f"not ready after {deadline:.0f} s: {', '.join(waiting)}\n{tail(process)}")

    def edit(self, file: str, *changes: tuple[str, str]) -> None:
        """Changes a file of the configuration as an editor does: whole, by rename. The translator watches."""
        path = self.config / file
        text = path.read_text()
        for old, new in changes:
            if old not in text:
                raise ValueError(f"{path} does not hold {old!r}")
            text = text.replace(old, new)
        fresh = path.with_name(f".{file}.new")
        fresh.write_text(text)
        fresh.rename(path)

    def resident_kib(self, pod: str) -> int:
        status = Path(f"/proc/{self.proxies[pod].find_pid()}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    def _start(self) -> None:
        shutil.copytree(HERE / "mesh", self.config)
        self._make_partner_certificate()
        for program in (self.programs.pinnace, self.programs.translator, self.programs.app):
            self.mesh.install(program)
        self.mesh.start_dns(NAMES)
        for workload in WORKLOADS:
            self.mesh.add_pod(workload.name, address=workload.address, redirect=workload.redirect)
        for name, address in OUTSIDE.items():
            self.mesh.add_pod(name, address=address, redirect=False, hosts=NAMES)
        self.progress(f"{len(self.pods)} pods are up")
        self.start_translator()
        self._wait_for_bootstraps()
        for workload in WORKLOADS:
            pod = self.pods[workload.name]
            self.start_proxy(pod)
            if workload.app:
                self._start_app(pod, *workload.app)
        self._start_outside()
        self.progress("translator, proxies and applications started")
        self.wait_ready([workload.name for workload in WORKLOADS])

    def _start_outside(self) -> None:
        folder = self.mesh.temp / "credentials"
        self._start_app(self.pods[PARTNER], "--name", "partner", "--port", "80", "--tls-port", "443",
                        "--tls-cert", folder / "partner.crt", "--tls-key", folder / "partner.key")
        self._start_app(self.pods[WEATHER], "--name", "weather", "--port", "80")

    def _start_app(self, pod: Pod, *options) -> None:
        self.apps[pod.name] = pod.popen([self._bin(self.programs.app), *options], uid=APP, name="app")

    def _wait_for_bootstraps(self) -> None:
        until = time.monotonic() + READY_DEADLINE
        for workload in WORKLOADS:
            while not (self.pods[workload.name].folder / "bootstrap.json").exists():
                if not self.translator.alive or time.monotonic() > until:
                    raise RuntimeError(f"no bootstrap of {workload.name} was written:\n{tail(self.translator)}")
                time.sleep(0.02)

    def _make_partner_certificate(self) -> None:
        """The partner's own root, which only the egress gateway is told to trust (credentialName: partner)."""
        folder = self.mesh.temp / "credentials"
        (folder / "partner").mkdir(parents=True)
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
               "-days", "2"]
        root, key = folder / "partner" / "ca.crt", folder / "partner-ca.key"
        for argv in (
            [*new, "-subj", "/O=partner", "-keyout", key, "-out", root],
            [*new, "-subj", "/CN=partner", "-addext", "subjectAltName=DNS:partner.example.com",
             "-addext", "basicConstraints=critical,CA:FALSE", "-CA", root, "-CAkey", key,
             "-keyout", folder / "partner.key", "-out", folder / "partner.crt"],
        ):
            subprocess.run(argv, check=True, capture_output=True, timeout=20)
        (folder / "partner.key").chmod(0o644)  # the partner's application is another user

    def _bin(self, program: Path) -> Path:
        return self.mesh.temp / "bin" / program.name


def tail(process: Process, lines: int = 20) -> str:
    return "\n".join(process.output().splitlines()[-lines:])
