"""Every finetuning method against its formula or the behaviour of its reference code."""

import math
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.errors import MethodError
from suites.mixup.encoder import Batch, Classifier, load, task_loss
from suites.mixup.finetuning import METHODS
from suites.mixup.finetuning.child_tuning import ChildTuningD
from suites.mixup.finetuning.dps import Subnetwork, highest
from suites.mixup.finetuning.loop import Finetune, predict
from suites.mixup.finetuning.mixout import MixoutWeight, encoder_linears
from suites.mixup.finetuning.probe import STRENGTHS, fit
from suites.mixup.finetuning.r3f import symmetric_divergence
from suites.mixup.hooks import Method, Setting, run_stages
from suites.mixup.mixing import alphas, factors, mixed
from suites.mixup.texts import Texts, tokenise

PAIRS = ("vanilla-pairs", "probe-pairs", "zero-shot")
"""Methods that need tasks of pairs; `setup(pairs=True)`."""
FLOORS = ("majority", "zero-shot")
"""Methods that learn nothing."""
NAMES = sorted(set(METHODS) - set(PAIRS) - set(FLOORS))


def seed(*keys: str | int) -> int:
    return zlib.crc32(repr(keys).encode())


def setup(
    *, regression: bool = False, steps: int = 6, pairs: bool = False
) -> tuple[Classifier, Setting]:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    pretrained = load("tiny", generator)
    model = Classifier(pretrained.model, 2, regression=regression, generator=generator, apart=pairs)
    words = [" ".join(["good" if i % 2 else "bad", *["word"] * (i % 5)]) for i in range(24)]
    # The head of pairs does not tell which text came first: those of class 1 are alike.
    others = tuple(w if i % 2 else "something else" for i, w in enumerate(words)) if pairs else None
    labels = tuple(float(i % 2) for i in range(24))
    classes = () if regression else ("0", "1")
    data = tokenise(
        Texts("toy", tuple(words), others, labels, classes), pretrained, 16, apart=pairs
    )
    return model, Setting(
        data=data,
        total_steps=steps,
        learning_rate=1e-2,
        batch_size=8,
        regression=regression,
        seed=seed,
    )


