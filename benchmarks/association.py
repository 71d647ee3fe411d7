"""CPU time that association takes for one frame, on one core.

    python -m benchmarks.association [--repetitions 60]

10 and 100 detections are associated with 10, 100 and 1,000 tracks of one category. 'known': every detection belongs to
a track, slightly moved. 'new': none does, so each starts a track and the tracks unseen for longest are deleted to make
room. The time is the CPU time of the whole `update` of the memory, including the validation of its input.
"""

from __future__ import annotations

import os

os.environ.update({f'{library}_NUM_THREADS': '1' for library in ('OPENBLAS', 'MKL', 'OMP')})  # before numpy is loaded

import argparse
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.identity_memory import IdentityMemory, Memory
from vis_ros.tracking.published_memory import PublishedConfig, PublishedMemory

RULES = ('one_to_one', 'paper', 'mmtracking')
WARM_UP = 10


def frame(rng: np.random.Generator, count: int, size: int) -> list[NDArray[Any]]:
    """Boxes, scores, categories and embeddings of `count` objects that look different, spread over 1280x720 pixels."""
    corners = rng.uniform(0, (1280, 720), (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 120, (count, 2))], axis=1).astype(np.float32)
    embeddings = rng.standard_normal((count, size), np.float32) * np.float32(5 * size**-0.5)
    embeddings[:, 0] = 5
    return [boxes, rng.uniform(0.7, 1, count).astype(np.float32), np.zeros(count, np.int32), embeddings]


def new_memory(rule: str, identities: int) -> Memory:
    """A memory with room for this many tracks, which never deletes one because of its age."""
    if rule == 'one_to_one':
        return IdentityMemory(AssociationConfig(max_identities=identities, max_age_s=1e9, new_track_iou=1))
    return PublishedMemory(PublishedConfig(rule=rule, max_age_frames=10**9))  # type: ignore[arg-type]


def update(memory: Memory, frame: list[NDArray[Any]], stamp: float) -> NDArray[np.uint32]:
    boxes, scores, class_ids, embeddings = frame
    return memory.update(boxes, scores, class_ids, embeddings, stamp).track_ids


def measure(
    rule: str, detections: int, identities: int, size: int, known: bool, repetitions: int
) -> tuple[float, float]:
    """Minimum and median of the milliseconds of an update; on an idle core they are nearly equal."""
    rng = np.random.default_rng(0)
    times = []
    memory, world = new_memory(rule, identities), frame(rng, identities, size)
    update(memory, world, 0.0)
    assert len(memory) == identities
    for step in range(WARM_UP + repetitions):
        if known:
            chosen = rng.permutation(identities)[:detections]
            boxes, scores, class_ids, embeddings = (values[chosen] for values in world)
            now = [boxes + 1, scores, class_ids, embeddings * np.float32(0.99)]
        else:
            now = frame(rng, detections, size)
            now[3][:, 0] *= -1  # different from everything in memory
            if rule != 'one_to_one':  # it deletes nothing: restore the number of tracks
                memory.reset()
                update(memory, world, 0.0)
        start = time.thread_time()
        track_ids = update(memory, now, float(step + 1))
        times.append((time.thread_time() - start) * 1e3)
        assert np.count_nonzero(track_ids) == len(now[0])
        assert (track_ids.max() <= identities) == known
    return min(times[WARM_UP:]), float(np.median(times[WARM_UP:]))


def main() -> None:
    """Read the arguments, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repetitions', type=int, default=60, help='measured updates of each case')
    repetitions = parser.parse_args().repetitions
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print('CPU milliseconds of one frame on one core: minimum (median)')
    cases = [(10, 10), (10, 100), (10, 1000), (100, 100), (100, 1000)]
    print(f'{"rule":12}{"D":>6}  {"objects":8}' + ''.join(f'{f"{n} x {m}":>16}' for n, m in cases))
    for rule in RULES:
        for size in (256, 1024):
            for known in (True, False):
                cells = [measure(rule, n, m, size, known, repetitions) for n, m in cases]
                text = ''.join(f'{f"{least:.2f} ({median:.2f})":>16}' for least, median in cells)
                print(f'{rule:12}{size:>6}  {"known" if known else "new":8}{text}')


if __name__ == '__main__':
    main()
