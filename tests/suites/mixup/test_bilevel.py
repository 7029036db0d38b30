"""One bilevel step: what it moves, what it leaves, and the released code's defects by name."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.errors import MethodError
from suites.mixup import hypergradient as hyper
from suites.mixup.bilevel import Bilevel, RandomState
from suites.mixup.encoder import Batch, Classifier, load, task_loss
from suites.mixup.methods import methods
from suites.mixup.mixing import Form, attach, factors, fold, mixed
from suites.mixup.optimizer import groups
from suites.mixup.released import DEFECTS, PaperCodeBilevel
from suites.mixup.settings import SearchOptions, passes

RATE, DECAY = 1e-2, 0.1


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loss(model: Any, batch: Batch) -> Tensor:
    return task_loss(model(batch), batch.labels_B, False)


def batch(seed: int, size: int = 6) -> Batch:
    g = seeded(seed)
    ids_BT = torch.randint(3, 500, (size, 8), generator=g)
    labels_B = torch.randint(0, 2, (size,), generator=g)
    return Batch(ids_BT, torch.ones_like(ids_BT), torch.zeros_like(ids_BT), labels_B)


def classifier(dropout: float = 0.1, dtype: torch.dtype = torch.float32) -> Classifier:
    pretrained = load("tiny", seeded())
    for module in pretrained.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = dropout
    model = Classifier(pretrained.model, 2, regression=False, generator=seeded()).to(dtype)
    for parameter in model.parameters():  # not at a special point
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=seeded(1)).to(dtype)
    return model.train()


def problem(
    form: Form = "convex",
    dropout: float = 0.1,
    dtype: torch.dtype = torch.float32,
    steps: int = 3,
    defects: frozenset[str] | None = None,
    **options: Any,
) -> Any:
    """A bilevel loop that has made some steps, so that W is not W0 and the moments not 0."""
    torch.manual_seed(0)
    model = classifier(dropout, dtype)
    attach(model, r"^encoder\.", form, generator=seeded(), std=0.2)
    weights = torch.optim.AdamW(groups(model, RATE, DECAY, factors(model)), fused=True)
    alphas = torch.optim.AdamW(factors(model), lr=2e-3, weight_decay=0.0)
    settings = SearchOptions(**options)
    level: Any = Bilevel(model, loss, weights, alphas, settings)
    if defects is not None:
        level = PaperCodeBilevel(model, loss, weights, alphas, settings, defects)
    for index in range(steps):
        level.step(batch(10 + index), batch(20 + index))
    return level


def with_defect(name: str, **options: Any) -> Any:
    """A loop whose first steps were clean and that has one of the released code's defects now."""
    level = problem(dropout=0.0, defects=frozenset(), **options)
    level.defects = frozenset({name})
    return level


def values(tensors: list[Any]) -> list[Tensor]:
    return [t.detach().clone() for t in tensors]


