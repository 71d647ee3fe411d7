"""The front door: `vis_ros.load`, `Model`, `Tracker` and `vis_ros.open`, as a user calls them from Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.color_propagator import ColorPropagators
from helpers.python_path import python_path
from helpers.rectangles import BLUE, RED, RectangleEngine, draw

import vis_ros
from vis_ros import Instances, Model, PromptError, Settings
from vis_ros.instances import CONFIRMED
from vis_ros.tracking.detect_and_propagate import DetectAndPropagate
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.propagate import Propagate
from vis_ros.tracking.published_memory import PublishedMemory

ROOT = Path(__file__).resolve().parents[1]


def model(**settings: object) -> Model:
    return Model(Settings.of(settings), RectangleEngine, ColorPropagators)  # type: ignore[arg-type]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A red and a blue rectangle that move past each other."""
    folder = tmp_path / 'clip'
    folder.mkdir()
    for index in range(12):
        image = draw((10 + 8 * index, 10, 40 + 8 * index, 40, RED), (140 - 8 * index, 50, 170 - 8 * index, 80, BLUE),
                     height=96, width=192)  # fmt: skip
        cv2.imwrite(str(folder / f'{index:02}.png'), image)
    return folder


def test_the_snippet_of_the_readme_runs_on_the_packaged_weights(clip: Path) -> None:
    model = vis_ros.load('demo', score_threshold=0.05, new_track_score=0.05, min_hits=1)
    tracker = model.tracker()
    for frame in vis_ros.open(clip):
        objects = tracker.step(frame.image, frame.stamp)
        assert isinstance(objects, Instances) and objects.class_names == model.class_names
        assert len(str(objects).splitlines()) == max(len(objects), 1)
        assert objects.draw(frame.image).shape == frame.image.shape
    assert model.name == 'demo' and model.info.model == 'demo' and model.warm_up_ms > 0


def test_importing_vis_ros_is_light_and_offers_the_front_door() -> None:
    code = """import sys, vis_ros
heavy = {'torch', 'rclpy', 'cv2', 'numpy', 'openvino'} & sys.modules.keys()
print(sorted(heavy), sorted(set(vis_ros.__all__) - set(dir(vis_ros))))
assert vis_ros.open.__name__ == 'open_recording' and vis_ros.Settings().weights == 'demo'
assert not {'torch', 'rclpy'} & sys.modules.keys()
"""
    environment = os.environ | {'PYTHONPATH': python_path(ROOT)}
    done = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ('[] []\n', '')
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = vis_ros.nothing


def test_trackers_of_a_model_have_their_own_tracks(clip: Path) -> None:
    loaded = model()
    first, second = loaded.tracker(), loaded.tracker()
    for frame in vis_ros.open(clip):
        objects = first.step(frame.image, frame.stamp)
    assert objects.track_ids is not None and objects.track_ids.tolist() == [1, 2]
    assert objects.names == ['red', 'blue'] or objects.names == ['blue', 'red']
    assert (first.identities, second.identities) == (2, 0)
    assert second.step(draw((1, 1, 20, 20, BLUE)), 0.0).track_ids.tolist() == [1]  # type: ignore[union-attr]
    first.reset()
    assert first.identities == 0


@pytest.mark.parametrize(
    ('settings', 'kind', 'name', 'class_names'),
    [
        ({}, DetectAndTrack, 'rectangles (demo)', ('blue', 'green', 'red')),
        ({'weights': 'rectangles'}, DetectAndTrack, 'rectangles', ('blue', 'green', 'red')),
        ({'bridge': 'feelvos'}, DetectAndPropagate, 'rectangles (demo) + feelvos', ('blue', 'green', 'red', 'object')),
        ({'model': 'rgmp'}, Propagate, 'rgmp', ('blue', 'green', 'red', 'object')),
        ({'model': 'rgmp', 'weights': '', 'start_from': 'prompts'}, Propagate, 'rgmp', ('object',)),
    ],
)
def test_settings_decide_the_tracker(
    settings: dict[str, str], kind: type, name: str, class_names: tuple[str, ...]
) -> None:
    loaded = model(**settings)
    assert type(loaded.tracker()) is kind
    assert (loaded.name, loaded.class_names) == (name, class_names)
    described = loaded.describe()
    assert described['model'] == name and described['settings']['bridge'] == settings.get('bridge', '')
    assert ('propagation' in described) == (kind is not DetectAndTrack)
    assert described['device'].startswith('cpu'), 'the real device, and not auto'


def test_published_rules_are_chosen_by_name() -> None:
    for rule in ('paper', 'mmtracking'):
        tracker = model(association=rule, min_hits=2).tracker()
        memory = tracker._memory  # type: ignore[attr-defined]
        assert isinstance(memory, PublishedMemory) and (memory.config.rule, memory.config.min_hits) == (rule, 2)


