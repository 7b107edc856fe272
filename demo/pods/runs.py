"""The run folder of a mesh, what it records, and how the leftovers of dead runners are found.

  <temporary folder>/pinnace-pods-<uid>/<runner pid>-<random>/
      state.json   runner, keeper and pods by process id and start time
      logs/        one file per process
      etc/POD/     hosts, resolv.conf, nsswitch.conf of a pod
      pods/POD/    the pod's own folder, the only one that it sees
      bin/         programs for every uid

A process id is taken for the recorded process only if its start time agrees.
"""

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from .process import stat_fields
from .rootless import is_root, search_path

START_TIME = 19  # its place in stat_fields: field 22 of /proc/PID/stat


def identity(pid: int) -> list[int]:
    fields = stat_fields(pid)
    return [pid, int(fields[START_TIME])] if fields else [pid, 0]


def is_alive(who: list[int] | None) -> bool:
    if not who:
        return False
    fields = stat_fields(who[0])
    return bool(fields) and fields[0] not in "ZX" and int(fields[START_TIME]) == who[1]


def parent_folder() -> Path:
    """The folder of all runs of this user, there only while one is."""
    base = Path(tempfile.gettempdir())
    if not all(folder.stat().st_mode & 0o001 for folder in (base, *base.parents)):
        base = Path("/tmp")  # a private TMPDIR, which uid 1337 could not enter
    return base / f"pinnace-pods-{os.getuid()}"


def create() -> Path:
    """A new run folder. Raises when somebody else has put something in its place."""
    parent = parent_folder()
    folder = parent / f"{os.getpid()}-{secrets.token_hex(4)}"
    while not folder.exists():
        parent.mkdir(mode=0o711, exist_ok=True)
        if parent.is_symlink() or parent.stat().st_uid != os.getuid():
            raise RuntimeError(f"{parent} belongs to somebody else")
        with contextlib.suppress(FileNotFoundError):  # another run, the last one, has just ended
            folder.mkdir(mode=0o711)
    parent.chmod(0o711)  # whatever the umask
    folder.chmod(0o711)
    for name, mode in (("logs", 0o700), ("etc", 0o755), ("pods", 0o755), ("bin", 0o755), ("veil", 0o755)):
        (folder / name).mkdir()
        (folder / name).chmod(mode)
    return folder


def write_state(folder: Path, state: dict) -> None:
    fresh = folder / "state.json.new"
    fresh.write_text(json.dumps(state, indent=1))
    fresh.rename(folder / "state.json")


def read_state(folder: Path) -> dict:
    try:
        return json.loads((folder / "state.json").read_text())
    except (OSError, ValueError):
        return {}


def runner_alive(folder: Path) -> bool:
    state = read_state(folder)
    if state:
        return is_alive(state.get("runner"))
    pid = folder.name.partition("-")[0]  # not recorded yet: the name tells
    return pid.isdigit() and bool(stat_fields(int(pid)))


def all_runs() -> list[Path]:
    """Those whose folder is there; none of another user's."""
    parent = parent_folder()
    if not parent.is_dir() or parent.is_symlink() or parent.stat().st_uid != os.getuid():
        return []
    return sorted(entry for entry in parent.iterdir() if entry.is_dir())


def dead_runs() -> list[Path]:
    return [folder for folder in all_runs() if not runner_alive(folder)]


def clean() -> list[str]:
    """Removes what dead runners left. Safe beside living runs. Returns the names of runs removed."""
    removed = []
    for folder in dead_runs():
        keeper = read_state(folder).get("keeper")
        if is_alive(keeper):
            _end(keeper)
        if remove(folder):
            removed.append(folder.name)
    with contextlib.suppress(OSError):  # not empty, or not there
        parent_folder().rmdir()
    return removed


def remove(folder: Path, deadline: float = 2.0) -> bool:
    """True when it is gone. Something dying may still write into it: hence more than one try."""
    until = time.monotonic() + deadline
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists() and not is_root():  # files of subordinate ids: only they may
            argv = ["unshare", "--map-root-user", "--map-auto", "rm", "-rf", "--", str(folder)]
            subprocess.run(argv, env={**os.environ, "PATH": search_path()}, check=False)
        if time.monotonic() > until:
            break
        time.sleep(0.02)
    return not folder.exists()


def _end(keeper: list[int]) -> None:
    """Kills pid 1 of a sandbox, and so everything in it, and waits until it is gone."""
    try:
        watch = os.pidfd_open(keeper[0])
    except ProcessLookupError:
        return
    try:
        if is_alive(keeper):
            signal.pidfd_send_signal(watch, signal.SIGKILL)
            select.select([watch], [], [], 10)
    except ProcessLookupError:
        pass
    finally:
        os.close(watch)
