"""One step of the bilevel search: alpha by the validation loss, W by the training loss.

    1  W' = W - AdamW step on b_train at alpha           one pass, which also gives dL_tr/dalpha
    2  v = dL_val(W')/dW', and alpha's direct gradient   one pass on b_val
    3  alpha's cross gradient along u = P v              one pass (two for central differences)
    4  alpha takes an AdamW step, and is clamped
    5  W takes its step: again from W with the new alpha (roll-back, one pass), or to W'

The look-ahead weights W' live in buffers of their own, so that W never needs restoring. A pass
forms the mixed weights once and differentiates by them; what W and the factors get follows by
products of matrices.

Passes on the same batch use the same dropout masks: differences between two masks would drown the
differences between two weights.

Source: Somayajula et al., section 3. What the released code computes instead: `released.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.errors import MethodError
from suites.mixup import hypergradient as hyper
from suites.mixup.hooks import RandomState
from suites.mixup.mixing import clamp, factors, formed, mixed
from suites.mixup.optimizer import look_ahead, members
from suites.mixup.settings import SearchOptions

Loss = Callable[[Any, Any], Tensor]
"""Of a model and a batch."""


class Bilevel:
    """The two levels over one model with mixups attached.

    Args:
        model: as `mixing.attach` left it.
        loss: of the model and a batch, for both levels.
        weights: AdamW over W.
        alphas: an optimiser over `mixing.factors(model)`.
        options: how alpha's gradient is computed, whether W's step is repeated with the new
            alpha, and the largest norm of W's gradient.

    Raises:
        MethodError: nothing is mixed.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        weights: torch.optim.AdamW,
        alphas: torch.optim.Optimizer,
        options: SearchOptions,
    ) -> None:
        self.model = model
        self.loss = loss
        self.weights = weights
        self.alphas = alphas
        self.options = options
        self.parameters = [parameter for parameter, _ in members(weights)]
        self.factors = factors(model)
        self.device = self.parameters[0].device
        self.layers = mixed(model)
        if not self.layers:
            raise MethodError("no layer is mixed; call suites.mixup.mixing.attach first")
        place = {id(parameter): index for index, parameter in enumerate(self.parameters)}
        self._places = [place[id(layer.weight_OI)] for layer in self.layers]
        self._mixtures = [torch.empty_like(layer.weight_OI) for layer in self.layers]
        self._ahead = [torch.empty_like(p) for p in self.parameters]

    def step(self, train: Any, validation: Any) -> float:
        """Moves alpha and W once; returns the training loss before W moved."""
        masks = RandomState.now(self.device)
        loss, steps, here = self.gradients(train)
        shrunk = self._clip(steps)
        self._move_alpha(self.hypergradient(train, validation, steps, here, masks, shrunk))
        if self.options.roll_back:
            with self._replayed(masks):
                loss, steps, _ = self.gradients(train, factors=False)
            self._clip(steps)
        self._move_weights(steps)
        return loss

    def gradients(
        self,
        batch: Any,
        at: Sequence[Tensor] | None = None,
        *,
        weights: bool = True,
        factors: bool = True,
    ) -> tuple[float, list[Tensor], list[Tensor]]:
        """Loss of a batch, its gradients by W and by alpha's factors.

        Args:
            batch: what the loss takes.
            at: values for W, in the optimiser's order; W itself by default.
            weights: whether W's gradients are wanted; else an empty list.
            factors: whether the factors' are.
        """
        with _standing_at(self.parameters, at), formed(self.model, self._mixtures) as leaves:
            wanted: list[Tensor] = list(self.parameters) if weights else leaves
            if weights:
                for place, leaf in zip(self._places, leaves, strict=True):
                    wanted[place] = leaf
            loss = self.loss(self.model, batch)
            found = list(torch.autograd.grad(loss, wanted, materialize_grads=True))
            pulled: list[Tensor] = []
            for index, layer in enumerate(self.layers):
                place = self._places[index] if weights else index
                found[place], rows, columns = layer.mixup.pull(
                    layer.weight_OI, found[place], weight=weights, factors=factors
                )
                pulled += [side for side in (rows, columns) if side is not None]
        return loss.item(), found if weights else [], pulled

    def hypergradient(
        self,
        train: Any,
        validation: Any,
        steps: list[Tensor],
        here: list[Tensor],
        masks: RandomState,
        shrunk: float = 1.0,
    ) -> list[Tensor]:
        """The gradient of the validation loss by alpha's factors, through W's step.

        Args:
            train: the batch that W steps on.
            validation: the batch that alpha is judged on.
            steps: dL_tr/dW at W, clipped.
            here: dL_tr/dalpha at W.
            masks: random state before the pass that gave these two.
            shrunk: what clipping multiplied the gradient with.
        """
        look_ahead(self.weights, steps, self._ahead)
        _, values, direct = self.gradients(validation, self._ahead)
        if self.options.hypergradient == "first-order":
            return direct
        hyper.precondition(self.options.preconditioner, self.weights, steps, values, shrunk)
        if self.options.hypergradient == "exact":
            cross = list(self._exact(train, values, masks))
        else:
            known = here if self.options.differences == "forward" else None
            cross = self._by_differences(train, values, self.parameters, known, masks)
        return [a - b for a, b in zip(direct, cross, strict=True)]

    def _by_differences(
        self,
        train: Any,
        direction: list[Tensor],
        base: Sequence[Tensor],
        here: list[Tensor] | None,
        masks: RandomState,
    ) -> list[Tensor]:
        """The cross term around `base`: forward if dL_tr/dalpha is known there, else central."""

        def gradient(step: float) -> list[Tensor]:
            with torch.no_grad():
                for start, way, ahead in zip(base, direction, self._ahead, strict=True):
                    torch.add(start, way, alpha=step, out=ahead)
            with self._replayed(masks):
                return self.gradients(train, self._ahead, weights=False)[2]

        return hyper.cross_by_differences(gradient, direction, self.options.radius, here)

    def _exact(self, train: Any, direction: list[Tensor], masks: RandomState) -> tuple[Tensor, ...]:
        names = {id(p): f"model.{name}" for name, p in self.model.named_parameters()}
        own = [names[id(p)] for p in self.parameters]
        theirs = [names[id(p)] for p in self.factors]
        whole = _Objective(self.model, self.loss)

        def objective(weights: tuple[Tensor, ...], alphas: tuple[Tensor, ...]) -> Tensor:
            values = dict(zip(own + theirs, weights + alphas, strict=True))
            loss: Tensor = torch.func.functional_call(whole, values, (train,))
            return loss

        # The fused attention kernels have no tangents.
        with self._replayed(masks), sdpa_kernel(SDPBackend.MATH):
            weights = [p.detach() for p in self.parameters]
            alphas = [p.detach() for p in self.factors]
            return hyper.cross_exact(objective, weights, alphas, direction)

    def _clip(self, steps: list[Tensor]) -> float:
        """Shortens the gradient to the norm that is allowed; returns the factor."""
        length = hyper.norm(steps)
        if length <= self.options.clip:
            return 1.0
        torch._foreach_mul_(steps, self.options.clip / length)
        return self.options.clip / length

    def _move_alpha(self, gradient: Sequence[Tensor]) -> None:
        for factor, value in zip(self.factors, gradient, strict=True):
            factor.grad = value
        self.alphas.step()
        clamp(self.model)
        self.alphas.zero_grad()

    def _move_weights(self, steps: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, steps, strict=True):
            parameter.grad = value
        self.weights.step()
        self.weights.zero_grad()

    @contextmanager
    def _replayed(self, masks: RandomState) -> Iterator[None]:
        """Dropout as it was drawn from that random state on."""
        after = RandomState.now(self.device)
        masks.set(self.device)
        try:
            yield
        finally:
            after.set(self.device)


class _Objective(nn.Module):
    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Any) -> Tensor:
        return self.loss(self.model, batch)


@contextmanager
def _standing_at(parameters: Sequence[Tensor], values: Sequence[Tensor] | None) -> Iterator[None]:
    """The parameters hold other values for a while; their own memory is not touched."""
    if values is None:
        yield
        return
    own = [parameter.data for parameter in parameters]
    try:
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data = value
        yield
    finally:
        for parameter, value in zip(parameters, own, strict=True):
            parameter.data = value