class Recorder:
    """A trial's context that keeps the losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def restore(self, state: Any) -> int:
        return 0

    def tick(self, step: int, total: int, state: Any = None) -> None:
        pass

    def log(self, step: int, **scalars: float) -> None:
        self.losses.append(scalars["loss"])


def finetuned(
    name: str, *, regression: bool = False, steps: int = 6, pairs: bool = False, **options: Any
) -> tuple[Classifier, Method, list[float]]:
    model, setting = setup(regression=regression, steps=steps, pairs=pairs)
    method = METHODS[name](**options)
    method.attach(model, setting)
    ctx = Recorder()
    run_stages([*method.stages(model, setting), lambda: Finetune(model, method, setting)], ctx)
    return model, method, ctx.losses


def batch_of(model: Classifier) -> Batch:
    return setup(regression=model.regression)[1].data.batch(range(8))


@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_method_learns_and_leaves_a_plain_model(name: str, regression: bool) -> None:
    if name == "r3f" and regression:
        with pytest.raises(MethodError, match="the task is a regression; choose a"):
            finetuned(name, regression=True)
        return
    plain = setup(regression=regression)[0]
    quick = {"repeats": 1} if name in {"mixup", "averaging"} else {}
    model, method, losses = finetuned(name, regression=regression, steps=12, **quick)
    if name in {"probe", "lp-ft", "wise-ft"}:  # their first step fits the head
        batch = batch_of(plain)
        assert losses[0] < task_loss(plain(batch), batch.labels_B, regression)
    else:
        assert sum(losses[-3:]) < sum(losses[:3])
    model.eval()
    method.report(model)
    before = model(batch_of(model)).detach()
    method.detach(model)
    assert set(model.state_dict()) == set(plain.state_dict())
    torch.testing.assert_close(model(batch_of(model)).detach(), before, rtol=1e-4, atol=1e-5)
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain.eval()(batch_of(model)).detach(), model(batch_of(model)))


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_run_again(name: str) -> None:
    if name in {"mixup", "averaging"}:
        pytest.skip("see test_search.py")
    assert finetuned(name)[2] == finetuned(name)[2]


@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("name", ["vanilla-pairs", "probe-pairs"])
def test_pairs_that_are_encoded_apart_are_learnt(name: str, regression: bool) -> None:
    model, method, _ = finetuned(name, regression=regression, steps=12, pairs=True)
    method.detach(model)
    plain, setting = setup(regression=regression, pairs=True)
    batch = setting.data.batch(range(24))
    before = task_loss(plain.eval()(batch), batch.labels_B, regression)
    assert task_loss(model.eval()(batch), batch.labels_B, regression) < before


@pytest.mark.parametrize("name", PAIRS)
def test_single_texts_given_to_methods_of_pairs_are_one_line(name: str) -> None:
    with pytest.raises(MethodError, match=r"pair.*; choose a"):
        finetuned(name, regression=True)


def test_the_head_of_a_pair_reads_difference_and_product_of_each_text_by_itself() -> None:
    model, setting = setup(pairs=True)
    model.eval()
    data = setting.data
    assert data.second is not None
    found_BD = model.features(data.batch([3, 4]))
    alone = setup()[0].eval()
    alone.load_state_dict(
        {k: v for k, v in model.state_dict().items() if "head" not in k}, strict=False
    )
    one_BD, other_BD = (
        alone.features(side.batch([3, 4])) for side in (replace(data, second=None), data.second)
    )
    wanted_BD = torch.cat([(one_BD - other_BD).abs(), one_BD * other_BD], 1)
    torch.testing.assert_close(found_BD, wanted_BD, rtol=1e-5, atol=1e-6)


def test_zero_shot_is_the_correlation_of_the_two_embeddings() -> None:
    model, _, _ = finetuned("zero-shot", regression=True, pairs=True)
    data = setup(pairs=True)[1].data
    assert data.second is not None
    alone = setup()[0].eval()
    one, other = (
        alone.features(side.batch(range(24))).detach().numpy()
        for side in (replace(data, second=None), data.second)
    )
    wanted = [np.corrcoef(u, v)[0, 1] for u, v in zip(one, other, strict=True)]
    found = model.eval()(data.batch(range(24)))[:, 0].detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_majority_is_what_most_examples_are() -> None:
    model, setting = setup()
    setting = replace(
        setting, data=replace(setting.data, labels_N=torch.tensor([1] * 13 + [0] * 11))
    )
    method = METHODS["majority"]()
    run_stages(
        [*method.stages(model, setting), lambda: Finetune(model, method, setting)], Recorder()
    )
    assert set(predict(model, setting.data).tolist()) == {1}
    scored, _, _ = finetuned("majority", regression=True)
    assert predict(scored, setup(regression=True)[1].data) == pytest.approx(0.5)


def test_vanilla_is_matched_in_updates_or_in_passes() -> None:
    _, setting = setup(steps=6)
    repeat = -(-3 * (int(0.8 * 24) // 8 + 1) // 1)  # 9 steps, 4 passes each
    vanilla = METHODS["vanilla"]
    assert vanilla().steps(setting) == 6
    assert vanilla(budget="updates").steps(setting) == 5 * repeat + 6
    assert vanilla(budget="time", repeats=2).steps(setting) == 2 * repeat * 4 + 6
    with pytest.raises(MethodError, match=r"option budget: .*found 'money'"):
        vanilla(budget="money")


@pytest.mark.parametrize("classes", [2, 3])
def test_the_probe_is_at_the_minimum_of_its_loss(classes: int) -> None:
    rng = np.random.default_rng(classes)
    features_ND = rng.normal(size=(60, 4))
    labels_N = np.arange(60) % classes
    features_ND[:, 0] += labels_N
    weight_CD, bias_C = fit(features_ND, labels_N, classes, regression=False)
    weight, bias = torch.tensor(weight_CD, requires_grad=True), torch.tensor(bias_C)
    logits_NC = torch.tensor(features_ND) @ weight.T + bias.requires_grad_(True)
    loss = nn.functional.cross_entropy(logits_NC, torch.tensor(labels_N), reduction="sum")
    by_weight, by_bias = torch.autograd.grad(loss, [weight, bias])
    assert float(by_bias.abs().max()) < 0.02
    # gradient of C * loss + |W|^2 / 2; of two classes the one output is W_1 - W_0
    strengths = {k: by_weight * k + weight.detach() * (2 if classes == 2 else 1) for k in STRENGTHS}
    assert min(float(g.abs().max()) / max(1, k) for k, g in strengths.items()) < 0.02


def test_the_probe_of_a_regression_is_the_ridge_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    features_ND = rng.normal(size=(50, 3))
    labels_N = features_ND @ [1.0, -2.0, 0.0] + 3 + rng.normal(size=50)
    weight_CD, bias_C = fit(features_ND, labels_N, 1, regression=True)
    centred_ND = features_ND - features_ND.mean(0)

    def ridge(penalty: float) -> Any:
        square_DD = centred_ND.T @ centred_ND + penalty * np.eye(3)
        return np.linalg.solve(square_DD, centred_ND.T @ (labels_N - labels_N.mean()))

    assert min(np.abs(ridge(1 / c) - weight_CD[0]).max() for c in STRENGTHS) < 1e-9
    assert bias_C == pytest.approx(labels_N.mean() - features_ND.mean(0) @ weight_CD[0])


@pytest.mark.parametrize(
    ("labels", "wanted"), [([1, 1, 1], 1), ([0, 2, 2, 2, 2, 0], 2)], ids=["one", "not-the-second"]
)
def test_the_probe_predicts_no_class_that_it_has_not_seen(labels: list[int], wanted: int) -> None:
    weight_CD, bias_C = fit(np.zeros((len(labels), 2)), np.array(labels), 3, regression=False)
    assert int((weight_CD @ np.zeros(2) + bias_C).argmax()) == wanted


def test_the_probe_leaves_the_encoder_and_lp_ft_begins_with_it() -> None:
    start = setup()[0].state_dict()
    probe = finetuned("probe")[0].state_dict()
    moved = {key for key, value in probe.items() if not torch.equal(value, start[key])}
    assert moved == {"head.weight", "head.bias"}
    _, _, losses = finetuned("lp-ft")
    assert losses[0] == finetuned("probe")[2][0]
    assert len(losses) == 7


@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
def test_wise_ft_is_between_lp_ft_and_the_probe(mix: float) -> None:
    tuned, start = (finetuned(name)[0].state_dict() for name in ("lp-ft", "probe"))
    model, method, _ = finetuned("wise-ft", mix=mix)
    method.detach(model)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, (1 - mix) * tuned[key] + mix * start[key])


def test_bit_fit_moves_biases_and_the_head_alone() -> None:
    start = setup()[0].state_dict()
    after = finetuned("bit-fit")[0].state_dict()
    moved = {key for key, value in after.items() if not torch.equal(value, start[key])}
    assert {"head.weight", "head.bias"} < moved
    assert all(key.endswith("bias") for key in moved - {"head.weight", "norm.weight"})


def test_sam_takes_the_gradient_of_the_highest_loss_nearby() -> None:
    model, setting = setup()
    model.eval()  # no dropout: two passes of the formula below must agree
    method = METHODS["sam"](radius=0.1)
    method.attach(model, setting)
    batch = batch_of(model)
    start = [p.detach().clone() for p in model.parameters()]
    plain = torch.autograd.grad(task_loss(model(batch), batch.labels_B, False), model.parameters())
    norm = torch.cat([g.flatten() for g in plain]).norm()
    method.loss(model, batch).backward()  # type: ignore[no-untyped-call]
    for parameter, first, gradient in zip(model.parameters(), start, plain, strict=True):
        torch.testing.assert_close(parameter.detach(), first + 0.1 * gradient / norm)
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    highest_nearby = torch.autograd.grad(
        task_loss(model(batch), batch.labels_B, False), model.parameters()
    )
    method.after_backward(model, 0)
    for parameter, first in zip(model.parameters(), start, strict=True):
        assert torch.equal(parameter.detach(), first)
    for mine, wanted in zip(found, highest_nearby, strict=True):
        torch.testing.assert_close(mine, wanted)


def test_sam_of_radius_0_is_vanilla_with_the_same_dropout() -> None:
    assert finetuned("sam", radius=0.0)[2] == finetuned("vanilla")[2]


def test_ema_is_the_average_of_the_weights_along_the_way() -> None:
    model, setting = setup()
    method = METHODS["ema"](decay=0.25)
    method.attach(model, setting)
    head = model.head.bias
    average = head.detach().clone()
    for step in range(setting.total_steps):
        with torch.no_grad():
            head.add_(step + 1.0)
        decay = min(0.25, (1 + step + 1) / (10 + step + 1))
        average = decay * average + (1 - decay) * head.detach()
        method.after_step(model, step, 0.1)
    torch.testing.assert_close(head.detach(), average)


def test_l2_sp_pulls_by_rate_times_strength_and_leaves_the_head() -> None:
    model, setting = setup()
    method = METHODS["l2-sp"](strength=5.0)
    method.attach(model, setting)
    start = {k: v.detach().clone() for k, v in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    method.after_step(model, 0, 0.02)
    for name, parameter in model.named_parameters():
        moved = 0.9 if name.startswith("encoder") else 1.0
        torch.testing.assert_close(parameter.detach(), start[name] + moved)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_top_k_moves_the_top_layers_and_the_head_alone(layers: int) -> None:
    before = dict(setup()[0].named_parameters())
    model, _, _ = finetuned("top-k", layers=layers)
    for name, parameter in model.named_parameters():
        number = int(name.split("layer.")[1].split(".")[0]) if "layer." in name else -1
        expected = name.startswith(("head", "norm")) or number >= 2 - layers
        assert torch.equal(parameter, before[name]) != expected, name
    with pytest.raises(MethodError, match="top-k wants 3 layers, the encoder has 2"):
        finetuned("top-k", layers=3)


def test_mixout_is_its_formula_by_input_column() -> None:
    target, weight = torch.randn(5, 400), torch.randn(5, 400)
    mixed_ = MixoutWeight(target, 0.3).train()
    torch.manual_seed(3)
    found = mixed_(weight)
    torch.manual_seed(3)
    m = torch.empty(400).bernoulli_(0.7)
    expected = ((1 - m) * target + m * weight - 0.3 * target) / 0.7
    torch.testing.assert_close(found, expected)
    assert 0.6 < float(m.mean()) < 0.8
    assert torch.equal(mixed_.eval()(weight), weight)
    mean = torch.stack([mixed_.train()(weight) for _ in range(3000)]).mean(0)
    torch.testing.assert_close(mean, weight, rtol=0, atol=0.3)  # unbiased


def test_mixout_takes_the_place_of_dropout_in_the_encoders_linears() -> None:
    model, setting = setup()
    METHODS["mixout"](p=0.0).attach(model, setting)
    assert len(encoder_linears(model)) == 12
    batch = batch_of(model)
    model.train()
    assert torch.equal(model(batch), model(batch))  # no dropout is left
    with pytest.raises(MethodError, match=r"Mixout: option p: .*less than 1, found 1\.0"):
        METHODS["mixout"](p=1.0)


def test_the_symmetric_divergence_is_both_kullback_leiblers() -> None:
    one, other = torch.randn(6, 4).double(), torch.randn(6, 4).double()
    p, q = one.log_softmax(1), other.log_softmax(1)
    kl = nn.KLDivLoss(reduction="batchmean", log_target=True)
    torch.testing.assert_close(symmetric_divergence(one, other), kl(q, p) + kl(p, q))
    assert float(symmetric_divergence(one, one + 3.0)) == pytest.approx(0, abs=1e-12)


def test_r3f_adds_the_divergence_under_noise_on_the_word_embeddings() -> None:
    model, _ = setup()
    model.eval()  # no dropout: what is left is the noise
    batch = batch_of(model)
    plain = task_loss(model(batch), batch.labels_B, False)
    silent = METHODS["r3f"](strength=7.0, radius=0.0)
    torch.testing.assert_close(silent.loss(model, batch), plain)
    loud = METHODS["r3f"](strength=7.0, radius=0.5)
    torch.manual_seed(1)
    found = loud.loss(model, batch)
    torch.manual_seed(1)
    embeddings = model.encoder.get_input_embeddings()(batch.input_ids_BT)  # type: ignore[operator]
    noise = torch.empty_like(embeddings).uniform_(-0.5, 0.5)
    noisy = model(batch, inputs_embeds=embeddings + noise)
    torch.testing.assert_close(found, plain + 7 * symmetric_divergence(model(batch), noisy))
    assert found.item() > plain.item() + 0.001


@pytest.mark.parametrize("regression", [False, True])
def test_r_drop_is_its_formula(regression: bool) -> None:
    model, _ = setup(regression=regression)
    model.train()
    batch = batch_of(model)
    torch.manual_seed(2)
    found = METHODS["r-drop"](strength=0.5).loss(model, batch)
    torch.manual_seed(2)
    one, other = model(batch), model(batch)
    assert not torch.equal(one, other)
    if regression:
        task = [((x[:, 0] - batch.labels_B) ** 2).mean() for x in (one, other)]
        apart = ((one - other) ** 2).mean()
    else:
        task = [nn.functional.cross_entropy(x, batch.labels_B) for x in (one, other)]
        apart = symmetric_divergence(one, other) / 2
    torch.testing.assert_close(found, sum(task) / 2 + 0.5 * apart)


def test_rec_adam_recalls_first_and_learns_later_and_leaves_the_head_free() -> None:
    start = dict(setup()[0].named_parameters())

    def distance(turn: float) -> tuple[float, float]:
        model, _, _ = finetuned("rec-adam", turn=turn, pull=0.5)
        now = dict(model.named_parameters())
        name = "encoder.encoder.layer.0.output.dense.weight"
        return tuple((now[n] - start[n]).norm().item() for n in (name, "head.weight"))  # type: ignore[return-value]

    late, early = distance(5.0), distance(0.0)
    assert late[0] < 0.05 * early[0]
    assert late[1] > 0.3 * early[1]


def gradients(model: Classifier) -> dict[str, Tensor]:
    batch = batch_of(model)
    model.zero_grad()
    task_loss(model(batch), batch.labels_B, False).backward()
    return {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}


def test_child_tuning_f_masks_layers_at_random_and_rescales() -> None:
    model, setting = setup()
    method = METHODS["child-tuning-f"](share=0.25)
    method.attach(model, setting)
    before = gradients(model)
    method.after_backward(model, 0)
    kept = total = 0
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        if ".layer." not in name:
            assert torch.equal(parameter.grad, before[name])
            continue
        let = parameter.grad != 0
        torch.testing.assert_close(parameter.grad[let], before[name][let] / 0.25)
        nonzero = before[name] != 0
        kept, total = kept + int(let.sum()), total + int(nonzero.sum())
    assert kept / total == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("share", [0.2, 0.3])
@pytest.mark.parametrize("clip", [1.0, 0.01])
def test_child_tuning_d_keeps_what_the_released_code_keeps(share: float, clip: float) -> None:
    """Squared gradients, each tensor clipped by itself, at or above numpy's percentile of all."""
    model, setting = setup()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    method = ChildTuningD(share=share, fisher_clip=clip)
    method.attach(model, setting)
    parameters = {k: p for k, p in model.named_parameters() if ".layer." in k}
    order = torch.randperm(24, generator=setting.generator("fisher")).tolist()
    fisher = {k: torch.zeros_like(p) for k, p in parameters.items()}
    for start in (0, 8, 16):
        batch = setting.data.batch(order[start : start + 8])
        model.zero_grad()
        task_loss(model(batch), batch.labels_B, False).backward()
        for name, parameter in parameters.items():
            assert parameter.grad is not None
            scale = min(1.0, clip / (float(parameter.grad.norm()) + 1e-6))
            fisher[name] += (scale * parameter.grad) ** 2 / 3
    flat = torch.cat([f.flatten() for f in fisher.values()])
    threshold = np.percentile(flat.numpy(), (1 - share) * 100)
    before = gradients(model)
    method.after_backward(model, 0)
    wrong = 0
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        if name not in parameters:
            assert torch.equal(parameter.grad, before[name])
        else:
            mask = fisher[name] >= threshold
            wrong += int(((parameter.grad != 0) != (mask & (before[name] != 0))).sum())
    assert wrong <= 2  # ties at the threshold, to rounding
    assert sum(int(mask.sum()) for mask in method._masks) == pytest.approx(share * len(flat), abs=2)


