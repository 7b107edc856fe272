"""The packet rules of a pod with a sidecar in REDIRECT mode: the rules istio-init sets, in its order.

A packet's way through them:
  inbound   PREROUTING → ISTIO_INBOUND → (ports left out return) → ISTIO_IN_REDIRECT → 15006
  outbound  OUTPUT → ISTIO_OUTPUT → (proxy's own, loopback return) → ISTIO_REDIRECT → 15001
"""

from collections.abc import Callable
from dataclasses import dataclass

RESTORE_COMMANDS = ("iptables-restore", "iptables-nft-restore", "iptables-legacy-restore")


@dataclass(frozen=True)
class Redirect:
    """What a pod's rules are made from; the defaults are those of an injected pod."""

    inbound_port: int = 15006
    outbound_port: int = 15001
    tunnel_port: int = 15008
    proxy_uid: int = 1337
    proxy_gid: int = 1337
    exclude_inbound_ports: tuple[int, ...] = (15090, 15021, 15020)
    exclude_outbound_ports: tuple[int, ...] = ()
    exclude_outbound_ranges: tuple[str, ...] = ()

    def rules(self, ipv6: bool = False) -> str:
        """The text for iptables-restore, or for ip6tables-restore."""
        loopback, passthrough = ("::1/128", "::6/128") if ipv6 else ("127.0.0.1/32", "127.0.0.6/32")
        lines = [
            "*nat",
            "-N ISTIO_INBOUND",
            "-N ISTIO_REDIRECT",
            "-N ISTIO_IN_REDIRECT",
            "-N ISTIO_OUTPUT",
            f"-A ISTIO_INBOUND -p tcp --dport {self.tunnel_port} -j RETURN",
            f"-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {self.outbound_port}",
            f"-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports {self.inbound_port}",
            "-A PREROUTING -p tcp -j ISTIO_INBOUND",
        ]
        for port in self.exclude_inbound_ports:
            lines.append(f"-A ISTIO_INBOUND -p tcp --dport {port} -j RETURN")
        lines += ["-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT", "-A OUTPUT -j ISTIO_OUTPUT"]
        for port in self.exclude_outbound_ports:
            lines.append(f"-A ISTIO_OUTPUT -p tcp --dport {port} -j RETURN")
            lines.append(f"-A ISTIO_OUTPUT -p udp --dport {port} -j RETURN")
        # The inbound proxy's connections to the application come from this address.
        lines.append(f"-A ISTIO_OUTPUT -o lo -s {passthrough} -j RETURN")
        for owner in (f"--uid-owner {self.proxy_uid}", f"--gid-owner {self.proxy_gid}"):
            lines += [
                # An application that calls its own service comes back in through the proxy ...
                f"-A ISTIO_OUTPUT -o lo ! -d {loopback} -p tcp ! --dport {self.tunnel_port}"
                f" -m owner {owner} -j ISTIO_IN_REDIRECT",
                # ... but one that calls its own pod address reaches itself directly.
                f"-A ISTIO_OUTPUT -o lo -m owner ! {owner} -j RETURN",
                # What the proxy sends is never given back to the proxy.
                f"-A ISTIO_OUTPUT -m owner {owner} -j RETURN",
            ]
        lines.append(f"-A ISTIO_OUTPUT -d {loopback} -j RETURN")
        for network in self.exclude_outbound_ranges:
            if (":" in network) == ipv6:
                lines.append(f"-A ISTIO_OUTPUT -d {network} -j RETURN")
        lines += ["-A ISTIO_OUTPUT -j ISTIO_REDIRECT", "COMMIT", ""]
        return "\n".join(lines)


def apply(run: Callable, redirect: Redirect, *, ipv6: bool, commands: tuple[str, ...]) -> str:
    """Sets the rules in the pod in which `run(argv, input=...)` runs; returns the command that could.

    Which of the two kinds of iptables works depends on the kernel; each call is atomic, so the
    first that succeeds has set everything.
    """
    complaints = []
    for command in commands:
        done = run([command, "--noflush"], input=redirect.rules())
        if done.returncode == 0 and ipv6:
            done = run(["ip6" + command[2:], "--noflush"], input=redirect.rules(ipv6=True))
        if done.returncode == 0:
            return command
        complaints.append(f"{command}: {(done.stderr or '').strip().splitlines()[-1:]}")
    raise RuntimeError("no iptables works here: " + "; ".join(complaints))
