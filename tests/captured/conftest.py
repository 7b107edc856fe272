"""Where what a real istiod sent is kept: ../shared/istiod beside the checkout, or PINNACE_SHARED."""

import os
import pathlib
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests"))
sys.dont_write_bytecode = True


@pytest.fixture(scope="session")
def istiod():
    folder = pathlib.Path(os.environ.get("PINNACE_SHARED", REPO.parent / "shared")) / "istiod"
    if not folder.is_dir():
        assert not os.environ.get("CI"), f"{folder} is missing, and CI skips nothing"
        pytest.skip(f"no captured pushes: {folder} is missing (PINNACE_SHARED names another place)")
    return folder
