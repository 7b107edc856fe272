#!/usr/bin/env python3
"""Checks the C++ of the tree. `scripts/lint.py [--fix] [--base REF] [STEP ...]`; without a step: all of them.

  layers   a folder includes only what stands to its left (LAYERS below), and a few libraries stay where they belong
  sizes    no file over 800 lines (tables aside); every header begins with a comment
  format   clang-format-14; --fix rewrites the files
  headers  every header compiles alone; one that did, and whose own includes are the same, is not compiled again
  tidy     clang-tidy-14 over what changed since the merge base with --base or $LINT_BASE (otherwise HEAD~1)

Files are the tracked ones and the new ones that .gitignore does not name. Each step prints what it looked at, then `ok`
or its findings as file:line: text. Exit status: 0 clean, 1 findings, 2 it could not run.
"""

import argparse
import concurrent.futures
import functools
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ["proxy", "xds_client", "tls", "filters", "translator", "pinnacectl", "tests", "bench", "demo"]
JOBS = 2

# ---- layers: change these tables together with ARCHITECTURE.md ------------------------------------------------------
# From left to right. A file belongs to the longest folder named here that contains it, and may include its own folder
# and every folder of a line above. Folders on one line may include each other only where the flag says so. To add a
# folder, put it on the line of those that include the same as it does; to allow a new dependency, move a folder rather
# than set a flag.
LAYERS = [
    # folders, may include each other
    (["proxy/base", "proxy/stats"], True),
    (["proxy/net"], False),
    (["proxy/model"], False),
    (["proxy/http", "tls"], True),
    (["proxy/route", "proxy/upstream", "proxy/access_log"], False),
    (["proxy/filter"], False),  # the contracts that filters implement
    (["xds_client/compile"], False),  # protobuf -> model, piece by piece; filters compile their own configuration with it
    (["filters"], False),
    (["proxy/listener", "xds_client"], True),
    (["proxy/admin"], False),
    (["proxy"], False),  # worker, server, main: the files directly under proxy/
]
# Folders outside the order: they may include any layer, and no layer may include them (a unit test may include tests/).
OUTSIDE = ["translator", "pinnacectl", "tests", "bench", "demo"]
# (who, what, except for, why): a file under one of `who` may not include what matches `what`, unless it is under one of
# `except for`.
FORBIDDEN = [
    (["proxy/"], r"\.pb\.h$|^google/protobuf/|^api/", ["proxy/admin/"],
     "protobuf stops at compile: under proxy/ only admin may see it"),
    ([""], r"^openssl/", ["tls/", "translator/", "filters/listener/inspect_test.cc"], "only tls/ (and the translator's CA) uses OpenSSL"),
    ([""], r"^nghttp2/", ["proxy/http/h2/", "tests/", "bench/"], "only proxy/http/h2 uses nghttp2"),
    (["proxy/http/"], r"^tls/", [], "http speaks over any net::Connection and does not know TLS"),
]

# ---- sizes ----------------------------------------------------------------------------------------------------------
LONG_LINES, MAX_LINES = 400, 800
TABLE_MARK = "LINT: table"  # within the first ten lines: the file is a table, of any length

# ---- tidy -----------------------------------------------------------------------------------------------------------
TIDY_FILES = 12  # at most; those with the most changed lines
# The analyzer of clang 14 does not follow coroutines and calls every awaitable a null pointer.
NO_ANALYZER = re.compile(rb"\bco_(await|return|yield)\b")


class CannotRun(Exception):
    """What is missing, and how to get it. Exit status 2."""


def run(command, **options):
    return subprocess.run(command, cwd=options.pop("cwd", ROOT), capture_output=True, text=True, errors="replace",
                          **options)


def git(*arguments):
    done = run(["git", *arguments])
    if done.returncode:
        raise CannotRun(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@functools.cache
def sources():
    """Every .h and .cc, as paths from the root."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *FOLDERS)
    return sorted({p for p in listed.split("\0") if p.endswith((".h", ".cc")) and (ROOT / p).is_file()})


def headers():
    return [p for p in sources() if p.endswith(".h")]


def tool(name):
    """Debian's name carries the version: another clang-format formats otherwise."""
    if not shutil.which(name):
        raise CannotRun(f"{name} is not installed: run `make setup`")
    return name


def parallel(work, items):
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(work, items))


def under(path, folder):
    return path.startswith(folder.rstrip("/") + "/")


