"""OpenVinoEngine: the same detections as torch, in both precisions, with and without its cache."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from helpers.engines import openvino_engine, torch_engine
from numpy.typing import NDArray
from test_static_detector import KINDS, network

from vis_ros.engines import by_size
from vis_ros.engines.engine import CompilingError
from vis_ros.engines.network_outputs import NetworkOutputs
from vis_ros.engines.openvino import compiled_networks
from vis_ros.engines.openvino.compiled_cache import CompiledCache
from vis_ros.engines.openvino.compiled_networks import CompiledNetwork
from vis_ros.engines.openvino.compiler import openvino_core
from vis_ros.engines.openvino.openvino_engine import OpenVinoEngine
from vis_ros.engines.torch.torch_engine import TorchEngine
from vis_ros.instances import Instances
from vis_ros.masks.iou import mask_iou
from vis_ros.networks.model_file import save_model
from vis_ros.synthetic.scene import Scene
from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.identity_memory import IdentityMemory

HAS_BF16 = 'BF16' in openvino_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
LOW = 0.3
SIZES = [(360, 640), (480, 640), (640, 360), (100, 700)]


@pytest.fixture(scope='module', autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder for these tests only."""
    folder = tmp_path_factory.mktemp('cache')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(folder))
        yield folder / 'vis_ros' / 'openvino'


@pytest.fixture(scope='module')
def reference() -> TorchEngine:
    return torch_engine('demo', score_threshold=LOW, threads=1)


@pytest.fixture(scope='module')
def engine(cache: Path) -> OpenVinoEngine:
    return openvino_engine('demo', precision='fp32', score_threshold=LOW, threads=1)


def frames(size: tuple[int, int], count: int = 1) -> list[NDArray[np.uint8]]:
    scene = Scene(seed=sum(size), size=size, frames=60)
    return [scene.frame(4 * index).image for index in range(count)]


def assert_same(found: Instances, expected: Instances) -> None:
    """Assert the tolerances that vis_ros guarantees for fp32."""
    assert found.image_size == expected.image_size
    assert found.class_ids.tolist() == expected.class_ids.tolist()
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.05)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
    assert found.embeddings is not None and expected.embeddings is not None
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=1e-3)
    for index, mask in enumerate(found.masks):
        if mask.any():
            assert mask_iou(mask, found.rois[index], expected.masks[index], expected.rois[index]) >= 0.99


def matched(found: Instances, expected: Instances) -> int:
    """The number of boxes in `expected` that have one with an IoU of 0.9 in `found`."""
    low = np.maximum(found.boxes[:, None, :2], expected.boxes[None, :, :2])
    high = np.minimum(found.boxes[:, None, 2:], expected.boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    area = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (found.boxes, expected.boxes)]
    overlaps = shared / (area[0][:, None] + area[1][None] - shared)
    return int((overlaps.max(0, initial=0) >= 0.9).sum())


# --- what it finds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('size', SIZES)
def test_fp32_gives_the_same_detections_as_torch(
    engine: OpenVinoEngine, reference: TorchEngine, size: tuple[int, int]
) -> None:
    for image in frames(size, 3):
        (expected,) = reference.infer([image])
        assert_same(engine.infer([image])[0], expected)
        assert len(expected) > 2 or size == (100, 700)


def test_fp32_gives_the_same_track_ids_as_torch(engine: OpenVinoEngine, reference: TorchEngine) -> None:
    trackers = [DetectAndTrack(one, IdentityMemory(AssociationConfig())) for one in (engine, reference)]
    seen = 0
    for index, image in enumerate(frames((360, 640), 10)):
        found, expected = (tracker.step(image, index * 0.1) for tracker in trackers)
        assert found.track_ids is not None and expected.track_ids is not None
        assert found.track_ids.tolist() == expected.track_ids.tolist()
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.05)
        seen += len(expected)
    assert seen > 30


def test_images_of_different_sizes_in_one_batch(engine: OpenVinoEngine) -> None:
    images = [frames(size)[0] for size in SIZES]
    together = engine.infer(images)
    assert [found.image_size for found in together] == SIZES
    for image, found in zip(images, together, strict=True):
        assert_same(found, engine.infer([image])[0])
    assert engine.infer([]) == []


def test_no_pixel_of_the_previous_image_remains(engine: OpenVinoEngine, cache: Path) -> None:
    """Two images that share a network and fill different parts of its input."""
    image = frames((330, 640))[0]
    engine.infer([np.full((360, 640, 3), 255, np.uint8)])
    fresh = openvino_engine('demo', precision='fp32', score_threshold=LOW, threads=1)
    assert_same(engine.infer([image])[0], fresh.infer([image])[0])


