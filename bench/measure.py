"""What is measured of a running proxy, and the checks that it did the work."""
import csv
import http.client
import os
import re
import socket
import ssl
import subprocess
import time

import sidecar
from processes import BenchError
from proxies import STAT_PREFIX

REQUEST = b'GET /bench HTTP/1.1\r\nhost: bench.example\r\n\r\n'
UNITS = {'B': 1, 'KB': 1 << 10, 'MB': 1 << 20, 'GB': 1 << 30}


def cpu_ns(pids):
    """Run time of all threads of the processes, as the scheduler counts it."""
    total = 0
    for pid in pids:
        for task in os.listdir(f'/proc/{pid}/task'):
            try:
                with open(f'/proc/{pid}/task/{task}/schedstat') as f:
                    total += int(f.read().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                pass  # the thread ended while we read
    return total


def resident_kib(pid):
    """VmRSS, by way of smaps_rollup: status may lag by some 100 KiB."""
    for name, key in (('smaps_rollup', 'Rss:'), ('status', 'VmRSS:')):
        try:
            with open(f'/proc/{pid}/{name}') as f:
                for line in f:
                    if line.startswith(key):
                        return int(line.split()[1])
        except PermissionError:
            pass
    raise BenchError(f'cannot read the memory of process {pid}')


def settled_resident_kib(pid):
    """resident_kib once it has stopped to move, after 3 s at the latest."""
    last = resident_kib(pid)
    for _ in range(15):
        time.sleep(0.2)
        now = resident_kib(pid)
        if abs(now - last) <= 8:
            return now
        last = now
    return last


class Load:
    """What wrk reports of one run."""

    def __init__(self, output, size):
        done = re.search(r'(\d+) requests in ([\d.]+)(ms|s|m), '
                         r'([\d.]+)(B|KB|MB|GB) read', output)
        if not done:
            raise BenchError(f'wrk said:\n{output}')
        self.requests = int(done[1])
        self.seconds = float(done[2]) * {'ms': 0.001, 's': 1, 'm': 60}[done[3]]
        self.errors = []
        sockets = re.search(r'Socket errors: (.*)', output)
        if sockets:
            self.errors.append(f'socket errors: {sockets[1]}')
        refused = re.search(r'Non-2xx or 3xx responses: (\d+)', output)
        if refused:
            self.errors.append(f'{refused[1]} answers were not 2xx')
        read = float(done[4]) * UNITS[done[5]]
        if self.requests == 0:
            self.errors.append('not one request was answered')
        elif read < self.requests * size * 0.99:
            self.errors.append(f'{read / self.requests:.0f} bytes an answer, '
                               f'where the body alone has {size}')


def run_wrk(port, connections, seconds, size):
    done = subprocess.run(
        ['wrk', '-t1', f'-c{connections}', f'-d{seconds}s', '--timeout', '5s',
         f'http://127.0.0.1:{port}/bench'],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=seconds + 60, check=False)
    if done.returncode != 0:
        raise BenchError(f'wrk: {done.stdout}{done.stderr}')
    return Load(done.stdout, size)


class H2Load:
    """What h2load reports of one run."""

    def __init__(self, output):
        done = re.search(r'requests: (\d+) total, \d+ started, (\d+) done, '
                         r'(\d+) succeeded, (\d+) failed, (\d+) errored, '
                         r'(\d+) timeout', output)
        took = re.search(r'finished in ([\d.]+)(us|ms|s)', output)
        if not done or not took:
            raise BenchError(f'h2load said:\n{output}')
        self.requests = int(done[3])
        self.seconds = float(took[1]) * {'us': 1e-6, 'ms': 1e-3, 's': 1}[took[2]]
        lost = int(done[4]) + int(done[5]) + int(done[6])
        self.errors = [f'{lost} requests failed'] if lost else []
        if self.requests == 0:
            self.errors.append('not one request was answered')


GRPC_HEADERS = ['-H', 'content-type: application/grpc', '-H', 'te: trailers']


def grpc_message(folder):
    """A file with one gRPC message of 100 bytes."""
    path = os.path.join(folder, 'message')
    with open(path, 'wb') as f:
        f.write(b'\0' + (100).to_bytes(4, 'big') + b'm' * 100)
    return path


def run_h2load(port, seconds, message=None):
    grpc = ['-d', message, *GRPC_HEADERS] if message else []
    done = subprocess.run(
        ['h2load', '-t1', '-c16', '-m16', f'-D{seconds}', *grpc,
         f'http://127.0.0.1:{port}/bench'],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=seconds + 60, check=False)
    if done.returncode != 0:
        raise BenchError(f'h2load: {done.stdout}{done.stderr}')
    return H2Load(done.stdout)


def check_h2_works(proxy, size, message=None):
    """One request whose answer is the origin's own, to the last byte."""
    grpc = ['-d', message, *GRPC_HEADERS] if message else []
    done = subprocess.run(
        ['nghttp', '-v', *grpc, f'http://127.0.0.1:{proxy.port}/bench'],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
        check=False)
    proxy.check()
    status = re.search(r'grpc-status: (\d+)', done.stdout) if message else None
    if ':status: 200' not in done.stdout or done.stdout.count('x') < size or (
            message and (not status or status[1] != '0')):
        raise BenchError(f'{proxy.name}: answered with {done.stdout[-2000:]}')


def client_tls(certificates, with_identity=True):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the identity is a URI, not a name
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(certificates.ca)
    context.set_alpn_protocols(sidecar.CLIENT_ALPN.split(','))
    if with_identity:
        context.load_cert_chain(certificates.chain('client'),
                                certificates.key('client'))
    return context


def connect(port, tls):
    plain = socket.create_connection(('127.0.0.1', port), timeout=10)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        return tls.wrap_socket(plain) if tls else plain
    except BaseException:
        plain.close()
        raise


def exchange(connection, size):
    """One request; raises unless the origin's own answer comes back."""
    connection.sendall(REQUEST)
    answer = b''
    while b'\r\n\r\n' not in answer:
        piece = connection.recv(65536)
        if not piece:
            raise BenchError(f'closed instead of an answer, after {answer!r}')
        answer += piece
    head, body = answer.split(b'\r\n\r\n', 1)
    length = re.search(rb'\r\ncontent-length: *(\d+)', head, re.I)
    if not head.startswith(b'HTTP/1.1 200') or not length:
        raise BenchError(f'answered with {head!r}')
    if int(length[1]) != size:
        raise BenchError(f'content-length {length[1]!r}, not {size}')
    while len(body) < size:
        piece = connection.recv(65536)
        if not piece:
            raise BenchError(f'closed after {len(body)} bytes of {size}')
        body += piece
    if body != b'x' * size:
        raise BenchError('the body is not what the origin sends')


def check_works(proxy, size, certificates=None):
    """Two requests on one connection; and no way in without a certificate."""
    try:
        tls = client_tls(certificates) if certificates else None
        with connect(proxy.port, tls) as connection:
            exchange(connection, size)
            exchange(connection, size)
        if certificates:
            check_refuses(proxy, certificates)
    except (OSError, BenchError) as error:
        proxy.process.check()
        raise BenchError(f'{proxy.name}: {error}') from error


def check_refuses(proxy, certificates):
    try:
        tls = client_tls(certificates, with_identity=False)
        with connect(proxy.port, tls) as connection:
            connection.sendall(REQUEST)
            answer = connection.recv(1)
    except (ssl.SSLError, ConnectionError):
        return
    if answer:
        raise BenchError('serves a client that has no certificate')


def idle_kib(proxy, count, size, tls):
    """Resident KiB that one idle kept-alive connection adds, of `count` that
    have done one request each. The proxy should be fresh: memory that a load
    has left behind would be used again and not be seen."""
    open_connections = []
    try:
        for _ in range(8):  # whatever is made once, at the first connection
            with connect(proxy.port, tls) as first:
                exchange(first, size)
        before = settled_resident_kib(proxy.pid)
        for _ in range(count):
            connection = connect(proxy.port, tls)
            open_connections.append(connection)
            exchange(connection, size)
        after = settled_resident_kib(proxy.pid)
        for connection in open_connections:  # were they all still there?
            exchange(connection, size)
        return (after - before) / count
    except (OSError, BenchError) as error:
        proxy.process.check()
        raise BenchError(f'{proxy.name}, connection {len(open_connections)} '
                         f'of {count} idle: {error}') from error
    finally:
        for connection in open_connections:
            connection.close()


def hop_connections(stats_socket, name):
    """How many connections the client side has opened to a proxy so far."""
    with socket.socket(socket.AF_UNIX) as stats:
        stats.settimeout(10)
        stats.connect(stats_socket)
        stats.sendall(b'show stat\n')
        text = b''
        while piece := stats.recv(65536):
            text += piece
    for row in csv.DictReader(text.decode().lstrip('# ').splitlines()):
        if (row['pxname'], row['svname']) == (name, 'hop'):
            return int(row['connect'])
    raise BenchError(f'the client side knows no {name}')


def take_log(proxy):
    """Counts the lines of the access log and empties it for the next round."""
    with open(proxy.access_log, 'rb') as f:
        while block := f.read(1 << 20):
            proxy.logged += block.count(b'\n')
    os.truncate(proxy.access_log, 0)


def check_accounts(proxy, tcp_size=None):
    """That log and metrics were on: both must know of the requests (over TCP
    of connections, and of the bytes: tcp_size of each answer). The log may be
    written late, so it gets 15 s and may miss a tenth."""
    lines = 1 if tcp_size else proxy.requests * 0.9
    for _ in range(150):
        take_log(proxy)
        if proxy.logged >= lines:
            break
        time.sleep(0.1)
    else:
        raise BenchError(f'{proxy.name}: {proxy.logged} lines in the access '
                         f'log for {proxy.requests} requests')
    leaf = 'downstream_cx_tx_bytes_total' if tcp_size else 'downstream_rq_total'
    name = f'{"tcp" if tcp_size else "http"}.{STAT_PREFIX}.{leaf}'
    least = proxy.requests * (tcp_size or 1)
    admin = http.client.HTTPConnection('127.0.0.1', proxy.admin_port,
                                       timeout=10)
    try:
        admin.request('GET', f'/stats?filter={leaf}')
        lines = admin.getresponse().read().decode().splitlines()
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f'{proxy.name}: admin: {error}') from error
    finally:
        admin.close()
    counted = dict(line.partition(': ')[::2] for line in lines).get(name, '0')
    if int(counted) < least:
        raise BenchError(f'{proxy.name}: {name} is {counted} after '
                         f'{proxy.requests} requests')
