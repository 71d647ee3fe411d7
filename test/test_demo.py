"""The demo with real processes over DDS, and that its child processes are always ended.

A busy machine drops images, so nothing here depends on which ones have a result.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.python_path import python_path
from rosbags.highlevel import AnyReader

from vis_ros.demo.child_process import ChildProcess
from vis_ros.recordings.opening import open_recording
from vis_ros.synthetic.scene import Scene

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, 'PYTHONPATH': python_path(ROOT, ROOT / 'test')}
SIZE, FRAMES, SEED = (120, 160), 30, 3
HANG_S = 400
"""Only limits how long a test hangs."""

RUN = f"""
import sys
from pathlib import Path
from vis_ros.synthetic.scene import Scene
from vis_ros.demo.demo_report import write_report
from vis_ros.demo.demo_run import record
out, rate, *tracker = sys.argv[1:]
scene = Scene({SEED}, {SIZE}, {FRAMES})
recording = record(Path(out), scene, rate=float(rate), tracker_command=[sys.executable, *tracker])
write_report(Path(out), scene, recording)
"""
TRACKER = [str(ROOT / 'test' / 'helpers' / 'demo_tracker.py')]
TRUTH = [str(SEED), *map(str, SIZE), str(FRAMES)]


def run_demo(out, *tracker, rate='5'):
    command = [sys.executable, '-c', RUN, str(out), rate, *TRACKER, *tracker]
    return subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=HANG_S)


@pytest.fixture(scope='module')
def out(tmp_path_factory):
    """One demo with a tracker that knows the truth."""
    folder = tmp_path_factory.mktemp('demo')
    result = run_demo(folder, *TRUTH)
    assert result.returncode == 0, result.stderr
    return folder


def read(path):
    return json.loads(path.read_text())


def arrays_of(bag):
    """The InstanceMaskArray messages, read with the definitions in the bag and without vis_ros."""
    with AnyReader([bag]) as reader:
        connections = [each for each in reader.connections if each.msgtype == 'vis_ros/msg/InstanceMaskArray']
        assert [each.topic for each in connections] == ['/vis_node/instances']
        return [reader.deserialize(data, each.msgtype) for each, _, data in reader.messages(connections)]


def stamp_of(array):
    return array.header.stamp.sec * 10**9 + array.header.stamp.nanosec


def test_a_tracker_that_knows_the_truth_has_perfect_scores(out):
    metrics = read(out / 'metrics.json')
    assert metrics['frames_sent'] == FRAMES
    assert 0 < metrics['frames_received'] <= FRAMES - metrics['frames_dropped']
    assert metrics['stamps_equal'] and metrics['ids_unique']
    assert metrics['mean_mask_iou'] == 1.0 and metrics['recall'] == 1.0
    assert metrics['id_switches'] == 0
    assert metrics['rate_hz'] == 5
    assert 0 < metrics['latency_ms']['p50'] <= metrics['latency_ms']['p95']
    assert metrics['engine']['engine'] == 'truth'
    scene, stamps_ns = Scene(SEED, SIZE, FRAMES), read(out / 'camera.json')['stamps_ns']
    with_result = [stamps_ns.index(stamp_of(array)) for array in arrays_of(out / 'bag')]
    visible = set().union(*(scene.frame(index).object_ids.tolist() for index in with_result))
    assert metrics['identities'] == len(visible) and metrics['true_identities'] == 7


def test_the_bag_holds_the_images_and_the_masks_that_belong_to_them(out):
    frames = {frame.stamp_ns: frame.image for frame in open_recording(out / 'bag', '/camera/image')}
    scene, stamps_ns = Scene(SEED, SIZE, FRAMES), read(out / 'camera.json')['stamps_ns']
    assert len(stamps_ns) == FRAMES and stamps_ns == sorted(set(stamps_ns))
    for stamp_ns, image in frames.items():
        assert np.array_equal(image, scene.frame(stamps_ns.index(stamp_ns)).image)
    arrays = arrays_of(out / 'bag')
    assert len(arrays) == read(out / 'metrics.json')['frames_received']
    for array in arrays:
        truth = scene.frame(stamps_ns.index(stamp_of(array)))
        assert truth.image.shape == (array.image_height, array.image_width, 3)
        assert len(array.instances) == len(truth)
        for instance in array.instances:
            assert len(instance.mask_data) == instance.roi.height * instance.roi.width
            assert np.count_nonzero(instance.mask_data) == instance.area > 0


def test_the_video_and_the_sheet_show_every_result(out):
    capture = cv2.VideoCapture(str(out / 'overlay.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == read(out / 'metrics.json')['frames_received']
    assert cv2.imread(str(out / 'contact_sheet.png')).std() > 10


def test_a_second_demo_replaces_the_first(out):
    before = read(out / 'camera.json')['stamps_ns']
    result = run_demo(out, *TRUTH, rate='40')
    assert result.returncode == 0, result.stderr
    after = read(out / 'camera.json')['stamps_ns']
    assert len(after) == FRAMES and before[-1] < after[0]
    assert read(out / 'metrics.json')['rate_hz'] == 40
    arrays = arrays_of(out / 'bag')
    assert arrays and {stamp_of(array) for array in arrays} <= set(after)
    assert {frame.stamp_ns for frame in open_recording(out / 'bag', '/camera/image')} <= set(after)


def test_without_a_rate_the_tracker_determines_it(tmp_path):
    result = run_demo(tmp_path, *TRUTH, rate='0')
    assert result.returncode == 0, result.stderr
    report = read(tmp_path / 'camera.json')
    assert report['rate_hz'] == pytest.approx(min(30, 700 / report['response_ms']))


def test_a_tracker_that_exits_ends_the_demo_with_its_output(tmp_path):
    result = run_demo(tmp_path, 'exit')
    assert result.returncode != 0
    assert 'ChildProcessError: the tracker ended with exit status 1' in result.stderr
    assert 'this tracker exits' in result.stderr


def test_a_tracker_without_weights_ends_the_demo_with_its_reason(tmp_path):
    result = run_demo(tmp_path, 'faulty')
    assert result.returncode != 0
    assert 'the tracker cannot work: ' in result.stderr and 'no weights here' in result.stderr


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_stopped_leaves_no_process_behind(tmp_path, number):
    command = [sys.executable, '-c', RUN, str(tmp_path), '1', *TRACKER, *TRUTH]
    process = subprocess.Popen(command, env=ENVIRONMENT, cwd=ROOT, stderr=subprocess.DEVNULL, preexec_fn=accept_sigint)
    wait_until(lambda: len(children_of(process.pid)) == 2)
    children = children_of(process.pid)
    time.sleep(1)  # somewhere during its start
    process.send_signal(number)
    assert process.wait(HANG_S) != 0
    assert not any(is_running(child) for child in children)


def accept_sigint():
    """If the tests run in the background of a shell, SIGINT is ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until(condition, timeout_s=HANG_S):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children_of(pid):
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def is_running(pid):
    status = Path(f'/proc/{pid}/stat')
    return status.exists() and status.read_text().rsplit(')', 1)[1].split()[0] != 'Z'


# --- a child process --------------------------------------------------------------------------------------------------


def test_a_child_that_ignores_every_request_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr('vis_ros.demo.child_process._GRACE_S', {signal.SIGINT: 0.3, signal.SIGTERM: 0.3})
    script = (
        'import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; print(1, flush=True); time.sleep(99)'
    )
    with ChildProcess('stubborn process', [sys.executable, '-c', script], tmp_path / 'log', os.environ) as child:
        wait_until(lambda: child.tail() == '1')
        child.check()
        pid = child.pid
    assert not is_running(pid)


def test_the_output_of_a_child_that_ended_is_in_the_error(tmp_path):
    script = 'import sys; print("the whole output"); sys.exit(3)'
    with ChildProcess('short process', [sys.executable, '-c', script], tmp_path / 'log', os.environ) as child:
        wait_until(lambda: not is_running(child.pid))
        with pytest.raises(
            ChildProcessError, match=r'(?s)the short process ended with exit status 3.*the whole output'
        ):
            child.check()
