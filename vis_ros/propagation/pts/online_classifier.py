"""OnlineClassifier: the layers of OTN that learn one object while it is tracked. Does not import torch.

Three small layers learn from features that do not change, so that their gradients are a few matrix products.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LAYERS = ('fc4', 'fc5', 'fc6')
_DROPOUT = 0.5
_MOMENTUM, _WEIGHT_DECAY, _LARGEST_GRADIENT, _LAST_LAYER = 0.9, 5e-4, 10.0, 10.0


class OnlineClassifier:
    """fc4, fc5 and fc6: features (P, F) to logits (P, 2) of background and object, with ReLU and dropout in between.

    Args:
        weights: 'fc4.weight' (out, in), 'fc4.bias' (out,) and so on; they are copied.
        random: chooses what dropout leaves out.
    """

    def __init__(self, weights: Mapping[str, Floats], random: np.random.Generator) -> None:
        self.weights = {name: np.array(value, np.float32) for name, value in weights.items()}
        self._velocity = {name: np.zeros_like(value) for name, value in self.weights.items()}
        self._random = random

    def scores(self, features: Floats) -> Floats:
        """Log odds (N,) that boxes with features (N, F) show the object."""
        hidden = features
        for layer in LAYERS[:-1]:
            hidden = np.maximum(self._linear(layer, hidden), 0)
        logits = self._linear(LAYERS[-1], hidden)
        return np.asarray(logits[:, 1] - logits[:, 0], np.float32)

    def train(self, positives: Floats, negatives: Floats, rate: float) -> None:
        """One step of SGD on the mean cross entropy of positives (P, F) plus that of negatives (N, F).

        The gradient is clipped to a norm of 10. fc6 has ten times the rate.
        """
        gradients = self.gradients(positives, negatives)
        norm = np.sqrt(sum(float(np.square(each).sum(dtype=np.float64)) for each in gradients.values()))
        scale = np.float32(min(_LARGEST_GRADIENT / (norm + 1e-6), 1.0))
        for name, value in self.weights.items():
            velocity = self._velocity[name]
            velocity *= np.float32(_MOMENTUM)
            velocity += gradients[name] * scale + np.float32(_WEIGHT_DECAY) * value
            value -= np.float32(rate * (_LAST_LAYER if name.startswith(LAYERS[-1]) else 1)) * velocity

    def gradients(self, positives: Floats, negatives: Floats) -> dict[str, Floats]:
        """Name of a weight -> gradient of the loss, with another dropout each time."""
        inputs, kept = [np.concatenate((positives, negatives))], []
        for layer in LAYERS[:-1]:
            hidden = self._linear(layer, inputs[-1])
            kept.append((hidden > 0) * self._dropout(hidden.shape))
            inputs.append(hidden * kept[-1])
        logits = self._linear(LAYERS[-1], inputs[-1])
        upstream = np.exp(logits - logits.max(1, keepdims=True))
        upstream /= upstream.sum(1, keepdims=True)
        upstream[: len(positives), 1] -= 1
        upstream[len(positives) :, 0] -= 1
        upstream[: len(positives)] /= max(len(positives), 1)
        upstream[len(positives) :] /= max(len(negatives), 1)
        gradients = {}
        for index in reversed(range(len(LAYERS))):
            gradients[f'{LAYERS[index]}.weight'] = upstream.T @ inputs[index]
            gradients[f'{LAYERS[index]}.bias'] = upstream.sum(0)
            if index:
                upstream = (upstream @ self.weights[f'{LAYERS[index]}.weight']) * kept[index - 1]
        return gradients

    def _linear(self, layer: str, inputs: Floats) -> Floats:
        return np.asarray(inputs @ self.weights[f'{layer}.weight'].T + self.weights[f'{layer}.bias'], np.float32)

    def _dropout(self, shape: tuple[int, ...]) -> Floats:
        """0 for what is left out, and a factor that keeps the mean for the rest."""
        return (self._random.random(shape, np.float32) >= _DROPOUT) * np.float32(1 / (1 - _DROPOUT))
