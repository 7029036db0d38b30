"""Every method on encoders of every architecture: right, or one line that says why not."""

from typing import Any

import pytest
import torch
from torch import nn

from harness.errors import MethodError
from suites.mixup.encoder import Classifier, is_norm
from suites.mixup.finetuning import METHODS
from suites.mixup.finetuning.loop import Finetune
from suites.mixup.finetuning.mixout import without_dropout
from suites.mixup.hooks import Setting, run_stages
from suites.mixup.texts import Examples

from .architectures import NAMES, POOLED, encoder
from .finetuning.test_methods import FLOORS, PAIRS, Recorder, seed

QUICK: dict[str, dict[str, Any]] = {
    "mixup": {"repeats": 1, "epochs": 1.0},
    "averaging": {"repeats": 1},
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, QUICK.get(name, {})) for name in METHODS if name not in (*PAIRS, *FLOORS)},
    "mixup-exact": (
        "mixup", {**QUICK["mixup"], "hypergradient": "exact", "preconditioner": "adamw"}
    ),
    "mixup-paper-code": ("mixup", {**QUICK["mixup"], "form": "code", "protocol": "paper-code"}),
}  # fmt: skip
REFUSED = {
    **{(m, "XLNet"): "is a matrix of XLNet" for m in ("mixup", "mixup-exact", "mixup-paper-code",
                                                      "joint", "random-alpha", "mixout",
                                                      "dps-dense", "dps-mix")},
    ("re-init", "XLNet"): "no new weights are known",
    **{(m, "ALBERT"): "no list of 2 layers" for m in ("child-tuning-d", "child-tuning-f", "top-k",
                                                      "re-init")},
    **{("lora", a): "no linear layer" for a in ("DeBERTa", "ModernBERT", "XLNet", "BART", "T5",
                                                "MPNet")},
    **{("bit-fit", a): "no biases" for a in ("ModernBERT", "T5")},
}  # fmt: skip


def examples() -> Examples:
    draw = torch.Generator().manual_seed(0)
    ids = [tuple(torch.randint(3, 50, (4 + n % 5,), generator=draw).tolist()) for n in range(16)]
    return Examples(tuple(ids), None, torch.arange(16) % 2, 2, 0)


def classifier(name: str, **options: Any) -> Classifier:
    draw = torch.Generator().manual_seed(0)
    return Classifier(encoder(name), 2, regression=False, generator=draw, **options)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.parametrize("name", NAMES)
def test_a_method_trains_and_leaves_a_plain_model_or_says_why_not(name: str, variant: str) -> None:
    model, plain = classifier(name), classifier(name)
    key, options = VARIANTS[variant]
    setting = Setting(
        data=examples(), total_steps=3, learning_rate=1e-2, batch_size=8, regression=False,
        seed=seed,
    )  # fmt: skip
    method = METHODS[key](**options)
    if line := REFUSED.get((variant, name)):
        with pytest.raises(MethodError, match=line) as caught:
            method.attach(model, setting)
        assert "\n" not in str(caught.value)
        return
    method.attach(model, setting)
    run_stages(
        [*method.stages(model, setting), lambda: Finetune(model, method, setting)], Recorder()
    )
    model.eval()
    method.report(model)
    batch = setting.data.batch(range(8))
    before = model(batch).detach()
    method.detach(model)
    assert torch.isfinite(before).all()
    assert set(model.state_dict()) == set(plain.state_dict())
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain.eval()(batch).detach(), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_padding_is_not_read(name: str) -> None:
    model, data = classifier(name).eval(), examples()
    together = model(data.batch(range(4)))
    for row in range(4):
        alone = model(data.batch([row]))
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_goes_wherever_it_is_kept(name: str) -> None:
    model, batch = classifier(name).train(), examples().batch(range(8))
    assert not torch.equal(model(batch), model(batch)) or name in ("ALBERT", "ModernBERT")
    without_dropout(model)
    assert torch.equal(model(batch), model(batch))


@pytest.mark.parametrize("name", NAMES)
def test_frozen_embeddings_are_the_tables_outside_the_blocks(name: str) -> None:
    model = classifier(name, freeze_embeddings=True)
    table: Any = model.encoder.get_input_embeddings()  # type: ignore[operator]
    assert not table.weight.requires_grad
    linears = [m for m in model.encoder.modules() if isinstance(m, nn.Linear)]
    assert linears
    assert all(linear.weight.requires_grad for linear in linears)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("XLNet", "ALBERT")])
def test_new_layers_are_new_in_every_weight(name: str) -> None:
    model = classifier(name)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.fill_(7.0)
    setting = Setting(
        data=examples(), total_steps=1, learning_rate=1e-2, batch_size=8, regression=False,
        seed=seed,
    )  # fmt: skip
    METHODS["re-init"](layers=1).attach(model, setting)
    (top,) = model.top_layers(1, "re-init")
    norms = [module for module in top.modules() if is_norm(module)]
    assert norms
    assert all(bool((norm.weight == 1).all()) for norm in norms)  # type: ignore[union-attr, arg-type]
    assert not any(bool((p == 7.0).any()) for p in top.parameters())


@pytest.mark.parametrize("name", [n for n in NAMES if n not in POOLED])
def test_a_missing_pooler_is_one_line(name: str) -> None:
    with pytest.raises(MethodError, match="has no pooler; choose pooling mean or cls") as caught:
        classifier(name, pooling="pooler")
    assert "\n" not in str(caught.value)
