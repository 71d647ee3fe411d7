"""Each kind of engine by the arguments of `load_engine`, with its own type."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from vis_ros.engines.loading import load_engine
from vis_ros.engines.openvino.openvino_engine import OpenVinoEngine
from vis_ros.engines.tensorrt.tensorrt_engine import TensorRtEngine
from vis_ros.engines.torch.torch_engine import TorchEngine


def torch_engine(weights: str | Path = 'demo', device: str = 'cpu', **options: Any) -> TorchEngine:
    return cast(TorchEngine, load_engine(weights, engine='torch', device=device, **options))


def openvino_engine(weights: str | Path = 'demo', **options: Any) -> OpenVinoEngine:
    return cast(OpenVinoEngine, load_engine(weights, engine='openvino', **options))


def tensorrt_engine(weights: str | Path = 'demo', **options: Any) -> TensorRtEngine:
    return cast(TensorRtEngine, load_engine(weights, engine='tensorrt', **options))
