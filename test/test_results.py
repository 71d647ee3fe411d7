"""The packaged weights are not worse than doc/results/synthetic.json says."""

import json

import pytest

from benchmarks.evaluation import RESULTS, SYNTHETIC, TOLERANCE, WEIGHTS, measure_synthetic

RECORDED = json.loads((RESULTS / 'synthetic.json').read_text())


def test_the_record_is_of_these_settings():
    assert (RECORDED['made_by'], RECORDED['tolerance'], RECORDED['weights']) == (SYNTHETIC, TOLERANCE, WEIGHTS)
    assert RECORDED['frames_without_result'] == RECORDED['settings']['skipped'] == 0
    assert min(RECORDED['agnostic'][name] for name in TOLERANCE) > max(TOLERANCE.values()), (
        'a record that can be missed'
    )


@pytest.mark.slow
def test_the_synthetic_set_is_tracked_as_well_as_recorded(tmp_path):
    evaluation = measure_synthetic(SYNTHETIC, tmp_path)
    assert evaluation.coverage.compared == RECORDED['compared_frames'] and evaluation.coverage.missing == 0
    for kind in ('agnostic', 'aware'):
        found = getattr(evaluation, kind)
        worse = {
            name: (found[name], RECORDED[kind][name])
            for name, tolerance in TOLERANCE.items()
            if found[name] < RECORDED[kind][name] - tolerance
        }
        assert not worse, f'{kind}: (measured, recorded) {worse}'
