"""The bilevel step as the released code computes it, with the defects of the library below it.

The clean step is `bilevel.Bilevel`; here stands what is different, each defect by name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import MethodError, unknown
from suites.mixup import hypergradient as hyper
from suites.mixup.bilevel import Bilevel, Loss
from suites.mixup.hooks import RandomState
from suites.mixup.optimizer import look_ahead
from suites.mixup.settings import SearchOptions

DEFECTS = {
    "two-steps": "roll-back does nothing: W steps twice on a batch, before and after alpha",
    "shift-left": "the shift of W by finite differences is not undone: W moves along the "
    "validation gradient",
    "differences-at-step": "finite differences, central ones, are taken at W', not at W",
    "fresh-dropout": "the two sides of a difference see different dropout masks",
}
"""What the released code computes with the library that it pins."""


class PaperCodeBilevel(Bilevel):
    """The released step.

    Args:
        model: as for `Bilevel`, and so the next four.
        loss: of the model and a batch.
        weights: AdamW over W.
        alphas: an optimiser over the factors.
        options: of the search.
        defects: names from `DEFECTS`; all of them are the released code.

    Raises:
        MethodError: there is no such defect.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        weights: torch.optim.AdamW,
        alphas: torch.optim.Optimizer,
        options: SearchOptions,
        defects: frozenset[str] = frozenset(DEFECTS),
    ) -> None:
        for defect in sorted(defects - set(DEFECTS)):
            raise MethodError(unknown("defect", defect, DEFECTS))
        super().__init__(model, loss, weights, alphas, options)
        self.defects = defects

    def step(self, train: Any, validation: Any) -> float:
        """Moves alpha and W; with `two-steps` W moves before alpha as well as after it."""
        masks = RandomState.now(self.device)
        loss, steps, here = self.gradients(train)
        shrunk = self._clip(steps)
        self._move_alpha(self.hypergradient(train, validation, steps, here, masks, shrunk))
        if self.options.roll_back or "two-steps" in self.defects:
            with self._replayed(masks):
                loss, steps, _ = self.gradients(train, factors=False)
            self._clip(steps)
        self._move_weights(steps)
        return loss

    def hypergradient(
        self,
        train: Any,
        validation: Any,
        steps: list[Tensor],
        here: list[Tensor],
        masks: RandomState,
        shrunk: float = 1.0,
    ) -> list[Tensor]:
        """See `Bilevel.hypergradient`; it moves W, which the clean one does not."""
        look_ahead(self.weights, steps, self._ahead)
        _, values, direct = self.gradients(validation, self._ahead)
        first_order = self.options.hypergradient == "first-order"
        if not first_order:
            hyper.precondition(self.options.preconditioner, self.weights, steps, values, shrunk)
        if "two-steps" in self.defects:
            self._move_weights(steps)
        if first_order:
            return direct
        cross = self._cross(train, values, here, masks)
        if "shift-left" in self.defects:
            shift = self.options.radius / max(hyper.norm(values), 1e-12)
            with torch.no_grad():
                torch._foreach_add_(self.parameters, values, alpha=-shift)
        return [a - b for a, b in zip(direct, cross, strict=True)]

    def _cross(
        self, train: Any, values: list[Tensor], here: list[Tensor], masks: RandomState
    ) -> list[Tensor]:
        if self.options.hypergradient == "exact":
            return list(self._exact(train, values, masks))
        if "differences-at-step" in self.defects:
            moved = [ahead.clone() for ahead in self._ahead]
            return self._by_differences(train, values, moved, None, masks)
        known = here if self.options.differences == "forward" else None
        return self._by_differences(train, values, self.parameters, known, masks)

    @contextmanager
    def _replayed(self, masks: RandomState) -> Iterator[None]:
        """Dropout as it was drawn before, or with `fresh-dropout` as it comes."""
        if "fresh-dropout" in self.defects:
            yield
            return
        with super()._replayed(masks):
            yield
