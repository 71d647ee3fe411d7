"""The report of a library: a page with a table of the recordings, and a report of its own for each of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from vis_ros.claim import claim
from vis_ros.datasets.frame_images import folder_names
from vis_ros.datasets.video import AnnotatedVideos
from vis_ros.evaluation.alignment import pair_videos
from vis_ros.evaluation.compare_results import Comparison
from vis_ros.evaluation.evaluation import Evaluation
from vis_ros.evaluation.report.html_report import RecordingRow, write_report

_FOLDER = 'recordings'


def write_library_report(
    evaluation: Evaluation,
    path: Path,
    *,
    truth: AnnotatedVideos,
    results: AnnotatedVideos,
    comparison: Comparison | None = None,
) -> None:
    """Write a page, and for each video recordings/VIDEO.html beside it, to which the page links.

    Args:
        evaluation: of a library; a video is a camera of a recording.
        path: of the page; its folder must exist.
        truth, results, comparison: as for `write_report`.

    Raises:
        OSError: a file cannot be written.
        AnnotationError: the videos cannot be read again.
    """
    folder = path.parent / _FOLDER
    claim(folder)
    pairs = {each.name: (each, found) for each, found in pair_videos(results, truth)}
    rows = []
    for name, stem in zip(evaluation.per_video, folder_names(list(evaluation.per_video)), strict=True):
        true, found = pairs[name]
        own = folder / f'{stem}.html'
        worst = write_report(
            evaluation.of_video(name),
            own,
            truth=replace(truth, videos=[true]),
            results=None if found is None else replace(results, videos=[found]),
        )
        rows.append(RecordingRow(name, quote(f'{_FOLDER}/{own.name}'), evaluation.per_video[name], worst))
    write_report(evaluation, path, comparison=comparison, recordings=rows)
