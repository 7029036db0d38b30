"""Fisher information and Gram matrices against autograd in plain loops and closed forms."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import DataError, MethodError
from suites.merging.merge import command as merge
from suites.merging.merge import rules
from suites.merging.merge.statistics import fisher, grams, main
from suites.merging.policy.fast import FastDecisionTransformer
from suites.merging.policy.files import save
from suites.merging.policy.model import DecisionTransformer, Shape
from suites.merging.robots.trajectories import Batch, Trajectories, Windows, statistics


def policy(heads: int = 1, activation: str = "relu", dropout: float = 0.0) -> DecisionTransformer:
    shape = Shape(
        3, 2, width=4, layers=2, heads=heads, context=3, max_steps=9,
        dropout=dropout, activation=activation,  # type: ignore[arg-type]
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    made = FastDecisionTransformer(shape, generator).eval()
    for parameter in made.parameters():
        parameter.data += 0.5 * torch.randn(parameter.shape, generator=generator)
    return made


def batch(seed: int, padded: bool = True, windows: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(windows, 3, dtype=torch.bool)
    if padded:
        mask[0, 2] = mask[1, 1] = mask[1, 2] = False
    return Batch(
        torch.randn(windows, 3, 3, generator=generator),
        torch.randn(windows, 3, 2, generator=generator),
        torch.randn(windows, 3, 1, generator=generator),
        torch.tensor([[4, 5, 6]] * windows),
        mask,
    )


def samples(made: nn.Module, batches: list[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
    """Prediction and target of every token, from a forward pass of its window alone."""
    for many in batches:
        for window in range(len(many.mask_BK)):
            single = Batch(*(field[window : window + 1] for field in many))
            for step in range(3):
                if single.mask_BK[0, step]:
                    yield made(*single.inputs)[0, step], single.actions_BKA[0, step]


def gradients(value: Tensor, made: nn.Module) -> dict[str, Tensor]:
    named = dict(made.named_parameters())
    found = torch.autograd.grad(value, list(named.values()), allow_unused=True, retain_graph=True)
    return {
        k: torch.zeros_like(named[k]) if g is None else g for k, g in zip(named, found, strict=True)
    }


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.allclose(a[k], b[k], rtol=1e-4, atol=1e-7) for k in a)


@pytest.mark.parametrize(("heads", "activation"), [(1, "relu"), (2, "gelu_new")])
@pytest.mark.parametrize("kind", ["empirical", "true"])
def test_information_per_token_is_autograd_in_a_loop(
    kind: str, heads: int, activation: str
) -> None:
    made = policy(heads, activation)
    batches = [batch(1), batch(2, padded=False)]
    expected = {k: torch.zeros_like(v) for k, v in made.named_parameters()}
    tokens = 0
    for prediction, target in samples(made, batches):
        tokens += 1
        values = (
            [0.5 * ((prediction - target) ** 2).sum()] if kind == "empirical" else [*prediction]
        )
        for value in values:
            for key, gradient in gradients(value, made).items():
                expected[key] += gradient**2
    assert tokens == 15
    found = fisher(made, batches, kind, list(expected))  # type: ignore[arg-type]
    assert close(found, {k: v / tokens for k, v in expected.items()})
    assert all(v.dtype == torch.float32 and not v.requires_grad for v in found.values())


def test_the_papers_information_squares_the_gradient_of_whole_batches() -> None:
    made = policy()
    batches = [batch(1), batch(2, padded=False)]
    expected = {k: torch.zeros_like(v) for k, v in made.named_parameters()}
    for many in batches:
        pairs = list(samples(made, [many]))
        errors = torch.stack([prediction - target for prediction, target in pairs])
        for key, gradient in gradients((errors**2).mean(), made).items():
            expected[key] += gradient**2
    found = fisher(made, batches, "paper", list(expected))
    assert close(found, {k: v / 15 for k, v in expected.items()})


def test_true_is_what_empirical_tends_to_for_actions_of_the_policy_itself() -> None:
    made = policy()
    single = batch(3, padded=False, windows=1)
    many = Batch(*(field.repeat_interleave(10_000, 0) for field in single))
    with torch.no_grad():
        own = made(*many.inputs)
    generator = torch.Generator().manual_seed(5)
    drawn = many._replace(actions_BKA=own + torch.randn(own.shape, generator=generator))

    class Conditioned(nn.Module):
        """Past actions are inputs too: those stay as they were."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = made

        def forward(self, *_: Tensor) -> Tensor:
            actions: Tensor = self.inner(*many.inputs)
            return actions

    key = "blocks.0.mlp.up.weight"
    true = fisher(made, [single], "true", [key])[key]
    empirical = fisher(Conditioned(), [drawn], "empirical", [f"inner.{key}"])[f"inner.{key}"]
    # A squared normal variable has twice its mean squared as variance: 1.4 % on 10,000 draws.
    assert torch.allclose(empirical, true, rtol=0.07, atol=1e-9)