def shown(path):
    """From the root where it is in the tree, whole elsewhere."""
    return os.path.relpath(path, ROOT) if under(path, str(ROOT)) else os.path.normpath(path)


# ---- layers ---------------------------------------------------------------------------------------------------------
INCLUDE = re.compile(r'\s*#\s*include\s*(["<])([^">]+)[">]')


def layer_of(path):
    """(place in LAYERS, folder), or None outside the order."""
    found = [(place, folder) for place, (folders, _) in enumerate(LAYERS) for folder in folders if under(path, folder)]
    return max(found, key=lambda f: len(f[1])) if found else None


def layer_fault(path, included):
    """Why `path` may not include `included`, or None."""
    for who, what, exempt, why in FORBIDDEN:
        if re.search(what, included) and path.startswith(tuple(who)) and not path.startswith(tuple(exempt)):
            return why
    mine, other = layer_of(path), layer_of(included)
    if mine is None:
        return None
    outside = [folder for folder in OUTSIDE if under(included, folder)]
    if outside and not (outside == ["tests"] and path.endswith("_test.cc")):
        return f"{outside[0]}/ stands outside the layers"
    if other is None or mine == other or other[0] < mine[0] or (other[0] == mine[0] and LAYERS[mine[0]][1]):
        return None
    side = "beside" if other[0] == mine[0] else "to the right of"
    return f"{other[1]} stands {side} {mine[1]}"


def check_layers(_options):
    findings, includes = [], 0
    for path in sources():
        for number, line in enumerate((ROOT / path).read_text(errors="replace").splitlines(), 1):
            if not (match := INCLUDE.match(line)):
                continue
            includes += 1
            quote, included = match.groups()
            beside = (Path(path).parent / included).as_posix()
            if quote == '"' and not (ROOT / included).is_file() and (ROOT / beside).is_file():
                findings.append(f'{path}:{number}: include "{beside}": paths start at the root')
            if fault := layer_fault(path, included):
                findings.append(f"{path}:{number}: may not include {included}: {fault}")
    return f"{len(sources())} files, {includes} includes", findings


# ---- sizes ----------------------------------------------------------------------------------------------------------
def check_sizes(_options):
    findings, long_files = [], []
    for path in sources():
        lines = (ROOT / path).read_text(errors="replace").splitlines()
        if not any(TABLE_MARK in line for line in lines[:10]):
            if len(lines) > MAX_LINES:
                findings.append(f"{path}:{MAX_LINES}: {len(lines)} lines; at most {MAX_LINES}")
            elif len(lines) > LONG_LINES:
                long_files.append(f"{path} ({len(lines)})")
        if path.endswith(".h") and not (lines and lines[0].startswith(("//", "/*"))):
            findings.append(f"{path}:1: a header begins with a comment: what it is and why it exists")
    note = f"; over {LONG_LINES} lines: {', '.join(long_files)}" if long_files else ""
    return f"{len(sources())} files{note}", findings


# ---- format ---------------------------------------------------------------------------------------------------------
def check_format(options):
    program, files = tool("clang-format-14"), sources()

    def check(path):
        done = run([program, "--dry-run", path])
        return [re.match(r".*?:(\d+):\d+: ", line) for line in done.stderr.splitlines() if "-Wclang-format" in line]

    wrong = [(path, places) for path, places in zip(files, parallel(check, files)) if places]
    if options.fix:
        for path, _ in wrong:
            run([program, "-i", path])
        return f"{len(files)} files, {len(wrong)} rewritten", []
    return f"{len(files)} files", [f"{path}:{places[0][1]}: clang-format would change {len(places)} place(s)"
                                   for path, places in wrong]


# ---- the compilation database ---------------------------------------------------------------------------------------
DEFAULT_FLAGS = ["-std=c++20", f"-I{ROOT}", f"-I{ROOT}/build/api/gen"]


@functools.cache
def compile_commands(build):
    """{path: (directory, arguments)}; empty while there is no build."""
    try:
        entries = json.loads((build / "compile_commands.json").read_text())
    except FileNotFoundError:
        return {}
    found = {}
    for entry in entries:
        path = Path(entry["directory"], entry["file"]).resolve()
        if path.is_relative_to(ROOT):
            arguments = entry.get("arguments") or shlex.split(entry["command"])
            found[path.relative_to(ROOT).as_posix()] = (Path(entry["directory"]), arguments)
    return found


