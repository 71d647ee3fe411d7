import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.ops import box_convert

from vis_ros.engines.propagation_model import load_propagation_model
from vis_ros.propagation.maskrnn.config import PUBLISHED, MaskRnnConfig
from vis_ros.propagation.maskrnn.losses import MaskRnnLosses, balanced_cross_entropy
from vis_ros.propagation.maskrnn.network import MaskRnn, box_deltas, enlarge, gate_boxes, refine, scaled_magnitude
from vis_ros.propagation.maskrnn.optical_flow import dis_flow
from vis_ros.propagation.maskrnn.parts import _log_odds
from vis_ros.propagation.maskrnn.propagator import MaskRnnPropagator
from vis_ros.propagation.maskrnn.warp import warp
from vis_ros.propagation.propagation_file import save_propagation
from vis_ros.propagation.torch_parts import TorchParts

CPU = torch.device('cpu')
SIZE = (96, 160)


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(0)
    return MaskRnn(MaskRnnConfig('light')).eval()


def parameters(module):
    return sum(each.numel() for each in module.parameters())


def test_published_streams_are_vgg_16_with_side_outputs_of_16_channels():
    with torch.device('meta'):  # shapes and counts only: random weights of this size take seconds
        network = MaskRnn(PUBLISHED)
    vgg = 14_714_688  # convolutions of VGG-16
    stride2, *_ = widths = (128, 256, 512, 512)
    assert stride2 == 128
    sides = sum(width * 9 * 16 + 16 for width in widths)
    scores, fusion = 4 * 17, 64 + 1
    assert parameters(network.appearance) == vgg + 64 * 9 + sides + scores + fusion  # a fourth plane in conv1_1
    assert parameters(network.motion) == vgg + sides + scores + fusion
    with torch.no_grad():
        features, deep = network.appearance.body(torch.zeros(1, 4, 64, 96, device='meta'))
    assert [tuple(each.shape[1:]) for each in features] == [(128, 32, 48), (256, 16, 24), (512, 8, 12), (512, 4, 6)]
    assert deep.shape == (1, 512, 4, 6)
    assert parameters(network.localization) == 512 * 49 * 256 + 256 + 256 * 256 + 256 + 256 * 4 + 4


def test_light_form_is_small_and_has_all_outputs(network):
    assert parameters(network) < 7e6
    with torch.no_grad():
        output = network(
            torch.randn(2, 3, *SIZE),
            torch.rand(2, 1, *SIZE),
            torch.rand(2, 1, *SIZE),
            torch.tensor([[9.0, 9, 50, 60]] * 2),
        )
    assert output.logits.shape == (2, 1, *SIZE) and output.deltas.shape == (2, 4)
    torch.testing.assert_close(output.logits, (output.streams[0] + output.streams[1]) / 2)
    assert [tuple(side.shape[2:]) for side in output.sides[0]] == [(24, 40), (12, 20), (6, 10), (3, 5)]


def test_weighting_before_enlarging_equals_the_published_concatenation(network):
    stream = network.motion
    planes = torch.randn(1, 2, *SIZE)
    with torch.no_grad():
        logits, _, _ = stream(planes)
        sides = [
            enlarge(side(feature), SIZE) for side, feature in zip(stream.sides, stream.body(planes)[0], strict=True)
        ]
        weight = torch.cat([each.weight for each in stream.weights], 1)
        expected = functional.conv2d(torch.cat(sides, 1), weight, stream.bias)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('stride', [2, 4, 8])
