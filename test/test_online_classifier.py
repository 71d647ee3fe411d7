"""The layers of OTN in numpy, against torch's autograd and SGD."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from vis_ros.propagation.pts.online_classifier import LAYERS, OnlineClassifier

FEATURES, CHANNELS = 40, 24


class Reference(nn.Module):
    """The same layers in torch, with the given dropout factors."""

    def __init__(self) -> None:
        super().__init__()
        self.fc4 = nn.Linear(FEATURES, CHANNELS)
        self.fc5 = nn.Linear(CHANNELS, CHANNELS)
        self.fc6 = nn.Linear(CHANNELS, 2)

    def forward(self, features: torch.Tensor, kept: list[torch.Tensor]) -> torch.Tensor:
        hidden = functional.relu(self.fc4(features)) * kept[0]
        return self.fc6(functional.relu(self.fc5(hidden)) * kept[1])


class Replayed:
    """Dropout factors of a classifier, which are noted."""

    def __init__(self, classifier: OnlineClassifier) -> None:
        self.seen: list[torch.Tensor] = []
        make = classifier._dropout

        def noted(shape: tuple[int, ...]) -> np.ndarray:
            made = make(shape)
            self.seen.append(torch.from_numpy(made))
            return made

        classifier._dropout = noted  # type: ignore[method-assign]


def _pair(scale: float = 1.0) -> tuple[Reference, OnlineClassifier]:
    torch.manual_seed(0)
    reference = Reference()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter *= scale
    weights = {name: value.detach().numpy() for name, value in reference.named_parameters()}
    return reference, OnlineClassifier(weights, np.random.default_rng(0))


def _loss(reference: Reference, on: torch.Tensor, off: torch.Tensor, kept: list[torch.Tensor]) -> torch.Tensor:
    logits = reference(torch.cat((on, off)), kept)
    wanted = torch.tensor([1] * len(on) + [0] * len(off))
    each = functional.cross_entropy(logits, wanted, reduction='none')
    return each[: len(on)].mean() + each[len(on) :].mean()


def test_gradients_are_those_of_autograd() -> None:
    reference, classifier = _pair(3.0)
    dropout = Replayed(classifier)
    on, off = torch.randn(32, FEATURES) + 0.5, torch.randn(96, FEATURES)
    found = classifier.gradients(on.numpy(), off.numpy())
    assert [each.unique().tolist() for each in dropout.seen] == [[0, 2], [0, 2]]
    _loss(reference, on, off, dropout.seen).backward()
    assert set(found) == {f'{layer}.{kind}' for layer in LAYERS for kind in ('weight', 'bias')}
    for name, parameter in reference.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-3
        np.testing.assert_allclose(found[name], parameter.grad.numpy(), atol=1e-5)


def test_steps_are_those_of_sgd_with_momentum_decay_and_clipping() -> None:
    """Also where the gradient is larger than its largest norm, which large features make it at first."""
    reference, classifier = _pair(3.0)
    last = [*reference.fc6.parameters()]
    others = [*reference.fc4.parameters(), *reference.fc5.parameters()]
    optimizer = torch.optim.SGD([{'params': others}, {'params': last}], lr=1, momentum=0.9, weight_decay=5e-4)
    norms = []
    for step in range(12):
        rate = 1e-3 if step < 8 else 2e-4
        size = 5 if step < 6 else 0.1
        on, off = torch.randn(32, FEATURES) * size, torch.randn(96, FEATURES) * size
        dropout = Replayed(classifier)
        classifier.train(on.numpy(), off.numpy(), rate)
        for group, factor in zip(optimizer.param_groups, (1, 10), strict=True):
            group['lr'] = rate * factor
        optimizer.zero_grad()
        _loss(reference, on, off, dropout.seen[-2:]).backward()
        norms.append(float(nn.utils.clip_grad_norm_(reference.parameters(), 10.0)))
        optimizer.step()
    assert max(norms) > 10 > min(norms)
    for name, parameter in reference.named_parameters():
        np.testing.assert_allclose(classifier.weights[name], parameter.detach().numpy(), atol=1e-5, rtol=1e-5)


def test_scores_are_log_odds_without_dropout() -> None:
    reference, classifier = _pair()
    features = torch.randn(50, FEATURES)
    ones = [torch.ones(50, CHANNELS)] * 2
    with torch.no_grad():
        odds = reference(features, ones).log_softmax(1).diff(dim=1)[:, 0]
    np.testing.assert_allclose(classifier.scores(features.numpy()), odds.numpy(), atol=1e-5)
    assert classifier.scores(features.numpy()[:0]).shape == (0,)


def test_weights_are_copied() -> None:
    weights = {name: value.detach().numpy() for name, value in Reference().named_parameters()}
    before = {name: value.copy() for name, value in weights.items()}
    classifier = OnlineClassifier(weights, np.random.default_rng(0))
    classifier.train(np.ones((3, FEATURES), np.float32), np.zeros((3, FEATURES), np.float32), 0.1)
    for name, value in weights.items():
        np.testing.assert_array_equal(value, before[name])
        assert not np.array_equal(classifier.weights[name], value)
