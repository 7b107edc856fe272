import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True

from support import tools  # noqa: E402
from support.lab import lab  # noqa: E402, F401


def made(config, make):
    """What make() makes, with its progress past pytest's capture. No toolchain: a skip, but in CI a failure."""
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        try:
            return make()
        except tools.Missing as missing:
            reason = str(missing)
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture(scope="session")
def h2spec(pytestconfig):
    return made(pytestconfig, tools.h2spec)


@pytest.fixture(scope="session")
def grpc_go(pytestconfig):
    return made(pytestconfig, tools.grpc_go)


@pytest.fixture(scope="session")
def go_control_plane(pytestconfig):
    return made(pytestconfig, tools.go_control_plane)


@pytest.fixture(scope="session")
def grpc_java(pytestconfig):
    return made(pytestconfig, tools.grpc_java)
