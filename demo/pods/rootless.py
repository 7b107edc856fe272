"""Where the right to make namespaces comes from: root, or a user namespace with subordinate ids.

A mesh needs uid 1337 (the proxy) and uid 65534 (applications) to exist. Root has them; anybody
else needs a block of 65536 subordinate ids which `newuidmap` may hand out.
"""

import os
import shutil
from pathlib import Path

BLOCK = 65536
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21


class PodsUnavailable(RuntimeError):
    """Pods cannot be made here; the text is one line which names what is missing."""


def search_path() -> str:
    """PATH with the sbin folders, which an ordinary user's PATH on Debian leaves out."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folders + [f for f in SYSTEM_FOLDERS if f not in folders])


def is_root() -> bool:
    return os.geteuid() == 0


def sandbox_argv(mount_proc: bool = True) -> list[str]:
    """The command which starts its arguments as pid 1 of a sandbox of their own.

    `--kill-child`: when `unshare` dies, pid 1 dies, and with pid 1 everything in the sandbox.
    """
    user = [] if is_root() else ["--user", "--map-root-user", "--map-auto"]
    proc = ["--mount-proc"] if mount_proc else []
    return ["unshare", *user, "--mount", "--net", "--pid", "--fork", "--kill-child", *proc]


def enter_argv(pid: int, *, pid_namespace: bool = True) -> list[str]:
    """The command which runs its arguments in the namespaces of process `pid`.

    With `pid_namespace`, nsenter stays as the parent of what it starts. Without, it becomes what
    it starts, and that program keeps the runner's view of process ids.
    """
    user = [] if is_root() else ["--user"]
    inner = ["--pid"] if pid_namespace else []
    return ["nsenter", f"--target={pid}", *user, "--mount", "--net", *inner, "--"]


def become_argv(uid: int, gid: int) -> list[str]:
    """The command which drops to uid:gid for good: no groups, no capabilities, none to be had."""
    return [
        "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--bounding-set=-all",
        "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--",
    ]


def check() -> None:
    """Raises PodsUnavailable when a mesh cannot be made here."""
    missing = _missing_tools() + (_missing_as_root() if is_root() else _missing_as_user())
    if missing:
        other = "" if is_root() else ". Or run as root"
        raise PodsUnavailable("pods cannot be made here: " + "; ".join(missing) + other)


def _missing_tools() -> list[str]:
    packages = {
        "ip": "iproute2", "iptables-restore": "iptables", "unshare": "util-linux",
        "nsenter": "util-linux", "setpriv": "util-linux", "mount": "mount",
    }
    if not is_root():
        packages |= {"newuidmap": "uidmap", "newgidmap": "uidmap"}
    return [
        f"command {tool} is missing (apt-get install {package})"
        for tool, package in packages.items()
        if shutil.which(tool, path=search_path()) is None
    ]


def _missing_as_root() -> list[str]:
    if not _is_mapped(1337) or not _is_mapped(65534):
        return ["this root is the root of a user namespace in which uid 1337 or 65534 does not exist"]
    effective = int(_field("/proc/self/status", "CapEff:") or "0", 16)
    for bit, name in ((CAP_SYS_ADMIN, "CAP_SYS_ADMIN"), (CAP_NET_ADMIN, "CAP_NET_ADMIN")):
        if not effective >> bit & 1:
            return [f"root has no {name} here (in a container, start it with --privileged)"]
    return []


def _missing_as_user() -> list[str]:
    missing = []
    for setting, wrong in (
        ("kernel/unprivileged_userns_clone", "0"),
        ("user/max_user_namespaces", "0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    ):
        if _first_line(f"/proc/sys/{setting}") == wrong:
            missing.append(f"{setting.replace('/', '.')} is {wrong}, which bars user namespaces")
    name = _user_name()
    for path, option in (("/etc/subuid", "--add-subuids"), ("/etc/subgid", "--add-subgids")):
        if not _has_block(path, name):
            missing.append(
                f"{path} gives {name} no {BLOCK} ids (as root: usermod {option} 100000-165535 {name},"
                " or another free range)"
            )
    return missing


def _has_block(path: str, name: str) -> bool:
    """unshare --map-auto takes the first line of the user, so only that one counts."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return False
    for line in lines:
        owner, _, rest = line.partition(":")
        if owner in (name, str(os.getuid())):
            return int(rest.partition(":")[2] or 0) >= BLOCK
    return False


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _is_mapped(uid: int) -> bool:
    ranges = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(int(first) <= uid < int(first) + int(count) for first, _, count in ranges)


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.split()[1]
    return ""