def test_a_linear_policy_has_its_closed_form() -> None:
    # a^ = W s: sum_k (d a^_k / dW_oi)^2 = s_i^2 for every o.
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, states_BKS: Tensor, *_: Tensor) -> Tensor:
            actions: Tensor = self.inner(states_BKS)
            return actions

    one = batch(1)
    found = fisher(Linear(), [one], "true", ["inner.weight", "inner.bias"])
    power = (one.states_BKS[one.mask_BK] ** 2).mean(0)
    assert torch.allclose(found["inner.weight"], power.expand(2, 3))
    assert torch.allclose(found["inner.bias"], torch.ones(2))


def test_a_layer_that_is_called_twice_adds_up_before_it_is_squared() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, states_BKS: Tensor, *_: Tensor) -> Tensor:
            return torch.tanh(self.inner(torch.tanh(self.inner(states_BKS))))[..., :2]

    made = Twice()
    expected = {k: torch.zeros_like(v) for k, v in made.named_parameters()}
    for prediction, _ in samples(made, [batch(1)]):
        for value in prediction:
            for key, gradient in gradients(value, made).items():
                expected[key] += gradient**2 / 6
    assert close(fisher(made, [batch(1)], "true", list(expected)), expected)


@pytest.mark.parametrize("kind", ["paper", "empirical", "true"])
def test_the_policy_is_left_as_it_was(kind: str) -> None:
    made = policy().train()
    made.blocks.requires_grad_(False)
    before = {k: v.clone() for k, v in made.state_dict().items()}
    key = "blocks.1.attn.qkv.weight"
    found = fisher(made, [batch(1)], kind, [key])  # type: ignore[arg-type]
    assert found[key].abs().sum() > 0
    assert made.training
    assert not any(p.requires_grad for p in made.blocks.parameters())
    assert all(p.grad is None for p in made.parameters())
    assert all(torch.equal(v, before[k]) for k, v in made.state_dict().items())
    assert not any(m._forward_hooks for m in made.modules())


