"""The name files of a pod: /etc/hosts, /etc/resolv.conf and /etc/nsswitch.conf."""

from collections.abc import Mapping, Sequence
from pathlib import Path

Table = Mapping[str, str | Sequence[str]]  # a name and its address or addresses


def addresses_of(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def hosts_lines(table: Table) -> str:
    return "".join(f"{a} {name}\n" for name, value in table.items() for a in addresses_of(value))


def hosts_file(own: Table, table: Table, ipv6: bool) -> str:
    localhost = "127.0.0.1 localhost\n" + ("::1 localhost ip6-localhost\n" if ipv6 else "")
    return localhost + hosts_lines(own) + hosts_lines(table)


def resolv_file(server: str | None, search: Sequence[str], ndots: int) -> str:
    """Without a server the pod itself is asked, which refuses at once."""
    domains = f"search {' '.join(search)}\n" if search else ""
    return f"nameserver {server or '127.0.0.1'}\n{domains}options ndots:{ndots} timeout:2 attempts:2\n"


def nsswitch_file() -> str:
    """The machine's own, but names come from the pod's files and DNS only: a resolver daemon of the
    machine would answer from outside the mesh."""
    try:
        lines = Path("/etc/nsswitch.conf").read_text().splitlines()
    except OSError:
        lines = []
    kept = [line for line in lines if not line.startswith("hosts:")]
    return "\n".join(["hosts: files dns", *kept, ""])


def overwrite(path: Path, text: str) -> None:
    """In place: a bind mount shows the file that it was made from, not the one that replaces it."""
    with open(path, "r+" if path.exists() else "w") as file:
        file.write(text)
        file.truncate()
