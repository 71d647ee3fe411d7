"""Tables of the results that `python -m benchmarks.speed` prints."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from vis_ros.cli.console import console, print_table


def print_engines(result: dict[str, Any]) -> None:
    """Print one column per engine, and the ratio of two."""
    columns = [result, *([result['against']] if 'against' in result else [])]
    table = Table('p50, p95 in ms', *(_engine(each) for each in columns))
    for stage in result['stages_ms']:
        table.add_row(stage.replace('_', '-'), *(_times(each['stages_ms'][stage]) for each in columns))
    table.add_section()
    table.add_row('image, all stages', *(_times(each['frame_ms']) for each in columns))
    if result['settings']['cameras'] > 1:
        table.add_row('one image of every camera', *(_times(each['round_ms']) for each in columns))
    table.add_row('images per second', *(f'{each["throughput_hz"]:.1f}' for each in columns))
    for name in ('detections', 'published'):
        table.add_row(f'{name} per image', *(_count(each[name]) for each in columns))
    table.add_row('tracks in memory', *(str(each['identities']) for each in columns))
    table.add_row('peak memory', *(_memory(each['memory_mib']) for each in columns))
    table.add_row('start to first result', *(_start(each['start_up']) for each in columns))
    console.print(table)
    if 'against' in result:
        for name, text in (('frame', 'Image, all stages'), ('infer', 'Engine with preprocess and paste')):
            found = result['against']['ratio'][name]
            console.print(
                f'{text}: the second takes {found["ratio"]:.3f} times as long as the first '
                f'(95 % interval {found["low"]:.3f} to {found["high"]:.3f})'
            )
    _print_machine(result)


def print_growth(result: dict[str, Any]) -> None:
    """Print one table per axis."""
    for axis, rows in result['tables'].items():
        stages = (name.replace('_', '-') for name in rows[0]['stages_ms'])
        table = Table(axis.replace('_', ' '), *stages, 'image', 'MiB')
        for row in rows:
            value = row['value']
            name = f'{value[1]}x{value[0]}' if axis == 'image_size' else str(value)
            if axis == 'detections' and row['detections']['least'] < value:
                name += f' (found {_count(row["detections"])})'
            times = [*row['stages_ms'].values(), row['frame_ms']]
            table.add_row(name, *(f'{each["p50"]:.2f}' for each in times), f'{row["memory_mib"]["peak"]:.0f}')
        console.print(table)
    console.print(f'p50 in ms per image, peak memory of the process in MiB; {_engine(result)}')
    _print_machine(result)


def print_node(node: dict[str, Any]) -> None:
    """Print the results of a node over DDS."""
    table = Table('rate', 'answered', 'dropped', 'latency', 'transport', 'node', 'engine', 'node without engine')
    table.title = 'over DDS: p50, p95 in ms'
    for trial in node['trials']:
        wanted, rate = trial['wanted_hz'], f'{trial["rate_hz"]:.1f}'
        table.add_row(
            f'{rate} Hz, one by one' if wanted is None else f'{rate} of {wanted:g} Hz',
            f'{trial["answered"]} of {trial["sent"]}',
            str(trial['dropped']),
            *(_times(trial[name]) for name in ('latency_ms', 'transport_ms', 'node_ms', 'engine_ms', 'overhead_ms')),
        )
    console.print(table)
    start_up = node['start_up']
    rows = [
        ('highest rate with under 5 % loss', f'{node["highest_rate_hz"]:.1f} Hz'),
        ('start to first result', f'{start_up["warm_s"]:.2f} s (empty cache: {start_up["cold_s"]:.2f} s)'),
    ]
    print_table('node', rows)


def _print_machine(result: dict[str, Any]) -> None:
    machine = result['machine']
    load = machine['load_average_before']
    console.print(
        f'{machine["processor"]} ({", ".join(machine["processor_features"])}), {machine["cores"]} cores'
        f'{", " + machine["gpu"] if machine["gpu"] else ""}; load average before: {load:.1f}'
        f'{" (other programs disturb these times)" if load > 0.5 else ""}'
    )
    rows = [row for table in result.get('tables', {}).values() for row in table]
    warnings = [warning for each in (result, *rows) for warning in each.get('warnings', [])]
    for warning in filter(None, dict.fromkeys([*warnings, result['engine']['note']])):
        console.print(warning)


def _engine(result: dict[str, Any]) -> str:
    engine = result['engine']
    return f'{engine["engine"]}, {engine["device"]}, {engine["precision"]}'


def _times(values: dict[str, float] | None) -> str:
    return '-' if values is None else f'{values["p50"]:.2f}, {values["p95"]:.2f}'


def _count(values: dict[str, float]) -> str:
    low, high = values['least'], values['most']
    return f'{low:g}' if low == high else f'{low:g} to {high:g}'


def _memory(values: dict[str, float | None]) -> str:
    device = '' if values['device'] is None else f', GPU {values["device"]:.0f} MiB'
    return f'{values["peak"]:.0f} MiB, images {values["pictures"]:.0f} MiB of it{device}'


def _start(values: dict[str, Any]) -> str:
    return f'{values["warm"]["total_s"]:.2f} s (empty cache: {values["cold"]["total_s"]:.2f} s)'
