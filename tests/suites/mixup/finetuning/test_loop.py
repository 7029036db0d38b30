"""The finetuning stage against a plain loop, its hooks, and predictions in order."""

import copy
import zlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.settings import AdamW
from suites.mixup.encoder import Batch, Classifier, load
from suites.mixup.finetuning.loop import Finetune, predict
from suites.mixup.hooks import Method, Setting, run_stages
from suites.mixup.texts import Batches, Examples, Texts, tokenise

CLIP = 1.0


def seed(*keys: str | int) -> int:
    return zlib.crc32(repr(keys).encode())


def small(regression: bool = False, dropout: float = 0.1) -> tuple[Classifier, Examples]:
    generator = torch.Generator().manual_seed(0)
    pretrained = load("tiny", generator)
    pretrained.model.config.hidden_dropout_prob = dropout
    for module in pretrained.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    model = Classifier(pretrained.model, 2, regression=regression, generator=generator)
    words = [" ".join(["good" if i % 2 else "bad", *["word"] * (i % 5)]) for i in range(20)]
    labels = tuple(float(i % 2) for i in range(20))
    texts = Texts("toy", tuple(words), None, labels, () if regression else ("0", "1"))
    return model, tokenise(texts, pretrained, 16)


def setting(data: Examples, steps: int = 6, rate: float = 1e-2) -> Setting:
    return Setting(
        data=data,
        total_steps=steps,
        learning_rate=rate,
        batch_size=8,
        optimizer=AdamW(weight_decay=0.1, clip=CLIP),
        regression=data.regression,
        seed=seed,
    )


class Recorder:
    """A trial's context that keeps what it is told."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.saved: list[Any] = []

    def restore(self, state: Any) -> int:
        return 0

    def tick(self, step: int, total: int, state: Any = None) -> None:
        self.saved.append((step, total))

    def log(self, step: int, **scalars: float) -> None:
        self.losses.append(scalars["loss"])


@pytest.mark.parametrize("regression", [False, True])
def test_vanilla_finetuning_is_the_plain_loop(regression: bool) -> None:
    model, data = small(regression, dropout=0.0)
    plain = copy.deepcopy(model)
    ctx = Recorder()
    steps = run_stages([lambda: Finetune(model, Method(), setting(data))], ctx)

    norms = [p for n, p in plain.named_parameters() if n.endswith("bias") or "orm." in n]
    others = [p for p in plain.parameters() if all(p is not q for q in norms)]
    adam = torch.optim.AdamW(
        [{"params": others, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    )
    batches = Batches(data, 8, seed("batch"))
    plain.train()
    losses = []
    for step in range(6):
        for group in adam.param_groups:
            group["lr"] = 1e-2 * (step if step < 1 else (6 - step) / 5)  # one step of warm-up
        batch = batches[step]
        logits = plain(batch)
        if regression:
            loss = ((logits[:, 0] - batch.labels_B) ** 2).mean()
        else:
            loss = -logits.log_softmax(1)[torch.arange(len(logits)), batch.labels_B].mean()
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), CLIP)
        adam.step()
        losses.append(loss.item())

    assert steps == 6
    assert ctx.losses == pytest.approx(losses, rel=1e-5)
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        # A bias of keys has no gradient but rounding, which Adam makes large.
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_it_learns_and_predictions_come_in_order() -> None:
    model, data = small()
    run_stages([lambda: Finetune(model, Method(), setting(data, steps=30))], Recorder())
    predicted_N = predict(model, data, batch_size=3)
    assert (predicted_N == data.labels_N.numpy()).all()
    one_by_one = [model(data.batch([i])).argmax(1).item() for i in range(len(data))]
    assert predicted_N.tolist() == one_by_one


def test_predicted_scores_come_in_order() -> None:
    model, data = small(regression=True)
    predicted_N = predict(model, data, batch_size=3)
    model.eval()
    one_by_one = [model(data.batch([i])).item() for i in range(len(data))]
    assert predicted_N.tolist() == pytest.approx(one_by_one, abs=1e-5)


def test_hooks_are_called_in_their_order() -> None:
    calls: list[tuple[Any, ...]] = []

    class Noting(Method):
        def loss(self, model: Classifier, batch: Batch) -> Tensor:
            calls.append(("loss", model.training, len(batch.labels_B)))
            return super().loss(model, batch)

        def after_backward(self, model: Classifier, step: int) -> None:
            assert model.head.weight.grad is not None
            before.append(model.head.weight.detach().clone())
            model.head.weight.grad.zero_()
            model.head.bias.grad = None
            calls.append(("after_backward", step))

        def after_step(self, model: Classifier, step: int, rate: float) -> None:
            decayed = before[-1] * (1 - rate * 0.1)  # no gradient: weight decay alone moves it
            torch.testing.assert_close(model.head.weight.detach(), decayed)
            calls.append(("after_step", step, round(rate, 9)))

    before: list[Tensor] = []
    model, data = small()
    run_stages([lambda: Finetune(model, Noting(), setting(data, steps=3))], Recorder())
    assert [c[0] for c in calls] == ["loss", "after_backward", "after_step"] * 3
    assert [c[2] for c in calls if c[0] == "after_step"] == [0.0, 1e-2, 5e-3]
    assert all(c[1] for c in calls if c[0] == "loss")


def test_a_method_may_ask_for_more_steps() -> None:
    class Longer(Method):
        def steps(self, setting: Setting) -> int:
            return 2 * setting.total_steps

    model, data = small()
    ctx = Recorder()
    assert run_stages([lambda: Finetune(model, Longer(), setting(data))], ctx) == 12
    assert ctx.saved[-1] == (12, 12)
