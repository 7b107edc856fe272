"""Processes of a bench run: started here, and ended here by their own pid.

Every program the bench runs listens on loopback, on a port found free when it
was asked for, and writes what it has to say to a file of the run's folder.
"""
import ctypes
import os
import random
import signal
import socket
import subprocess
import time

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class BenchError(Exception):
    """The run cannot go on; the text says why."""


def free_port():
    """A port nobody listens on, below the range that outgoing connections
    use: else one of ours could take it before the program that asked does."""
    with open('/proc/sys/net/ipv4/ip_local_port_range') as f:
        low = int(f.read().split()[0])
    for _ in range(200):
        port = random.randrange(10240, low) if low > 11000 else 0
        with socket.socket() as probe:
            try:
                probe.bind(('127.0.0.1', port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise BenchError('no free port found in 200 tries')


def _die_with_parent():
    # Should the bench itself be killed, nothing stays behind.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """One started program."""

    def __init__(self, name, argv, log):
        self.name = name
        self._log = log
        with open(log, 'ab') as out:
            try:
                self._popen = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    preexec_fn=_die_with_parent)
            except OSError as error:
                raise BenchError(f'{name}: cannot start {argv[0]}: '
                                 f'{error.strerror}') from error
        self.pid = self._popen.pid

    def check(self):
        """Raises when the program has ended, with its last words."""
        if self._popen.poll() is None:
            return
        with open(self._log, errors='replace') as f:
            words = ''.join(f.readlines()[-15:])
        raise BenchError(f'{self.name} ended with status '
                         f'{self._popen.returncode}:\n{words}')

    def stop(self):
        if self._popen.poll() is not None:
            return
        self._popen.terminate()
        try:
            self._popen.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(timeout=10)


class Processes:
    """All programs of a scope, stopped at its end whatever happened."""

    def __init__(self, folder):
        self.folder = folder
        self._running = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not leave half of them running.
        handlers = {s: signal.signal(s, signal.SIG_IGN)
                    for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            for process in reversed(self._running):
                process.stop()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def start(self, name, argv):
        log = os.path.join(self.folder, f'{name}.{len(self._running)}.log')
        process = Process(name, [str(a) for a in argv], log)
        self._running.append(process)
        return process


def wait_listening(process, port, seconds=30):
    """Returns once the program takes connections."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        process.check()
        try:
            socket.create_connection(('127.0.0.1', port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise BenchError(f'{process.name}: nothing listens on {port} '
                     f'after {seconds} s')