def test_re_init_draws_the_top_layers_anew() -> None:
    before = dict(setup()[0].named_parameters())
    model, setting = setup()
    METHODS["re-init"](layers=1).attach(model, setting)
    for name, parameter in model.named_parameters():
        fresh = ".layer.1." in name and name.endswith("weight") and "LayerNorm" not in name
        assert torch.equal(parameter, before[name]) != fresh, name
    weight = model.layers()[1].output.dense.weight  # type: ignore[union-attr]
    assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    with pytest.raises(MethodError, match="re-init wants 3 layers, the encoder has 2"):
        finetuned("re-init", layers=3)


def test_the_highest_share_of_a_tensor_is_kept() -> None:
    score = torch.tensor([[5.0, 1.0, 3.0], [2.0, 4.0, 0.0]])
    assert highest(score, 0.5).tolist() == [[1, 0, 1], [0, 1, 0]]
    assert highest(score, 0.7).sum() == 5  # ceil(0.7 * 6)
    assert highest(score, 1.0).sum() == 6


def test_dps_dense_collects_and_then_masks_by_tensor() -> None:
    model, setting = setup(steps=40)
    method: Any = METHODS["dps-dense"](p=0.3)
    method.attach(model, setting)
    assert method.stage == 2  # 5 % of 40; two steps of each stage
    own = {k: p for k, p in model.named_parameters() if ".layer." in k}
    masked = {k for k in own if k.endswith("weight") and "LayerNorm" not in k}
    assert len(masked) == 12  # the matrices; the released code leaves biases and norms alone
    squares = {k: torch.zeros_like(p) for k, p in own.items()}
    for step in range(6):
        before = gradients(model)
        method.after_backward(model, step)
        if step == 4:  # a new cycle
            squares = {k: torch.zeros_like(p) for k, p in own.items()}
        for name, parameter in own.items():
            assert parameter.grad is not None
            if step % 4 < 2 or name not in masked:
                assert torch.equal(parameter.grad, before[name])
                squares[name] += before[name] ** 2 / 1e3
            else:
                score = squares[name].flatten().sort(descending=True).values
                mask = squares[name] >= score[math.ceil(0.7 * len(score)) - 1]
                torch.testing.assert_close(parameter.grad, before[name] * mask)
    assert METHODS["dps-dense"]().steps(setting) == 40


