"""How a run is told: tables for the terminal, JSON, and a page of its own."""
import html
import json
import os

CAVEAT = ('A noisy machine: proxy, client and origin share its cores with '
          'whatever else runs.\nSingle times mean little; compare the ratios '
          'of one round.')

# pinnace over each peer
RATIOS = {'haproxy': 'ratio', 'envoy': 'envoy_ratio', 'relay': 'relay_ratio'}
# Scenario, figure, goal, what it is. Goals are upper limits.
GOALS = (
    ('h1', 'ratio', 1.05, 'plain h1, CPU of pinnace / HAProxy'),
    ('mtls', 'ratio', 0.85, 'mTLS hop, CPU of pinnace / HAProxy'),
    ('sidecar', 'ratio', 0.90, 'sidecar chain, CPU of pinnace / HAProxy'),
    ('sidecar', 'envoy_ratio', 0.35, 'sidecar chain, CPU of pinnace / Envoy'),
    ('h2', 'ratio', 0.95, 'h2, CPU of pinnace / HAProxy'),
    ('h2', 'envoy_ratio', 0.35, 'h2, CPU of pinnace / Envoy'),
    ('tcp', 'relay_ratio', 1.05, 'TCP, CPU of pinnace / a raw relay'),
    ('bulk', 'envoy_ratio', 1.0, 'TCP bulk, CPU of pinnace / Envoy'),
    ('h1', 'idle_kib', 2.0, 'idle plain connection, KiB'),
    ('mtls', 'idle_kib', 28.0, 'idle TLS connection, KiB'),
)
TITLES = {'h1': 'plain HTTP/1.1', 'mtls': 'mTLS hop (TLS 1.3, P-256)',
          'sidecar': 'the chain istiod pushes, over mTLS (HAProxy: mTLS only; '
                    'Envoy: without the filters of Istio)',
         'h2': 'HTTP/2 to HTTP/2, 16 connections of 16 streams',
          'grpc': 'gRPC unary through a pair of sidecars with mTLS',
          'tcp': 'requests over a TCP proxy',
          'bulk': 'answers of 1 MiB over a TCP proxy (1 us a request is about '
                  '1 ns a KiB)'}


def goals(results):
    """One entry per goal that this run can speak of."""
    found = []
    for scenario, figure, limit, text in GOALS:
        measured = results['scenarios'].get(scenario)
        if measured is None:
            continue
        if figure.endswith('ratio'):
            values = measured.get(figure)
        else:
            value = measured['memory'].get('pinnace', {}).get(figure)
            values = None if value is None else {
                'median': value, 'min': value, 'max': value}
        if values is None:
            continue
        reached = values['median'] <= limit
        found.append({'goal': text, 'limit': limit, 'value': values['median'],
                      'reached': reached,
                      'covered': not reached and values['min'] <= limit})
    return found


def verdict(goal):
    if goal['reached']:
        return 'reached'
    return 'missed, but within the spread' if goal['covered'] else 'MISSED'


def opening(results):
    machine, options = results['machine'], results['options']
    return (f'{machine["cores"]} cores, Linux {machine["kernel"]}, load '
            f'{machine["load_at_start"]:.2f}. {machine["haproxy"]}\n'
            f'pinnace: {options["pinnace"]}\n{CAVEAT}')


def round_heading(scenario, names):
    return (f'\n{TITLES[scenario]}: CPU us per request\n'
            + f'{"round":>8}' + ''.join(f'{name:>10}' for name in names)
            + ''.join(f'{"pinnace/" + peer:>17}' for peer in RATIOS))


def round_line(row, names):
    def cell(name):
        figures = row['proxies'].get(name)
        return f'{figures["cpu_us"]:10.2f}' if figures else f'{"error":>10}'

    ratios = [f'{row[key]:17.3f}' if key in row else f'{"-":>17}'
              for key in RATIOS.values()]
    return f'{row["round"]:>8}' + ''.join(map(cell, names)) + ''.join(ratios)


