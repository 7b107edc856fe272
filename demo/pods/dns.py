"""The DNS server of a mesh: dnsmasq in a pod of its own, with a table that changes at run time."""

import shutil
import signal
import time
from typing import TYPE_CHECKING

from .names import Table, hosts_lines, overwrite
from .process import Process
from .rootless import PodsUnavailable, search_path

if TYPE_CHECKING:
    from .pod import Pod

NOBODY = 65534


class Dns:
    """Answers A and AAAA of its table, and NXDOMAIN to every other name."""

    def __init__(self, pod: "Pod", table: Table, ttl: int):
        if shutil.which("dnsmasq", path=search_path()) is None:
            raise PodsUnavailable("command dnsmasq is missing (apt-get install dnsmasq-base)")
        self.pod = pod
        self._edition = 0
        self._file = pod.folder / "hosts"
        self._write(table)
        self.process: Process = pod.popen(
            [
                "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=",
                "--no-resolv", "--no-hosts", "--log-facility=-", f"--local-ttl={ttl}", "--no-negcache",
                "--bind-interfaces", "--listen-address=127.0.0.1", f"--addn-hosts={self._file}",
                "--address=/#/",  # what the table does not hold does not exist
                *(f"--listen-address={address}" for address in pod.addresses),
            ],
            uid=NOBODY,
            name="dnsmasq",
        )
        self._wait_until_in_force()

    def update(self, table: Table) -> None:
        """Replaces the table; returns when the new one is being answered from."""
        self._write(table)
        self.process.signal(signal.SIGHUP)
        self._wait_until_in_force()

    def _write(self, table: Table) -> None:
        self._edition += 1
        overwrite(self._file, hosts_lines(table) + hosts_lines({self._marker(): self.pod.address}))
        self._file.chmod(0o644)

    def _marker(self) -> str:
        """A name that only this edition of the table holds."""
        return f"edition-{self._edition}.dns.invalid"

    def _wait_until_in_force(self, deadline: float = 10.0) -> None:
        until = time.monotonic() + deadline
        while self.pod.run(["getent", "ahostsv4", self._marker()]).returncode != 0:
            if not self.process.alive:
                raise RuntimeError(f"dnsmasq ended: {self.process.output().strip()}")
            if time.monotonic() > until:
                raise TimeoutError("dnsmasq does not answer")
            time.sleep(0.02)