def test_a_prompt_is_kept_and_forgotten() -> None:
    tracker = model(model='feelvos', start_from='prompts').tracker()
    image = draw((10, 10, 40, 40, RED), height=96, width=160)
    assert len(tracker.step(image, 0.0)) == 0
    track_id = tracker.prompt(box=(10, 10, 40, 40))
    moved = draw((16, 10, 46, 40, RED), height=96, width=160)
    objects = tracker.step(moved, 0.1)
    assert objects.track_ids is not None and objects.track_ids.tolist() == [track_id]
    np.testing.assert_array_equal(objects.full_mask(0), (moved != 128).any(2))
    tracker.forget(track_id)
    assert len(tracker.step(moved, 0.2)) == 0
    with pytest.raises(PromptError, match='no track 1'):
        tracker.forget(track_id)


@pytest.mark.parametrize(
    ('prompt', 'message'),
    [
        ({'mask': [1, 0]}, r'the mask has shape \(2,\)'),
        ({'mask': [[1, 0]]}, 'the mask has 2x1 pixels, but its image has 160x96'),
        ({'box': (1, 2, 3)}, r'the box is \(1, 2, 3\), expected 4 numbers'),
        ({'point': 7}, 'the point is 7, expected 2 numbers'),
        ({}, 'exactly one'),
    ],
)
def test_a_prompt_of_the_wrong_form_is_a_prompt_error(prompt: dict[str, object], message: str) -> None:
    tracker = model(model='feelvos', start_from='prompts').tracker()
    tracker.step(draw(height=96, width=160), 0.0)
    with pytest.raises(PromptError, match=message):
        tracker.prompt(**prompt)  # type: ignore[arg-type]


def test_settings_take_numbers_of_numpy_and_of_yaml_and_paths() -> None:
    settings = Settings.of({'score_threshold': np.float64(0.5), 'min_hits': np.int64(2), 'max_age_s': '1e1'})
    assert (settings.score_threshold, settings.min_hits, settings.max_age_s) == (0.5, 2, 10.0)
    assert Settings.of({'propagation_weights': Path('a.safetensors')}).propagation_weights == 'a.safetensors'


def test_models_that_detect_take_no_prompts() -> None:
    tracker = model().tracker()
    tracker.step(draw(), 0.0)
    for call in (lambda: tracker.prompt(point=(1, 1)), lambda: tracker.forget(1)):
        with pytest.raises(PromptError, match='this model only detects'):
            call()


def test_settings_change_while_running() -> None:
    tracker = model(score_threshold=0.2).tracker()
    image = draw((1, 1, 20, 20, RED))
    assert len(tracker.step(image, 0.0)) == 1
    tracker.configure(Settings(score_threshold=0.99))
    assert len(tracker.step(image, 0.1)) == 0
    tracker.configure(Settings(score_threshold=0.2, min_hits=1))
    assert len(tracker.step(image, 0.2)) == 1
    published = model(association='paper').tracker()
    published.configure(Settings(association='paper', min_hits=1))
    states = published.step(image, 0.0).states
    assert states is not None and states.tolist() == [CONFIRMED]
    with pytest.raises(ValueError, match=r'score_threshold is 0\.1, but the network was loaded with 0\.2'):
        tracker.configure(Settings(score_threshold=0.1))


def test_a_score_threshold_below_that_of_the_network_is_refused() -> None:
    """The network was loaded with its own threshold, and gives no weaker detections."""
    tracker = model(score_threshold=0).tracker()
    with pytest.raises(ValueError, match=r'score_threshold is 0\.05, but the network was loaded with 0\.1;'):
        tracker.configure(Settings(score_threshold=0.05))
    for allowed in (0.1, 0.7, 0.0):
        tracker.configure(Settings(score_threshold=allowed))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'new_track_thresh': 0.4}, "'new_track_thresh' is not a setting; did you mean new_track_score"),
        ({'zzz': 1}, "'zzz' is not a setting; settings are weights, model"),
        ({'min_hits': 0}, 'min_hits is 0, but must be from 1 to 1000'),
        ({'min_hits': 1.5}, 'min_hits is 1.5, but must be int'),
        ({'min_hits': True}, 'min_hits is True, but must be int'),
        ({'score_threshold': float('nan')}, 'score_threshold is nan'),
        ({'engine': 'onnx'}, "engine is 'onnx', but must be one of 'auto', 'tensorrt', 'openvino', 'torch'"),
        ({'device': 'gpu'}, "device is 'gpu', but must be auto, cpu, cuda or cuda:N"),
        ({'input_height': 288}, 'input_height is 288 and input_width is 0: set both'),
        ({'model': 'rgmp', 'bridge': 'feelvos'}, "bridge is 'feelvos', but model 'rgmp' propagates every frame"),
        ({'propagation_weights': 'x'}, "propagation_weights is 'x', but model 'auto' propagates no masks"),
        ({'bridge': 'feelvos', 'association': 'paper'}, "association is 'paper', but its duplicate ids"),
        ({'weights': ''}, "weights is ''"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace('.', r'\.')):
        model(**settings)


def test_open_says_what_is_missing() -> None:
    with pytest.raises(FileNotFoundError, match='nowhere'):
        vis_ros.open('nowhere.mcap')
