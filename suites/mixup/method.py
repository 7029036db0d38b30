"""What a finetuning method is: five hooks around a training step, and the stages of a trial.

A method is attached to a classifier, says what the loss of a batch is, may change gradients after
the backward pass and weights after the optimiser's step, and is detached again, which leaves a
plain model. Methods that do more before finetuning, as the bilevel search does, say so as stages.

Shape suffixes: B batch, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from pydantic import JsonValue
from torch import Tensor

from harness.store import Checkpoint
from harness.training import State, finite
from suites.mixup.encoder import Batch, Classifier, task_loss
from suites.mixup.optimizer import groups

if TYPE_CHECKING:
    from suites.mixup.texts import Examples


@dataclass(frozen=True)
class Setting:
    """What a trial gives its method."""

    data: "Examples"
    """All N training examples."""
    total_steps: int
    """Updates of vanilla finetuning."""
    learning_rate: float
    """Of W."""
    batch_size: int
    weight_decay: float
    regression: bool
    seed: Callable[..., int]
    """Seed of a purpose and its keys, as `harness.run.Context.stream`."""

    def generator(self, purpose: str, *keys: str | int) -> torch.Generator:
        """A private CPU generator on that stream."""
        return torch.Generator().manual_seed(self.seed(purpose, *keys))


class Stage(Protocol):
    """One stretch of a training that can be interrupted at any step."""

    steps: int
    state: State
    """All that a fresh process needs to do the next step."""

    def step(self, index: int) -> float:
        """Makes update `index`, from 0; returns its loss."""
        ...

    def finish(self) -> None:
        """Is called once after the last step."""
        ...


class Method:
    """Vanilla finetuning, and the base of everything else."""

    def attach(self, model: Classifier, setting: Setting) -> None:
        """Prepares the model: parametrisations, frozen weights, remembered ones.

        Raises:
            MethodError: the method cannot be used on this model or task.
        """

    def stages(self, model: Classifier, setting: Setting) -> list[Callable[[], Stage]]:
        """What runs before finetuning; each is built when its turn comes."""
        return []

    def steps(self, setting: Setting) -> int:
        """Updates of finetuning."""
        return setting.total_steps

    def optimizer(self, model: Classifier, setting: Setting) -> torch.optim.Optimizer:
        """Of finetuning; its rates are scaled by the loop's schedule."""
        return torch.optim.AdamW(
            groups(model, setting.learning_rate, setting.weight_decay), fused=True
        )

    def loss(self, model: Classifier, batch: Batch) -> Tensor:
        """Training loss of a batch, a scalar."""
        return task_loss(model(batch), batch.labels_B, model.regression)

    def after_backward(self, model: Classifier, step: int) -> None:
        """Changes gradients before they are clipped and used."""

    def after_step(self, model: Classifier, step: int, rate: float) -> None:
        """Changes weights after the optimiser did, at learning rate `rate`."""

    def detach(self, model: Classifier) -> None:
        """Leaves a plain model that computes what the trained one did."""

    def report(self, model: Classifier) -> dict[str, list[float]]:
        """Short series for the record, asked for before `detach`."""
        return {}


class Ticker(Protocol):
    """The part of `harness.run.Context` that running stages needs."""

    def restore(self, state: Any) -> int:
        """Fills the state from the trial's checkpoint; returns the steps done."""
        ...

    def tick(self, step: int, total: int, state: Any = None) -> None:
        """Progress, checkpoints, stopping."""
        ...

    def log(self, step: int, **scalars: float) -> None:
        """Adds a point to the curves."""
        ...


class _Trial:
    """The stages of a trial as one resumable thing."""

    def __init__(self, makers: Sequence[Callable[[], Stage]]) -> None:
        self.makers = makers
        self.index = 0
        self.done = 0
        """Steps of the stages before this one."""
        self._stage: Stage | None = None

    @property
    def stage(self) -> Stage:
        if self._stage is None:
            self._stage = self.makers[self.index]()
        return self._stage

    def advance(self) -> bool:
        """Finishes the stage; False after the last."""
        self.stage.finish()
        self.done += self.stage.steps
        self.index += 1
        self._stage = None
        return self.index < len(self.makers)

    def pack(self) -> tuple[bytes, dict[str, JsonValue]]:
        tensors, meta = self.stage.state.pack()
        return tensors, {**meta, "stage": self.index, "done": self.done}

    def unpack(self, checkpoint: Checkpoint) -> None:
        meta: Any = checkpoint.meta
        self.index, self.done = meta["stage"], meta["done"]
        self.stage.state.unpack(checkpoint)


def run_stages(makers: Sequence[Callable[[], Stage]], ctx: Ticker) -> int:
    """Runs the stages in turn, from where the trial's checkpoint left them; returns all steps.

    Raises:
        Diverged: a loss is not a number.
    """
    trial = _Trial(makers)
    step = ctx.restore(trial)
    while True:
        stage = trial.stage
        for index in range(step - trial.done, stage.steps):
            loss = finite(stage.step(index), step)
            ctx.log(step, loss=loss)
            step += 1
            left = len(makers) - 1 - trial.index
            ctx.tick(step, trial.done + stage.steps * (1 + left), trial)
        if not trial.advance():
            return step