def test_enlarging_is_the_fixed_bilinear_deconvolution_away_from_the_border(stride):
    ramp = 1 - torch.arange(-stride + 0.5, stride).abs() / stride
    kernel = (ramp[:, None] * ramp)[None, None]
    maps = torch.rand(1, 1, 8, 9)
    deconvolved = functional.conv_transpose2d(maps, kernel, stride=stride, padding=stride // 2)
    inner = slice(stride, -stride)
    torch.testing.assert_close(
        enlarge(maps, (8 * stride, 9 * stride))[..., inner, inner], deconvolved[..., inner, inner]
    )


def test_warp_is_remap_of_opencv_with_zeros_outside():
    random = np.random.default_rng(0)
    mask = random.random(SIZE, np.float32)
    flow = (random.random((*SIZE, 2), np.float32) - 0.5) * 60
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    expected = cv2.remap(
        mask, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    moved = warp(torch.from_numpy(mask)[None, None], torch.from_numpy(flow).permute(2, 0, 1)[None])[0, 0].numpy()
    assert np.abs(moved - expected).max() < 0.04  # OpenCV interpolates in 32nds of a pixel
    assert np.abs(moved - expected).mean() < 0.006


def test_warp_by_the_flow_moves_a_mask_with_its_object():
    random = np.random.default_rng(1)
    texture = cv2.GaussianBlur(random.integers(0, 255, (*SIZE, 3), dtype=np.uint8), (0, 0), 2)
    before = texture.copy()
    now = np.roll(texture, (3, 5), (0, 1))
    mask = np.zeros(SIZE, np.float32)
    mask[30:60, 40:90] = 1
    flow = torch.from_numpy(dis_flow()(now, before)).permute(2, 0, 1)[None]
    moved = warp(torch.from_numpy(mask)[None, None], flow)[0, 0].numpy() > 0.5
    truth = np.roll(mask, (3, 5), (0, 1)) > 0
    assert (moved & truth).sum() / (moved | truth).sum() > 0.95


def test_magnitude_is_the_logarithm_of_one_plus_the_length():
    flow = torch.tensor([3.0, 4.0])[None, :, None, None]
    assert scaled_magnitude(flow).item() == pytest.approx(np.log(6))


def test_deltas_are_those_of_fast_rcnn_and_refining_inverts_them():
    boxes, truth = torch.tensor([[10.0, 20, 50, 80]]), torch.tensor([[14.0, 18, 60, 90]])
    (a,), (b,) = box_convert(boxes, 'xyxy', 'cxcywh'), box_convert(truth, 'xyxy', 'cxcywh')
    expected = [10 * (b[0] - a[0]) / a[2], 10 * (b[1] - a[1]) / a[3], 5 * (b[2] / a[2]).log(), 5 * (b[3] / a[3]).log()]
    torch.testing.assert_close(box_deltas(boxes, truth)[0], torch.stack(expected))
    torch.testing.assert_close(refine(boxes, box_deltas(boxes, truth)), truth)


def test_gate_is_a_fifth_larger_than_the_box():
    torch.testing.assert_close(gate_boxes(torch.tensor([[20.0, 10, 40, 20]])), torch.tensor([[18.0, 9, 42, 21]]))


def test_a_refined_box_that_shrinks_rejects_what_the_warped_mask_held():
    torch.manual_seed(0)
    network = MaskRnn(MaskRnnConfig('light')).eval()
    propagator = MaskRnnPropagator(TorchParts(network, CPU), lambda first, second: np.zeros((*SIZE, 2), np.float32))
    propagator.start(1, image(), mask(20, 30))
    y, x = np.nonzero(mask(20, 30))
    center, half = (x.min() + x.max() + 1) / 2, (x.max() + 1 - x.min()) / 2
    with torch.no_grad():
        network.localization.deltas.bias[2] = 5 * np.log(0.5)  # half as wide, at the same place
    found = propagator.step(image())[1]
    outlier = np.abs(np.arange(SIZE[1]) + 0.5 - center)
    assert not found[:, outlier > half * 0.6 + 1].any()
    assert found[y.min() : y.max(), outlier < half * 0.6 - 1].all()


def test_balanced_cross_entropy_by_hand():
    logits, truth = torch.tensor([2.0, -1, 0.5, -3]), torch.tensor([1.0, 0, 0, 0])
    counted = torch.tensor([True, True, True, False])
    p = logits.sigmoid().numpy()
    expected = (-np.log(p[0]) + (-np.log(1 - p[1]) - np.log(1 - p[2])) / 2) / 2
    shape = (1, 1, 2, 2)
    found = balanced_cross_entropy(logits.view(shape), truth.view(shape), counted.view(shape))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def clip(frames=4, clips=1):
    images = torch.randn(clips, frames, 3, *SIZE)
    labels = torch.zeros(clips, frames, *SIZE, dtype=torch.long)
    for t in range(frames):
        labels[:, t, 20:60, 20 + 4 * t : 80 + 4 * t] = 1
    return images, labels


@pytest.mark.parametrize('causal', [True, False])
def test_gradients_reach_every_part(causal):
    network = MaskRnn(MaskRnnConfig('light', causal=causal))
    torch.nn.init.normal_(network.localization.deltas.weight, std=0.01)
    sum(MaskRnnLosses(network)(*clip(), 0.0).values()).backward()
    silent = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert not silent


def test_side_outputs_do_not_count_at_the_end_and_unknown_pixels_never():
    network = MaskRnn(MaskRnnConfig('light')).eval()
    losses = MaskRnnLosses(network)
    images, labels = clip()
    assert losses(images, labels, 0.1)['sides'] > 0 and losses(images, labels, 0.9)['sides'] == 0
    assert not any(value for value in losses(images, torch.zeros_like(labels), 0.1).values())
    truth = labels[:, :1].float()
    known = torch.zeros_like(truth, dtype=torch.bool)
    assert balanced_cross_entropy(torch.randn_like(truth), truth, known) == 0


def test_published_form_rejects_clips_without_a_next_frame():
    losses = MaskRnnLosses(MaskRnn(MaskRnnConfig('light', causal=False)))
    with pytest.raises(ValueError, match='4 frames'):
        losses(*clip(frames=3), 0.0)
    assert losses(*clip(frames=4), 0.0)['mask'] > 0


def mask(x=20, width=60):
    found = np.zeros(SIZE, bool)
    found[20:60, x : x + width] = True
    return found


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), dtype=np.uint8)