def language_flags(directory, arguments):
    """What decides how a header reads: search paths made absolute, definitions, the standard."""
    flags, rest = [], iter(arguments)
    for argument in rest:
        match = re.match(r"(-I|-isystem|-iquote|-D|-U)(.*)", argument)
        if match:
            kind, value = match[1], match[2] or next(rest)
            flags.append(kind + (str(directory / value) if kind[1] in "Ii" else value))
        elif argument.startswith("-std=") or argument in ("-pthread", "-fcoroutines"):
            flags.append(argument)
    return flags


def flags_for(header, build):
    """Those of the nearest source file."""
    commands = compile_commands(build)
    if not commands:
        return DEFAULT_FLAGS
    nearest = max(sorted(commands), key=lambda path: len(os.path.commonpath([path, header])))
    return language_flags(*commands[nearest])


# ---- headers --------------------------------------------------------------------------------------------------------
COMPILER = os.environ.get("CXX", "g++")


@functools.cache
def digest(path):
    """Of a file's content; of a generated one, which is large, its size and time."""
    try:
        if path.is_relative_to(ROOT / "build"):
            status = path.stat()
            return f"{status.st_size} {status.st_mtime_ns}"
        return hashlib.sha1(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def compile_alone(header, flags):
    """(None or (file:line of the fault, what it is), the files of the tree that it includes)"""
    flags = [*flags, f"-I{ROOT}/build/api/gen"]  # whichever neighbour's flags these are, the API may be needed
    done = run([COMPILER, *flags, "-w", "-fsyntax-only", "-MD", "-MF", "/dev/stdout", "-x", "c++", "-include",
                str(ROOT / header), "/dev/null"])
    if done.returncode == 0:
        names = shlex.split(done.stdout.replace("\\\n", " "))[1:]
        paths = {Path(ROOT, name).resolve() for name in names}
        return None, sorted(path for path in paths if path.is_relative_to(ROOT))
    places = re.findall(r"^(?:In file included from |\s+from )?(/\S+?):(\d+)(.*)", done.stderr, re.M)
    errors = [(path, line, rest.split("error: ", 1)[1]) for path, line, rest in places if "error: " in rest]
    path, line, text = errors[0] if errors else (str(ROOT / header), "1", done.stderr.strip()[:400])
    if not under(path, str(ROOT)):  # inside a library's template: say where it was asked for
        asked = [place for place in places if under(place[0], str(ROOT)) and "required from" in place[2]]
        path, line, _ = asked[-1] if asked else (str(ROOT / header), "1", "")
    return (f"{shown(path)}:{line}", text), []


def check_headers(options):
    cache_file = ROOT / "build/lint/headers.json"
    try:
        cache = json.loads(cache_file.read_text())
    except (FileNotFoundError, ValueError):
        cache = {}
    version = run([tool(COMPILER), "--version"]).stdout.splitlines()[0]
    flags = {header: flags_for(header, options.build) for header in headers()}

    def unchanged(header):
        known = cache.get(header)
        return known and known["by"] == [version, *flags[header]] and all(
            digest(ROOT / path) == was for path, was in known["read"].items())

    todo = [header for header in headers() if not unchanged(header)]
    results = parallel(lambda header: compile_alone(header, flags[header]), todo)
    fresh = {header: known for header, known in cache.items() if header in flags and header not in todo}
    failed = {}  # by cause: one bad header spoils those that include it
    for header, (fault, read) in zip(todo, results):
        if fault:
            failed.setdefault(fault, []).append(header)
        else:
            fresh[header] = {"by": [version, *flags[header]],
                             "read": {path.relative_to(ROOT).as_posix(): digest(path) for path in read}}
    findings = [f"{where}: {text}; so these do not compile alone: {', '.join(spoilt)}"
                for (where, text), spoilt in failed.items()]
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    partial = cache_file.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(fresh))
    partial.replace(cache_file)
    return f"{len(flags)} headers, {len(todo)} compiled", findings


# ---- tidy -----------------------------------------------------------------------------------------------------------
def base_commit(asked):
    """What the work is compared with: a commit, or the empty tree where there is nothing before it."""
    if asked:
        return git("merge-base", asked, "HEAD").strip()
    before = run(["git", "rev-parse", "--verify", "--quiet", "HEAD~1"])
    return before.stdout.strip() if before.returncode == 0 else git("hash-object", "-t", "tree", "/dev/null").strip()


