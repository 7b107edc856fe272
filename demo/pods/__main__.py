"""Looks at the meshes of other runners, and cleans up after dead ones."""

import argparse
import os
import sys

from . import runs
from .place import environment
from .rootless import PodsUnavailable, become_argv, check, enter_argv


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m demo.pods", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="say whether pods can be made here, and if not, why")
    commands.add_parser("list", help="show the meshes that are up and their pods")
    commands.add_parser("clean", help="remove what dead runners left")
    execute = commands.add_parser("exec", help="run a command in a pod of a mesh that is up")
    execute.add_argument("--run", default="", help="which mesh, when several are up")
    execute.add_argument("--uid", type=int, default=1000, help="as which uid (1000)")
    execute.add_argument("pod", help="its name, or 'node'")
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    wanted = parser.parse_args()
    try:
        return {"check": _check, "list": _list, "clean": _clean, "exec": _exec}[wanted.command](wanted)
    except (PodsUnavailable, LookupError) as error:
        print(error.args[0], file=sys.stderr)
        return 1


def _check(_) -> int:
    check()
    print("pods can be made here")
    return 0


def _list(_) -> int:
    for folder in _living():
        print(folder)
        for name, pod in runs.read_state(folder)["pods"].items():
            print(f"  {name:24} {', '.join(pod['addresses'])}")
    return 0


def _clean(_) -> int:
    for name in runs.clean():
        print(f"removed {name}")
    stubborn = runs.dead_runs()
    for folder in stubborn:
        print(f"cannot remove {folder}", file=sys.stderr)
    return 1 if stubborn else 0


def _exec(wanted) -> int:
    found = [folder for folder in _living() if folder.name.startswith(wanted.run)]
    if len(found) != 1:
        names = ", ".join(folder.name for folder in found) or "none"
        raise LookupError(f"one mesh is needed, here are: {names} (choose with --run)")
    state = runs.read_state(found[0])
    places = {name: pod["process"] for name, pod in state["pods"].items()} | {"node": state["keeper"]}
    if wanted.pod not in places:
        raise LookupError(f"no pod '{wanted.pod}'; there are {', '.join(places)}")
    argv = wanted.argv[1:] if wanted.argv[:1] == ["--"] else wanted.argv
    become = become_argv(wanted.uid, wanted.uid) if wanted.uid else []
    whole = enter_argv(places[wanted.pod][0]) + become + (argv or ["sh"])
    os.execvpe(whole[0], whole, environment())


def _living() -> list:
    return [folder for folder in runs.all_runs() if runs.runner_alive(folder)]


if __name__ == "__main__":
    sys.exit(main())
