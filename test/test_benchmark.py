"""benchmarks.speed: stages, ratios and processes, against numpy, engines of known times, and real runs."""

import json
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
from helpers.rectangles import BLUE, GREEN, RED, RectangleEngine, draw
from rclpy.serialization import deserialize_message
from safetensors.numpy import load_file
from sensor_msgs.msg import Image
from vis_ros.msg import InstanceMaskArray

from benchmarks.speed import pipeline as pipeline_module
from benchmarks.speed.engine_process import EngineProcess
from benchmarks.speed.engine_run import AXES, alternate, growth_settings, measure_in_turn, ratios
from benchmarks.speed.pipeline import STAGES, Pipeline, Stopwatch, association_for, serialized
from benchmarks.speed.speed_settings import SpeedSettings
from benchmarks.speed.wanted_detections import load_at_threshold, save_crowded_model
from benchmarks.speed.workspace import Workspace
from vis_ros.engines import postprocessing
from vis_ros.masks import encodings
from vis_ros.networks import preprocessing
from vis_ros.networks.model_header import read_config
from vis_ros.networks.named_weights import resolve
from vis_ros.networks.preprocessing import fit
from vis_ros.ros import serialized_instances
from vis_ros.ros.environment import prepare_environment
from vis_ros.synthetic.scene import Scene

SMALL = {'image_size': (96, 160), 'input_size': (96, 160), 'frames': 4, 'threads': 1}


@pytest.fixture(autouse=True)
def ros_finds_its_packages():
    prepare_environment()


def moving_rectangles(count=4):
    """Images of three moving rectangles."""
    return [
        draw((step, 5, 12 + step, 15, RED), (40, 20, 50, 30, BLUE), (20, 30, 30, 40 + step, GREEN))
        for step in range(count)
    ]


# --- ratios --------------------------------------------------------------------------------------------------------


def test_rounds_are_in_alternation_and_the_ratio_is_that_of_the_sleeps():
    order = []

    def sleeper(name, seconds):
        def rounds(count):
            times = np.zeros((count, 1, len(STAGES)))
            for row in times:
                order.append(name)
                begun = time.perf_counter()
                time.sleep(seconds)
                row[0, STAGES.index('engine')] = time.perf_counter() - begun
            return times

        return rounds

    first, second = alternate([sleeper('a', 0.005), sleeper('b', 0.05)], 8)
    assert ''.join(order) == 'ab' * 8
    assert first.shape == second.shape == (8, 1, len(STAGES))
    found = ratios(first, second)
    assert found['frame'] == found['infer']
    assert found['infer']['low'] <= found['infer']['ratio'] <= found['infer']['high']
    assert found['infer']['ratio'] > 2  # 10, but for a machine that is busy


def test_the_ratio_of_infer_is_that_of_its_three_stages():
    random = np.random.default_rng(3)
    first, second = random.uniform(1, 2, (9, 2, len(STAGES))), random.uniform(1, 2, (9, 2, len(STAGES)))
    inner = [STAGES.index(name) for name in ('preprocess', 'engine', 'paste')]
    sums = [times[:, :, inner].sum(axis=(1, 2)) for times in (first, second)]
    assert ratios(first, second)['infer']['ratio'] == pytest.approx(np.median(sums[1]) / np.median(sums[0]), abs=1e-4)


# --- stopwatch --------------------------------------------------------------------------------------------------------


def test_a_watched_function_is_timed_wherever_it_is_called_and_is_itself_again_afterwards():
    watch = Stopwatch()
    with watch.watching({'encode': encodings.encoded, 'fit': fit}):
        assert serialized_instances.encoded is encodings.encoded is not pipeline_module.STAGES
        assert serialized_instances.encoded is not pipeline_module.fit
        serialized_instances.encoded(np.ones((300, 300), np.uint8), 'rle')
        encodings.encoded(np.ones((3, 3), np.uint8), 'rle')
        with pytest.raises(ValueError, match='nonsense'):
            encodings.encoded(np.ones((3, 3), np.uint8), 'nonsense')
    assert watch.calls == {'encode': 3, 'fit': 0}
    assert watch.seconds['encode'] > 0 == watch.seconds['fit']
    watch.restart()
    encodings.encoded(np.ones((3, 3), np.uint8), 'rle')
    assert watch.seconds == {'encode': 0, 'fit': 0} and watch.calls['encode'] == 3
    assert serialized_instances.encoded is encodings.encoded and not hasattr(encodings.encoded, '__wrapped__')


