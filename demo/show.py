"""Prints what the demo finds: with colour and aligned on a terminal, as plain lines otherwise."""

import sys
import time

from demo.dumps import Behind
from demo.flows import Told
from demo.hops import Hop

COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}


class Show:
    def __init__(self, stream=sys.stdout):
        self.stream = stream
        self.colour = stream.isatty()
        self.started = time.monotonic()

    def paint(self, text: str, *styles: str) -> str:
        if not self.colour:
            return text
        return "".join(f"\033[{COLOURS[style]}m" for style in styles) + text + "\033[0m"

    def line(self, text: str = "") -> None:
        print(text, file=self.stream, flush=True)

    def progress(self, text: str) -> None:
        self.line(self.paint(f"{time.monotonic() - self.started:6.1f} s  {text}", "dim"))

    def heading(self, text: str) -> None:
        self.line()
        self.line(self.paint(text, "bold"))

    def verdict(self, what: str, holds: bool) -> None:
        mark = self.paint("ok    ", "green") if holds else self.paint("FAILED", "red", "bold")
        self.line(f"  {mark} {what}")

    def told(self, number: int, told: Told) -> None:
        self.heading(f"{number}. {told.title}")
        self.line(f"  request   {self.paint(told.command, 'cyan')}   from {told.sender}")
        for i, hop in enumerate(told.hops):
            following = told.hops[i + 1] if i + 1 < len(told.hops) else None
            self._hop(i + 1, hop, told.behind[i] if i < len(told.behind) else None, following)
        if told.seen:
            peer, own = (self.paint(identity, "yellow") for identity in told.seen)
            self.line(f"  seen      x-forwarded-client-cert: {peer} to {own}")
        self.line(f"  answer    {self.paint(told.answer, 'bold')}")
        for what, holds in told.checks:
            if not holds:
                self.verdict(what, False)
        if told.good:
            self.verdict(f"{len(told.checks)} checks", True)

    def table(self, rows: list[tuple]) -> None:
        """The first row is the head. Columns of numbers stand to the right."""
        texts = [[str(cell) for cell in row] for row in rows]
        widths = [max(len(row[i]) for row in texts) for i in range(len(texts[0]))]
        for index, row in enumerate(texts):
            cells = [cell.rjust(width) if isinstance(rows[-1][i], (int, float)) else cell.ljust(width)
                     for i, (cell, width) in enumerate(zip(row, widths))]
            line = "  " + "  ".join(cells).rstrip()
            self.line(self.paint(line, "dim") if index == 0 else line)

    def _hop(self, number: int, hop: Hop, behind: Behind | None, following: Hop | None) -> None:
        arrow = "->" if hop.upstream_host != "-" else "refused:"
        chosen = hop.upstream_host if hop.upstream_host != "-" else f"{hop.flags} {hop.details}"
        cluster = self.paint(hop.cluster, "blue") + " " if hop.cluster != "-" else ""
        self.line(f"  hop {number}     {self.paint(hop.pod, 'bold')}  {hop.direction}  {cluster}{arrow} {chosen}")
        if behind is None:
            return
        if hop.request_id != "-":
            self._detail("id", hop.request_id)
        if hop.direction == "inbound":
            took = "nothing but mTLS" if behind.transport == "mTLS" else "plain text too"
            self._detail("takes", ", ".join([took, *behind.route]))
        elif behind.route:
            self._detail("route", ", ".join(behind.route))
        if behind.cluster:
            self._detail("cluster", ", ".join(behind.cluster))
        if behind.transport == "plain" or hop.direction == "inbound":
            return
        if behind.client:
            client, server = self.paint(behind.client, "yellow"), self.paint(behind.server, "yellow")
            self._detail(behind.transport, f"{client} -> {server}")
        wanted = " or ".join(behind.sans) or "anyone whom the root has signed"
        self._detail("" if behind.client else behind.transport, f"the peer must be {wanted}")

    def _detail(self, name: str, text: str) -> None:
        self.line(f"            {self.paint(name.ljust(8), 'dim')}{text}")
