#!/usr/bin/env python3
"""The bench: what pinnace costs beside HAProxy and a bare relay.

Runs every proxy once a round, in turn, and compares CPU microseconds per
request within the round; see README.md. Exit status: 0, 1 after an error,
2 with --strict when a goal was missed.
"""
import argparse
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import measure  # noqa: E402
import proxies as px  # noqa: E402
import report  # noqa: E402
from processes import BenchError, Processes  # noqa: E402

SCENARIOS = ('h1', 'mtls', 'sidecar', 'h2', 'grpc', 'tcp', 'bulk')
MIB = 1 << 20
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_options():
    parser = argparse.ArgumentParser(description='CPU and memory of pinnace '
                                     'beside HAProxy and a bare relay')

    def path(name, default, text):
        parser.add_argument(name, default=os.path.join(ROOT, default),
                            help=f'{text} (default: {default})')

    def count(name, default, text):
        parser.add_argument(name, type=int, default=default,
                            help=f'{text} (default: {default})')

    parser.add_argument('--scenario', choices=(*SCENARIOS, 'all'),
                        default='all')
    count('--rounds', 10, 'rounds, each with every proxy once')
    count('--seconds', 3, 'measured seconds of a proxy in a round')
    count('--warmup', 1, 'seconds of load before them; fills the pools')
    count('--connections', 64, 'kept-alive connections')
    count('--size', 1024, 'bytes of an answer\'s body')
    count('--idle', 2000, 'idle connections for the memory figure; 0: none')
    path('--pinnace', 'build/release/bin/pinnace', 'the proxy under test')
    parser.add_argument('--pinnace-arg', action='append', default=[],
                        metavar='ARG', help='one more argument for it')
    parser.add_argument('--with-envoy', action='store_true',
                        help='run Envoy in h1 and mtls too (always in the '
                             'others), with the configuration of pinnace')
    path('--envoy', 'build/venv/bin/envoy', 'that Envoy')
    path('--tools', 'build/release/bin', 'where bench_relay, bench_origin are')
    path('--out', 'build/bench', 'where results.json and report.html go')
    parser.add_argument('--strict', action='store_true',
                        help='a missed goal is exit status 2')
    options = parser.parse_args()
    for name, least in (('rounds', 1), ('seconds', 1), ('warmup', 1),
                        ('connections', 1), ('size', 1), ('idle', 0)):
        if getattr(options, name) < least:
            parser.error(f'--{name} must be at least {least}')
    return options


def check_programs(options):
    wanted = [options.pinnace] + [os.path.join(options.tools, name)
                                  for name in ('bench_relay', 'bench_origin',
                                               'bench_h2_origin')]
    if options.with_envoy or options.scenario not in ('h1', 'mtls'):
        wanted.append(options.envoy)
    for program in wanted + ['haproxy', 'wrk', 'h2load', 'nghttp', 'openssl']:
        if not shutil.which(program):
            raise BenchError(f'{program} is not there or cannot be run')
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit != resource.RLIM_INFINITY and options.idle + 500 > limit:
        raise BenchError(f'--idle {options.idle} needs more than the '
                         f'{limit} open files allowed here')
    soft = 20000 if limit == resource.RLIM_INFINITY else limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, limit))


def machine():
    def first_line(*argv):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10,
                              stdin=subprocess.DEVNULL, check=False)
        return (done.stdout + done.stderr).strip().split('\n')[0].strip()

    return {'kernel': platform.release(), 'cores': os.cpu_count(),
            'load_at_start': os.getloadavg()[0],
            'date': time.strftime('%Y-%m-%d %H:%M:%S'),
            'haproxy': first_line('haproxy', '-v'),
            'wrk': first_line('wrk', '-v'),
            'openssl': first_line('openssl', 'version')}