def closing(results):
    lines = []
    for scenario, measured in results['scenarios'].items():
        lines += ['', f'{TITLES[scenario]}, all rounds']
        lines.append(f'{"":>16}{"median":>10}{"min":>10}{"max":>10}'
                     f'{"req/s":>10}')
        for name, cpu in measured['cpu_us'].items():
            lines.append(f'{name:>16}' + ''.join(
                f'{cpu[key]:10.2f}' for key in ('median', 'min', 'max'))
                + f'{cpu["requests_per_second"]:10.0f}')
        for peer, key in RATIOS.items():
            if key in measured:
                lines.append(f'{"pinnace/" + peer:>16}' + ''.join(
                    f'{measured[key][of]:10.3f}'
                    for of in ('median', 'min', 'max')))
        lines += ['', f'{"resident":>16}{"start MB":>10}{"loaded MB":>10}'
                      f'{"KiB per idle connection":>26}']
        for name, memory in measured['memory'].items():
            lines.append(f'{name:>16}{_mb(memory, "start_kib"):>10}'
                         f'{_mb(memory, "loaded_kib"):>10}'
                         f'{_kib(memory):>26}')
    lines += ['', 'goals']
    for goal in results['goals']:
        lines.append(f'  {goal["goal"]:<36} {goal["value"]:8.3f}  <= '
                     f'{goal["limit"]:<5} {verdict(goal)}')
    if results['errors']:
        lines += ['', 'The run FAILED:']
        lines += [f'  {error}' for error in results['errors']]
    return '\n'.join(lines)


def _mb(memory, key):
    return f'{memory[key] / 1024:.1f}' if key in memory else '-'


def _kib(memory):
    return f'{memory["idle_kib"]:.2f}' if 'idle_kib' in memory else '-'


def write(results, folder):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, 'results.json')
    with open(path, 'w') as f:
        json.dump(results, f, indent=1)
        f.write('\n')
    page = os.path.join(folder, 'report.html')
    with open(page, 'w') as f:
        f.write(_page(results))
    print(f'\nwritten: {path}, {page}')


STYLE = '''
:root { --ink: #1c2430; --soft: #5d6b7c; --line: #d8dee6; --paper: #fff;
        --dot: #8a97a8; --own: #0b66c3; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf0; --soft: #9aa7b8; --line: #364150; --paper: #141a22;
          --dot: #8a97a8; --own: #62b0ff; --bad: #ff8a80; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink);
       background: var(--paper); max-width: 760px; margin: 2em auto;
       padding: 0 1em; }
table { border-collapse: collapse; margin: .5em 0 1.5em; }
th, td { padding: .2em .8em; text-align: right; font-weight: normal;
         border-bottom: 1px solid var(--line);
         font-variant-numeric: tabular-nums; }
th { color: var(--soft); }
th:first-child, td:first-child { text-align: left; }
.note { color: var(--soft); } .bad { color: var(--bad); }
svg { width: 100%; height: auto; } svg text { font-size: 13px;
  fill: var(--soft); } svg .name { fill: var(--ink); }
svg line { stroke: var(--line); } svg .goal { stroke: var(--bad);
  stroke-dasharray: 4 3; } svg .middle { stroke: var(--ink);
  stroke-width: 2; } circle { fill: var(--dot); fill-opacity: .55; }
circle.own { fill: var(--own); }
'''


def _page(results):
    machine, options = results['machine'], results['options']
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>pinnace bench</title><style>{STYLE}</style>'
        '<h1>pinnace bench</h1>',
        f'<p>{_text(machine["date"])}: {options["rounds"]} rounds of '
        f'{options["seconds"]} s, {options["connections"]} connections, '
        f'{options["size"]} bytes an answer; {machine["cores"]} cores, Linux '
        f'{_text(machine["kernel"])}. {_text(machine["haproxy"])}.</p>'
        f'<p class="note">{_text(CAVEAT)}</p>']
    if results['errors']:
        parts.append('<h2 class="bad">The run failed</h2>' + ''.join(
            f'<pre class="bad">{_text(e)}</pre>' for e in results['errors']))
    parts.append('<h2>Goals</h2>' + _table(
        ('goal', 'limit', 'measured', ''),
        [(g['goal'], f'≤ {g["limit"]}', f'{g["value"]:.3f}', verdict(g))
         for g in results['goals']]))
    for scenario, measured in results['scenarios'].items():
        parts.append(_section(scenario, measured))
    return '\n'.join(parts) + '\n'


