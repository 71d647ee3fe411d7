"""`python -m benchmarks.speed`: its tables and its JSON file, with a detector that computes from the pixels."""

import json
import sys
from functools import partial

import pytest
from helpers.rectangles import RectangleEngine

from benchmarks.speed import __main__ as program
from benchmarks.speed import engine_run, growth, node_run
from benchmarks.speed.load import Reply, Trial
from benchmarks.speed.pipeline import STAGES
from benchmarks.speed.worker import Worker
from vis_ros.ros.environment import prepare_environment


class WorkerHere:
    """An `EngineProcess` whose worker is in this process."""

    def __init__(self, settings, cache, log):
        self._worker = Worker(settings)
        self.start_up = {'total_s': 1.5, **self._worker.started}

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        pass

    def call(self, name, *arguments):
        return json.loads(json.dumps(getattr(self._worker, name)(*arguments)))


@pytest.fixture
def benchmark(monkeypatch, capsys, tmp_path):
    """Call it with arguments; returns (exit code, standard output, standard error, the JSON file or None)."""
    prepare_environment()
    loaded = []

    def load(*_arguments, **keywords):
        loaded.append(keywords)
        return RectangleEngine(**keywords)

    monkeypatch.setattr('vis_ros.engines.engine.load_engine', load)
    monkeypatch.setattr(engine_run, 'EngineProcess', WorkerHere)
    monkeypatch.setenv('COLUMNS', '240')
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        command = ['benchmarks.speed', '--frames', '3', '--image', '48x64', '--json', 'out/figures.json']
        monkeypatch.setattr(sys, 'argv', [*command, *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            program.main()
        output, path = capsys.readouterr(), tmp_path / 'out' / 'figures.json'
        figures = json.loads(path.read_text()) if path.exists() else None
        return caught.value.code or 0, output.out, output.err, figures

    call.loaded = loaded
    return call


def test_one_engine(benchmark):
    code, output, error, figures = benchmark('--cameras', 2, '--threads', 3, '--engine', 'torch', '--size', '96x160')
    assert code == 0, error
    assert benchmark.loaded[-1] == {
        **{'engine': 'torch', 'precision': 'auto', 'input_size': (96, 160), 'threads': 3},
        **{'score_threshold': None, 'max_detections': None},
    }
    assert tuple(figures['stages_ms']) == STAGES and figures['settings']['cameras'] == 2
    assert set(figures['start_up']) == {'cold', 'warm'} and figures['start_up']['cold']['total_s'] == 1.5
    assert figures['machine']['versions']['python'] in sys.version
    for text in ('copy-in', 'publish', 'images a second', 'one image of every camera', 'opencv, cpu, uint8', '1.50 s'):
        assert text in output
    times = figures['stages_ms']['association']
    assert f'{times["p50"]:.2f}, {times["p95"]:.2f}' in output


def test_two_engines(benchmark):
    code, output, error, figures = benchmark('--engine', 'openvino', '--against', 'torch:fp32')
    assert code == 0, error
    chosen = [('openvino', 'auto'), ('torch', 'fp32')]
    assert [(each['engine'], each['precision']) for each in benchmark.loaded] == 2 * chosen  # cold, then warm
    assert figures['against']['settings'] == {**figures['settings'], 'engine': 'torch', 'precision': 'fp32'}
    assert f'{figures["against"]["ratio"]["frame"]["ratio"]:.3f} times as long' in output


def test_growth(benchmark, monkeypatch):
    axes = {'cameras': (1, 3), 'detections': (2,), 'identities': (5,), 'image_size': ((48, 64), (96, 128))}
    monkeypatch.setattr(growth, 'measure_growth', partial(growth.measure_growth, axes=axes))
    code, output, error, figures = benchmark('--growth', '--detections', 4)
    assert code == 0, error
    assert {axis: len(rows) for axis, rows in figures['tables'].items()} == {
        **{'cameras': 2, 'detections': 1, 'identities': 1, 'image_size': 2},
    }
    for rows in figures['tables'].values():
        for row in rows:
            assert tuple(row['stages_ms']) == STAGES
    assert figures['tables']['image_size'][1]['value'] == [96, 128] and '128x96' in output


def test_node(benchmark, monkeypatch):
    begun, millisecond = 10**18, 10**6
    replies = [Reply(begun, begun, begun + 35 * millisecond, begun + 37 * millisecond, 4, 0)]
    times = node_run.NodeTimes([(begun + 34 * millisecond, 0.02, 0.001, 0.002)], {begun: begun + 4 * millisecond})
    trial = node_run._figures(Trial(10.0, 9.87, 2, replies), times)
    none = node_run._figures(Trial(None, 60.0, 2, []), times)

    def measured(settings, place, *, rates_hz, on_step):
        assert rates_hz == (10, 30, 60)
        result = engine_run.measure(settings, place)
        start_up = {'cold_s': 4.0, 'warm_s': 2.5}
        return {**result, 'node': {'trials': [none, trial], 'highest_rate_hz': 12.3, 'start_up': start_up}}

    monkeypatch.setattr(node_run, 'measure_node', measured)
    monkeypatch.delenv('ROS_DOMAIN_ID', raising=False)
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    code, output, error, figures = benchmark('--node')
    assert code == 0, error
    assert figures['node']['highest_rate_hz'] == 12.3
    for text in ('12.3 Hz', '9.9 of 10 Hz', 'one by one', '2.50 s', '31.00, 31.00', '14.00, 14.00'):
        assert text in output


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--growth', '--node'], 'choose one'),
        (['--image', '720p'], '720p'),
        (['--weights', 'nowhere'], 'nowhere'),
    ],
)
def test_what_a_person_can_mend_is_said_in_one_message(benchmark, arguments, words):
    code, _, error, figures = benchmark(*arguments)
    assert code == 1 and words in error and 'Traceback' not in error and figures is None
