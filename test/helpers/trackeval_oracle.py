"""TrackEval, the reference implementation of the tracking measures, on the overlaps of a video."""

from trackeval.metrics import CLEAR, HOTA, Identity


def count(video):
    """What TrackEval's HOTA, CLEAR and Identity count in one video (`VideoOverlaps`)."""
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
    return {name: measure.eval_sequence(data) for name, measure in _measures().items()}


def metrics(videos):
    """Our names -> TrackEval's figures of several videos together."""
    counts = [count(video) for video in videos]
    combined = {
        name: measure.combine_sequences({number: each[name] for number, each in enumerate(counts)})
        for name, measure in _measures().items()
    }
    return {
        **{name: combined['HOTA'][name].mean() for name in ('HOTA', 'DetA', 'AssA')},
        'IDF1': combined['Identity']['IDF1'],
        'IDSW': combined['CLEAR']['IDSW'],
        'MOTA': combined['CLEAR']['MOTA'],
        'sMOTSA': combined['CLEAR']['sMOTA'],
    }


def _measures():
    quiet = {'PRINT_CONFIG': False}
    return {'HOTA': HOTA(), 'CLEAR': CLEAR(dict(quiet)), 'Identity': Identity(dict(quiet))}
