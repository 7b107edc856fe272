"""A mesh of pods on one machine: a node with a bridge, and pods plugged into it.

Everything lives in a sandbox (mount, network and pid namespace; a user namespace too unless run by
root) whose pid 1, the keeper, waits for the runner. However the runner ends, the keeper sees its
pipe close, kills what is left and removes the run folder; when the keeper itself is killed, the
kernel ends the rest and only the folder stays, until the next run or `clean`.
"""

import ipaddress
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import runs
from .dns import Dns
from .ending import unwind_on_signals
from .iptables import RESTORE_COMMANDS, Redirect
from .names import Table
from .place import Place, environment
from .pod import Pod, hardware_address, ip_batch
from .process import child_of, stop_all
from .rootless import check, sandbox_argv

KEEPER = """
echo ready
read -r _
kill -KILL -1
tries=0
until rm -rf -- "$1" || [ "$tries" -ge 100 ]; do tries=$((tries + 1)); sleep 0.05; done
rmdir -- "${1%/*}" 2>/dev/null
"""

NETWORK = ipaddress.ip_network("10.44.0.0/16")
NETWORK6 = ipaddress.ip_network("fd00:44::/64")
NODE_HOST, DNS_HOST, FIRST_POD_HOST = 1, 2, 10
POD_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,48}[a-z0-9])?")


class Node(Place):
    """The machine that the pods are on: it sees every pod's folder and reaches every pod."""

    def ip(self, *commands: str) -> None:
        ip_batch(self.pid, commands)


