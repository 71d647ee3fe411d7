"""benchmarks.speed with a node: results of replies of known times, the search for a rate, and a short run over DDS."""

import json

import numpy as np
import pytest

from benchmarks.speed.image_load import LEAST_HZ, MOST_HZ, Reply, Trial, highest_rate
from benchmarks.speed.node_run import RateSearch, measure_node, node_arguments, run_node, trial_results
from benchmarks.speed.node_times import NodeTimes
from benchmarks.speed.speed_settings import SpeedSettings
from benchmarks.speed.workspace import Workspace
from vis_ros.engines.engine import PRECISIONS

MS = 1_000_000


@pytest.mark.parametrize('true_hz', [0.3, 7.7, 33.0, 211.0])
@pytest.mark.parametrize('start_hz', [1.0, 30.0, 400.0])
def test_highest_rate_is_found_to_five_percent(true_hz, start_hz):
    tried = []

    def sustains(rate):
        tried.append(rate)
        return rate <= true_hz

    found = highest_rate(sustains, start_hz)
    assert found in tried and true_hz / 1.05 <= found <= true_hz
    assert len(tried) < 20 and max(tried) <= MOST_HZ


def test_highest_rate_at_the_ends():
    assert highest_rate(lambda rate: False, 10.0) == 0
    assert highest_rate(lambda rate: True, 10.0) == MOST_HZ
    assert highest_rate(lambda rate: rate <= LEAST_HZ, 10.0) <= LEAST_HZ


def reply(sent_ms, node_ms, way_back_ms=1, dropped=0):
    sent = 10**18 + sent_ms * MS
    return Reply(sent, sent, sent + node_ms * MS, sent + (node_ms + way_back_ms) * MS, objects=4, dropped=dropped)


def test_results_of_known_times():
    """Four images, one dropped; each came after 7 ms, took the engine 20 ms beside 3 + 2 ms, and 4 ms to publish."""
    replies = [reply(0, 38), reply(100, 40, 5), reply(300, 42, dropped=1)]
    engine = {each.stamp_ns: (0.025, 0.003, 0.002) for each in replies}
    engine |= {0: (9.0, 1.0, 1.0), 10**18 + 700 * MS: (9.0, 1.0, 1.0)}  # before and after this trial
    times = NodeTimes(engine, {each.stamp_ns: each.sent_ns + 7 * MS for each in replies})
    found = json.loads(json.dumps(trial_results(Trial(10.0, 9.9, 4, replies), times)))
    assert (found['sent'], found['answered'], found['dropped'], found['loss']) == (4, 3, 1, 0.25)
    assert found['objects'] == 4 and found['wanted_hz'] == 10 and found['rate_hz'] == 9.9
    expected = {'latency': [39, 45, 43], 'transport': [7] * 3, 'engine': [20] * 3, 'infer': [25] * 3}
    expected |= {'node': [31, 33, 35], 'overhead': [11, 13, 15], 'around_infer': [6, 8, 10]}
    for name, values in expected.items():
        p50, p95 = np.percentile(values, [50, 95])
        assert found[f'{name}_ms'] == pytest.approx({'p50': p50, 'p95': p95}, abs=1e-3), name


def test_results_without_a_reply():
    found = trial_results(Trial(60.0, 60.0, 5, []), NodeTimes({}, {}))
    assert found['loss'] == 1 and found['latency_ms'] is None and found['objects'] is None


def test_rate_that_the_sender_missed_is_not_sustained():
    replies = [reply(0, 31)] * 20
    assert Trial(10.0, 9.9, 20, replies).sustained
    assert not Trial(10.0, 9.0, 20, replies).sustained
    assert not Trial(10.0, 9.9, 22, replies).sustained


def test_node_arguments():
    arguments = node_arguments(SpeedSettings(weights='w', input_size=(96, 160), detections=7, identities=9), 0.25)
    given = dict(word.split(':=') for word in arguments if word != '-p')
    assert given['input_height'] == '96' and given['input_width'] == '160' and given['weights'] == 'w'
    assert (given['max_detections'], given['score_threshold']) == ('7', '0.25')
    assert (given['new_track_score'], given['max_identities']) == ('0.0', '9')
    plain = dict(word.split(':=') for word in node_arguments(SpeedSettings(), None) if word != '-p')
    assert plain['score_threshold'] == '0.0' and not {'new_track_score', 'max_identities'} & plain.keys()


def test_one_camera_only(tmp_path):
    with pytest.raises(ValueError, match='2 cameras'):
        measure_node(SpeedSettings(cameras=2), Workspace(tmp_path), rates_hz=())


SETTINGS = SpeedSettings(image_size=(96, 160), input_size=(96, 160), frames=12, threads=1)


@pytest.fixture
def own_domain(monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', '64')


@pytest.mark.slow
def test_a_real_node_over_dds(tmp_path, own_domain):
    steps, search = [], RateSearch(trial_s=0.5, least_images=8, precision=1.0)
    result = run_node(SETTINGS, Workspace(tmp_path), None, rates_hz=(5.0, 60.0), search=search, on_step=steps.append)
    node = json.loads(json.dumps(result))
    assert node['engine']['engine'] and node['engine']['engine precision'] in PRECISIONS
    assert min(node['start_up'].values()) > 0
    alone, slow, fast = node['trials']
    assert [each['wanted_hz'] for each in (alone, slow, fast)] == [None, 5, 60]
    assert alone['answered'] == alone['sent'] == slow['sent'] == fast['sent'] == 12
    assert len(node['search']) > 1 and any(each['answered'] for each in node['search'])
    for trial in (*node['search'], *node['trials']):
        assert trial['answered'] + trial['dropped'] <= trial['sent']
        if trial['answered']:
            for lower, higher in (
                ('engine', 'infer'),
                ('infer', 'node'),
                ('node', 'latency'),
                ('overhead', 'node'),
                ('transport', 'latency'),
            ):
                assert 0 < trial[f'{lower}_ms']['p50'] < trial[f'{higher}_ms']['p50']
    assert steps[-1] == 'at 60 Hz'


def test_a_node_that_cannot_work_says_why(tmp_path, own_domain):
    settings = SpeedSettings(engine='nonsense', image_size=(96, 160))
    with pytest.raises(ValueError, match='nonsense'):
        run_node(settings, Workspace(tmp_path), None, rates_hz=())
