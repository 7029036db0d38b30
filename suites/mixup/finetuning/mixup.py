"""The paper's method: bilevel search for the attention alpha, averaging, finetuning.

Source: Somayajula et al., NAACL 2024 (arXiv 2403.12918).
"""

import re
from collections.abc import Callable
from typing import ClassVar

from suites.mixup import mixing
from suites.mixup.encoder import Classifier
from suites.mixup.hooks import Method, Setting, Stage
from suites.mixup.search import Search
from suites.mixup.settings import AlphaOptions, MixupOptions, Options


class WithAlpha(Method):
    """What all methods with mixed weights share."""

    Options: ClassVar[type[Options]] = AlphaOptions
    options: AlphaOptions

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Mixes all linear layers of the encoder; alpha is fixed in finetuning.

        Raises:
            MethodError: the encoder has no linear layers.
        """
        mixing.attach(
            model,
            r"^encoder\.",
            self.options.form,
            self.options.rank,
            setting.generator("alpha"),
            pooler=self.options.pooler,
            std=self.options.std,
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


class Mixup(WithAlpha):
    """Search, averaging and finetuning."""

    Options = MixupOptions
    options: MixupOptions

    def stages(self, model: Classifier, setting: Setting) -> list[Callable[[], Stage]]:
        """The repeats of the search."""
        return Search(model, self.loss, setting, self.options).stages()