def test_propagator_follows_objects_with_different_first_frames(network):
    propagator = MaskRnnPropagator(TorchParts(network, CPU))
    assert propagator.step(image()).shape == (1, *SIZE)
    propagator.start(4, image(), mask())
    first = propagator.step(image(1))
    assert first.shape == (2, *SIZE) and (first[0] == 0.5).all() and first.min() >= 0 and first.max() <= 1
    propagator.start(2, image(1), mask(90, 40))
    assert propagator.object_ids == (2, 4)
    alone = MaskRnnPropagator(TorchParts(network, CPU))
    alone.start(4, image(), mask())
    alone.step(image(1))
    np.testing.assert_allclose(propagator.step(image(2))[2], alone.step(image(2))[1], atol=1e-5)


def test_flow_uses_all_threads_where_opencv_has_one_for_all_else(monkeypatch):
    class Search:
        @staticmethod
        def calc(first, second, flow):
            counts.append(cv2.getNumThreads())
            return np.zeros((*SIZE, 2), np.float32)

    cv2.setNumThreads(-1)
    counts, threads = [], cv2.getNumThreads()
    monkeypatch.setattr(cv2.DISOpticalFlow, 'create', lambda preset: Search)
    try:
        cv2.setNumThreads(1)
        dis_flow()(*np.zeros((2, *SIZE, 3), np.uint8))
        counts.append(cv2.getNumThreads())
    finally:
        cv2.setNumThreads(threads)
    assert counts == [threads, 1]


def test_flow_is_computed_once_for_all_objects_of_an_image(network):
    seen = []

    def flow(present, previous):
        seen.append((present, previous))
        return np.zeros((*SIZE, 2), np.float32)

    propagator = MaskRnnPropagator(TorchParts(network, CPU), flow)
    for number in (1, 2, 3):
        propagator.start(number, image(), mask())
    propagator.step(image(1))
    seen.clear()
    propagator.step(image(2))
    ((present, previous),) = seen
    np.testing.assert_array_equal(present, image(2))
    np.testing.assert_array_equal(previous, image(1))