class Mesh:
    """Use as a context manager. Several may run at once, of one runner or of many.

    temp   the run folder, removed at the end; open to every uid of the mesh that knows its name
    node   for what serves all pods, such as a control plane
    pods   by name, in the order they were added
    """

    def __init__(self, *, ipv6: bool = False, hosts: Table | None = None,
                 dns_search: Sequence[str] = (), dns_ndots: int = 1):
        self.ipv6 = ipv6
        self.hosts = dict(hosts or {})
        self.dns_search = list(dns_search)
        self.dns_ndots = dns_ndots
        self.networks = [NETWORK, NETWORK6] if ipv6 else [NETWORK]
        self.gateways = self._addresses_of(NODE_HOST)
        self.dns_address: str | None = None
        self.pods: dict[str, Pod] = {}
        self.iptables_commands = RESTORE_COMMANDS
        self._next_host = FIRST_POD_HOST
        self._made = 0
        self._state: dict = {}
        self._keeper: subprocess.Popen | None = None
        self._signals = unwind_on_signals()

    def __enter__(self) -> "Mesh":
        check()
        runs.clean()
        self._signals.__enter__()
        try:
            self.temp = runs.create()
            self._state = {"runner": runs.identity(os.getpid()), "pods": {}}
            runs.write_state(self.temp, self._state)
            self._start_keeper()
            self._start_bridge()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def add_pod(self, name: str, *, address: str | None = None,
                extra_addresses: Sequence[str] = (), redirect: Redirect | bool = True,
                hosts: Table | None = None) -> Pod:
        """A new pod, reachable when this returns.

        address          within 10.44.0.0/16; the next free one unless given
        extra_addresses  IPv4 or IPv6 addresses of any network, routed to the pod by all others
        redirect         the sidecar's packet rules: True for istio-init's, False for none
        hosts            names for its /etc/hosts, beside those of the mesh
        """
        if not POD_NAME.fullmatch(name) or name in self.pods:
            raise ValueError(f"'{name}' is taken or no name for a pod")
        self._made += 1
        pod = Pod(self, self._made, name, self._choose(address), list(extra_addresses), hosts or {})
        self.pods[name] = pod
        rules = Redirect() if redirect is True else redirect or None
        pod.connect(rules)
        self._state["pods"][name] = {
            "process": runs.identity(pid=pod.pid), "addresses": pod.addresses + pod.extra_addresses,
        }
        runs.write_state(self.temp, self._state)
        return pod

    def remove_pod(self, pod: Pod, deadline: float = 5.0) -> None:
        """Ends everything in the pod and forgets it; its addresses and name are free again."""
        pod.end(deadline)
        pod.disconnect()
        self.node.run(["rm", "-rf", "--", *pod.own_files()], check=True)
        del self.pods[pod.name]
        del self._state["pods"][pod.name]
        runs.write_state(self.temp, self._state)

    def set_hosts(self, hosts: Table) -> None:
        """Replaces the entries that every pod's /etc/hosts has."""
        self.hosts = dict(hosts)
        self._write_names()

    def start_dns(self, table: Table, *, ttl: int = 1) -> Dns:
        """Starts the server that every pod's /etc/resolv.conf names from now on; returns when it
        answers. Call it before starting programs that read resolv.conf only once."""
        dns = Dns(self.add_pod("dns", address=str(NETWORK[DNS_HOST]), redirect=False), table, ttl)
        self.dns_address = dns.pod.address
        self._write_names()
        return dns

    def install(self, program: str | Path) -> Path:
        """Puts a program where every uid of the mesh can run it, whatever folder it was built in
        (a home is closed to others); returns its path there. A second call replaces it."""
        source, target = Path(program).resolve(), self.temp / "bin" / Path(program).name
        target.unlink(missing_ok=True)
        try:
            if source.stat().st_mode & 0o005 != 0o005:
                raise PermissionError(source)
            os.link(source, target)
        except OSError:  # another file system, another's file, or a mode that bars others
            shutil.copyfile(source, target)
            target.chmod(0o755)
        return target

    def close(self, deadline: float = 5.0) -> None:
        """Ends everything. Called at the end of `with`; harmless when repeated."""
        try:
            places = [self.node] if hasattr(self, "node") else []
            places += self.pods.values()
            stop_all([process for place in places for process in place.processes], deadline)
        finally:
            try:
                self._end_keeper()
            finally:
                self._signals.__exit__(None, None, None)

    def _start_keeper(self) -> None:
        output = self._try_keeper(mount_proc=True)
        if output != "ready\n":
            # Some containers hide parts of /proc and then refuse a new one; the old one will do.
            output = self._try_keeper(mount_proc=False)
        if output != "ready\n":
            raise RuntimeError(f"a sandbox cannot be made here: {output.strip()}")
        pid = child_of(self._keeper)
        self.node = Node("node", pid, self.temp, self.temp / "logs")
        self._state["keeper"] = runs.identity(pid)
        runs.write_state(self.temp, self._state)

    def _try_keeper(self, mount_proc: bool) -> str:
        keeper = subprocess.Popen(
            [*sandbox_argv(mount_proc), "sh", "-c", KEEPER, "keeper", str(self.temp)],
            env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True, text=True, cwd="/",
        )
        with keeper.stdout:
            output = keeper.stdout.readline()
            if output == "ready\n":
                self._keeper = keeper
            else:
                output += keeper.stdout.read()
                keeper.stdin.close()
                keeper.wait()
        return output

    def _start_bridge(self) -> None:
        switches = {"ipv4/ip_forward": 1, "ipv4/conf/all/send_redirects": 0,
                    "ipv4/conf/default/send_redirects": 0}
        if self.ipv6:
            switches["ipv6/conf/all/forwarding"] = 1
        script = "\n".join(f"echo {on} > /proc/sys/net/{name}" for name, on in switches.items())
        self.node.run(["sh", "-euc", script], check=True)
        addresses = [
            f"addr add {address}/{network.prefixlen} dev br0{' nodad' * (network.version == 6)}"
            for address, network in zip(self.gateways, self.networks)
        ]
        # What nobody has is the node's: a connection to it is refused at once, not after seconds.
        nobodys = [f"route add local {net} dev lo table main" for net in ("default", "::/0")]
        self.node.ip(
            "link set lo up",
            # Without an address of its own a bridge changes it as pods come and go.
            f"link add br0 address {hardware_address(self.gateways[0])} type bridge",
            *addresses,
            "link set br0 up",
            *nobodys[: len(self.networks)],
        )

    def _end_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.stdin.close()
            self._keeper.wait()
            for pod in self.pods.values():
                pod.end(0)
            self.pods.clear()
            self._keeper = None
        if hasattr(self, "temp") and not runs.remove(self.temp):
            raise RuntimeError(f"{self.temp} cannot be removed")

    def _write_names(self) -> None:
        for pod in self.pods.values():
            pod.write_names()

    def _addresses_of(self, host: int) -> list[str]:
        return [str(network[host]) for network in self.networks]

    def _choose(self, address: str | None) -> list[str]:
        """The pod's address in each network: the same host number in both."""
        taken = {pod.address for pod in self.pods.values()}
        if address is None:
            while str(NETWORK[self._next_host]) in taken:
                self._next_host += 1
            host = self._next_host
            self._next_host += 1
        else:
            host = int(ipaddress.ip_address(address)) - int(NETWORK.network_address)
            if not 0 < host < NETWORK.num_addresses - 1 or host == NODE_HOST or address in taken:
                raise ValueError(f"{address} is taken or not in {NETWORK}")
        return self._addresses_of(host)
