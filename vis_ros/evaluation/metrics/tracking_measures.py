"""Tracking measures by TrackEval: HOTA (Luiten et al. 2021), CLEAR and MOTS, and Identity (Ristani et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vis_ros.evaluation.metrics.mask_overlaps import VideoOverlaps


class TrackingMeasures:
    """TrackEval's HOTA, CLEAR (threshold 0.5) and Identity.

    Raises:
        ValueError: TrackEval is not installed; the message says how to install it.
    """

    def __init__(self) -> None:
        try:
            from trackeval.metrics import CLEAR, HOTA, Identity
        except ModuleNotFoundError as error:
            raise ValueError(
                'the evaluation needs TrackEval: pip install --no-deps trackeval. Without --no-deps it brings '
                'opencv-python, which overwrites the headless OpenCV and needs libGL.'
            ) from error
        quiet = {'PRINT_CONFIG': False}
        self._measures = {'HOTA': HOTA(), 'CLEAR': CLEAR(dict(quiet)), 'Identity': Identity(dict(quiet))}

    def count(self, video: VideoOverlaps) -> dict[str, Any]:
        """What each measure counts in one video, for `combine`."""
        data = {
            'num_timesteps': video.length,
            'num_gt_ids': len(video.truth_ids),
            'num_tracker_ids': len(video.result_ids),
            'num_gt_dets': sum(len(frame.truth_ids) for frame in video.frames),
            'num_tracker_dets': sum(len(frame.result_ids) for frame in video.frames),
            'gt_ids': [video.truth_rows(frame) for frame in video.frames],
            'tracker_ids': [video.result_columns(frame) for frame in video.frames],
            'similarity_scores': [frame.iou for frame in video.frames],
        }
        return {name: measure.eval_sequence(data) for name, measure in self._measures.items()}

    def combine(self, videos: Sequence[dict[str, Any]]) -> dict[str, float]:
        """HOTA, DetA, AssA (means over the 19 localization thresholds), IDF1, IDSW, MOTA and sMOTSA of videos."""
        combined = {
            name: measure.combine_sequences({number: video[name] for number, video in enumerate(videos)})
            for name, measure in self._measures.items()
        }
        hota, clear, identity = combined['HOTA'], combined['CLEAR'], combined['Identity']
        return {
            **{name: float(np.mean(hota[name])) for name in ('HOTA', 'DetA', 'AssA')},
            'IDF1': float(identity['IDF1']),
            'IDSW': int(clear['IDSW']),
            'MOTA': float(clear['MOTA']),
            'sMOTSA': float(clear['sMOTA']),
        }