def test_results_are_not_overwritten_by_the_next_image(engine: OpenVinoEngine) -> None:
    first, second = frames((360, 640), 2)
    (found,) = engine.infer([first])
    boxes, masks = found.boxes.copy(), [mask.copy() for mask in found.masks]
    engine.infer([second])
    np.testing.assert_array_equal(found.boxes, boxes)
    assert all(np.array_equal(mask, kept) for mask, kept in zip(found.masks, masks, strict=True))


def test_the_caller_sets_threshold_and_maximum_detections(engine: OpenVinoEngine) -> None:
    image = frames((360, 640))[0]
    (usual,) = engine.infer([image])
    few = openvino_engine('demo', precision='fp32', score_threshold=0.6, max_detections=2, threads=1)
    enough = usual[usual.least_scores > 0.6]
    best = np.sort(np.argsort(-enough.association_scores, kind='stable')[:2])  # by the class, sorted by the score
    assert_same(few.infer([image])[0], enough[best])


def test_without_a_track_head_embeddings_come_from_the_box_head() -> None:
    image = frames((360, 640))[0]
    plain = openvino_engine('demo', model='mask_rcnn', precision='fp32', score_threshold=LOW, threads=1)
    (expected,) = torch_engine('demo', model='mask_rcnn', score_threshold=LOW).infer([image])
    assert expected.embeddings is not None
    assert expected.embeddings.shape[1] == 512
    assert_same(plain.infer([image])[0], expected)


@pytest.mark.parametrize('kind', ['torchvision', 'legacy'])
def test_models_converted_from_other_code_bases(kind: str, tmp_path: Path) -> None:
    """With a graph that is exported when it is first needed."""
    path = tmp_path / f'{kind}.safetensors'
    save_model(network(**KINDS[kind], input_height=96, input_width=160), path, torch.float32)
    engine, reference = openvino_engine(path, precision='fp32', threads=1), torch_engine(path)
    for image in frames((150, 220), 2):
        (expected,) = reference.infer([image])
        assert len(expected) >= 5
        assert_same(engine.infer([image])[0], expected)


def test_an_invalid_image_is_rejected_with_its_shape(engine: OpenVinoEngine) -> None:
    with pytest.raises(ValueError, match=r'an image must be \(height, width, 3\) uint8 .* got \(4, 4\) uint8'):
        engine.infer([np.zeros((4, 4), np.uint8)])


def test_an_image_that_did_not_converge_is_returned_and_counted(
    engine: OpenVinoEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = CompiledNetwork.run

    def unconverged(network: CompiledNetwork, *arguments: object) -> NetworkOutputs:
        found = run(network, *arguments)  # type: ignore[arg-type]
        return NetworkOutputs(found.boxes, found.scores, found.labels, found.masks, found.embeddings, converged=False)

    image = frames((360, 640))[0]
    (expected,) = engine.infer([image])
    before = engine.describe().unconverged
    monkeypatch.setattr(CompiledNetwork, 'run', unconverged)
    assert_same(engine.infer([image, image])[1], expected)
    assert engine.describe().unconverged == before + 2
    assert len([record for record in caplog.records if 'did not converge' in record.message]) == (before == 0)


# --- bf16 -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not HAS_BF16, reason='this processor does not compute in bf16')
def test_bf16_rounds_layers_but_not_coordinates(reference: TorchEngine) -> None:
    """Coordinates up to 1280 pixels: rounded to bf16, they would move by several pixels."""
    low = openvino_engine('demo', score_threshold=0.2, threads=1)
    assert low.describe().precision == 'bf16'
    total = same = 0
    moved: list[float] = []
    for image in frames((720, 1280), 6):
        (expected,), (found,) = reference.infer([image]), low.infer([image])
        expected = expected[expected.scores > 0.6]
        total, same = total + len(expected), same + matched(found, expected)
        distances = np.abs(found.boxes[:, None] - expected.boxes[None]).max(-1)
        moved += distances.min(0).tolist()
    assert total > 15
    assert same >= 0.9 * total
    assert 0 < np.median(moved) < 1  # a third of a pixel of the network's input


@pytest.mark.skipif(not HAS_BF16, reason='this processor does not compute in bf16')
def test_bf16_keeps_coordinates_between_two_layers_in_fp32() -> None:
    engine = openvino_engine('demo', precision='bf16', threads=1)
    compiled = engine._networks.by_size.of_size((224, 384)).compiled
    operations = compiled.get_runtime_model().get_ordered_ops()
    pooled = [node for node in operations if node.get_rt_info()['layerType'].value == 'ROIAlign']
    assert len(pooled) == 3
    for node in pooled:
        boxes = node.input_value(1)
        assert boxes.get_element_type() == ov.Type.f32
        assert boxes.get_node().get_rt_info()['runtimePrecision'].value == 'f32'
        assert node.get_rt_info()['runtimePrecision'].value == 'bf16'
        assert node.get_rt_info()['outputLayouts'].value == 'acdb', 'channels last, or it takes 14 times as long'


def test_unsupported_precisions_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match='OpenVINO runs this network in fp32, bf16, not in fp16'):
        openvino_engine('demo', precision='fp16')

    core = openvino_core()

    class OldProcessor:
        def __getattr__(self, name: str) -> Any:
            return getattr(core, name)

        def get_property(self, device: str, name: str) -> object:
            return ['FP32'] if name == 'OPTIMIZATION_CAPABILITIES' else core.get_property(device, name)

    monkeypatch.setattr(compiled_networks, 'openvino_core', OldProcessor)
    with pytest.raises(ValueError, match='this processor does not support bf16: use precision fp32 or auto'):
        openvino_engine('demo', precision='bf16')
    assert openvino_engine('demo', threads=1).describe().precision == 'fp32'


