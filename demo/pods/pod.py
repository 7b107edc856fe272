"""A pod: its own network and mount namespace on the mesh's node, held open by one sleeping process."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from . import iptables, names
from .iptables import Redirect
from .place import Place, environment
from .process import child_of, stop_all
from .rootless import enter_argv

if TYPE_CHECKING:
    from .mesh import Mesh

# Becomes the holder. $1 name files, $2 empty folder, $3 pod name, $4 folder of all pods' folders.
# Of that last one a pod sees only its own entry. Ports below 1024 are free to all, as in Kubernetes.
HOLDER = """
for file in hosts resolv.conf nsswitch.conf; do
  if [ -e "/etc/$file" ]; then mount --bind "$1/$file" "/etc/$file"; fi
done
mount -t tmpfs -o mode=0755 pods "$2"
mkdir "$2/$3"
mount --bind "$4/$3" "$2/$3"
mount --rbind "$2" "$4"
echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start
if [ -e /proc/sys/net/ipv6 ]; then echo "$5" > /proc/sys/net/ipv6/conf/all/disable_ipv6; fi
echo ready
exec sleep infinity
"""


class Pod(Place):
    """Made by Mesh.add_pod.

    name, folder            its name; a folder that it alone sees, writable to every uid in it
    address, addresses      its IPv4 address on the bridge; that and the IPv6 one
    extra_addresses         further addresses that the mesh routes to it
    """

    def __init__(self, mesh: "Mesh", index: int, name: str, addresses: list[str],
                 extra_addresses: list[str], hosts: names.Table):
        self.mesh = mesh
        self.name = name
        self.address = addresses[0]
        self.addresses = addresses
        self.extra_addresses = extra_addresses
        self.hosts = dict(hosts)
        self._interface = f"pod{index}"
        self._etc = mesh.temp / "etc" / name
        self._etc.mkdir()
        folder = mesh.temp / "pods" / name
        folder.mkdir()
        folder.chmod(0o777)
        self.write_names()
        self._holder = self._start_holder()
        super().__init__(name, child_of(self._holder), folder, mesh.temp / "logs")

    def connect(self, redirect: Redirect | None) -> None:
        """Plugs it into the bridge and sets its rules."""
        mesh = self.mesh
        mesh.node.ip(
            f"link add {self._interface} type veth peer name eth0"
            f" address {hardware_address(self.address)} netns {self.pid}",
            f"link set {self._interface} master br0 up",
        )
        lines = ["link set lo up"]
        for address, network in zip(self.addresses, mesh.networks):
            nodad = " nodad" if network.version == 6 else ""
            lines.append(f"addr add {address}/{network.prefixlen} dev eth0{nodad}")
        for address in self.extra_addresses:
            lines.append(f"addr add {address}{'/128 nodad' if ':' in address else '/32'} dev eth0")
        lines.append("link set eth0 up")
        lines += [f"route add default via {gateway}" for gateway in mesh.gateways]
        self.ip(*lines)
        mesh.node.ip(*(f"route add {route}" for route in self._extra_routes()))
        if redirect is not None:
            works = iptables.apply(
                self._run_iptables, redirect, ipv6=mesh.ipv6,
                commands=mesh.iptables_commands,
            )
            mesh.iptables_commands = (works,)

    def disconnect(self) -> None:
        """After end(): the node forgets what it knew of the pod."""
        self.mesh.node.ip(*(f"route del {route}" for route in self._extra_routes()))

    def own_files(self) -> list[Path]:
        return [self.folder, self._etc]

    def ip(self, *commands: str) -> None:
        ip_batch(self.pid, commands)

    def set_hosts(self, hosts: names.Table) -> None:
        """Replaces the pod's own entries of its /etc/hosts; those of the mesh stay."""
        self.hosts = dict(hosts)
        self.write_names()

    def close(self) -> None:
        """Ends everything in it and takes it out of the mesh."""
        self.mesh.remove_pod(self)

    def end(self, deadline: float) -> None:
        stop_all(self.processes, deadline)
        try:
            if self._holder.poll() is None:
                os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._holder.wait()

    def _extra_routes(self) -> list[str]:
        return [
            f"{address} via {self.addresses[1] if ':' in address else self.address}"
            for address in self.extra_addresses
        ]

    def write_names(self) -> None:
        mesh = self.mesh
        own = {self.name: self.addresses}
        files = {
            "hosts": names.hosts_file(own, {**mesh.hosts, **self.hosts}, mesh.ipv6),
            "resolv.conf": names.resolv_file(mesh.dns_address, mesh.dns_search, mesh.dns_ndots),
            "nsswitch.conf": names.nsswitch_file(),
        }
        for name, text in files.items():
            names.overwrite(self._etc / name, text)
            (self._etc / name).chmod(0o644)

    def _start_holder(self) -> subprocess.Popen:
        temp = self.mesh.temp
        argv = enter_argv(self.mesh.node.pid) + [
            "unshare", "--mount", "--net", "sh", "-eu", "-c", HOLDER, "pod",
            str(self._etc), str(temp / "veil"), self.name, str(temp / "pods"),
            "0" if self.mesh.ipv6 else "1",
        ]
        holder = subprocess.Popen(
            argv, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True, text=True,
        )
        with holder.stdout:
            first = holder.stdout.readline()
            if first != "ready\n":
                raise RuntimeError(f"pod {self.name} cannot be made: {first}{holder.stdout.read()}".strip())
        return holder

    def _run_iptables(self, argv: list[str], input: str) -> subprocess.CompletedProcess:
        # The legacy kind locks a file in /run unless told of another.
        return self.run(argv, input=input, env={"XTABLES_LOCKFILE": str(self._etc / "xtables.lock")})


def hardware_address(ipv4: str) -> str:
    """Follows from the IPv4 address: a pod that takes over the address of a removed one is what the
    others' neighbour tables say."""
    return "02:00:" + socket.inet_aton(ipv4).hex(":")


def ip_batch(pid: int, commands: Iterable[str]) -> None:
    """Runs iproute2 commands in the network of process `pid`: all of them, or an exception."""
    text = "\n".join([*commands, ""])
    done = subprocess.run(
        [*enter_argv(pid, pid_namespace=False), "ip", "-batch", "-"],
        input=text, env=environment(), text=True, timeout=30,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    if done.returncode != 0:
        raise RuntimeError(f"ip refused: {done.stdout.strip()}, of:\n{text}")
