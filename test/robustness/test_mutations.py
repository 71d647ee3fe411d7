"""A share of the cases of `make fuzz`: every damaged file is read or refused with a sentence."""

import pytest

from robustness.fuzz import READ, REFUSED, prepare, run_case
from robustness.kinds import KINDS

QUICK = {'bags': 40, 'labels': 20, 'results': 10, 'images and videos': 30, 'checkpoints': 15, 'graphs and weights': 2}


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.name)
def test_damaged_files_are_read_or_refused_with_a_sentence(kind, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))  # a case sets it; this restores it
    prepare(kind, tmp_path)
    bad = []
    for number in range(QUICK.get(kind.name, 20)):
        outcome, reason = run_case(kind, tmp_path, number, seed=1)
        if outcome not in (READ, REFUSED):
            bad.append(f'{number}: {outcome}: {reason}')
    assert not bad, '\n'.join(bad)


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.name)
def test_sound_files_are_read(kind, tmp_path, monkeypatch):
    """Without this, a kind whose files are always refused would pass."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    prepare(kind, tmp_path)
    whole = {'results', 'graphs and weights'}
    for path in [tmp_path / 'sound'] if kind.name in whole else sorted((tmp_path / 'sound').iterdir()):
        if kind.name == 'results':
            (tmp_path / 'truth').rename(path / 'truth')
        kind.read(path)