def _section(scenario, measured):
    rounds = measured['rounds']
    times = {name: [(r['round'], r['proxies'][name]['cpu_us'])
                    for r in rounds if name in r['proxies']]
             for name in measured['cpu_us']}
    ratios = [(r['round'], r['ratio']) for r in rounds if 'ratio' in r]
    limit = next((g[2] for g in GOALS if g[:2] == (scenario, 'ratio')), 0)
    parts = [f'<h2>{_text(TITLES[scenario])}</h2>']
    if times:
        parts += ['<h3>CPU µs per request</h3>', _dots(times, 0)]
    if ratios:
        parts += ['<h3>pinnace / HAProxy, by round</h3>',
                  _dots({'ratio': ratios}, limit)]
    parts.append(_table(
        ('CPU µs per request', 'median', 'min', 'max', 'requests/s'),
        [(name, f'{c["median"]:.2f}', f'{c["min"]:.2f}', f'{c["max"]:.2f}',
          f'{c["requests_per_second"]:.0f}')
         for name, c in measured['cpu_us'].items()]))
    parts.append(_table(
        ('memory', 'start, MB', 'after the load, MB', 'idle connection, KiB'),
        [(name, _mb(m, 'start_kib'), _mb(m, 'loaded_kib'), _kib(m))
         for name, m in measured['memory'].items()]))
    return '\n'.join(parts)


def _dots(rows, goal):
    """A dot per round and a bar at the median, a row per name; a dashed line
    at the goal if there is one."""
    left, width, step = 90, 640, 36
    values = [v for row in rows.values() for _, v in row]
    top = max(values + [goal]) * 1.08
    height = step * len(rows) + 24

    def x(value):
        return left + value / top * width

    out = [f'<svg viewBox="0 0 {left + width + 20} {height}" role="img" '
           'aria-label="one dot per round, a bar at the median">']
    for i in range(5):
        at = top * i / 4
        out.append(f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="0" '
                   f'y2="{height - 20}"/><text x="{x(at):.1f}" '
                   f'y="{height - 5}" text-anchor="middle">{at:.3g}</text>')
    if goal:
        out.append(f'<line class="goal" x1="{x(goal):.1f}" x2="{x(goal):.1f}" '
                   f'y1="0" y2="{height - 20}"><title>goal {goal}</title>'
                   '</line>')
    for i, (name, row) in enumerate(rows.items()):
        y = step * i + step / 2
        own = ' class="own"' if name in ('pinnace', 'ratio') else ''
        out.append(f'<text class="name" x="0" y="{y + 5}">{_text(name)}</text>')
        for number, value in row:
            out.append(f'<circle{own} cx="{x(value):.1f}" cy="{y}" r="5">'
                       f'<title>round {number}: {value:.3f}</title></circle>')
        ordered = sorted(v for _, v in row)
        middle = (ordered[(len(ordered) - 1) // 2]
                  + ordered[len(ordered) // 2]) / 2
        out.append(f'<line class="middle" x1="{x(middle):.1f}" '
                   f'x2="{x(middle):.1f}" y1="{y - 12}" y2="{y + 12}">'
                   f'<title>median {middle:.3f}</title></line>')
    return ''.join(out) + '</svg>'


def _table(head, rows):
    def line(tag, cells):
        return '<tr>' + ''.join(f'<{tag}>{_text(c)}</{tag}>'
                                for c in cells) + '</tr>'

    return ('<table>' + line('th', head)
            + ''.join(line('td', row) for row in rows) + '</table>')


def _text(value):
    return html.escape(str(value))