def test_dps_masks_the_pooler_too() -> None:
    torch.manual_seed(0)
    pretrained = load("tiny", torch.Generator().manual_seed(0), pooling="pooler")
    model = Classifier(
        pretrained.model, 2, regression=False, generator=torch.Generator(), pooling="pooler"
    )
    method: Any = METHODS["dps-dense"]()
    names = {id(p): name for name, p in model.named_parameters()}
    assert sum("pooler" in names[id(p)] for p in method.masked(model)) == 1


def test_dps_mix_scores_by_hits_and_mixes_with_the_start_of_stage_two() -> None:
    weight, pretrained = torch.randn(4, 6), torch.randn(4, 6)
    part = Subnetwork(pretrained, 0.5, penalty_from=50).train()
    squares, hits = torch.zeros(4, 6), torch.zeros(6)
    for step in range(3):
        torch.manual_seed(step)
        found = part(weight)
        torch.manual_seed(step)
        keep = torch.empty(6).bernoulli_(0.5)
        torch.testing.assert_close(
            found, ((1 - keep) * pretrained + keep * weight - 0.5 * pretrained) / 0.5
        )
        gradient = torch.randn(4, 6) * keep
        part.collect(gradient)
        squares, hits = squares + gradient**2, hits + keep
        assert torch.equal(part.hits_I, hits)
    hits = torch.tensor([1.0, 20.0, 60.0, 120.0, 3.0, 200.0])  # as after a long stage
    part.hits_I.copy_(hits)
    part.choose(weight, stage=60)  # long enough for the penalty
    score = squares / hits.clamp(min=1) * torch.exp(-hits / 60)
    assert torch.equal(part.chosen_OI, highest(score, 0.5))
    later, m = weight + 1.0, part.chosen_OI
    torch.testing.assert_close(part(later), ((1 - m) * weight + m * later - 0.5 * weight) / 0.5)
    assert torch.equal(part.eval()(later), later)
    part.restart()
    assert float(part.squares_OI.sum() + part.hits_I.sum()) == 0


