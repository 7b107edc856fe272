"""Keep-alive requests from several threads while the test changes things; not one may fail."""
import threading
import time

from .client import Closed, RawClient


class Load:
    """A client follows the protocol: a connection that answered `connection: close`, or that the proxy closed before a
    single byte of the answer, may be opened again once; anything else than the wanted status is a failure."""

    def __init__(self, port, threads=4, path="/", good=(200,), pause=0.0, tls=None, check=None):
        self.port, self.path, self.good, self.pause, self.tls, self.check = port, path, good, pause, tls, check
        self.count, self.failures, self.reconnects, self.stopping = 0, [], 0, False
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        client = None
        while not self.stopping and len(self.failures) < 20:
            fresh = client is None
            try:
                client = client or RawClient(self.port, tls=self.tls)
                answer = client.get(self.path)
                problem = None if answer.status in self.good and answer.complete else repr(answer)
                if not problem and self.check:
                    problem = self.check(answer)
                if problem:
                    self.failures.append(problem)
                self.count += 1
                if answer.get("connection") == "close":
                    client.close()
                    client = None
            except (Closed, ConnectionResetError, BrokenPipeError) as error:
                if fresh or getattr(error, "data", b""):
                    self.failures.append(repr(error))
                self.reconnects += 1
                client.close()
                client = None
            except OSError as error:
                self.failures.append(repr(error))
                if client:
                    client.close()
                client = None
            if self.pause:
                time.sleep(self.pause)
        if client:
            client.close()

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(15)
        return self

    close = stop

    def must_be_flawless(self, at_least=100):
        self.stop()
        assert not self.failures, self.failures[:5]
        assert self.count >= at_least, self.count
