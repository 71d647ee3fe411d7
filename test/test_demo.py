"""The demo with real processes over DDS, and what becomes of its children."""

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
from rosbags.highlevel import AnyReader

from vis_ros.demo.child_process import ChildProcess
from vis_ros.recordings.opening import open_recording

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{ROOT / "test"}'}
SIZE, FRAMES = (120, 160), 30

RUN = f"""
import sys
from pathlib import Path
from vis_ros.synthetic.scene import Scene
from vis_ros.demo.demo_report import write_report
from vis_ros.demo.demo_run import record
out, rate, *tracker = sys.argv[1:]
scene = Scene(3, {SIZE}, {FRAMES})
recording = record(Path(out), scene, rate=float(rate), tracker_command=[sys.executable, *tracker])
write_report(Path(out), scene, recording)
"""
TRACKER = [str(ROOT / 'test' / 'helpers' / 'demo_tracker.py')]


def run_demo(out, *tracker, rate='5'):
    command = [sys.executable, '-c', RUN, str(out), rate, *TRACKER, *tracker]
    return subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=150)


@pytest.fixture(scope='module')
def out(tmp_path_factory):
    """One demo with a tracker that knows the truth."""
    folder = tmp_path_factory.mktemp('demo')
    result = run_demo(folder, '3', *map(str, SIZE), str(FRAMES))
    assert result.returncode == 0, result.stderr
    return folder


def test_a_tracker_that_knows_the_truth_scores_full_marks(out):
    metrics = json.loads((out / 'metrics.json').read_text())
    assert metrics['frames_sent'] == FRAMES
    assert FRAMES / 2 < metrics['frames_received'] <= FRAMES - metrics['frames_dropped'], 'however busy the machine is'
    assert metrics['stamps_equal'] and metrics['ids_unique']
    assert metrics['mean_mask_iou'] == 1.0 and metrics['recall'] == 1.0
    assert metrics['id_switches'] == 0
    assert metrics['identities'] == metrics['true_identities'] == 7
    assert metrics['rate_hz'] == 5
    assert 0 < metrics['latency_ms']['p50'] <= metrics['latency_ms']['p95']
    assert metrics['engine']['engine'] == 'truth'


def test_the_bag_holds_the_images_and_the_masks_that_belong_to_them(out):
    frames = {frame.stamp_ns: frame.image for frame in open_recording(out / 'bag', '/camera/image')}
    sent = json.loads((out / 'camera.json').read_text())['stamps_ns']
    assert list(frames) == sent
    with AnyReader([out / 'bag']) as reader:  # reads the definitions in the bag, knows nothing of vis_ros
        connections = [c for c in reader.connections if c.msgtype == 'vis_ros/msg/InstanceMaskArray']
        assert [c.topic for c in connections] == ['/vis_node/instances']
        arrays = [reader.deserialize(data, c.msgtype) for c, _, data in reader.messages(connections)]
    assert len(arrays) == json.loads((out / 'metrics.json').read_text())['frames_received']
    for array in arrays:
        stamp = array.header.stamp.sec * 10**9 + array.header.stamp.nanosec
        assert frames[stamp].shape == (array.image_height, array.image_width, 3)
        for instance in array.instances:
            assert len(instance.mask_data) == instance.roi.height * instance.roi.width
            assert np.count_nonzero(instance.mask_data) == instance.area > 0


def test_the_video_and_the_sheet_show_every_answer(out):
    capture = cv2.VideoCapture(str(out / 'overlay.mp4'))
    answered = json.loads((out / 'metrics.json').read_text())['frames_received']
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == answered
    assert cv2.imread(str(out / 'contact_sheet.png')).std() > 10


def test_a_second_demo_replaces_the_first(out):
    before = (out / 'camera.json').read_text()
    result = run_demo(out, '3', *map(str, SIZE), str(FRAMES), rate='40')
    assert result.returncode == 0, result.stderr
    assert (out / 'camera.json').read_text() != before
    assert json.loads((out / 'metrics.json').read_text())['rate_hz'] == 40
    assert len(list(open_recording(out / 'bag', '/camera/image'))) == FRAMES


def test_the_rate_is_measured_where_none_is_given(tmp_path):
    result = run_demo(tmp_path, '3', *map(str, SIZE), str(FRAMES), rate='0')
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / 'camera.json').read_text())
    assert report['rate_hz'] == pytest.approx(min(30, 700 / report['answer_ms']))


def test_a_tracker_that_dies_ends_the_demo_with_its_last_words(tmp_path):
    result = run_demo(tmp_path, 'die')
    assert result.returncode != 0
    assert 'ChildProcessError: the tracker ended with exit status 1' in result.stderr
    assert 'this tracker dies' in result.stderr


def test_a_tracker_without_weights_ends_the_demo_with_its_reason(tmp_path):
    result = run_demo(tmp_path, 'faulty')
    assert result.returncode != 0
    assert 'the tracker cannot work: ' in result.stderr and 'no weights here' in result.stderr


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_stopped_leaves_no_process_behind(tmp_path, number):
    command = [sys.executable, '-c', RUN, str(tmp_path), '1', *TRACKER, '3', *map(str, SIZE), str(FRAMES)]
    process = subprocess.Popen(command, env=ENVIRONMENT, cwd=ROOT, stderr=subprocess.DEVNULL, preexec_fn=heed_sigint)
    wait_until(lambda: len(children_of(process.pid)) == 2)
    children = children_of(process.pid)
    time.sleep(1)  # anywhere in its start
    process.send_signal(number)
    assert process.wait(40) != 0
    assert not any(is_running(child) for child in children)


def heed_sigint():
    """Where the tests run in the background of a shell, SIGINT is ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until(condition, timeout_s=60):
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
    monkeypatch.setattr('vis_ros.demo.child_process._PATIENCE_S', {signal.SIGINT: 0.3, signal.SIGTERM: 0.3})
    script = (
        'import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; print(1, flush=True); time.sleep(99)'
    )
    with ChildProcess('stubborn one', [sys.executable, '-c', script], tmp_path / 'log', os.environ) as child:
        wait_until(lambda: child.tail() == '1')
        child.check()
        pid = child.pid
    assert not is_running(pid)


def test_the_output_of_a_child_that_ended_is_in_the_error(tmp_path):
    script = 'import sys; print("all that I said"); sys.exit(3)'
    with ChildProcess('short one', [sys.executable, '-c', script], tmp_path / 'log', os.environ) as child:
        wait_until(lambda: not is_running(child.pid))
        with pytest.raises(ChildProcessError, match=r'(?s)the short one ended with exit status 3.*all that I said'):
            child.check()
