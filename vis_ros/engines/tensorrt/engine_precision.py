"""The precision that a TensorRT engine actually computes in, read from its inspector.

TensorRT may keep layers in another precision than the requested one.
"""

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
"""TensorRT's names of types, in lower case -> one of `vis_ros.engines.engine.PRECISIONS`."""

_TYPE = re.compile(rf'\b({"|".join(PRECISION_OF_TYPE)})\b', re.IGNORECASE)
_WITH_WEIGHTS = re.compile(r'conv|gemm|matrix|matmul', re.IGNORECASE)


def actual_precision(information: str) -> str:
    """The precision in which most layers with weights read their input; 'unknown' if it cannot be determined.

    It is 'int8' if any layer reads int8, because a quantized graph has only some of its layers in int8.

    Args:
        information: JSON of `EngineInspector.get_engine_information`, for an engine built with detailed verbosity.
    """
    try:
        layers = json.loads(information).get('Layers', [])
    except (ValueError, AttributeError):
        return 'unknown'
    detailed = [layer for layer in layers if isinstance(layer, dict)]
    with_weights = [
        layer for layer in detailed if _WITH_WEIGHTS.search(f'{layer.get("LayerType")} {layer.get("ParameterType")}')
    ]
    found = Counter(precision for precision in map(_layer_precision, with_weights or detailed) if precision)
    if 'int8' in found:
        return 'int8'
    return found.most_common(1)[0][0] if found else 'unknown'


def _layer_precision(layer: dict[str, Any]) -> str:
    """The type of a layer's weights if it is given, else of its first input with a known type; '' if there is none."""
    weights = layer.get('Weights')
    tensors = [tensor.get('Format/Datatype', '') for tensor in layer.get('Inputs', []) if isinstance(tensor, dict)]
    weight_types = [weights.get('Type', '')] if isinstance(weights, dict) else []
    for text in [*weight_types, *tensors]:
        if match := _TYPE.search(str(text)):
            return PRECISION_OF_TYPE[match[1].lower()]
    return ''
