"""The precision that an engine really has, as its inspector tells it: asking for fp16 does not make it so."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

PRECISION_OF_TYPE = {
    'float': 'fp32', 'float32': 'fp32', 'fp32': 'fp32',
    'half': 'fp16', 'float16': 'fp16', 'fp16': 'fp16',
    'bf16': 'bf16', 'bfloat16': 'bf16',
    'int8': 'int8',
}  # fmt: skip
"""TensorRT's names of types, in lower case, -> a name of `vis_ros.engines.engine.PRECISIONS`."""

_TYPE = re.compile(rf'\b({"|".join(PRECISION_OF_TYPE)})\b', re.IGNORECASE)
_HEAVY = re.compile(r'conv|gemm|matrix|matmul', re.IGNORECASE)


def realised_precision(information: str) -> str:
    """The precision in which most layers with weights take their input; 'unknown' if it cannot be read.

    'int8' if any does: a graph has only those in int8 that are worth it.

    Args:
        information: JSON of `EngineInspector.get_engine_information`, of an engine built with detailed verbosity.
    """
    try:
        layers = json.loads(information).get('Layers', [])
    except (ValueError, AttributeError):
        return 'unknown'
    detailed = [layer for layer in layers if isinstance(layer, dict)]
    heavy = [layer for layer in detailed if _HEAVY.search(f'{layer.get("LayerType")} {layer.get("ParameterType")}')]
    found = Counter(name for name in map(_precision, heavy or detailed) if name)
    if 'int8' in found:
        return 'int8'
    return found.most_common(1)[0][0] if found else 'unknown'


def _precision(layer: dict[str, Any]) -> str:
    """Of one layer: of its weights if it tells, else of its first input with a known type ('' for none)."""
    weights = layer.get('Weights')
    tensors = [tensor.get('Format/Datatype', '') for tensor in layer.get('Inputs', []) if isinstance(tensor, dict)]
    told = [weights.get('Type', '')] if isinstance(weights, dict) else []
    for text in [*told, *tensors]:
        if match := _TYPE.search(str(text)):
            return PRECISION_OF_TYPE[match[1].lower()]
    return ''