def test_dps_changes_stages_every_twentieth_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []
    model, setting = setup(steps=60)
    method: Any = METHODS["dps-mix"]()
    method.attach(model, setting)
    monkeypatch.setattr(Subnetwork, "choose", lambda self, w, stage: calls.append(("II", step)))
    monkeypatch.setattr(Subnetwork, "restart", lambda self: calls.append(("I", step)))
    for step in range(9):
        method.after_step(model, step, 0.0)
    layers = len(encoder_linears(model))
    assert calls[::layers] == [("II", 2), ("I", 5), ("II", 8)]
    short: Any = METHODS["dps-mix"]()
    model, setting = setup(steps=6)
    short.attach(model, setting)
    assert short.stage == 1  # not 0


def test_lora_trains_its_factors_and_the_head_and_merges() -> None:
    start = setup()[0].state_dict()
    model, setting = setup()
    method = METHODS["lora"](rank=4)
    method.attach(model, setting)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in n or n.startswith(("head", "norm")) for n in trained)
    assert sum("lora_A" in n for n in trained) == 4  # query and value of two layers
    batch = batch_of(model)
    plain = setup()[0].eval()
    torch.testing.assert_close(model.eval()(batch), plain(batch))  # B = 0
    run_stages([lambda: Finetune(model, method, setting)], Recorder())
    wrapped = {
        n.removesuffix(".lora_A.default.weight"): m
        for n, m in model.state_dict().items()
        if n.endswith("lora_A.default.weight")
    }
    b = {n: model.state_dict()[f"{n}.lora_B.default.weight"] for n in wrapped}
    expected = {n: start[f"{n}.weight"] + (8 / 4) * b[n] @ a for n, a in wrapped.items()}
    method.detach(model)
    for name, value in model.state_dict().items():
        layer = name.removesuffix(".weight")
        if layer in expected:
            torch.testing.assert_close(value, expected[layer])
            assert not torch.equal(value, start[name])
        elif name.startswith("encoder"):
            assert torch.equal(value, start[name])
    with pytest.raises(MethodError, match="lora: no linear layer of BertModel matches 'nothing'"):
        METHODS["lora"](pattern="nothing").attach(setup()[0], setting)


