"""`python -m benchmarks.speed`: its tables and its JSON file, with a detector that computes from the pixels."""

import json
import sys
from functools import partial

import pytest
from helpers.rectangles import RectangleEngine

from benchmarks.speed import __main__ as program
from benchmarks.speed import engine_run, node_run
from benchmarks.speed.engine_process import EngineWorker
from benchmarks.speed.image_load import Reply, Trial
from benchmarks.speed.node_times import NodeTimes
from benchmarks.speed.pipeline import STAGES
from vis_ros.ros.environment import prepare_environment


class EngineInThisProcess:
    """An `EngineProcess` without a process of its own."""

    def __init__(self, settings, cache, log):
        self._worker = EngineWorker(settings)
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

    monkeypatch.setattr('vis_ros.engines.loading.load_engine', load)
    monkeypatch.setattr(engine_run, 'EngineProcess', EngineInThisProcess)
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
        **{'score_threshold': None, 'max_detections': None, 'accuracy_check': True},
    }
    assert tuple(figures['stages_ms']) == STAGES and figures['settings']['cameras'] == 2
    assert set(figures['start_up']) == {'cold', 'warm'} and figures['start_up']['cold']['total_s'] == 1.5
    assert figures['machine']['versions']['python'] in sys.version
    for text in (
        'copy-in',
        'publish',
        'images per second',
        'one image of every camera',
        'opencv, cpu, uint8',
        '1.50 s',
    ):
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
    monkeypatch.setattr(engine_run, 'measure_growth', partial(engine_run.measure_growth, axes=axes))
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
    sent, millisecond = 10**18, 10**6
    replies = [Reply(sent, sent, sent + 35 * millisecond, sent + 37 * millisecond, 4, 0)]
    times = NodeTimes({sent: (0.02, 0.001, 0.002)}, {sent: sent + 4 * millisecond})
    alone, played, lost = (
        node_run.trial_results(trial, times)
        for trial in (Trial(None, 28.0, 1, replies), Trial(10.0, 9.87, 2, replies), Trial(60.0, 60.0, 2, []))
    )

    def run_node(settings, place, score_threshold, *, rates_hz, on_step):
        assert score_threshold is None and rates_hz == (10, 30, 60)
        start_up = {'cold_s': 4.0, 'warm_s': 2.5}
        return {'trials': [alone, played, lost], 'highest_rate_hz': 12.3, 'start_up': start_up}

    monkeypatch.setattr(node_run, 'run_node', run_node)
    monkeypatch.delenv('ROS_DOMAIN_ID', raising=False)
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    code, output, error, figures = benchmark('--node')
    assert code == 0, error
    assert figures['node']['highest_rate_hz'] == 12.3
    assert figures['node']['stages_share'] == pytest.approx(figures['frame_ms']['p50'] / 31, abs=1e-3)
    for text in ('12.3 Hz', '9.9 of 10 Hz', 'one by one', '2.50 s', '31.00, 31.00', '14.00, 14.00'):
        assert text in output


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--growth', '--node'], '--growth and --node'),
        (['--image', '720p'], "--image '720p'"),
        (['--weights', 'nowhere'], 'nowhere'),
    ],
)
def test_user_errors_are_one_message(benchmark, arguments, words):
    code, _, error, figures = benchmark(*arguments)
    assert code == 1 and words in error and 'Traceback' not in error and figures is None