def changed_lines(base):
    """{path: changed lines} of what differs from `base`, committed or not."""
    changed = {}
    for line in git("diff", "--numstat", "--no-renames", "--diff-filter=d", base, "--", *FOLDERS).splitlines():
        added, removed, path = line.split("\t")
        if path in sources():
            changed[path] = int(added) + int(removed)
    for path in git("ls-files", "--others", "--exclude-standard", "--", *FOLDERS).splitlines():
        if path in sources():
            changed[path] = (ROOT / path).read_bytes().count(b"\n")
    return changed


@functools.cache
def includers():
    """{included: the files that include it}"""
    found = {}
    for path in sources():
        for line in (ROOT / path).read_text(errors="replace").splitlines():
            if match := INCLUDE.match(line):
                found.setdefault(match[2], []).append(path)
    return found


def unit_of(path, commands):
    """The source file through which clang-tidy sees `path`: itself, its namesake, or the nearest that includes it."""
    if path.endswith(".cc"):
        return path if path in commands else None
    if (namesake := path.removesuffix(".h") + ".cc") in commands:
        return namesake
    queue = [path]
    for at in queue:
        if at in commands:
            return at
        queue += [includer for includer in includers().get(at, []) if includer not in queue]
    return None


def check_tidy(options):
    program, commands = tool("clang-tidy-14"), compile_commands(options.build)
    if not commands:
        raise CannotRun(f"{options.build}/compile_commands.json is missing: run `make build` first")
    base = base_commit(options.base)
    units, unseen = {}, []
    for path, lines in changed_lines(base).items():
        if unit := unit_of(path, commands):
            units[unit] = units.get(unit, 0) + lines
        else:
            unseen.append(path)
    ordered = sorted(units, key=lambda unit: (-units[unit], unit))
    chosen, left_out = ordered[:TIDY_FILES], ordered[TIDY_FILES:]

    def check(unit):
        checks = ["--checks=-clang-analyzer-*"] if NO_ANALYZER.search((ROOT / unit).read_bytes()) else []
        done = run([program, "--quiet", f"-p={options.build}", *checks, unit])
        found = [re.match(r"(/.+?):(\d+):\d+: (?:error|warning): (.*)", line) for line in done.stdout.splitlines()]
        faults = [f"{shown(m[1])}:{m[2]}: {m[3].replace(',-warnings-as-errors', '')}" for m in found if m]
        if done.returncode and not faults:  # no place named: clang does not take a flag of the compiler's
            faults = [f"{unit}:1: clang-tidy failed: {(done.stdout.strip() or done.stderr.strip())[:400]}"]
        return faults

    findings = sorted({fault for faults in parallel(check, chosen) for fault in faults})
    what = f"{len(chosen)} of {len(units)} units changed since {base[:12]}"
    if left_out:
        what += f"; left out, changed less: {', '.join(left_out)}"
    if unseen:
        what += f"; not in {options.build.name}/compile_commands.json: {', '.join(sorted(unseen))}"
    return what, findings


STEPS = {"layers": check_layers, "sizes": check_sizes, "format": check_format, "headers": check_headers,
         "tidy": check_tidy}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"{', '.join(STEPS)} or all")
    parser.add_argument("--fix", action="store_true", help="let clang-format rewrite what it would change")
    parser.add_argument("--base", default=os.environ.get("LINT_BASE"), help="a branch or commit; see tidy")
    parser.add_argument("--build", type=Path, default=ROOT / "build/release", help="where compile_commands.json is")
    options = parser.parse_args()
    if unknown := [step for step in options.steps if step not in [*STEPS, "all"]]:
        parser.error(f"no such step: {unknown[0]}")
    options.build = options.build.resolve()
    found, stopped = False, False
    for name in STEPS if not options.steps or "all" in options.steps else options.steps:
        print(f"lint {name}: ", end="", flush=True)
        start = time.monotonic()
        try:
            what, findings = STEPS[name](options)
        except CannotRun as missing:
            print(f"cannot run: {missing}")
            stopped = True
            continue
        print(f"{what} ({time.monotonic() - start:.1f} s): {f'{len(findings)} findings' if findings else 'ok'}")
        for finding in findings:
            print(finding)
        found = found or bool(findings)
    return 1 if found else 2 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
