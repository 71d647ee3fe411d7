"""How images travel: which transports a process gets, and what becomes of shared memory that nobody uses any more."""

import fcntl
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from vis_ros.node import image_arrival
from vis_ros.node.image_arrival import measure_arrival
from vis_ros.ros import shared_memory, transport

NEW, OLD, BUILTIN = 'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_BUILTIN_TRANSPORTS'
NAMES = (NEW, OLD, BUILTIN, 'RMW_IMPLEMENTATION', 'AMENT_PREFIX_PATH')
MIB = 1 << 20


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """An environment without variables of the user, on a machine with much shared memory and no stale segments."""
    monkeypatch.setattr(os, 'environ', {name: value for name, value in os.environ.items() if name not in NAMES})
    monkeypatch.setattr(transport, 'remove_stale_segments', lambda: 0)
    monkeypatch.chdir(tmp_path)
    free_memory(monkeypatch, 1024)
    return os.environ


def free_memory(monkeypatch, mebibytes):
    monkeypatch.setattr(shared_memory.shutil, 'disk_usage', lambda folder: SimpleNamespace(free=mebibytes * MIB))


def chosen(environment, **options):
    """The profile files that a process gets, by variable."""
    transport.use_shared_memory(**options)
    return {name: os.path.basename(environment[name]) for name in (NEW, OLD) if name in environment}


@pytest.mark.parametrize(('library', 'names'), [('fastdds', [NEW]), ('fastrtps', [OLD]), ('neither', [NEW, OLD])])
def test_the_profile_has_the_name_that_this_fast_dds_reads(environment, tmp_path, library, names):
    (tmp_path / 'share' / library).mkdir(parents=True)
    environment['AMENT_PREFIX_PATH'] = f'/nowhere:{tmp_path}'
    assert chosen(environment) == dict.fromkeys(names, 'fastdds_shm.xml')
    assert all(os.path.isfile(environment[name]) for name in names)


@pytest.mark.parametrize(
    ('free', 'sends_images', 'file'),
    [
        (1024, True, 'fastdds_shm.xml'),
        (1024, False, 'fastdds_shm_small.xml'),
        (64, True, 'fastdds_shm_small.xml'),
        (10, True, None),
    ],
)
def test_the_segment_fits_into_the_shared_memory(environment, monkeypatch, free, sends_images, file):
    free_memory(monkeypatch, free)
    assert set(chosen(environment, sends_images=sends_images).values()) == ({file} if file else set())


@pytest.mark.parametrize('file', ['fastdds_shm.xml', 'fastdds_shm_small.xml'])
def test_a_process_takes_as_much_shared_memory_as_is_expected_of_it(file):
    text = transport.share_file(f'config/{file}').read_text()
    segment = int(text.partition('<segment_size>')[2].partition('<')[0])
    expected = transport.SMALL_SEGMENT_BYTES if 'small' in file else transport.SEGMENT_BYTES
    assert segment < expected <= segment + 4 * MIB


@pytest.mark.parametrize(
    ('name', 'value', 'text'),
    [
        (NEW, '/nowhere/mine.xml', 'does not exist'),
        (OLD, '/nowhere/mine.xml', 'does not exist'),
        (BUILTIN, 'UDPv4', 'Unset it'),
        ('RMW_IMPLEMENTATION', 'rmw_zenoh_cpp', 'rmw_zenoh_cpp too'),
    ],
)
def test_the_choice_of_the_user_is_kept_and_advice_names_it(environment, name, value, text):
    environment[name] = value
    before = dict(environment)
    transport.use_shared_memory()
    assert environment == before
    assert value in transport.advice() and text in transport.advice()


def test_a_profile_in_the_working_directory_is_kept(environment, tmp_path):
    (tmp_path / 'DEFAULT_FASTRTPS_PROFILES.xml').touch()
    assert chosen(environment) == {}


