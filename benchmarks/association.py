"""How long the identity memory takes for one frame, on one core.

    python -m benchmarks.association

10 and 100 detections meet 10, 100 and 1,000 identities of one category. 'known': every detection is one of the
identities, slightly moved. 'new': none is, so that each begins an identity and the longest unseen are forgotten to make
room. The time is the processor time of the whole `IdentityMemory.update`, checks of its input included.
"""

from __future__ import annotations

import os

os.environ.update({f'{library}_NUM_THREADS': '1' for library in ('OPENBLAS', 'MKL', 'OMP')})  # before numpy is loaded

import time
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from vis_ros.tracking.association_config import AssociationConfig, RuleName
from vis_ros.tracking.identity_memory import IdentityMemory

REPETITIONS = 60
WARM_UP = 10


def frame(rng: np.random.Generator, count: int, size: int) -> list[NDArray[Any]]:
    """Boxes, scores, categories and embeddings of so many unlike objects, strewn over 1280x720 pixels."""
    corners = rng.uniform(0, (1280, 720), (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 120, (count, 2))], axis=1).astype(np.float32)
    embeddings = rng.standard_normal((count, size), np.float32) * np.float32(5 * size**-0.5)
    embeddings[:, 0] = 5
    return [boxes, rng.uniform(0.7, 1, count).astype(np.float32), np.zeros(count, np.int32), embeddings]


def update(memory: IdentityMemory, frame: list[NDArray[Any]], stamp: float) -> NDArray[np.uint32]:
    boxes, scores, class_ids, embeddings = frame
    return memory.update(boxes, scores, class_ids, embeddings, stamp)


def measure(rule: RuleName, detections: int, identities: int, size: int, known: bool) -> tuple[float, float]:
    """Least and median of the milliseconds of an update: on an idle core they are nearly the same."""
    rng = np.random.default_rng(0)
    config = AssociationConfig(
        rule=rule, max_identities=identities, max_age_s=1e9, max_age_frames=10**9, new_track_iou=1
    )
    times = []
    memory, world = IdentityMemory(config), frame(rng, identities, size)
    update(memory, world, 0.0)
    assert len(memory) == identities
    for step in range(WARM_UP + REPETITIONS):
        if known:
            chosen = rng.permutation(identities)[:detections]
            boxes, scores, class_ids, embeddings = (values[chosen] for values in world)
            now = [boxes + 1, scores, class_ids, embeddings * np.float32(0.99)]
        else:
            now = frame(rng, detections, size)
            now[3][:, 0] *= -1  # unlike everything in memory
            if rule != 'one_to_one':  # which forget nothing: the same size again for each repetition
                memory.reset()
                update(memory, world, 0.0)
        begin = time.thread_time()
        track_ids = update(memory, now, float(step + 1))
        times.append((time.thread_time() - begin) * 1e3)
        assert np.count_nonzero(track_ids) == len(now[0])
        assert (track_ids.max() <= identities) == known
    return min(times[WARM_UP:]), float(np.median(times[WARM_UP:]))


def main() -> None:
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print('processor milliseconds of one frame on one core: least (median)')
    cases = [(10, 10), (10, 100), (10, 1000), (100, 100), (100, 1000)]
    print(f'{"rule":12}{"D":>6}  {"objects":8}' + ''.join(f'{f"{n} x {m}":>16}' for n, m in cases))
    for rule in get_args(RuleName):
        for size in (256, 1024):
            for known in (True, False):
                cells = [measure(rule, n, m, size, known) for n, m in cases]
                text = ''.join(f'{f"{least:.2f} ({median:.2f})":>16}' for least, median in cells)
                print(f'{rule:12}{size:>6}  {"known" if known else "new":8}{text}')


if __name__ == '__main__':
    main()
