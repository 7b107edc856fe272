"""A kept-alive request allocates nothing in steady state: malloc and operator new are counted in the running proxy."""
import mmap
import pathlib
import subprocess

import pytest

pytestmark = pytest.mark.release_only  # the sanitizers bring an allocator of their own

REQUESTS = 2000
SOURCE = pathlib.Path(__file__).parents[1] / "support" / "alloc_counter.c"


@pytest.fixture
def allocations(tmp_path, monkeypatch):
    library, counter = tmp_path / "alloc_counter.so", tmp_path / "count"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    counter.write_bytes(bytes(8))
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("ALLOC_COUNT", str(counter))
    with open(counter, "r+b") as file, mmap.mmap(file.fileno(), 8) as page:
        yield lambda: int.from_bytes(page[:8], "little")


def head(size):
    filler = "".join(f"x-filler-{i}: {'v' * 80}\r\n" for i in range(size // 96))
    return f"GET /p HTTP/1.1\r\nhost: a\r\n{filler}\r\n".encode()


@pytest.mark.parametrize("size", [100, 4000])
def test_a_kept_alive_request_allocates_nothing(lab, allocations, size):
    origin = lab.origin()
    proxy = lab.http(origin)
    client, request = lab.client(proxy.port), head(size)
    def send(count):
        for _ in range(count):
            client.send(request)
            assert client.response().status == 200
    send(200)
    assert allocations() > 1000, "the counter must see the proxy start"
    before = allocations()
    send(REQUESTS)
    # The log's writer takes a block of lines from time to time; a request itself takes nothing.
    assert allocations() - before < REQUESTS * 0.05
