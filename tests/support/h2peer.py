"""An HTTP/2 client and origin (RFC 9113, RFC 8441) on PyPI h2 that a test drives step by step; see peer.py.

h2 is strict: what a proxy may not send ends the connection here, and the objection is what the message ended with.
"""
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events as events
import h2.exceptions
import h2.settings
from h2.settings import SettingCodes

from . import peer

KINDS = ["DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION"]
CANCEL, NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM = 8, 0, 2, 7
OUT_LIMIT = 1 << 18
WINDOW = 1 << 20


class Trace:
    """Names the frames of a byte stream."""

    def __init__(self, lines, mark):
        self.lines, self.mark, self.head, self.skip = lines, mark, b"", 0

    def feed(self, data):
        at = 0
        while at < len(data):
            if self.skip:
                step = min(self.skip, len(data) - at)
                self.skip -= step
                at += step
                continue
            step = 9 - len(self.head)
            self.head += data[at:at + step]
            at += step
            if len(self.head) == 9:
                length, kind, flags = int.from_bytes(self.head[:3], "big"), self.head[3], self.head[4]
                stream = int.from_bytes(self.head[5:], "big")
                self._note(length, kind, flags, stream, bytes(data[at:at + 8]))
                self.skip, self.head = length, b""

    def _note(self, length, kind, flags, stream, payload):
        if len(self.lines) > 80:
            return
        name = KINDS[kind] if kind < len(KINDS) else str(kind)
        code = f" code {int.from_bytes(payload[-4:], 'big')}" if kind == 7 else f" code {int.from_bytes(payload[:4], 'big')}" if kind == 3 else ""
        self.lines.append(f"{self.mark} {name} stream {stream} flags {flags:x} length {length}{code}")


class Connection:
    """h2's state machine under a lock, a thread that reads and one that writes."""
    client_side = True

    settings = None  # the peer's, once they have come
    writing = False
    unacknowledged = 1  # SETTINGS of ours

    def __init__(self, wire):
        self.wire, self.streams, self.ended, self.out = wire, {}, None, bytearray()
        self.changed = threading.Condition(threading.RLock())
        self.trace = []
        self.traced_in, self.traced_out = Trace(self.trace, "<"), Trace(self.trace, ">")
        (self.traced_out if self.client_side else self.traced_in).skip = 24  # the client's preface
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=self.client_side, header_encoding="utf-8"))
        extra = {SettingCodes.ENABLE_PUSH: 0} if self.client_side else {SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}
        self.h2.local_settings = h2.settings.Settings(self.client_side, {
            SettingCodes.INITIAL_WINDOW_SIZE: WINDOW, SettingCodes.MAX_CONCURRENT_STREAMS: 100, SettingCodes.MAX_HEADER_LIST_SIZE: 1 << 16, **extra})
        with self.sending():
            self.h2.initiate_connection()
            self.h2.increment_flow_control_window(8 * WINDOW)
        wire.on_stop = self._wake
        peer.start(self._read, wire)
        peer.start(self._write, wire)

    def sending(self):
        return _Sending(self)

    def _wake(self):
        with self.changed:
            self.changed.notify_all()

    def raw(self, data):
        """A frame that h2 does not know of."""
        with self.sending():
            self.traced_out.feed(data)
            self.out += data

    def change_settings(self, values):
        """Returns once the peer has acknowledged them."""
        with self.sending() as session:
            session.update_settings(values)
            self.unacknowledged += 1
        with self.changed:
            assert self.changed.wait_for(lambda: not self.unacknowledged or self.ended, peer.PATIENCE), "SETTINGS not acknowledged"

    def drain(self):
        """Waits until everything was given to the socket."""
        with self.changed:
            self.changed.wait_for(lambda: not (self.out or self.writing) or self.ended, peer.PATIENCE)

    def _write(self):
        try:
            while True:
                with self.changed:
                    self.writing = False
                    self.changed.notify_all()
                    self.changed.wait_for(lambda: self.out or self.ended or self.wire.stopped)
                    if not self.out:
                        return
                    data, self.out, self.writing = self.out, bytearray(), True
                self.wire.sendall(data)
        except (OSError, peer.Stopped):
            pass

    def _read(self):
        try:
            while data := self.wire.recv():
                self.traced_in.feed(data)
                with self.sending():
                    for event in self.h2.receive_data(data):
                        self._on(event)
            how = peer.FIN
        except ConnectionResetError:
            how = peer.TCP_RESET
        except peer.Stopped:
            how = peer.OUR_END
        except (h2.exceptions.ProtocolError, OSError) as error:
            how = f"we object: {error!r}"
        with self.changed:
            self.ended = self.ended or how
            self.changed.notify_all()
        for stream in list(self.streams.values()):
            stream.received.end(how)

    def _on(self, event):
        stream = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, events.RequestReceived):
            return self.on_request(event)
        if isinstance(event, events.ConnectionTerminated):
            self.ended = f"GOAWAY {int(event.error_code)}"
            for each in self.streams.values():
                if each.id > event.last_stream_id or event.error_code:
                    each.received.end(self.ended)
        if isinstance(event, events.RemoteSettingsChanged):
            self.settings = {k: v.new_value for k, v in event.changed_settings.items()}
        if isinstance(event, events.SettingsAcknowledged):
            self.unacknowledged -= 1
        if stream is None:
            return
        received = stream.received
        if isinstance(event, events.ResponseReceived):
            received.set(head=list(event.headers))
        elif isinstance(event, events.InformationalResponseReceived):
            received.inform(list(event.headers))
        elif isinstance(event, events.TrailersReceived):
            received.set(trailers=list(event.headers))
        elif isinstance(event, events.DataReceived):
            if event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            received.add(event.data)
        elif isinstance(event, events.StreamEnded):
            received.end(peer.COMPLETE)
        elif isinstance(event, events.StreamReset):
            stream.cut = True
            received.set(late_reset=int(event.error_code))
            received.end(f"RST_STREAM {int(event.error_code)}")