# --- description ------------------------------------------------------------------------------------------------------


def test_describe(engine: OpenVinoEngine, reference: TorchEngine) -> None:
    info, expected = engine.describe(), reference.describe()
    assert info.engine == f'OpenVINO {ov.__version__.split("-")[0]}'
    assert (info.device, info.precision, info.note) == ('cpu (1 threads)', 'fp32', '')
    assert (info.model, info.parameters, info.input_size) == (expected.model, expected.parameters, expected.input_size)
    assert engine.class_names == reference.class_names
    assert 0 < engine.warm_up() < 60_000


def test_the_caller_sets_the_input_size() -> None:
    small = openvino_engine('demo', precision='fp32', input_size=(96, 160), score_threshold=0.05, threads=1)
    assert small.input_size == small.describe().input_size == (96, 160)
    image = frames((360, 640))[0]
    reference = torch_engine('demo', input_size=(96, 160), score_threshold=0.05)
    assert_same(small.infer([image])[0], reference.infer([image])[0])


# --- cache ------------------------------------------------------------------------------------------------------------

SMALL = {'precision': 'fp32', 'input_size': (64, 96), 'score_threshold': 0.02, 'threads': 1}


def find(caplog: pytest.LogCaptureFixture) -> tuple[str, Instances, OpenVinoEngine]:
    """The log of a new engine, its detections in one image, and the engine."""
    caplog.clear()
    engine = openvino_engine('demo', **SMALL)  # type: ignore[arg-type]
    (found,) = engine.infer([frames((360, 540))[0]])
    return caplog.text, found, engine