class Scenario:
    """One of SCENARIOS: its proxies, its rounds, its figures."""

    def __init__(self, name, options, folder, errors):
        self.name = name
        self._options = options
        self._folder = os.path.join(folder, name)
        os.mkdir(self._folder)
        self._errors = errors
        self._http2 = name in ('h2', 'grpc')
        self._tcp = name in ('tcp', 'bulk')
        self._size = MIB if name == 'bulk' else options.size
        self._connections = min(16, options.connections) \
            if name == 'bulk' else options.connections
        self._certificates = (px.Certificates(self._folder)
                              if name in ('mtls', 'sidecar', 'grpc') else None)
        self._message = (measure.grpc_message(self._folder)
                         if name == 'grpc' else None)
        self._stats_socket = None
        self.results = {'rounds': [], 'cpu_us': {}, 'memory': {}}

    def run(self):
        with Processes(self._folder) as processes:
            proxies = self._start_all(processes)
            for proxy in proxies:
                self._check_works(proxy)
            print(report.round_heading(self.name, [p.name for p in proxies]),
                  flush=True)
            try:
                for number in range(1, self._options.rounds + 1):
                    self._round(number, proxies)
            finally:
                self._summarise()
            for proxy in proxies:
                self._memory(proxy.name)['loaded_kib'] = (
                    measure.resident_kib(proxy.pid))
                if proxy.access_log:
                    measure.check_accounts(
                        proxy, self._size if self._tcp else None)
        if self._options.idle and self.name in ('h1', 'mtls'):
            for name in self._kinds():
                self._idle(name)

    def _check_works(self, proxy):
        if self._http2:
            measure.check_h2_works(proxy, self._size, self._message)
        else:
            measure.check_works(proxy, self._size, self._certificates)

    def _kinds(self):
        with_envoy = self._options.with_envoy or self.name not in ('h1', 'mtls')
        return ['pinnace', 'haproxy'] + ['envoy'] * with_envoy

    def _start_all(self, processes):
        origin = self._start_origin(processes)
        proxies = [self._start(processes, kind, origin)
                   for kind in self._kinds()]
        if self.name == 'h1' or self._tcp:
            proxies.append(px.start_relay(
                processes, self._tool('bench_relay'), origin))
        for proxy in proxies:
            self._memory(proxy.name)['start_kib'] = (
                measure.settled_resident_kib(proxy.pid))
        if self.name in ('mtls', 'sidecar'):
            self._stats_socket = px.start_client_side(
                processes, proxies, self._certificates,
                self.name == 'sidecar')
        return proxies

    def _start(self, processes, kind, origin):
        """One proxy; for grpc a pair of them, with mTLS between."""
        if self.name != 'grpc':
            chain = self.name == 'sidecar'
            hop = px.Hop(self._http2, self._tcp, chain,
                         chain and kind == 'pinnace',
                         server_tls=self._certificates)
            return self._start_one(processes, kind, kind, origin, hop)
        inner = px.Hop(http2=True, server_tls=self._certificates)
        outer = px.Hop(http2=True, client_tls=self._certificates)
        second = self._start_one(processes, kind, f'{kind}-in', origin, inner)
        first = self._start_one(processes, kind, kind, second.port, outer)
        first.next = second
        return first

    def _start_one(self, processes, kind, name, origin, hop):
        if kind == 'haproxy':
            return px.start_haproxy(processes, origin, hop, name)
        if kind == 'pinnace':
            program, args = self._options.pinnace, self._options.pinnace_arg
        else:  # its shared memory may not be that of another Envoy
            program, args = self._options.envoy, ['--use-dynamic-base-id']
        return px.start_envoy_like(processes, name, program, args, origin, hop)

    def _start_origin(self, processes):
        program = 'bench_h2_origin' if self._http2 else 'bench_origin'
        return px.start_origin(processes, self._tool(program), self._size)

    def _tool(self, name):
        return os.path.join(self._options.tools, name)

    def _memory(self, name):
        return self.results['memory'].setdefault(name, {})

    def _round(self, number, proxies):
        row = {'round': number, 'proxies': {}}
        shift = (number - 1) % len(proxies)  # nobody is always first
        for proxy in proxies[shift:] + proxies[:shift]:
            figures = self._load(number, proxy)
            if figures:
                row['proxies'][proxy.name] = figures
        for peer, ratio in report.RATIOS.items():
            if {'pinnace', peer} <= row['proxies'].keys():
                row[ratio] = (row['proxies']['pinnace']['cpu_us'] /
                              row['proxies'][peer]['cpu_us'])
        self.results['rounds'].append(row)
        print(report.round_line(row, [p.name for p in proxies]), flush=True)

    def _load(self, number, proxy):
        """Warms up, measures, and returns figures if there was no error."""
        warm = self._drive(proxy, self._options.warmup)
        opened = self._opened(proxy)
        before = measure.cpu_ns(proxy.pids)
        load = self._drive(proxy, self._options.seconds)
        time.sleep(0.05)  # the last connections are closed
        used = measure.cpu_ns(proxy.pids) - before
        opened = self._opened(proxy) - opened
        proxy.requests += warm.requests + load.requests
        if proxy.access_log:
            measure.take_log(proxy)
        problems = warm.errors + load.errors
        if opened > load.requests * 0.01:
            problems.append(f'{opened} connections opened for {load.requests} '
                            'requests: they are not kept alive')
        for problem in problems:
            self._error(f'round {number}, {proxy.name}: {problem}')
        if problems:
            return None
        return {'cpu_us': used / 1000 / load.requests,
                'requests': load.requests,
                'requests_per_second': load.requests / load.seconds,
                'connections_opened': opened}

    def _drive(self, proxy, seconds):
        try:
            if self._http2:
                return measure.run_h2load(proxy.driven_port, seconds,
                                          self._message)
            return measure.run_wrk(proxy.driven_port, self._connections,
                                   seconds, self._size)
        finally:
            proxy.check()  # its end explains more than the client can

    def _opened(self, proxy):
        if not self._stats_socket:
            return 0
        return measure.hop_connections(self._stats_socket, proxy.name)

    def _error(self, text):
        self._errors.append(f'{self.name}: {text}')
        print(f'ERROR {self._errors[-1]}', flush=True)

    def _summarise(self):
        rounds = self.results['rounds']
        for name in self.results['memory']:
            figures = [r['proxies'][name] for r in rounds
                       if name in r['proxies']]
            if figures:
                self.results['cpu_us'][name] = spread(
                    [f['cpu_us'] for f in figures])
                self.results['cpu_us'][name]['requests_per_second'] = (
                    statistics.median(f['requests_per_second']
                                      for f in figures))
        for name in report.RATIOS.values():
            ratios = [r[name] for r in rounds if name in r]
            if ratios:
                self.results[name] = spread(ratios)

    def _idle(self, kind):
        """A fresh proxy, so that connections of the load left no room."""
        folder = os.path.join(self._folder, f'idle-{kind}')
        os.mkdir(folder)
        tls = (measure.client_tls(self._certificates)
               if self._certificates else None)
        with Processes(folder) as processes:
            origin = self._start_origin(processes)
            proxy = self._start(processes, kind, origin)
            self._memory(kind)['idle_kib'] = measure.idle_kib(
                proxy, self._options.idle, self._options.size, tls)