def equal(one: list[Any], other: list[Any]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("form", ["convex", "code"])
def test_gradients_are_those_of_autograd_through_the_mixtures(form: Form) -> None:
    level = problem(form, dropout=0.0, dtype=torch.float64)
    value, own, theirs = level.gradients(batch(1))
    whole = loss(level.model, batch(1))
    expected = torch.autograd.grad(
        whole, [*level.parameters, *level.factors], materialize_grads=True
    )
    assert value == pytest.approx(whole.item())
    for mine, other in zip([*own, *theirs], expected, strict=True):
        torch.testing.assert_close(mine, other)
    _, none, alone = level.gradients(batch(1), weights=False)
    assert none == []
    for mine, other in zip(alone, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def assert_same_weights(one: Bilevel, other: Bilevel) -> None:
    """W of both, but for the biases of keys: rounding that AdamW makes large."""
    others = dict(other.model.named_parameters())
    for name, parameter in one.model.named_parameters():
        if not name.endswith(("key.bias", "rows_OR", "columns_RI")):
            torch.testing.assert_close(
                parameter.detach(), others[name].detach(), rtol=1e-3, atol=1e-4
            )


def cosine_and_ratio(one: list[Tensor], other: list[Tensor]) -> tuple[float, float]:
    a, b = (torch.cat([t.flatten() for t in ts]) for ts in (one, other))
    return float(a @ b / (a.norm() * b.norm())), float(a.norm() / b.norm())


def hypergradient(level: Bilevel) -> list[Tensor]:
    masks = RandomState.now(level.device)
    _, steps, here = level.gradients(batch(1))
    return level.hypergradient(batch(1), batch(2), steps, here, masks)


@pytest.mark.parametrize("preconditioner", ["sgd", "adamw", "adamw-tensor"])
@pytest.mark.parametrize("form", ["convex", "code"])
def test_finite_differences_are_the_exact_hypergradient(form: Form, preconditioner: Any) -> None:
    found = {}
    for kind, differences in (("exact", "central"), ("finite", "central"), ("finite", "forward")):
        level = problem(form, dropout=0.1, dtype=torch.float64)
        level.options = SearchOptions(
            hypergradient=kind, differences=differences, preconditioner=preconditioner
        )
        torch.manual_seed(5)  # equal dropout
        found[kind, differences] = hypergradient(level)
    exact = found["exact", "central"]
    scale = float(hyper.norm(exact))
    off = {
        key: hyper.norm([a - b for a, b in zip(value, exact, strict=True)]) / scale
        for key, value in found.items()
    }
    # without a learning rate in P the direction is long, and W is shifted far in some tensors
    assert off["finite", "central"] < (1e-3 if preconditioner == "adamw-tensor" else 1e-4)
    assert off["finite", "forward"] < 2e-2


def unrolled(level: Bilevel, clip: float) -> list[Tensor]:
    """The hypergradient by autograd through W's whole step, written out."""
    names = {id(p): name for name, p in level.model.named_parameters()}
    own = [p.detach().clone().requires_grad_() for p in level.parameters]
    alphas = [f.detach().clone().requires_grad_() for f in level.factors]

    def value(weights: list[Tensor], given: Batch) -> Tensor:
        tensors = zip([*level.parameters, *level.factors], [*weights, *alphas], strict=True)
        state = {names[id(p)]: tensor for p, tensor in tensors}
        logits = torch.func.functional_call(level.model, state, (given,))
        return nn.functional.cross_entropy(logits, given.labels_B)

    with sdpa_kernel(SDPBackend.MATH):
        slopes = torch.autograd.grad(
            value(own, batch(1)), own, create_graph=True, materialize_grads=True
        )
        length = sum((slope**2).sum() for slope in slopes) ** 0.5
        if length > clip:
            slopes = tuple(slope * clip / length for slope in slopes)
        ahead = []
        groups_ = [(p, group) for group in level.weights.param_groups for p in group["params"]]
        for (p, group), start, slope in zip(groups_, own, slopes, strict=True):
            slots = level.weights.state.get(p) or {}
            t = int(slots.get("step", 0)) + 1
            b1, b2 = group["betas"]
            m = b1 * slots.get("exp_avg", 0.0) + (1 - b1) * slope
            v = b2 * slots.get("exp_avg_sq", 0.0) + (1 - b2) * slope**2
            m, v = m / (1 - b1**t), v / (1 - b2**t)
            root = torch.where(v > 0, torch.where(v > 0, v, torch.ones_like(v)).sqrt(), 0.0)
            decayed = start * (1 - group["lr"] * group["weight_decay"])
            ahead.append(decayed - group["lr"] * m / (root + group["eps"]))
        return list(torch.autograd.grad(value(ahead, batch(2)), alphas, materialize_grads=True))


@pytest.mark.parametrize("clip", [1e9, 0.05])
@pytest.mark.parametrize("steps", [0, 1, 5, 10])
@pytest.mark.parametrize("form", ["convex", "code"])
def test_exact_is_autograd_through_the_unrolled_step(form: Form, steps: int, clip: float) -> None:
    level = problem(
        form, dropout=0.0, dtype=torch.float64, steps=steps, hypergradient="exact",
        preconditioner="adamw", clip=clip,
    )  # fmt: skip
    masks = RandomState.now(level.device)
    _, gradient, here = level.gradients(batch(1))
    shrunk = level._clip(gradient)
    assert (shrunk < 1) == (clip < 1)
    found = level.hypergradient(batch(1), batch(2), gradient, here, masks, shrunk)
    expected = unrolled(level, clip)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)
    off = hyper.norm([a - b for a, b in zip(found, expected, strict=True)])
    assert off < 1e-10 * hyper.norm(expected)
    direct = level.gradients(batch(2), level._ahead)[2]
    cross = [a - b for a, b in zip(direct, expected, strict=True)]
    assert hyper.norm(cross) > 1e-6 * hyper.norm(direct)  # there is something to get right


def test_the_released_preconditioner_is_not_the_step() -> None:
    """Why `mixup-exact` has its own, and `mixup-paper-code` keeps the released one."""
    level = problem(
        dropout=0.0, dtype=torch.float64, steps=5, hypergradient="exact",
        preconditioner="adamw-tensor",
    )  # fmt: skip
    cosine, _ = cosine_and_ratio(hypergradient(level), unrolled(level, 1e9))
    assert cosine < 0.9
    options = {m.name: m.params["options"] for m in methods()}
    assert options["mixup-exact"]["preconditioner"] == "adamw"
    assert options["mixup-paper-code"]["preconditioner"] == "adamw-tensor"


def test_in_single_precision_differences_still_point_along_the_exact_one() -> None:
    found = []
    for kind in ("exact", "finite"):
        level = problem(hypergradient=kind, steps=0)
        for index in range(3):
            level._move_weights(level.gradients(batch(30 + index))[1])
        torch.manual_seed(5)
        found.append(hypergradient(level))
    cosine, ratio = cosine_and_ratio(*found)
    assert cosine > 0.999
    assert ratio == pytest.approx(1.0, abs=0.02)


def test_alpha_moves_against_the_hypergradient() -> None:
    level = problem(dropout=0.0, dtype=torch.float64)
    before = values(level.factors)
    torch.manual_seed(5)
    gradient = hypergradient(level)
    torch.manual_seed(5)
    level.alphas.state.clear()  # a first AdamW step goes by the sign
    level.step(batch(1), batch(2))
    moved = 0
    for old, new, slope in zip(before, values(level.factors), gradient, strict=True):
        free = (slope.abs() > 1e-6) & (old > 0.01) & (old < 0.99)
        assert torch.equal((new - old)[free].sign(), -slope[free].sign())
        moved += int(free.sum())
        assert float(new.min()) >= 0
        assert float(new.max()) <= 1
    assert moved > 100


def test_nothing_but_alpha_moves_before_w_takes_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    level = problem()
    before = values(level.parameters)
    pointers = [p.data_ptr() for p in level.parameters]
    state = copy.deepcopy(level.weights.state_dict()["state"])
    monkeypatch.setattr(level, "_move_weights", lambda steps: None)
    alphas = values(level.factors)
    level.step(batch(1), batch(2))
    assert equal(before, level.parameters)  # rolled back, bit for bit
    assert pointers == [p.data_ptr() for p in level.parameters]
    for index, slots in level.weights.state_dict()["state"].items():
        assert all(torch.equal(value, state[index][name]) for name, value in slots.items())
    assert not equal(alphas, level.factors)


@pytest.mark.parametrize("roll_back", [True, False])
def test_w_takes_one_adamw_step_at_the_new_or_the_old_alpha(roll_back: bool) -> None:
    level, plain = problem(dropout=0.0), problem(dropout=0.0)
    level.options = SearchOptions(roll_back=roll_back)
    level.step(batch(1), batch(2))
    if roll_back:
        with torch.no_grad():
            for mine, new in zip(plain.factors, level.factors, strict=True):
                mine.copy_(new)
    gradients = torch.autograd.grad(
        loss(plain.model, batch(1)), plain.parameters, materialize_grads=True
    )
    for parameter, gradient in zip(plain.parameters, gradients, strict=True):
        parameter.grad = gradient
    nn.utils.clip_grad_norm_(plain.parameters, 5.0)
    plain.weights.step()
    assert_same_weights(level, plain)


def test_first_order_is_the_direct_gradient_at_the_step_ahead() -> None:
    level, full = (problem(dropout=0.0, hypergradient=kind) for kind in ("first-order", "exact"))
    for mine, theirs in zip(level.parameters, full.parameters, strict=True):
        mine.data.copy_(theirs.data)
    level.weights.load_state_dict(full.weights.state_dict())
    direct = hypergradient(full)
    found = hypergradient(level)
    assert not torch.allclose(found[0], direct[0], rtol=1e-2)
    _, steps, _ = level.gradients(batch(1))
    level._move_weights(steps)
    _, _, expected = level.gradients(batch(2))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_both_sides_of_a_difference_see_the_same_dropout() -> None:
    def spread(defects: frozenset[str] | None) -> float:
        level = problem(dropout=0.3, defects=defects, differences="central")
        found = []
        for seed in (1, 1):
            torch.manual_seed(seed)
            _, steps, _ = level.gradients(batch(1))
            masks = RandomState.now(level.device)
            torch.manual_seed(7 + len(found))  # later draws must not matter
            cross = level._by_differences(batch(1), steps, level.parameters, None, masks)
            found.append(torch.cat([c.flatten() for c in cross]))
        return float((found[0] - found[1]).norm() / found[0].norm())

    assert spread(None) < 1e-5
    assert spread(frozenset({"fresh-dropout"})) > 0.5  # all that is seen is dropout


def test_the_random_state_goes_on_as_if_nothing_had_been_replayed() -> None:
    level = problem()
    masks = RandomState.now(level.device)
    torch.rand(5)
    expected = torch.rand(3)
    masks.set(level.device)
    torch.rand(5)
    with level._replayed(masks):
        torch.rand(100)
    assert torch.equal(torch.rand(3), expected)


def test_two_steps_is_a_roll_back_that_does_nothing() -> None:
    level, clean = with_defect("two-steps"), problem(dropout=0.0)
    before = int(next(iter(level.weights.state.values()))["step"])
    level.step(batch(1), batch(2))
    assert int(next(iter(level.weights.state.values()))["step"]) == before + 2
    _, steps, _ = clean.gradients(batch(1))
    clean._clip(steps)
    clean._move_weights(steps)
    with torch.no_grad():
        for mine, new in zip(clean.factors, level.factors, strict=True):
            mine.copy_(new)
    _, steps, _ = clean.gradients(batch(1))
    clean._clip(steps)
    clean._move_weights(steps)
    assert_same_weights(level, clean)


def test_a_shift_that_is_left_moves_w_by_its_radius_along_the_validation_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    level = with_defect("shift-left")
    monkeypatch.setattr(level, "_move_weights", lambda steps: None)
    before = values(level.parameters)
    level.step(batch(1), batch(2))
    moved = [b - a for a, b in zip(before, values(level.parameters), strict=True)]
    assert hyper.norm(moved) == pytest.approx(level.options.radius, rel=1e-2)
    _, validation, _ = level.gradients(batch(2))
    along = sum(float((a * b).sum()) for a, b in zip(moved, validation, strict=True))
    assert along < 0


def test_differences_at_the_step_are_taken_there() -> None:
    found = {}
    for name in ("standard", "moved"):
        settings: dict[str, Any] = {"dtype": torch.float64, "differences": "central"}
        if name == "moved":
            level = with_defect("differences-at-step", **settings)
        else:
            level = problem(dropout=0.0, **settings)
        _, steps, here = level.gradients(batch(1))
        found[name] = level.hypergradient(
            batch(1), batch(2), steps, here, RandomState.now(level.device)
        )
    level = problem(dropout=0.0, dtype=torch.float64, differences="central")
    _, steps, _ = level.gradients(batch(1))
    state = copy.deepcopy(level.weights.state_dict())
    level._move_weights(steps)
    _, direction, direct = level.gradients(batch(2))
    level.weights.load_state_dict(state)
    hyper.precondition(level.options.preconditioner, level.weights, steps, direction)
    cross = level._exact(batch(1), direction, RandomState.now(level.device))
    expected = [a - b for a, b in zip(direct, cross, strict=True)]
    cosine, ratio = cosine_and_ratio(found["moved"], expected)
    assert cosine > 0.99999
    assert ratio == pytest.approx(1, abs=1e-3)
    assert cosine_and_ratio(found["standard"], expected)[0] < 0.9999


def test_the_released_protocol_runs_and_is_something_else() -> None:
    ours = problem(form="code")
    theirs = problem(form="code", defects=frozenset(DEFECTS))
    assert not equal(ours.parameters, theirs.parameters)
    assert not equal(ours.factors, theirs.factors)


def test_folded_after_steps_the_model_computes_the_same() -> None:
    level = problem()
    level.model.eval()
    before = level.model(batch(1)).detach()
    fold(level.model)
    torch.testing.assert_close(level.model(batch(1)).detach(), before, rtol=1e-4, atol=1e-5)
    assert mixed(level.model) == []


def test_passes_count_what_a_step_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, differences, roll_back in (
        ("first-order", "forward", False),
        ("finite", "forward", True),
        ("finite", "central", False),
    ):
        level = problem(hypergradient=kind, differences=differences, roll_back=roll_back, steps=0)
        calls = []
        inner = level.loss
        level.loss = lambda m, b, inner=inner, calls=calls: calls.append(1) or inner(m, b)  # type: ignore[func-returns-value]
        level.step(batch(1), batch(2))
        assert len(calls) == passes(kind, differences, roll_back)  # type: ignore[arg-type]


def test_a_defect_that_does_not_exist_gets_one_line() -> None:
    with pytest.raises(MethodError, match="'typo' does not exist; choose from") as caught:
        problem(steps=0, defects=frozenset({"typo"}))
    assert "\n" not in str(caught.value)


def test_a_model_without_mixtures_is_refused() -> None:
    model = classifier()
    weights = torch.optim.AdamW(groups(model, RATE, DECAY))
    with pytest.raises(MethodError, match="no layer is mixed"):
        Bilevel(model, loss, weights, weights, SearchOptions())


def test_any_hugging_face_model_is_searched_and_saved_as_a_plain_one(tmp_path: Path) -> None:
    config = transformers.RobertaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=40, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.RobertaForSequenceClassification(config)
    attach(model, r"\.encoder\.", "code", rank=2, generator=seeded())
    weights = torch.optim.AdamW(groups(model, RATE, DECAY, factors(model)))
    alphas = torch.optim.AdamW(factors(model), lr=0.01, weight_decay=0.0)
    level = Bilevel(model, lambda m, given: m(**given).loss, weights, alphas, SearchOptions())
    given = {
        "input_ids": torch.randint(3, 50, (12, 6), generator=seeded()),
        "labels": torch.arange(12) % 3,
    }
    before = values(level.factors)
    losses = [level.step(given, given) for _ in range(30)]
    assert losses[-1] < losses[0] / 2
    assert not equal(before, level.factors)
    fold(model)
    model.save_pretrained(tmp_path)
    loaded = transformers.RobertaForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(**given).logits, model.eval()(**given).logits)
