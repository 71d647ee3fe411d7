"""OpenVinoParts: the parts of a propagation network, run by OpenVINO on the CPU. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from vis_ros.engines.openvino.openvino_graphs import OpenVinoGraphs
from vis_ros.export.part_graphs import find_part_graphs
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_header import read_propagation_config


class OpenVinoParts(OpenVinoGraphs):
    """`NetworkParts` of a model file.

    Args:
        weights: the model file.
        config: in place of that of the file, see `load_propagation`.
        precision: 'fp32' or 'bf16'.
        threads: number of CPU threads; 0 leaves the choice to OpenVINO.

    Raises:
        FileNotFoundError: there are no exported graphs of the network, and they cannot be exported here.
        ValueError: the processor does not support the precision.
    """

    def __init__(
        self, weights: Path, config: PropagationConfig | None = None, precision: str = 'fp32', threads: int = 0
    ) -> None:
        self.config = config or read_propagation_config(weights)
        super().__init__(find_part_graphs(weights, self.config), weights, precision, threads)
        self._path = weights

    def weights(self, prefix: str) -> dict[str, NDArray[np.float32]]:
        with safe_open(self._path, 'np') as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            return {name.removeprefix(prefix): file.get_tensor(name).astype(np.float32) for name in names}