def test_joint_training_moves_alpha_and_keeps_it_in_range() -> None:
    model, setting = setup()
    method = METHODS["joint"](alpha_rate=0.05)
    method.attach(model, setting)
    before = [f.detach().clone() for f in factors(model)]
    run_stages([lambda: Finetune(model, method, setting)], Recorder())
    after = [f.detach() for f in factors(model)]
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.equal(f, f.clamp(0, 1)) for f in after)
    assert min(float(f.min()) for f in after) < 0.97


def test_random_alpha_stays_as_it_was_drawn() -> None:
    model, _, _ = finetuned("random-alpha", std=0.45)
    again, setting = setup()
    METHODS["random-alpha"](std=0.45).attach(again, setting)
    assert all(torch.equal(a, b) for a, b in zip(factors(model), factors(again), strict=True))
    assert 0.5 < float(torch.cat([a.flatten() for a in alphas(model).values()]).mean()) < 0.9


def test_mixup_reports_alpha_by_kind_and_layer() -> None:
    model, setting = setup()
    method = METHODS["mixup"](repeats=1)
    method.attach(model, setting)
    series = method.report(model)
    assert set(series) == {
        f"alpha-{kind}"
        for kind in (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        )
    }
    assert all(len(values) == 2 for values in series.values())
    first = mixed(model)[0]
    assert series["alpha-attention.self.query"][0] == pytest.approx(
        float(first.mixup.alpha().mean())
    )


def test_averaging_is_the_mixup_without_alpha() -> None:
    model, method, losses = finetuned("averaging", repeats=2)
    assert mixed(model) == []
    assert len(losses) == 2 * 9 + 6
    assert method.report(model) == {}


def test_a_folded_model_is_a_checkpoint_like_any_other(tmp_path: Path) -> None:
    model, method, _ = finetuned("mixup", repeats=1)
    method.detach(model)
    model.eval()
    model.encoder.save_pretrained(tmp_path)  # type: ignore[operator]
    loaded = type(model.encoder).from_pretrained(tmp_path, add_pooling_layer=False).eval()  # type: ignore[attr-defined]
    ids = batch_of(model).input_ids_BT
    assert torch.equal(loaded(ids).last_hidden_state, model.encoder(ids).last_hidden_state)
