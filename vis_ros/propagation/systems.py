"""The propagation systems: the one list of those that exist.

To add a system, add a folder with config.py, network.py, propagator.py and losses.py, and one entry to
PROPAGATION_SYSTEMS. Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vis_ros.field_types import typed_fields
from vis_ros.propagation.feelvos.config import FeelvosConfig
from vis_ros.propagation.maskrnn.config import MaskRnnConfig
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagator import Propagator
from vis_ros.propagation.pts.config import PtsConfig
from vis_ros.propagation.rgmp.config import RgmpConfig

if TYPE_CHECKING:
    from torch import nn

    from vis_ros.propagation.part import Part


@dataclass(frozen=True)
class PropagationSystem:
    """What one published system consists of. Each is imported on first use. Only the config and the propagator need no
    torch.

    config: its config class, in config.py.
    network_name: its network in network.py, built from a config.
    parts_name: function in parts.py from a network to its `Part`s by name.
    propagator_name: its `Propagator` in propagator.py, built from `NetworkParts`.
    losses_name: its losses in losses.py: built from a network, called with images (B, T, 3, H, W), labels (B, T, H, W)
        and the progress of the run from 0 to 1.
    part_names: the keys of what the function in parts.py returns.
    uses_proposals: whether the propagator also takes the region proposals of a detector, and can be fine-tuned.
    allows_bf16: whether bf16 keeps the results on real videos; otherwise the network always computes in fp32.
    """

    config: type[PropagationConfig]
    network_name: str
    propagator_name: str
    losses_name: str
    parts_name: str
    part_names: tuple[str, ...]
    uses_proposals: bool = False
    allows_bf16: bool = True

    @property
    def name(self) -> str:
        """The name of the system, as in the setting `model`."""
        return self.config.architecture

    @property
    def network(self) -> Callable[[PropagationConfig], nn.Module]:
        return self._part('network', self.network_name)

    def parts(self, network: nn.Module) -> Mapping[str, Part]:
        """The parts of a network by name."""
        return self._part('parts', self.parts_name)(network)

    @property
    def propagator(self) -> Callable[..., Propagator]:
        return self._part('propagator', self.propagator_name)

    @property
    def losses(self) -> Callable[[nn.Module], nn.Module]:
        return self._part('losses', self.losses_name)

    def _part(self, module: str, name: str) -> Any:
        folder = self.config.__module__.rpartition('.')[0]
        return getattr(import_module(f'{folder}.{module}'), name)


PROPAGATION_SYSTEMS: Mapping[str, PropagationSystem] = {
    system.name: system
    for system in (
        PropagationSystem(
            MaskRnnConfig,
            'MaskRnn',
            'MaskRnnPropagator',
            'MaskRnnLosses',
            'maskrnn_parts',
            part_names=('warp', 'segment'),
        ),
        PropagationSystem(
            RgmpConfig, 'Rgmp', 'RgmpPropagator', 'RgmpLosses', 'rgmp_parts', part_names=('reference', 'segment')
        ),
        PropagationSystem(
            PtsConfig,
            'Pts',
            'PtsPropagator',
            'PtsLosses',
            'pts_parts',
            part_names=('frame', 'box_features', 'reference', 'segment'),
            uses_proposals=True,
            allows_bf16=False,
        ),
        PropagationSystem(
            FeelvosConfig,
            'Feelvos',
            'FeelvosPropagator',
            'FeelvosLosses',
            'feelvos_parts',
            part_names=('encode', 'global_distances', 'window_distances', 'local_distances', 'segment'),
        ),
    )
}
"""Name -> system."""


def config_from_dict(values: Mapping[str, Any]) -> PropagationConfig:
    """The config of a system from plain values. The key `architecture` names the system.

    Raises:
        ValueError: the architecture or a field is unknown.
    """
    values = dict(values)
    architecture = values.pop('architecture', '')
    if architecture not in PROPAGATION_SYSTEMS:
        raise ValueError(f'architecture {architecture!r} is not one of {", ".join(PROPAGATION_SYSTEMS)}')
    config = PROPAGATION_SYSTEMS[architecture].config
    unknown = sorted(values.keys() - {field.name for field in fields(config)})
    if unknown:
        raise ValueError(f'unknown fields of a {architecture} model: {", ".join(unknown)}')
    return config(**typed_fields(config, 'model ', values))
