"""The repeats of the search: splits, averages, counts, and resuming at any step."""

import math
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.errors import MethodError
from harness.store import Store
from suites.mixup.encoder import Classifier, load
from suites.mixup.finetuning import METHODS
from suites.mixup.finetuning.loop import Finetune
from suites.mixup.hooks import Method, Setting, run_stages
from suites.mixup.mixing import factors, mixed
from suites.mixup.search import Repeat, Search
from suites.mixup.settings import SearchOptions
from suites.mixup.texts import Examples, Texts, tokenise


def seed(*keys: str | int) -> int:
    return zlib.crc32(repr(keys).encode())


def setup(examples: int = 30) -> tuple[Classifier, Setting]:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    pretrained = load("tiny", generator)
    model = Classifier(
        pretrained.model, 2, regression=False, generator=generator, freeze_embeddings=True
    )
    words = [" ".join(["good" if i % 2 else "bad", *["word"] * (i % 5)]) for i in range(examples)]
    labels = tuple(float(i % 2) for i in range(examples))
    data: Examples = tokenise(Texts("toy", tuple(words), None, labels, ("0", "1")), pretrained, 16)
    return model, Setting(
        data=data,
        total_steps=4,
        learning_rate=1e-2,
        batch_size=8,
        regression=False,
        seed=seed,
    )