def spread(values):
    return {'median': statistics.median(values), 'min': min(values),
            'max': max(values)}


def run(options, folder):
    results = {'machine': machine(), 'options': vars(options),
               'scenarios': {}, 'errors': []}
    print(report.opening(results), flush=True)
    names = SCENARIOS if options.scenario == 'all' else (options.scenario,)
    for name in names:
        try:
            scenario = Scenario(name, options, folder, results['errors'])
            results['scenarios'][name] = scenario.results
            scenario.run()
        except (BenchError, OSError, subprocess.SubprocessError) as error:
            results['errors'].append(f'{name}: {error}')
    results['goals'] = report.goals(results)
    return results


def stop_on_signal(*_):
    raise KeyboardInterrupt


def main():
    options = parse_options()
    signal.signal(signal.SIGTERM, stop_on_signal)
    sys.stdout.reconfigure(line_buffering=True)
    folder = tempfile.mkdtemp(prefix='pinnace-bench-')
    try:
        check_programs(options)
        results = run(options, folder)
        print(report.closing(results))
        report.write(results, options.out)
    except BenchError as error:
        print(f'bench: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('bench: stopped; no report written', file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if results['errors']:
        return 1
    missed = any(not goal['reached'] for goal in results['goals'])
    return 2 if options.strict and missed else 0


if __name__ == '__main__':
    sys.exit(main())