class _Sending:
    """Holds the lock, and then moves what h2 has made to the writer."""

    def __init__(self, connection):
        self.connection = connection

    def __enter__(self):
        self.connection.changed.acquire()
        return self.connection.h2

    def __exit__(self, *_):
        connection = self.connection
        data = connection.h2.data_to_send()
        connection.traced_out.feed(data)
        connection.out += data
        connection.changed.notify_all()
        connection.changed.release()


class Stream:
    def __init__(self, connection, number):
        self.connection, self.id, self.received, self.sent_end, self.cut = connection, number, peer.Received(), False, False
        connection.streams[number] = self

    def _do(self, work):
        """False when the stream or the connection is over."""
        try:
            with self.connection.sending() as session:
                work(session)
            return True
        except h2.exceptions.ProtocolError:
            return False

    def data(self, data, end=False):
        """Waits for the peer's window; False when the stream was cut."""
        connection, view = self.connection, memoryview(data)
        self.sent_end |= end
        while True:
            with connection.changed:
                def room():
                    if self.cut or connection.ended or connection.wire.stopped:
                        return -1
                    if len(connection.out) >= OUT_LIMIT:
                        return 0
                    return connection.h2.local_flow_control_window(self.id) if view else 1
                try:
                    window = connection.changed.wait_for(room, 30)
                except h2.exceptions.ProtocolError:
                    return False
                if not window:
                    raise TimeoutError(f"no window for 30 s, {len(view)} bytes are left")
                if window < 0:
                    return False
                part = view[:min(window, connection.h2.max_outbound_frame_size, OUT_LIMIT)]
                view = view[len(part):]
                if not self._do(lambda session: session.send_data(self.id, bytes(part), end_stream=end and not view)):
                    return False
            if not view:
                return True

    def trailers(self, fields):
        self.sent_end = True
        return self._do(lambda session: session.send_headers(self.id, fields, end_stream=True))

    def reset(self, code=CANCEL):
        """RST_STREAM."""
        self.received.end(peer.OUR_END)
        return self._do(lambda session: session.reset_stream(self.id, code))

    def close(self):
        self.received.end(peer.OUR_END)
        self.connection.drain()
        self.connection.wire.close()

    def finish(self):
        return self.data(b"", end=True)


class ClientConnection(Connection):
    protocol = "h2"

    def __init__(self, port, tls=None):
        self.scheme = "https" if tls else "http"
        super().__init__(peer.dial(port, tls, "h2"))

    def request(self, method, path, fields=(), end=False, upgrade=None, body=b"", scheme=None):
        scheme = scheme or self.scheme
        if upgrade:  # RFC 8441
            with self.changed:
                assert self.changed.wait_for(lambda: self.settings is not None, peer.PATIENCE), "no SETTINGS"
            fields = [(":method", "CONNECT"), (":protocol", upgrade), (":scheme", scheme), (":path", path), (":authority", "a"),
                      ("sec-websocket-version", "13"), *fields]
        else:
            fields = [(":method", method), (":scheme", scheme), (":path", path), (":authority", "a"), *fields]
        with self.sending() as session:
            number = session.get_next_available_stream_id()
            stream = Stream(self, number)
            session.send_headers(number, fields, end_stream=end and not body)
        stream.sent_end = end
        if body:
            stream.data(body, end)
        return stream

    def works(self, path, last):
        """Whether another request is answered; else how the connection ended."""
        if self.ended:
            return self.ended
        try:
            again = self.request("GET", path, end=True).received
        except h2.exceptions.ProtocolError as error:
            return f"takes no request: {error!r}"
        return again.verdict()


class OriginStream(Stream):
    def answer(self, status, fields=(), body=b"", end=False):
        head = [(":status", str(200 if status == 101 else status)), *fields]
        if not self._do(lambda session: session.send_headers(self.id, head, end_stream=end and not body)):
            return False
        self.sent_end |= end
        return not body or self.data(body, end)

    def informational(self, status, fields=()):
        return self._do(lambda session: session.send_headers(self.id, [(":status", str(status)), *fields]))


class OriginConnection(Connection):
    client_side = False

    def __init__(self, wire, listener):
        self.listener = listener
        super().__init__(wire)

    def on_request(self, event):
        stream = OriginStream(self, event.stream_id)
        stream.received.set(head=list(event.headers))
        if event.stream_ended:
            stream.received.end(peer.COMPLETE)
        self.listener.has_request(stream)


def origin(tls=None):
    return peer.Listener(OriginConnection, tls)