class Recorder:
    """A context without a store."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def restore(self, state: Any) -> int:
        return 0

    def tick(self, step: int, total: int, state: Any = None) -> None:
        self.last = (step, total)

    def log(self, step: int, **scalars: float) -> None:
        self.losses.append(scalars["loss"])


class Stopping(Recorder):
    """Saves at one step, stops there; the next process begins with what was saved."""

    def __init__(self, store: Store, stop: int) -> None:
        super().__init__()
        self.store = store
        self.stop = stop
        self.done = 0

    def restore(self, state: Any) -> int:
        checkpoint = self.store.checkpoint("t")
        if checkpoint is None:
            return 0
        state.unpack(checkpoint)
        return checkpoint.step

    def tick(self, step: int, total: int, state: Any = None) -> None:
        if step == self.stop:
            tensors, meta = state.pack()
            self.store.save_checkpoint("t", step, tensors, {**meta, "curves": {}, "cost": {}})
            raise KeyboardInterrupt


def everything(name: str, options: dict[str, Any], ctx: Any) -> dict[str, Tensor]:
    """A whole trial; the weights it ends with."""
    model, setting = setup()
    method = METHODS[name](**options)
    method.attach(model, setting)
    run_stages([*method.stages(model, setting), lambda: Finetune(model, method, setting)], ctx)
    return {k: v.clone() for k, v in model.state_dict().items()}


def test_steps_updates_and_passes_are_those_of_the_released_loop() -> None:
    plan = SearchOptions()
    assert plan.steps(300, 16) == math.ceil(3 * (240 // 16 + 1)) == 48
    assert plan.updates(300, 16, 57) == 5 * 48 + 57
    assert plan.passes(300, 16, 57) == 5 * 48 * 4 + 57  # forward differences, roll-back
    assert SearchOptions(roll_back=False).passes(300, 16, 57) == 5 * 48 * 3 + 57
    assert SearchOptions(repeats=1, hypergradient="first-order").passes(300, 16, 57) == 48 * 3 + 57


def test_every_repeat_starts_afresh_with_its_own_split_and_alpha() -> None:
    model, setting = setup()
    METHODS["mixup"](repeats=3).attach(model, setting)
    search = Search(model, Method().loss, setting, SearchOptions(repeats=3))
    start = {k: v.clone() for k, v in model.state_dict().items()}
    seen = []
    for make in search.stages():
        stage = make()
        assert isinstance(stage, Repeat)
        assert len(stage.train.data) == 24
        assert len(stage.validation.data) == 6
        both = sorted(stage.train.data.ids + stage.validation.data.ids)
        assert both == sorted(setting.data.ids)  # nothing twice, nothing left out
        for name, value in model.state_dict().items():
            if "rows" not in name and "columns" not in name:
                assert torch.equal(value, start[name])
        seen.append((stage.train.data.labels_N.tolist(), factors(model)[0].detach().clone()))
        stage.step(0)
        stage.step(1)
        stage.finish()
    assert seen[0][0] != seen[1][0]
    assert not torch.equal(seen[0][1], seen[1][1])


@pytest.mark.parametrize("name", ["mixup", "averaging"])
def test_the_end_is_the_mean_of_the_repeats(name: str) -> None:
    model, setting = setup()
    method = METHODS[name](repeats=3)
    method.attach(model, setting)
    ends: list[dict[str, Tensor]] = []
    for make in method.stages(model, setting):
        stage = make()
        for index in range(stage.steps):
            stage.step(index)
        ends.append({k: v.detach().clone() for k, v in model.named_parameters()})
        stage.finish()
    moved = 0
    for key, value in model.named_parameters():
        mean = torch.stack([end[key] for end in ends]).mean(0)
        if "embeddings" in key:
            assert torch.equal(value, ends[0][key])  # frozen: not even rounded
        else:
            torch.testing.assert_close(value.detach(), mean)
            moved += int(not torch.allclose(ends[0][key], ends[1][key]))
    assert moved > 10
    assert bool(mixed(model)) == (name == "mixup")


def test_one_repeat_is_not_averaged() -> None:
    model, setting = setup()
    method = METHODS["mixup"](repeats=1)
    method.attach(model, setting)
    (make,) = method.stages(model, setting)
    stage = make()
    stage.step(0)
    stage.step(1)
    end = {k: v.clone() for k, v in model.state_dict().items()}
    stage.finish()
    assert all(torch.equal(v, end[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "options", "stops"),
    [
        ("mixup", {"repeats": 2}, (5, 12, 17, 25)),  # inside repeats, at the border, finetuning
        ("mixup", {"repeats": 1, "form": "code", "protocol": "paper-code"}, (7,)),
        ("averaging", {"repeats": 2}, (13, 24)),
        ("dps-mix", {}, (1, 2)),
        ("dps-dense", {}, (2,)),
        ("joint", {}, (2,)),
        ("rec-adam", {}, (2,)),
        ("child-tuning-d", {}, (2,)),
        ("lora", {}, (2,)),
    ],
)
def test_an_interrupted_trial_goes_on_bit_for_bit(
    name: str, options: dict[str, Any], stops: tuple[int, ...], tmp_path: Path
) -> None:
    straight = Recorder()
    expected = everything(name, options, straight)
    for stop in stops:
        store = Store(tmp_path / f"r{stop}", tmp_path / f"c{stop}")
        first, second = Stopping(store, stop), Stopping(store, -1)
        with pytest.raises(KeyboardInterrupt):
            everything(name, options, first)
        found = everything(name, options, second)
        assert first.losses + second.losses == straight.losses
        assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_finetuning_leaves_alpha_alone_and_starts_from_the_mean() -> None:
    model, setting = setup()
    method = METHODS["mixup"](repeats=1)
    method.attach(model, setting)
    (make,) = method.stages(model, setting)
    run_stages([make], Recorder())
    alpha = [f.detach().clone() for f in factors(model)]
    weight = mixed(model)[0].weight_OI.detach().clone()
    run_stages([lambda: Finetune(model, method, setting)], Recorder())
    assert all(torch.equal(a, f) for a, f in zip(alpha, factors(model), strict=True))
    assert not torch.equal(weight, mixed(model)[0].weight_OI)


def test_progress_counts_all_stages() -> None:
    ctx = Recorder()
    everything("mixup", {"repeats": 2}, ctx)
    each = math.ceil(3 * (24 // 8 + 1))
    assert ctx.last == (2 * each + 4, 2 * each + 4)
    assert len(ctx.losses) == 2 * each + 4


@pytest.mark.parametrize("options", [{"protocol": "official"}, {"repeats": 0}, {"split": 1.5}])
def test_options_out_of_range_get_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(MethodError, match=f"Mixup: option {next(iter(options))}: ") as caught:
        METHODS["mixup"](**options)
    assert "\n" not in str(caught.value)
