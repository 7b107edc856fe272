"""Pods out of network namespaces on one machine. README.md says how to use them."""

from .ending import Terminated
from .iptables import Redirect
from .mesh import Mesh, Node
from .place import Place
from .pod import Pod
from .process import Process, stop_all
from .rootless import PodsUnavailable, check
from .dns import Dns

__all__ = [
    "Dns", "Mesh", "Node", "Place", "Pod", "PodsUnavailable", "Process", "Redirect", "Terminated",
    "check", "stop_all",
]