def test_only_the_papers_kind_drops_out() -> None:
    made = policy(dropout=0.5)
    keys = [k for k, _ in made.named_parameters() if k.startswith("blocks")]

    def twice(kind: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return tuple(fisher(made, [batch(1)], kind, keys) for _ in range(2))  # type: ignore[return-value, arg-type]

    assert not close(*twice("paper"))
    assert close(*twice("true"))
    assert close(*twice("empirical"))
    assert not made.training


def test_the_bias_of_keys_carries_no_information() -> None:
    # The softmax does not see what is added to all scores of a query: 0/0 in a Fisher average.
    key = "blocks.0.attn.qkv.bias"
    queries, keys, values = fisher(policy(), [batch(1)], "true", [key])[key].split(4)
    assert float(keys.abs().max()) < 1e-10
    assert float(queries.min()) > 1e-10
    assert float(values.min()) > 1e-6


def test_grams_are_the_inputs_of_every_linear_layer_by_hand() -> None:
    made = policy()
    one, two = batch(1), batch(2, padded=False)
    found = grams(made, [one, two])
    linear = {f"{n}.weight": m for n, m in made.named_modules() if isinstance(m, nn.Linear)}
    assert list(found) == list(linear)
    assert all(found[k].shape == (m.in_features,) * 2 for k, m in linear.items())

    s_MS = torch.cat([many.states_BKS[many.mask_BK] for many in (one, two)]).double()
    assert torch.allclose(found["embed_state.weight"], s_MS.T @ s_MS / 15)

    # The first block reads every token but the last action; window by window, padding cut off.
    rows = []
    for many in (one, two):
        for b in range(3):
            present = many.mask_BK[b]
            tokens = torch.stack(
                [
                    made.embed_return(many.returns_to_go_BK1[b]),
                    made.embed_state(many.states_BKS[b]),
                    made.embed_action(many.actions_BKA[b]),
                ],
                dim=1,
            )
            tokens = made.embed_norm(tokens) + made.embed_time(many.timesteps_BK[b])[:, None]
            rows.append(tokens[present].flatten(0, 1)[:-1])
    with torch.no_grad():
        x_MD = made.blocks[0].ln_1(torch.cat(rows)).double()
    assert len(x_MD) == 15 * 3 - 6
    assert torch.allclose(
        found["blocks.0.attn.qkv.weight"], (x_MD.T @ x_MD / len(x_MD)).detach(), rtol=1e-5
    )
    for gram in found.values():
        assert float(torch.linalg.eigvalsh(gram).min()) > -1e-9


def test_grams_of_padding_alone_and_of_two_halves() -> None:
    made = policy()
    whole = batch(1, padded=False, windows=4)
    halves = [Batch(*(f[:2] for f in whole)), Batch(*(f[2:] for f in whole))]
    once, twice = grams(made, [whole]), grams(made, halves)
    assert all(torch.allclose(once[k], twice[k]) for k in once)


@pytest.mark.parametrize("kind", ["paper", "empirical", "true"])
def test_padded_steps_do_not_count(kind: str) -> None:
    made = policy()
    one = batch(1)
    noise = torch.randn(3, 3, 2) * ~one.mask_BK[..., None]
    other = one._replace(actions_BKA=one.actions_BKA + 100 * noise)
    keys = [k for k, _ in made.named_parameters()]
    assert close(fisher(made, [one], kind, keys), fisher(made, [other], kind, keys))  # type: ignore[arg-type]
    none = one._replace(mask_BK=torch.zeros_like(one.mask_BK))
    assert close(
        fisher(made, [one, none], kind, keys),  # type: ignore[arg-type]
        fisher(made, [one], kind, keys),  # type: ignore[arg-type]
    )


def test_bad_input_is_one_line() -> None:
    made = policy()
    with pytest.raises(MethodError, match=r"^unknown information 'exact': there are .*paper, .*$"):
        fisher(made, [batch(1)], "exact", ["ln_f.weight"])  # type: ignore[arg-type]
    with pytest.raises(MethodError, match=r"^ln_g.weight is no parameter; one is embed_return.*$"):
        fisher(made, [batch(1)], "true", ["ln_g.weight"])
    empty = batch(1)._replace(mask_BK=torch.zeros(3, 3, dtype=torch.bool))
    for batches in ([], [empty]):
        with pytest.raises(DataError, match=r"^no step to measure"):
            fisher(made, batches, "true", ["ln_f.weight"])
        with pytest.raises(DataError, match=r"^no step to take inputs from"):
            grams(made, batches)

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Bilinear(3, 3, 2)

        def forward(self, states_BKS: Tensor, *_: Tensor) -> Tensor:
            actions: Tensor = self.inner(states_BKS, F.relu(states_BKS))
            return actions

    with pytest.raises(MethodError, match=r"^inner.weight belongs to a Bilinear; "):
        fisher(Odd(), [batch(1)], "true", ["inner.weight"])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two policies of the same shape, and the data of one task."""
    rng = np.random.default_rng(0)
    episodes = [
        (rng.normal(size=(n, 3)), rng.normal(size=(n, 2)), np.ones(n), True) for n in (2, 6)
    ]
    data = Trajectories.of(episodes)
    data.save(tmp_path / "data.safetensors")
    for name, scale in (("A", 1.0), ("B", 0.5)):
        made = policy(1, dropout=0.2)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.mul_(scale)
        save(made, statistics(data), tmp_path / name)
    return tmp_path


def measured(files: Path, kind: str, name: str = "A", *more: str) -> Path:
    out = files / f"{kind}-{name}{len(more)}.safetensors"
    words = ["--policy", str(files / name), "--data", str(files / "data.safetensors"), *more]
    assert main([*words, "--kind", kind, "--batches", "2", "--batch", "3", "--out", str(out)]) == 0
    return out


def test_the_command_measures_what_the_merging_command_takes(files: Path) -> None:
    models = [str(files / "A"), str(files / "B")]
    for kind, option, method in (
        ("true", "--information", "fisher"),
        ("grams", "--grams", "regmean"),
    ):
        found = [str(measured(files, kind, name)) for name in "AB"]
        more = ["--include", "attn", option, *found, "--out", str(files / method)]
        assert merge.main(["--method", method, "--models", *models, *more]) == 0
    merged = load_file(files / "fisher" / "model.safetensors")
    states = [load_file(files / name / "model.safetensors") for name in "AB"]
    f = [load_file(files / f"true-{name}0.safetensors") for name in "AB"]
    assert all(k.startswith("blocks.") for k in f[0])
    keys = [k for k in states[0] if ".attn." in k]
    expected = rules.fisher(states, keys, f)
    assert all(torch.equal(merged[k], expected[k]) for k in expected)


@pytest.mark.parametrize("kind", ["paper", "true", "grams"])
def test_the_command_repeats_with_its_seed_and_says_so(files: Path, kind: str) -> None:
    once, again = measured(files, kind), measured(files, kind, "A", "--seed", "0")
    assert once.read_bytes() == again.read_bytes()
    other = measured(files, kind, "A", "--seed", "1", "--include", "blocks")
    assert other.read_bytes() != once.read_bytes()


def test_the_command_measures_windows_of_the_data(files: Path) -> None:
    from suites.merging.policy import files as policies
    from suites.merging.robots import trajectories

    data = trajectories.load(files / "data.safetensors")
    made, stats = policies.load(files / "A")
    source, generator = Windows(data, stats, 3), torch.Generator().manual_seed(0)
    batches = [source.sample(3, generator) for _ in range(2)]
    expected = grams(made, batches)
    found = load_file(measured(files, "grams"))
    assert close({k: found[k] for k in expected}, expected)


def test_the_command_says_in_one_line_what_is_wrong(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = measured(files, "paper")
    wide = [(np.zeros((4, 5)), np.zeros((4, 2)), np.ones(4), True)]
    Trajectories.of(wide).save(files / "wide.safetensors")
    (files / "cut.safetensors").write_bytes((files / "data.safetensors").read_bytes()[:-3])
    capsys.readouterr()
    base = {"--policy": "A", "--data": "data.safetensors", "--out": "new", "--kind": "true"}
    for change, code, line in (
        ({"--out": out.name}, 2, "is there already; name a file that is new"),
        ({"--batches": "0"}, 2, "--batches 0 --batch 64; both have to be 1 or more"),
        ({"--policy": "C"}, 1, "C: cannot be read"),
        ({"--data": "cut.safetensors"}, 1, "cut.safetensors: cannot be read"),
        (
            {"--data": "wide.safetensors"},
            1,
            "5 state and 2 action components, the policy has 3 and",
        ),
        ({"--include": "atn"}, 2, "unknown group 'atn'"),
    ):
        given = base | change
        words = [
            word
            for key, value in given.items()
            for word in (
                key,
                str(files / value) if key in ("--policy", "--data", "--out") else value,
            )
        ]
        assert main(words) == code
        done = capsys.readouterr()
        assert line in done.err
        assert done.err.startswith("python -m suites.merging.merge.statistics: ")
        assert (done.out, done.err.count("\n")) == ("", 1)
        assert not (files / "new").exists()