def test_a_cached_network_is_used_unless_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    caplog.set_level(logging.INFO, 'vis_ros')
    log, expected, _ = find(caplog)
    assert 'compiled the network for images of 96x64' in log
    assert len(expected) > 3
    (stored,) = (tmp_path / 'vis_ros' / 'openvino').iterdir()
    whole = stored.read_bytes()

    log, found, _ = find(caplog)
    assert log == ''
    assert_same(found, expected)

    stored.write_bytes(whole[: len(whole) // 2])
    log, found, _ = find(caplog)
    assert f'{stored} is damaged or truncated, compiling the network again' in log
    assert_same(found, expected)
    assert find(caplog)[0] == ''


def test_damaged_content_is_not_returned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache, content = CompiledCache(tmp_path), bytes(range(256))
    assert cache.load('key') is None
    assert caplog.text == ''
    cache.store('key', content)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for damage in (b'', whole[:16], whole[:-1], whole + b'.', whole[:99] + b'?' + whole[100:]):
        path.write_bytes(damage)
        caplog.clear()
        assert cache.load('key') is None
        assert f'{path} is damaged or truncated' in caplog.text
    path.write_bytes(whole)
    stored = cache.load('key')
    assert stored is not None
    assert stored.data.tobytes() == content
    cache.discard('key')
    assert cache.load('key') is None


def test_a_cached_network_that_openvino_rejects_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    caplog.set_level(logging.INFO, 'vis_ros')
    _, expected, engine = find(caplog)
    (key,) = (path.stem for path in (tmp_path / 'vis_ros' / 'openvino').iterdir())
    engine._networks.cache.store(key, b'of another version')
    log, found, _ = find(caplog)
    assert 'OpenVINO cannot load the cached network, compiling it again' in log
    assert_same(found, expected)
    assert find(caplog)[0] == ''


def test_a_cache_that_cannot_be_written_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    (tmp_path / 'vis_ros').touch()  # a file where the folder should be: not even root can write there
    monkeypatch.setattr('vis_ros.export.find_graph.graph_cache', lambda digest: tmp_path / digest)
    log, found, engine = find(caplog)
    assert len(found) > 3
    assert 'the compiled network cannot be cached, so it is compiled at every start' in log
    assert engine.describe().note.startswith('the compiled network cannot be cached')


def test_the_least_recently_used_file_is_deleted(tmp_path: Path) -> None:
    cache = CompiledCache(tmp_path, limit=300)  # three files of 32 + 60 bytes
    for number, key in enumerate('abc'):
        cache.store(key, bytes(60))
        os.utime(tmp_path / f'{key}.openvino', (number, number))
    assert cache.load('a') is not None  # it is used, so b is the oldest now
    cache.store('d', bytes(60))
    assert sorted(path.stem for path in tmp_path.iterdir()) == ['a', 'c', 'd']


def test_the_least_recently_used_network_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_size, 'MAX_SIZES_IN_MEMORY', 1)
    engine = openvino_engine('demo', **SMALL)  # type: ignore[arg-type]
    for size in ((64, 96), (64, 64), (64, 96)):
        engine.infer([np.zeros((*size, 3), np.uint8)])
        assert list(engine._networks.by_size._items) == [size]


def test_ever_new_sizes_fill_neither_the_machine_nor_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_size, 'MAX_SIZES_IN_MEMORY', 3)
    go_on, alive = threading.Event(), []

    class Network:
        pass

    def make(_size: by_size.Size) -> Network:
        assert go_on.wait(60)
        network = Network()
        alive.append(weakref.ref(network))
        return network

    networks = by_size.BySize(make)
    networks.in_background = True
    for number in range(20):
        with pytest.raises(CompilingError):
            networks.of_size((32 * number, 32))
    assert list(networks._being_made) == [(0, 32), (32, 32)]
    go_on.set()
    for number in range(20):
        for future in list(networks._being_made.values()):
            future.result(60)
        with suppress(CompilingError):
            networks.of_size((32 * number, 32))
    for future in list(networks._being_made.values()):
        future.result(60)
    gc.collect()
    assert len(alive) > 10 and sum(each() is not None for each in alive) <= 3 + 2


def test_while_the_network_is_compiled_in_the_background_a_larger_one_is_used(
    engine: OpenVinoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    node_engine = openvino_engine('demo', precision='fp32', score_threshold=LOW, threads=1)
    node_engine.warm_up()
    node_engine.compile_in_background()
    make, go_on = node_engine._networks.by_size._make, threading.Event()
    monkeypatch.setattr(node_engine._networks.by_size, '_make', lambda size: go_on.wait(60) and make(size))
    wide, (square,), (portrait,) = frames((360, 640), 2), frames((480, 640)), frames((640, 360))
    (expected,) = engine.infer([square])
    for image in wide:
        np.testing.assert_array_equal(node_engine.infer([image])[0].boxes, engine.infer([image])[0].boxes)
        (padded,) = node_engine.infer([square])
        assert abs(len(padded) - len(expected)) <= len(expected) / 2, 'other padding, nearly the same objects'
        with pytest.raises(CompilingError, match='compiled for images of 288x512'):
            node_engine.infer([portrait])
    go_on.set()
    for future in list(node_engine._networks.by_size._being_made.values()):
        future.result(60)
    for image in (square, portrait):
        np.testing.assert_array_equal(node_engine.infer([image])[0].boxes, engine.infer([image])[0].boxes)


def test_a_signal_after_the_last_engine_is_freed_does_not_crash(tmp_path: Path) -> None:
    code = """
import gc, os, signal
import numpy as np
from vis_ros.engines.loading import load_engine

signal.signal(signal.SIGINT, lambda *_: print('interrupted'))
engines = []
for _ in range(3):
    engines.append(load_engine('demo', engine='openvino', precision='fp32', input_size=(64, 96), threads=1))
    engines[-1].infer([np.zeros((64, 96, 3), np.uint8)])
while engines:
    engines.pop(0)
    gc.collect()
os.kill(os.getpid(), signal.SIGINT)
"""
    environment = os.environ | {'XDG_CACHE_HOME': str(tmp_path)}
    result = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, 'interrupted\n'), result.stderr
