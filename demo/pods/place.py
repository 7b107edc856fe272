"""A place to run programs in: the node, or a pod. Each is held open by one process that only waits."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from .process import Process
from .rootless import become_argv, enter_argv, search_path

LISTENING = "0A"  # the state column of /proc/net/tcp


class Place:
    """`pid` is the holder: the process whose mount, network and pid namespaces make the place."""

    def __init__(self, name: str, pid: int, folder: Path, logs: Path):
        self.name = name
        self.pid = pid
        self.folder = folder
        self.processes: list[Process] = []
        self._logs = logs

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        uid: int = 0,
        gid: int | None = None,
        name: str | None = None,
        log: str | Path | int | IO | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        stdin: int | IO = subprocess.DEVNULL,
    ) -> Process:
        """Starts `argv` here, in a session of its own, and returns without waiting.

        uid, gid  anything but 0 runs without capabilities and with no way to get any; gid is uid
                  unless given.
        name      for the log and for messages; the program's name unless given.
        log       where stdout and stderr go: a path (appended to), a file or subprocess constant;
                  logs/<place>-<name>.log in the run folder unless given.
        env       added to the runner's environment, from which *_proxy variables are left out.
        cwd       / unless given.
        """
        name = name or Path(argv[0]).name
        if log is None:
            log = self._logs / f"{self.name}-{name}.log"
        path = Path(log) if isinstance(log, (str, Path)) else None
        output = open(path, "ab") if path else log
        try:
            popen = self._start(
                argv, uid, gid, env, cwd, stdin=stdin, stdout=output, stderr=subprocess.STDOUT
            )
        finally:
            if path:
                output.close()
        process = Process(popen, f"{self.name}/{name}", path)
        self.processes.append(process)
        process.find_pid()
        return process

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        timeout: float = 10.0,
        uid: int = 0,
        gid: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        input: str | None = None,
        check: bool = False,
    ) -> subprocess.CompletedProcess:
        """Runs `argv` here to its end, text in and out. Raises subprocess.TimeoutExpired, having
        ended it, and with `check` CalledProcessError."""
        popen = self._start(
            argv, uid, gid, env, cwd, text=True,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        process = Process(popen, Path(argv[0]).name, None)
        try:
            out, err = popen.communicate(input, timeout)
        except BaseException:
            process.kill()
            popen.communicate()
            raise
        done = subprocess.CompletedProcess(list(map(str, argv)), popen.returncode, out, err)
        if check:
            done.check_returncode()
        return done

    def listening_ports(self) -> set[int]:
        """The TCP ports that anything here listens on, at any address."""
        ports = set()
        for table in ("tcp", "tcp6"):
            try:
                lines = Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]
            except OSError:
                continue
            for _, local, _, state, *_ in map(str.split, lines):
                if state == LISTENING:
                    ports.add(int(local.rpartition(":")[2], 16))
        return ports

    def wait_port(self, port: int, deadline: float = 10.0, process: Process | None = None) -> None:
        """Returns when something listens on `port`. Raises TimeoutError; RuntimeError with the end
        of its log when `process` ended before."""
        until = time.monotonic() + deadline
        while port not in self.listening_ports():
            if process is not None and not process.alive:
                last = "\n".join(process.output().splitlines()[-20:])
                raise RuntimeError(f"{process.name} ended with {process.returncode}:\n{last}")
            if time.monotonic() > until:
                raise TimeoutError(f"{self.name}: no listener on port {port} after {deadline} s")
            time.sleep(0.01)

    def _start(self, argv, uid, gid, env, cwd, **streams) -> subprocess.Popen:
        argv = [str(word) for word in argv]
        if "/" in argv[0]:
            argv[0] = os.path.abspath(argv[0])  # a new mount namespace starts in /
        if uid or gid:
            argv = become_argv(uid, uid if gid is None else gid) + argv
        if cwd is not None:
            argv = ["env", f"--chdir={os.path.abspath(cwd)}", *argv]
        return subprocess.Popen(
            enter_argv(self.pid) + argv, env=environment(env), start_new_session=True, **streams
        )


def environment(added: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return {**kept, "PATH": search_path(), **(added or {})}
