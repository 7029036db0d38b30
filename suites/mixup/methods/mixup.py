"""The paper's method: bilevel search for the attention alpha, averaging, finetuning.

Source: Somayajula et al., NAACL 2024 (arXiv 2403.12918).
"""

import re
from collections.abc import Callable
from typing import Any

from suites.mixup import mixing
from suites.mixup.encoder import Classifier
from suites.mixup.method import Method, Setting, Stage
from suites.mixup.mixing import Form
from suites.mixup.search import Plan, Search


class Mixed(Method):
    """What all methods with mixed weights share.

    Args:
        form: `convex` as published, `code` as released.
        rank: of the attention.
        std: spread of the factors around one at the start.
        pooler: whether a pooler is mixed too.
    """

    def __init__(
        self,
        form: Form = "convex",
        rank: int = 1,
        std: float = mixing.INITIAL_STD,
        pooler: bool = True,
    ) -> None:
        self.form = form
        self.rank = rank
        self.std = std
        self.pooler = pooler

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Mixes all linear layers of the encoder; alpha is fixed in finetuning.

        Raises:
            MethodError: the encoder has no linear layers.
        """
        mixing.attach(
            model,
            r"^encoder\.",
            self.form,
            self.rank,
            setting.generator("alpha"),
            pooler=self.pooler,
            std=self.std,
        )
        for factor in mixing.factors(model):
            factor.requires_grad_(False)

    def detach(self, model: Classifier) -> None:
        """Folds the mixed weights."""
        mixing.fold(model)

    def report(self, model: Classifier) -> dict[str, list[float]]:
        """Mean attention by kind of module, layer by layer."""
        series: dict[str, list[float]] = {}
        for name, alpha_OI in mixing.alphas(model).items():
            kind = re.split(r"\.\d+\.", name)[-1].removeprefix("encoder.")
            series.setdefault(f"alpha-{kind}", []).append(alpha_OI.mean().item())
        return series


class Mixup(Mixed):
    """Search, averaging and finetuning.

    Args:
        form: `convex` as published, `code` as released.
        rank: of the attention.
        pooler: whether a pooler is mixed too.
        plan: the fields of `search.Plan`: `repeats`, `hypergradient`, `roll_back`, ...
    """

    def __init__(
        self, form: Form = "convex", rank: int = 1, pooler: bool = True, **plan: Any
    ) -> None:
        super().__init__(form, rank, pooler=pooler)
        self.plan = Plan(**plan)

    def stages(self, model: Classifier, setting: Setting) -> list[Callable[[], Stage]]:
        """The repeats of the search."""
        return Search(model, self.loss, setting, self.plan).stages()
