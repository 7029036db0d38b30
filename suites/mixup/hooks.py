"""What a finetuning method is: five hooks around a training step, and the stages of a trial.

A method is attached to a classifier, says what the loss of a batch is, may change gradients after
the backward pass and weights after the optimiser's step, and is detached again, which leaves a
plain model. Methods that do more before finetuning, as the bilevel search does, say so as stages.

Shape suffixes: B batch, C classes.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import torch
from pydantic import JsonValue, ValidationError
from torch import Tensor, nn

from harness.errors import MethodError
from harness.settings import AdamW, factor, fault
from harness.store import Checkpoint
from harness.training import State, finite
from suites.mixup.encoder import Batch, Classifier, task_loss
from suites.mixup.optimizer import adamw
from suites.mixup.settings import OPTIMIZER, Options

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
    """Peak, of W."""
    batch_size: int
    regression: bool
    seed: Callable[..., int]
    """Seed of a purpose and its keys, as `harness.run.Context.stream`."""
    optimizer: AdamW = OPTIMIZER
    """Of W."""
    warmup: float = 0.1
    """Share of the updates over which the learning rate rises from 0."""
    alpha_rate: float = 2e-3
    """Peak, of alpha, where a method has none of its own."""

    def adamw(self, model: nn.Module, exclude: Sequence[Tensor] = ()) -> torch.optim.AdamW:
        """AdamW over the trainable parameters but those excluded."""
        return adamw(model, self.learning_rate, self.optimizer, exclude)

    def factor(self, step: int, steps: int) -> float:
        """Share of the peak learning rate at an update: up, then down to 0 in a line."""
        return factor(step, steps, self.rising(steps), decay="linear", first=0)

    def rising(self, steps: int) -> int:
        """Updates of the warm-up."""
        return math.ceil(self.warmup * steps)

    def generator(self, purpose: str, *keys: str | int) -> torch.Generator:
        """A private CPU generator on that stream."""
        return torch.Generator().manual_seed(self.seed(purpose, *keys))


class Kept(nn.Module):
    """Tensors in a model's state, so that checkpoints carry them."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        for index, tensor in enumerate(tensors):
            self.register_buffer(str(index), tensor.detach().clone())


def trained(module: nn.Module) -> list[Tensor]:
    """The parameters that learn, in the module's order."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


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
    """Vanilla finetuning, and the base of everything else.

    Args:
        options: fields of the method's `Options`.

    Raises:
        MethodError: an option that does not exist, or is out of its range.
    """

    Options: ClassVar[type[Options]] = Options
    apart: ClassVar[bool] = False
    """Whether the two texts of a pair are encoded apart; see `suites.mixup.encoder.Classifier`."""

    def __init__(self, **options: Any) -> None:
        try:
            self.options = self.Options.model_validate(options)
        except ValidationError as error:
            raise MethodError(
                f"{type(self).__name__}: option {fault(error)}; see suites/mixup/settings.py"
            ) from None

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
        return setting.adamw(model)

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


class _Stages:
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
    stages = _Stages(makers)
    step = ctx.restore(stages)
    while True:
        stage = stages.stage
        for index in range(step - stages.done, stage.steps):
            ctx.log(step, loss=finite(stage.step(index), step))
            step += 1
            left = len(makers) - 1 - stages.index
            ctx.tick(step, stages.done + stage.steps * (1 + left), stages)
        if not stages.advance():
            return step