def test_the_caller_may_modify_the_result(network):
    propagators = [MaskRnnPropagator(TorchParts(network, CPU)) for _ in range(2)]
    for propagator, written in zip(propagators, (False, True), strict=True):
        propagator.start(1, image(), mask())
        answer = propagator.step(image(1))
        if written:
            answer[:] = 1
    first, second = (propagator.step(image(2)) for propagator in propagators)
    np.testing.assert_array_equal(first, second)


def test_empty_mask_stays_empty_until_it_is_corrected(network):
    propagator = MaskRnnPropagator(TorchParts(network, CPU))
    propagator.start(1, image(), mask())
    propagator.correct(1, np.zeros(SIZE, bool))
    assert not propagator.step(image(0))[1].any()
    propagator.correct(1, mask())
    assert propagator.step(image(0))[1].any()
    propagator.forget(1)
    with pytest.raises(KeyError):
        propagator.forget(1)


def test_masks_are_empty_outside_the_gate(network):
    propagator = MaskRnnPropagator(TorchParts(network, CPU))
    propagator.start(1, image(), mask(20, 30))
    found = propagator.step(image())[1]
    assert not found[:, 100:].any()


@pytest.mark.parametrize(
    ('size', 'given', 'reason'),
    [
        (SIZE, np.zeros(SIZE, bool), 'empty'),
        (SIZE, np.ones((32, 32), bool), 'has shape .*, the image has'),
        ((90, 160), np.ones((90, 160), bool), 'multiples of 32'),
    ],
)
def test_bad_start_is_rejected(network, size, given, reason):
    with pytest.raises(ValueError, match=reason):
        MaskRnnPropagator(TorchParts(network, CPU)).start(1, np.zeros((*size, 3), np.uint8), given)


def test_published_form_gets_the_flow_to_the_next_image_too():
    """A step is one call of the network with the magnitudes of both flows, computed here by OpenCV alone."""
    torch.manual_seed(0)
    network = MaskRnn(MaskRnnConfig('light', causal=False)).eval()
    before, now, after = image(0), image(1), image(2)
    propagator = MaskRnnPropagator(TorchParts(network, CPU))
    propagator.start(1, before, mask())
    given = []
    network.motion.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    propagator.step(now, after)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    gray = [cv2.cvtColor(each, cv2.COLOR_BGR2GRAY) for each in (before, now, after)]
    for plane, other in zip(given[0][0], (gray[0], gray[2]), strict=False):
        magnitude = np.log1p(np.linalg.norm(search.calc(gray[1], other, None), axis=2))
        np.testing.assert_allclose(plane.numpy(), magnitude, atol=1e-5)
    propagator.step(after)  # the last image is its own next image
    assert not given[1][0, 1].any() and given[1][0, 0].any()


@pytest.mark.parametrize('engine', ['torch', 'openvino'])
def test_the_published_form_is_refused_unless_the_next_image_is_given(tmp_path, engine):
    for causal, reason in ((True, 'cannot use the next image'), (False, 'set delayed to true')):
        path = tmp_path / f'{causal}.safetensors'
        save_propagation(MaskRnn(MaskRnnConfig('light', causal=causal)), path)
        with pytest.raises(ValueError, match=reason):
            load_propagation_model('maskrnn', str(path), engine=engine, device='cpu', delayed=causal)


def test_log_odds_of_the_object_around_its_box():
    masks = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    masks[..., 20:40, 30:60] = True
    share = 20 * 30 / (20 * 30 * 1.8**2)
    found = _log_odds(masks, torch.tensor([[30.0, 20, 60, 40]]))
    assert found.item() == pytest.approx(np.log(share / (1 - share)), rel=1e-5)
