"""A process in a pod, as its runner sees it: by its own process id, with its log.

It is started through nsenter, which stays as its parent and hands on its exit status. The id that
matters is the child's: signals, /proc/PID and accounting go there.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

STOPPING = (signal.SIGSTOP, signal.SIGTSTP)


class Process:
    """Made by Place.popen. Not thread-safe; one owner."""

    def __init__(self, popen: subprocess.Popen, name: str, log: Path | None):
        self.name = name
        self.log = log
        self.popen = popen
        self.pid: int | None = None

    def __repr__(self) -> str:
        return f"<Process {self.name} pid={self.pid} returncode={self.returncode}>"

    def find_pid(self) -> int | None:
        """Fills in `pid`, its id in the runner's pid namespace; None if it has already ended."""
        if self.pid is None:
            self.pid = child_of(self.popen)
        return self.pid

    @property
    def returncode(self) -> int | None:
        """As subprocess has it: None while running, -N when ended by signal N."""
        return self.popen.poll()

    @property
    def alive(self) -> bool:
        return self.returncode is None

    def wait(self, timeout: float | None = None) -> int:
        return self.popen.wait(timeout)

    def signal(self, number: int) -> None:
        pid = self.find_pid()
        if pid is None or not self.alive:
            return
        try:
            os.kill(pid, number)
            # nsenter stops itself when its child stops, and then would not see it end.
            if number not in STOPPING:
                self.popen.send_signal(signal.SIGCONT)
        except ProcessLookupError:
            pass

    def stop(self, deadline: float = 5.0) -> int:
        """SIGTERM, and SIGKILL when `deadline` seconds were not enough. Returns the exit status."""
        stop_all([self], deadline)
        return self.popen.returncode

    def kill(self) -> int:
        self.signal(signal.SIGKILL)
        return self.wait()

    def output(self) -> str:
        """What it has written to its log so far."""
        return self.log.read_text(errors="replace") if self.log and self.log.exists() else ""


def stop_all(processes: Iterable[Process], deadline: float = 5.0) -> None:
    """Ends them together: one deadline for all."""
    living = [process for process in processes if process.alive]
    for process in living:
        process.signal(signal.SIGTERM)
    until = time.monotonic() + deadline
    for process in living:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def child_of(popen: subprocess.Popen, deadline: float = 10.0) -> int | None:
    """The id of the one child of a process which forks and waits; None if both are gone."""
    until = time.monotonic() + deadline
    while popen.poll() is None:
        children = _children(popen.pid)
        if children:
            return children[0]
        if time.monotonic() > until:
            raise TimeoutError(f"process {popen.pid} ({popen.args[0]}) started no child")
        time.sleep(0.001)
    return None


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except ProcessLookupError:
        return []
    except FileNotFoundError:  # either it is gone, or the kernel has no such list
        return [child for child in _all_processes() if _parent(child) == pid]


def _all_processes() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _parent(pid: int) -> int:
    fields = stat_fields(pid)
    return int(fields[1]) if fields else 0


def stat_fields(pid: int) -> list[str]:
    """The words of /proc/PID/stat from the state on; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