def test_a_profile_of_this_package_is_replaced_by_the_one_that_fits(environment, monkeypatch):
    environment[NEW] = str(transport.share_file('config/fastdds_shm.xml'))
    free_memory(monkeypatch, 64)
    assert set(chosen(environment).values()) == {'fastdds_shm_small.xml'}


def test_advice_names_what_to_do(environment, monkeypatch):
    assert 'config/fastdds_shm.xml' in transport.advice() and NEW in transport.advice()
    free_memory(monkeypatch, 10)
    assert '10 MiB' in transport.advice() and '--shm-size' in transport.advice()


def segment(folder, number, age_s=60.0):
    """A segment and its lock file as Fast DDS makes them."""
    path = folder / f'fastdds_{number:016x}'
    path.write_bytes(bytes(1000))
    lock = folder / f'{path.name}_el'
    lock.touch()
    os.utime(lock, (time.time() - age_s,) * 2)
    return path, lock


def test_only_segments_that_no_process_holds_are_removed(tmp_path):
    stale, used, new = segment(tmp_path, 1), segment(tmp_path, 2), segment(tmp_path, 3, age_s=0.0)
    other = tmp_path / 'fastdds_port7411_el'
    other.touch()
    os.utime(other, (0, 0))
    with used[1].open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert shared_memory.remove_stale_segments(tmp_path) == 1000
        assert not any(path.exists() for path in stale)
        assert all(path.exists() for path in (*used, *new, other))
    assert shared_memory.remove_stale_segments(tmp_path) == 1000
    assert shared_memory.free_bytes(tmp_path / 'nowhere') == 0


KILLED = """
import os, rclpy, signal
from vis_ros.ros.environment import prepare_environment

prepare_environment()
rclpy.init()
node = rclpy.create_node('killed')
maps = open('/proc/self/maps').read()
print(*(n for n in os.listdir('/dev/shm') if f'/{n}\\n' in maps and 'port' not in n), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(shared_memory.free_bytes() < transport.SMALL_SEGMENT_BYTES, reason='needs shared memory')
def test_what_a_killed_process_leaves_behind_is_found():
    """With the real Fast DDS."""
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))}
    killed = subprocess.run([sys.executable, '-c', KILLED], stdout=subprocess.PIPE, text=True, env=environment)
    names = killed.stdout.split()
    lock = shared_memory.FOLDER / f'{names[0]}_el'
    os.utime(lock, (0, 0))  # as if some time had passed
    assert shared_memory.remove_stale_segments() > 0
    assert not lock.exists() and not (shared_memory.FOLDER / names[0]).exists()


def test_images_arrive_from_a_camera_with_the_profile(monkeypatch):
    """30 images of 2.7 MB between two processes; over the default transports most are lost."""
    for name in NAMES[:-1]:
        monkeypatch.delenv(name, raising=False)
    arrival = measure_arrival(camera_has_profile=True)
    assert arrival.is_good, arrival.errors
    assert arrival.transport == 'shared memory' and arrival.latency_ms > 0
    assert f'{arrival.received} of 30' in str(arrival)


@pytest.mark.parametrize(('distribution', 'is_kept'), [('humble', False), ('jazzy', True)])
def test_a_node_for_this_machine_only_is_not_opened_to_the_network(environment, distribution, is_kept):
    environment.update(ROS_LOCALHOST_ONLY='1', ROS_DISTRO=distribution)
    assert bool(chosen(environment)) is is_kept
    assert ('ROS_LOCALHOST_ONLY=1' in transport.advice()) is not is_kept


@pytest.mark.parametrize(('output', 'result'), [('\nvis_ros result: 30\n', 30), ('Traceback', None), ('', None)])
def test_what_the_middleware_prints_is_not_taken_for_a_result(output, result):
    found, errors = image_arrival._result('[XMLPARSER Error] no such file\n' + output, 'also this\n')
    assert found == result
    assert 'XMLPARSER' in errors and 'also this' in errors
