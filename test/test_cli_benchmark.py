"""`vis-ros benchmark`: its statistics, the order of the steps, and real runs of the demo weights."""

import json
import sys
import time

import cv2
import numpy as np
import pytest

from vis_ros.cli import main
from vis_ros.cli.benchmark import time_in_turn
from vis_ros.percentiles import median_ratio, milliseconds
from vis_ros.synthetic.scene import Scene

# --- statistics -------------------------------------------------------------------------------------------------------


def test_percentiles_are_those_of_numpy():
    seconds = np.random.default_rng(0).gamma(2, 0.01, 37)
    found = milliseconds(seconds)
    assert found == pytest.approx(
        {'p50': 1000 * np.median(seconds), 'p95': 1000 * np.quantile(seconds, 0.95)}, abs=1e-4
    )


def test_ratio_of_engines_of_known_times():
    random = np.random.default_rng(1)
    disturbance = 1 + random.gamma(1, 0.3, 200)
    first, second = 0.01 * disturbance, 0.025 * disturbance * random.normal(1, 0.02, 200)
    found = median_ratio(first, second)
    assert found['ratio'] == pytest.approx(np.median(second) / np.median(first), abs=1e-4)
    assert found['low'] < 2.5 < found['high'] and found['high'] - found['low'] < 0.2


def test_the_interval_of_the_ratio_has_its_confidence():
    """About 95 % of the intervals of 60 experiments contain the true ratio 2."""
    random = np.random.default_rng(2)
    hits = 0
    for _ in range(60):
        first, second = random.gamma(9, 1, 40), 2 * random.gamma(9, 1, 40)
        found = median_ratio(first, second)
        hits += found['low'] <= 2 <= found['high']
    assert 51 <= hits <= 59


# --- order of the steps -----------------------------------------------------------------------------------------------


class SleepingModel:
    """A model whose trackers take a known time; `steps` has (name, number of the tracker, stamp) of each step."""

    def __init__(self, name, seconds, steps):
        self.name, self.seconds, self.steps, self.trackers = name, seconds, steps, 0

    def tracker(self):
        self.trackers += 1
        return SleepingTracker(self, self.trackers)


class SleepingTracker:
    def __init__(self, model, number):
        self.model, self.number = model, number

    def step(self, image, stamp):
        self.model.steps.append((self.model.name, self.number, stamp))
        time.sleep(self.model.seconds)


def test_models_take_turns_after_a_warm_up_of_other_trackers():
    steps = []
    models = [SleepingModel('a', 0.002, steps), SleepingModel('b', 0.02, steps)]
    frames = [(np.zeros((4, 6, 3), np.uint8), stamp) for stamp in (7.0, 7.5, 8.0)]
    seconds = time_in_turn(models, iter(frames))
    assert seconds.shape == (3, 2) and (seconds >= (0.002, 0.02)).all()
    warm_up, measured = steps[:-6], steps[-6:]
    assert measured == [(name, 1, stamp) for stamp in (7.0, 7.5, 8.0) for name in 'ab']
    assert {(name, number) for name, number, _ in warm_up} == {('a', 2), ('b', 2)}


def test_one_frame_is_too_few():
    with pytest.raises(ValueError, match='1 frame'):
        time_in_turn([SleepingModel('a', 0, [])], [(np.zeros((4, 6, 3), np.uint8), 0.0)])


# --- command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def benchmark(monkeypatch, capsys, tmp_path):
    """Call the command with arguments; returns (exit code, standard output, standard error, the JSON file or None)."""
    monkeypatch.setenv('COLUMNS', '200')
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        command = ['vis-ros', 'benchmark', '--threads', '1', '--size', '96x160', '--json', 'out/speed.json']
        monkeypatch.setattr(sys, 'argv', [*command, *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main.main()
        output, path = capsys.readouterr(), tmp_path / 'out' / 'speed.json'
        return caught.value.code or 0, output.out, output.err, json.loads(path.read_text()) if path.exists() else None

    return call


def test_synthetic_scene_with_two_precisions(benchmark):
    code, output, error, result = benchmark('--frames', 4, '--engine', 'openvino', '--against', 'openvino:fp32')
    assert code == 0, error
    assert result['frames'] == 4 and result['source'] == 'synthetic scene' and result['peak_memory_mib'] > 50
    first, second = result['models']
    assert first['model'] == second['model'] == 'demo' and first['engine'].startswith('OpenVINO')
    assert second['precision'] == 'fp32'
    for model in (first, second):
        times = model['frame_ms']
        assert 0 < times['p50'] <= times['p95'] and model['frames_per_second'] > 0
        assert f'{times["p50"]:.2f} ms, {times["p95"]:.2f} ms' in output and model['device'] in output
    ratio = result['ratio']
    assert ratio['low'] <= ratio['ratio'] <= ratio['high'] and f'{ratio["ratio"]:.3f} times as long' in output
    assert result['machine']['versions']['numpy'] == np.__version__


def test_recording(benchmark, tmp_path):
    scene = Scene(seed=1, size=(96, 160), frames=5)
    (tmp_path / 'images').mkdir()
    for index in range(5):
        assert cv2.imwrite(str(tmp_path / 'images' / f'{index}.png'), scene.frame(index).image)
    code, _, error, result = benchmark(tmp_path / 'images', '--frames', 3)
    assert code == 0, error
    assert result['frames'] == 3 and result['source'] == str(tmp_path / 'images') and len(result['models']) == 1
    assert 'ratio' not in result


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--size', '96'], "--size '96'"),
        (['--weights', 'nowhere'], 'nowhere'),
        (['--against', 'nonsense'], 'nonsense'),
        (['nowhere.mcap'], 'nowhere.mcap'),
    ],
)
def test_user_errors_are_one_message(benchmark, arguments, words):
    code, _, error, result = benchmark(*arguments)
    assert code == 1 and words in error and 'Traceback' not in error and result is None
