#!/usr/bin/env python3
"""Fuzzes every parser of bytes off the wire with libFuzzer (build/fuzz), or runs its seeds once (--seeds).

Each target has seeds in seeds/<target> and a corpus of its own in build/fuzz/corpus/<target>, which later runs go on from.
An input that breaks something is kept in build/fuzz/findings/<target>-...; feed it to the target to see it again. Ends with
a table; exit status: 0, 1 after a finding, 2 when it could not run.
"""
import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build"
FINDINGS = BUILD / "fuzz/findings"
TARGETS = sorted(path.name.removesuffix("_fuzz.cc") for path in HERE.glob("*_fuzz.cc"))
AT_ONCE = 2
MAX_LEN = 8192  # more would only be slower
PROGRESS = re.compile(r"^#(\d+)\s+\w+\s+cov: (\d+) ft: \d+ corp: (\d+)/\S+.*?exec/s: (\d+)", re.M)


class Run:
    """One target at work."""

    def __init__(self, target, seconds):
        self.target, self.started, self.ended = target, time.monotonic(), None
        self.log = BUILD / f"fuzz/{target}.log"
        corpus = BUILD / f"fuzz/corpus/{target}"
        corpus.mkdir(parents=True, exist_ok=True)
        command = [BUILD / f"fuzz/bin/fuzz_{target}", corpus, HERE / "seeds" / target, f"-max_total_time={seconds}",
                   f"-max_len={MAX_LEN}", f"-artifact_prefix={FINDINGS}/{target}-", "-timeout=25", "-rss_limit_mb=4096",
                   "-print_final_stats=1"]
        for name in (target, target.split("_")[0]):
            if (HERE / f"{name}.dict").exists():
                command.append(f"-dict={HERE}/{name}.dict")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def figures(self):
        """Executions, coverage, size of the corpus, executions a second: as last told."""
        told = PROGRESS.findall(self.log.read_text(errors="replace"))
        return [int(figure) for figure in told[-1]] if told else [0, 0, 0, 0]

    def progress(self):
        executions, coverage, corpus, _ = self.figures()
        print(f"  {self.target}: {time.monotonic() - self.started:.0f} s, {executions} executions, coverage {coverage}, "
              f"corpus {corpus}", flush=True)

    def is_over(self):
        if self.process.poll() is None:
            return False
        self.ended = self.ended or time.monotonic()
        return True

    def row(self):
        seconds = self.ended - self.started
        executions, coverage, corpus, _ = self.figures()
        verdict = "clean" if self.process.returncode == 0 else f"FINDING, see {self.log.relative_to(BUILD.parent)}"
        return [self.target, executions, round(executions / seconds), coverage, corpus, f"{seconds:.0f} s", verdict]


def fuzz(targets, seconds):
    FINDINGS.mkdir(parents=True, exist_ok=True)
    waiting, running, done, told = list(targets), [], [], time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                running.append(Run(waiting.pop(0), seconds))
                print(f"{running[-1].target}: {seconds} s", flush=True)
            time.sleep(0.5)
            if time.monotonic() - told > 30:
                told = time.monotonic()
                for run in running:
                    run.progress()
            done += [run for run in running if run.is_over()]
            running = [run for run in running if run not in done]
    finally:
        for run in running:
            run.process.kill()
    return done


def table(rows):
    rows = [["target", "executions", "exec/s", "coverage", "corpus", "time", "verdict"], *rows]
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())


def run_seeds(targets, binaries):
    """Each target over its seeds, once. The programs are libFuzzer's or those of standalone_main.cc."""
    failed = 0
    for target in targets:
        seeds = sorted((HERE / "seeds" / target).iterdir())
        ran = subprocess.run([binaries / f"fuzz_{target}", *seeds], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             errors="replace", timeout=300)
        print(f"{target}: {len(seeds)} seeds, {'clean' if ran.returncode == 0 else 'FINDING'}", flush=True)
        if ran.returncode != 0:
            failed += 1
            print(ran.stdout[-2000:] + ran.stderr[-8000:])
    return failed


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("targets", nargs="*", default=TARGETS, help=f"of {', '.join(TARGETS)} (default: all)")
    options.add_argument("--seconds", type=int, default=600, help="for each target (default: 600)")
    options.add_argument("--seeds", metavar="BIN", type=Path, help="run only the seeds, with the programs in this folder")
    chosen = options.parse_args()
    binaries = chosen.seeds or BUILD / "fuzz/bin"
    unknown = [target for target in chosen.targets if target not in TARGETS]
    missing = [target for target in chosen.targets if not (binaries / f"fuzz_{target}").exists()]
    if unknown or missing:
        print(f"no such target: {unknown}" if unknown else f"not built in {binaries}: {missing}", file=sys.stderr)
        return 2
    if chosen.seeds:
        return 1 if run_seeds(chosen.targets, binaries) else 0
    done = fuzz(chosen.targets, chosen.seconds)
    print()
    table([run.row() for run in done])
    return 1 if any(run.process.returncode for run in done) else 0


if __name__ == "__main__":
    sys.exit(main())
