"""The search phase: K repeats on random splits, and the average of what they end with.

Every repeat starts from the pretrained weights and the same head, draws its own split of the N
examples (uniform, 80 % to train W, 20 % to validate alpha) and its own alpha, and runs the bilevel
loop. Then every trainable parameter, alpha included, becomes the mean over the repeats, from where
finetuning continues.

Source: Somayajula et al., section 3.3, and the released code: 3 epochs of the training split with
as many batches as `len(split) // B + 1`; W by a linear, alpha by a cosine schedule, both with
10 % warm-up.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from harness.settings import factor
from harness.training import State
from suites.mixup.bilevel import Bilevel, Loss
from suites.mixup.encoder import Classifier
from suites.mixup.hooks import Setting, Stage
from suites.mixup.mixing import factors, mixed
from suites.mixup.optimizer import set_rates
from suites.mixup.released import PaperCodeBilevel
from suites.mixup.settings import SearchOptions
from suites.mixup.texts import Batches


class Level(Protocol):
    """What a repeat does at each step; `Bilevel`, or plain descent."""

    def step(self, train: Any, validation: Any) -> float:
        """One step on a batch of either side; returns the training loss."""
        ...


class Descent:
    """W alone, on the training batch: the repeats without alpha."""

    def __init__(
        self, model: nn.Module, loss: Loss, weights: torch.optim.Optimizer, clip: float
    ) -> None:
        self.model = model
        self.loss = loss
        self.weights = weights
        self.clip = clip

    def step(self, train: Any, validation: Any) -> float:
        """One step on the training batch; the other is not looked at."""
        loss = self.loss(self.model, train)
        self.weights.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.weights.step()
        return loss.item()


class Search:
    """The K repeats over one model, and where their average goes.

    Args:
        model: with mixups attached, or plain: then W alone is searched and averaged.
        loss: of the model and a batch.
        setting: of the trial.
        plan: what is repeated.
    """

    def __init__(
        self, model: Classifier, loss: Loss, setting: Setting, plan: SearchOptions
    ) -> None:
        self.model = model
        self.loss = loss
        self.setting = setting
        self.plan = plan
        self.start = {k: v.detach().clone() for k, v in model.state_dict().items()}
        moving = {id(factor) for factor in factors(model)}
        self.averaged = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad or id(parameter) in moving
        }
        self.total: dict[str, Tensor] = {}
        """Mean over the repeats so far, times their share of all; by parameter."""

    def stages(self) -> list[Callable[[], Stage]]:
        """The repeats, to be run in this order."""
        return [lambda k=k: Repeat(self, k) for k in range(self.plan.repeats)]  # type: ignore[misc]


class Repeat:
    """One repeat of a search; see `suites.mixup.hooks.Stage`."""

    def __init__(self, search: Search, number: int) -> None:
        setting, plan, model = search.setting, search.plan, search.model
        self.search = search
        self.last = number == plan.repeats - 1
        self.steps = plan.steps(len(setting.data), setting.batch_size)
        self.device = next(model.parameters()).device
        model.load_state_dict(search.start)
        draws = setting.generator("alpha", number)
        for layer in mixed(model):
            layer.mixup.draw(draws)
        train, validation = setting.data.split(plan.split, setting.generator("split", number))
        self.train, self.validation = (
            Batches(part, setting.batch_size, setting.seed("batch", level, number))
            for part, level in ((train, "train"), (validation, "validation"))
        )
        self.weights = setting.adamw(model, factors(model))
        self.optimizers: dict[str, torch.optim.Optimizer] = {"weights": self.weights}
        self.level: Level = Descent(model, search.loss, self.weights, plan.clip)
        if mixed(model):
            rate = plan.alpha_rate or setting.alpha_rate
            alphas = torch.optim.AdamW(factors(model), lr=rate, weight_decay=0.0)
            alphas.param_groups[0]["initial_lr"] = rate
            self.optimizers["alphas"] = alphas
            kind = PaperCodeBilevel if plan.protocol == "paper-code" else Bilevel
            self.level = kind(model, search.loss, self.weights, alphas, plan)
        self.state = State(modules={"model": model}, optimizers=self.optimizers)
        self.state.tensors = search.total

    def step(self, index: int) -> float:
        """Step `index` of the bilevel loop; returns its training loss."""
        setting = self.search.setting
        set_rates(self.weights, setting.factor(index, self.steps))
        if "alphas" in self.optimizers:
            share = factor(index, self.steps, setting.rising(self.steps), first=0)
            set_rates(self.optimizers["alphas"], share)
        self.search.model.train()
        return self.level.step(
            self.train[index].to(self.device), self.validation[index].to(self.device)
        )

    @torch.no_grad()
    def finish(self) -> None:
        """Adds this repeat's share to the mean; after the last one the model is the mean."""
        share = 1 / self.search.plan.repeats
        earlier = self.state.tensors
        self.search.total = {
            name: parameter * share + (earlier[name].to(self.device) if earlier else 0.0)
            for name, parameter in self.search.averaged.items()
        }
        if self.last:
            for name, parameter in self.search.averaged.items():
                parameter.copy_(self.search.total[name])
            self.search.total = {}
