"""One step of the bilevel search: alpha by the validation loss, W by the training loss.

    1  W' = W - AdamW step on b_train at alpha           one pass, which also gives dL_tr/dalpha
    2  v = dL_val(W')/dW', and alpha's direct gradient   one pass on b_val
    3  alpha's cross gradient along u = P v              one pass (two for central differences)
    4  alpha takes an AdamW step, and is clamped
    5  W takes its step: again from W with the new alpha (roll-back, one pass), or to W'

The look-ahead weights W' live in buffers of their own, so W never needs restoring. A pass
forms the mixed weights once and differentiates by them; what W and the factors get follows by
products of matrices.

Passes on the same batch use the same dropout masks: differences between two masks would drown the
differences between two weights.

Source: Somayajula et al., section 3; the released code runs this on a library whose defects can
be had by name, see `DEFECTS`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.errors import MethodError
from suites.mixup import hypergradient as hyper
from suites.mixup.hypergradient import Preconditioner
from suites.mixup.mixing import clamp, factors, formed, mixed
from suites.mixup.optimizer import look_ahead, members

Hypergradient = Literal["finite", "exact", "first-order"]
Differences = Literal["forward", "central"]
Loss = Callable[[Any, Any], Tensor]
"""Of a model and a batch."""

CLIP = 5.0
"""Largest norm of W's gradient in the search, from the released code."""

DEFECTS = {
    "two-steps": "roll-back does nothing: W steps twice on a batch, before and after alpha",
    "shift-left": "the shift of W by finite differences is not undone: W moves along the "
    "validation gradient",
    "differences-at-step": "finite differences, central ones, are taken at W', not at W",
    "fresh-dropout": "the two sides of a difference see different dropout masks",
}
"""What the released code computes with the library that it pins."""

PROTOCOLS = {"standard": frozenset[str](), "paper-code": frozenset(DEFECTS)}


def passes(kind: Hypergradient, differences: Differences, roll_back: bool) -> int:
    """Forward and backward passes of one step; `exact` counts its tangents as two more."""
    cross = {"first-order": 0, "exact": 3, "finite": 1 if differences == "forward" else 2}[kind]
    return 2 + cross + roll_back


class RandomState(NamedTuple):
    """What dropout draws from."""

    cpu: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> "RandomState":
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), cuda)

    def set(self, device: torch.device) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, device)


class Bilevel:
    """The two levels over one model with mixups attached.

    Args:
        model: as `mixing.attach` left it.
        loss: of the model and a batch, for both levels.
        weights: AdamW over W.
        alphas: an optimiser over `mixing.factors(model)`.
        kind: how alpha's gradient is had; `first-order` leaves the cross term out.
        differences: forward or central finite differences.
        preconditioner: what stands for the step's derivative; see `hypergradient.precondition`.
        roll_back: whether W's step is repeated with the new alpha.
        defects: names from `DEFECTS`.

    Raises:
        MethodError: nothing is mixed, or an option does not exist.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        weights: torch.optim.AdamW,
        alphas: torch.optim.Optimizer,
        *,
        kind: Hypergradient = "finite",
        differences: Differences = "forward",
        preconditioner: Preconditioner = "adamw-tensor",
        roll_back: bool = True,
        defects: frozenset[str] = PROTOCOLS["standard"],
    ) -> None:
        for value, choices in (
            (kind, get_args(Hypergradient)),
            (differences, get_args(Differences)),
            *((defect, tuple(DEFECTS)) for defect in defects),
        ):
            if value not in choices:
                raise MethodError(f"{value!r} does not exist; choose from {', '.join(choices)}")
        self.model = model
        self.loss = loss
        self.weights = weights
        self.alphas = alphas
        self.kind = kind
        self.differences = differences
        self.preconditioner = preconditioner
        self.roll_back = roll_back
        self.defects = defects
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
        self._clip(steps)
        gradient = self.hypergradient(train, validation, steps, here, masks)
        self._move_alpha(gradient)
        if self.roll_back or "two-steps" in self.defects:
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
    ) -> list[Tensor]:
        """The gradient of the validation loss by alpha's factors, through W's step.

        Args:
            train: the batch that W steps on.
            validation: the batch that alpha is judged on.
            steps: dL_tr/dW at W, clipped.
            here: dL_tr/dalpha at W.
            masks: random state before the pass that gave these two.
        """
        look_ahead(self.weights, steps, self._ahead)
        _, values, direct = self.gradients(validation, self._ahead)
        if self.kind == "first-order":
            if "two-steps" in self.defects:
                self._move_weights(steps)
            return direct
        hyper.precondition(self.preconditioner, self.weights, steps, values)
        if "two-steps" in self.defects:
            self._move_weights(steps)
        if self.kind == "exact":
            cross = list(self._exact(train, values, masks))
        else:
            cross = self._by_differences(train, values, here, masks)
        if "shift-left" in self.defects:
            shift = hyper.RADIUS / max(hyper.norm(values), 1e-12)
            with torch.no_grad():
                torch._foreach_add_(self.parameters, values, alpha=-shift)
        return [a - b for a, b in zip(direct, cross, strict=True)]

    def _by_differences(
        self, train: Any, direction: list[Tensor], here: list[Tensor], masks: RandomState
    ) -> list[Tensor]:
        moved = "differences-at-step" in self.defects
        base = [a.clone() for a in self._ahead] if moved else self.parameters

        def gradient(step: float) -> list[Tensor]:
            with torch.no_grad():
                for start, way, ahead in zip(base, direction, self._ahead, strict=True):
                    torch.add(start, way, alpha=step, out=ahead)
            with self._replayed(masks):
                return self.gradients(train, self._ahead, weights=False)[2]

        forward = self.differences == "forward" and not moved
        return hyper.cross_by_differences(gradient, direction, here if forward else None)

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

    def _clip(self, steps: list[Tensor]) -> None:
        length = hyper.norm(steps)
        if length > CLIP:
            torch._foreach_mul_(steps, CLIP / length)

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
        if "fresh-dropout" in self.defects:
            yield
            return
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