# --- pipeline ---------------------------------------------------------------------------------------------------------


class StagedEngine(RectangleEngine):
    """Calls the functions that real engines call; here they sleep for known times."""

    def infer(self, images):
        for image in images:
            preprocessing.fit(image, None)
            time.sleep(0.02)
            postprocessing.postprocess()
        return super().infer(images)


@pytest.fixture
def sleeping_stages(monkeypatch):
    monkeypatch.setattr(pipeline_module, 'ENGINE_STAGES', {})

    def sleeping(module, name, stage, seconds):
        def sleeps(*_arguments, **_keywords):
            time.sleep(seconds)

        monkeypatch.setattr(module, name, sleeps)
        pipeline_module.ENGINE_STAGES[stage] = sleeps

    sleeping(preprocessing, 'fit', 'preprocess', 0.01)
    sleeping(postprocessing, 'postprocess', 'paste', 0.03)


def test_stages_are_separate_and_add_up(sleeping_stages):
    tracked = Pipeline(
        StagedEngine(), serialized(moving_rectangles()), cameras=2, association=association_for(0, 0), known=0
    )
    begun = time.perf_counter()
    times = tracked.rounds(3)
    elapsed = time.perf_counter() - begun
    assert times.shape == (3, 2, len(STAGES)) and (times > 0).all()
    assert 6 * 0.06 <= times.sum() <= elapsed  # nothing is counted twice
    named = dict(zip(STAGES, times.min((0, 1)), strict=True))
    assert named['preprocess'] >= 0.01 and named['engine'] >= 0.02 and named['paste'] >= 0.03
    assert set(tracked.detected) == {3}


def test_the_pipeline_does_what_the_node_does(monkeypatch):
    """The serialized messages have the objects that the engine finds in the same images."""
    images, sent = moving_rectangles(), []
    tracked = Pipeline(RectangleEngine(), serialized(images), cameras=1, association=association_for(0, 0), known=0)
    serialize = pipeline_module.serialized_instances

    def kept(*arguments):
        sent.append(deserialize_message(serialize(*arguments), InstanceMaskArray))
        return serialize(*arguments)

    monkeypatch.setattr(pipeline_module, 'serialized_instances', kept)
    tracked.rounds(5)
    order = [1, 2, 3, 2, 1]  # forwards and backwards
    for message, index in zip(sent, order, strict=True):
        (found,) = RectangleEngine().infer([images[index]])
        assert sorted(each.area for each in message.instances) == sorted(found.areas().tolist())
        assert len({instance.track_id for instance in message.instances}) == 3
    assert tracked.published == tracked.detected == [3] * 5 and tracked.identities == 3


def test_memory_starts_with_the_wanted_number_of_tracks_and_keeps_them():
    tracked = Pipeline(RectangleEngine(), serialized(moving_rectangles()), 2, association_for(3, 1000), known=1000)
    assert tracked.identities == 1000
    tracked.rounds(4)
    assert tracked.identities == 1000 and set(tracked.published) == {3}


def test_every_wanted_detection_is_published_however_weak_and_close():
    from vis_ros.tracking.identity_memory import IdentityMemory

    memory = IdentityMemory(association_for(50, 0))
    random = np.random.default_rng(0)
    for step in range(30):
        corners = random.uniform(0, 30, (50, 2))
        boxes = np.concatenate([corners, corners + 20], axis=1)
        tracks = memory.update(boxes, random.uniform(0, 0.1, 50), np.zeros(50), random.normal(size=(50, 8)), step / 30)
        assert tracks.track_ids.all()


def test_highest_threshold_that_gives_the_wanted_detections():
    scores = [[0.9, 0.6, 0.4, 0.1], [0.8, 0.7, 0.2, 0.15]]

    class Scores:
        def __init__(self, threshold, most):
            self.threshold, self.most = threshold, most

        def infer(self, images):
            (image,) = images
            kept = [score for score in scores[int(image)] if score > self.threshold][: self.most]
            return [type('Found', (), {'least_scores': np.array(kept)})]

    def load(most, own):
        return lambda threshold: Scores(own if threshold is None else threshold, most)

    assert load_at_threshold(load(2, 0.5), [0, 1], 2)[1:] == (None, 2)
    engine, threshold, least = load_at_threshold(load(3, 0.5), [0, 1], 3)
    assert least == 3 and 0.19 < threshold < 0.2 and engine.threshold == threshold
    assert [len(engine.infer([image])[0].least_scores) for image in (0, 1)] == [3, 3]
    assert load_at_threshold(load(9, 0.5), [0, 1], 9)[1:] == (0, 4)  # there are no nine


