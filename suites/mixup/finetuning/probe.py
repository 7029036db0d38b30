"""The head alone, on frozen features; and finetuning that begins with it (LP-FT, WiSE-FT).

    probe      logistic regression, C by cross-validation; ridge regression, leave-one-out
    lp-ft      probe, then finetuning of everything
    wise-ft    lp-ft, then W <- (1 - mix) W + mix W_probe, head included

Sources: Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution", ICLR 2022; Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR
2022, where W_probe is a zero-shot model: these encoders have none, and the probe is their
section 4.1's other start.

Shape suffixes: N examples, D width, C outputs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import StratifiedKFold, cross_val_score

from harness.training import State
from suites.mixup.encoder import Classifier, task_loss
from suites.mixup.hooks import Kept, Method, Setting, Stage, trained
from suites.mixup.settings import WiSEFTOptions

STRENGTHS = tuple(10.0**k for k in range(-3, 4))
"""C of the logistic regression; one over the ridge's penalty."""
_FOLDS = 5
_ITERATIONS = 2000


class SetHead:
    """Puts a head in place, in one step; see `suites.mixup.hooks.Stage`.

    Args:
        model: whose head.
        fill: changes the head, and returns the training loss.
    """

    steps = 1

    def __init__(self, model: Classifier, fill: Callable[[Classifier], float]) -> None:
        self.model = model
        self.fill = fill
        self.state = State(modules={"model": model})

    @torch.no_grad()
    def step(self, index: int) -> float:
        """Fills the head; returns the training loss."""
        return self.fill(self.model)

    def finish(self) -> None:
        """Nothing is left to do."""


class Untrained(Method):
    """A method that puts a head in place and trains nothing."""

    def steps(self, setting: Setting) -> int:
        """No update."""
        return 0


def fit_head(model: Classifier, setting: Setting) -> float:
    """Fits the head to the features as they are; returns the training loss."""
    data = setting.data
    device = model.head.weight.device
    model.eval()
    found = []
    for start in range(0, len(data), 64):
        batch = data.batch(range(start, min(start + 64, len(data)))).to(device)
        found.append(model.features(batch))
    features_ND = torch.cat(found)
    weight_CD, bias_C = fit(
        features_ND.double().cpu().numpy(), data.labels_N.numpy(), model.head.out_features,
        regression=model.regression,
    )  # fmt: skip
    model.head.weight.copy_(torch.from_numpy(weight_CD))
    model.head.bias.copy_(torch.from_numpy(bias_C))
    logits_NC = model.head(features_ND)
    return task_loss(logits_NC, data.labels_N.to(device), model.regression).item()


def fit(
    features_ND: NDArray[Any], labels_N: NDArray[Any], outputs: int, *, regression: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weight, CD, and bias, C, of a linear model with an L2 penalty on the weight.

    Classes that are not among the labels get a bias of -1e4, so that they are never predicted.
    """
    if regression:
        ridge = RidgeCV(alphas=[1 / strength for strength in STRENGTHS])
        ridge.fit(features_ND, labels_N)
        return ridge.coef_.reshape(1, -1), np.reshape(ridge.intercept_, 1)
    weight_CD = np.zeros((outputs, features_ND.shape[1]))
    bias_C = np.full(outputs, -1e4)
    classes, counts = np.unique(labels_N, return_counts=True)
    if len(classes) == 1:
        bias_C[classes] = 0.0
        return weight_CD, bias_C
    folds, strength = min(_FOLDS, int(counts.min())), 1.0
    if folds > 1:
        strength = max(
            STRENGTHS,
            key=lambda c: float(
                cross_val_score(
                    LogisticRegression(C=c, max_iter=_ITERATIONS),
                    features_ND, labels_N, cv=StratifiedKFold(folds),
                ).mean()
            ),
        )  # fmt: skip
    model = LogisticRegression(C=strength, max_iter=_ITERATIONS).fit(features_ND, labels_N)
    if len(classes) == 2:  # one output z: logits -z / 2 and z / 2
        weight_CD[classes] = np.concatenate([-model.coef_, model.coef_]) / 2
        bias_C[classes] = np.concatenate([-model.intercept_, model.intercept_]) / 2
    else:
        weight_CD[classes], bias_C[classes] = model.coef_, model.intercept_
    return weight_CD, bias_C


class LPFT(Method):
    """Finetuning whose head begins as the probe."""

    def stages(self, model: Classifier, setting: Setting) -> list[Callable[[], Stage]]:
        """The probe."""
        return [lambda: SetHead(model, lambda m: fit_head(m, setting))]


class Probe(Untrained, LPFT):
    """The probe alone."""


class WiSEFT(LPFT):
    """The mean, in weight space, of a finetuned model and its start."""

    Options = WiSEFTOptions
    options: WiSEFTOptions

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._last = 0

    def optimizer(self, model: Classifier, setting: Setting) -> torch.optim.Optimizer:
        """Remembers the weights as they are now: the probe's."""
        self._last = self.steps(setting) - 1
        model.add_module("start", Kept(trained(model)))
        return super().optimizer(model, setting)

    @torch.no_grad()
    def after_step(self, model: Classifier, step: int, rate: float) -> None:
        """Mixes after the last one."""
        if step == self._last:
            start = list(model.start.buffers())  # type: ignore[union-attr]
            torch._foreach_lerp_(trained(model), start, self.options.mix)

    def detach(self, model: Classifier) -> None:
        """Drops the start."""
        del model.start
