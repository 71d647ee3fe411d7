"""What commands print: rates, and tables in a terminal of 80 columns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from vis_ros.cli import compare_models, console


@pytest.mark.parametrize(('speed', 'text'), [(None, ''), (0.076, '0.08/s'), (12.34, '12.3/s')])
def test_a_rate_below_one_is_not_zero(speed: float | None, text: str) -> None:
    assert console._RateColumn().render(cast(Any, SimpleNamespace(speed=speed))).plain == text


def test_the_comparison_of_models_names_them_in_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('COLUMNS', '80')
    mean = {'J': 0.981, 'F': 0.983, 'switches': 0.0, 'ms': 1036.84, 'start_ms': 50}
    engine = 'OpenVINO 2026.4.1, cpu (16 threads), bf16'
    models = {
        'masktrack_rcnn': {'mean': mean, 'peak_mib': 1359, 'engine': engine},
        'feelvos': {'error': 'the weights are those of another network'},
    }
    compare_models._print(models)
    output = capsys.readouterr().out
    assert '│ masktrack_rcnn │ 0.981 │ 0.983 │ 0.00' in output and 'switches' in output
    assert f'masktrack_rcnn: {engine}\n' in output
    assert 'feelvos: the weights are those of another network\n' in output
