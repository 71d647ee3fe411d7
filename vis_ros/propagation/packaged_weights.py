"""The packaged weights of the propagation systems."""

from __future__ import annotations

from pathlib import Path

from vis_ros.propagation.systems import PROPAGATION_SYSTEMS

_WEIGHTS = Path(__file__).resolve().parents[1] / 'weights'


def propagation_weights(model: str) -> Path:
    """Path of the packaged weights of a system. FileNotFoundError says what to do if there are none."""
    path = _WEIGHTS / f'{model}.safetensors'
    if not path.is_file():
        packaged = [name for name in PROPAGATION_SYSTEMS if (_WEIGHTS / f'{name}.safetensors').is_file()]
        raise FileNotFoundError(
            f'there are no packaged weights for {model} (only for {", ".join(packaged) or "no model"}): '
            f'train them with `vis-ros train config/train_{model}.yaml` and set propagation_weights to the file'
        )
    return path