# --- settings, images -------------------------------------------------------------------------------------------------


def test_settings_survive_json():
    for settings in (SpeedSettings(), SpeedSettings(input_size=(96, 160), threads=2)):
        assert SpeedSettings.from_dict(json.loads(json.dumps(asdict(settings)))) == settings


def test_images_are_frames_of_the_scene(tmp_path):
    path = Workspace(tmp_path).images((96, 160))
    images = np.load(path)
    assert images.shape[1:] == (96, 160, 3)
    scene = Scene(seed=0, size=(96, 160), frames=150)
    assert any((images[0] == scene.frame(index).image).all() for index in range(150))
    message = deserialize_message(serialized(images)[3], Image)
    assert (np.array(message.data).reshape(96, 160, 3) == images[3]).all() and message.encoding == 'bgr8'
    written = path.stat().st_mtime_ns
    assert Workspace(tmp_path).images((96, 160)) == path and path.stat().st_mtime_ns == written


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_engines_in_alternation(tmp_path):
    """One with more objects than it finds by itself, and one as it is."""
    crowded = SpeedSettings(**SMALL, detections=12, identities=20, cameras=2)
    plain, steps = replace(crowded, detections=0), []
    results, times = measure_in_turn([crowded, plain], Workspace(tmp_path), ['one', 'one'], steps.append)
    assert times[0].shape == times[1].shape == (4, 2, len(STAGES))
    for each in json.loads(json.dumps(results)):
        assert tuple(each['stages_ms']) == STAGES
        for stage in (*each['stages_ms'].values(), each['frame_ms'], each['round_ms']):
            assert 0 < stage['p50'] <= stage['p95']
        assert each['round_ms']['p50'] > each['frame_ms']['p50']
        assert each['engine']['parameters'] > 1e6 and each['serialized_by'].startswith('rclpy')
        assert each['memory_mib']['peak'] >= each['memory_mib']['loaded'] > 50
        start = each['start_up']['warm']
        assert start['total_s'] > start['import_s'] + start['load_s'] + start['first_image_s'] > 0
        assert each['throughput_hz'] > 0
    assert results[0]['detections'] == results[0]['published'] == {'median': 12, 'least': 12, 'most': 12}
    assert results[1]['detections']['most'] < 12 and results[1]['warnings'] == []
    assert results[0]['identities'] == 20 and steps[-1] == 'measuring'


def test_a_crowded_model_differs_in_its_config_only(tmp_path):
    model = resolve('demo')
    save_crowded_model(model, tmp_path / 'crowded.safetensors', 77)
    config, crowded = read_config(model), read_config(tmp_path / 'crowded.safetensors')
    assert crowded == config.with_fields(nms_threshold=1.0, max_detections=77)
    tensors, copied = load_file(model), load_file(tmp_path / 'crowded.safetensors')
    assert tensors.keys() == copied.keys()
    assert all((tensors[name] == copied[name]).all() for name in tensors)


def test_engine_that_cannot_run_raises_its_own_message(tmp_path):
    with (
        pytest.raises(ValueError, match='nonsense'),
        EngineProcess(SpeedSettings(**SMALL | {'engine': 'nonsense'}), tmp_path, tmp_path / 'log'),
    ):
        pass


def test_error_of_a_dead_process_has_the_end_of_its_output(tmp_path):
    process = EngineProcess(SpeedSettings(input_size=(96,)), tmp_path, tmp_path / 'log')
    with pytest.raises(ChildProcessError, match=r'(?s)exit status 1:.*IndexError'), process:
        pass


def test_growth_varies_one_setting_at_a_time():
    base, rows = growth_settings(SpeedSettings(threads=1))
    assert base == SpeedSettings(threads=1, detections=10, identities=100)
    assert rows.keys() == AXES.keys()
    for axis, values in AXES.items():
        assert rows[axis] == [replace(base, **{axis: value}) for value in values]
    kept, _ = growth_settings(SpeedSettings(detections=3, identities=7))
    assert (kept.detections, kept.identities) == (3, 7)
