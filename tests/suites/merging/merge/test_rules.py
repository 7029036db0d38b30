"""Every rule against hand-computed cases, plain loops and its invariants."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.errors import MethodError
from suites.merging.merge import rules, states
from suites.merging.merge.rules import State


def one(*values: float) -> dict[str, Tensor]:
    return {"w": torch.tensor(values)}


def model(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a.weight": (4, 3), "a.bias": (4,), "b.weight": (2, 4), "head": (5,)}
    state = {k: torch.randn(s, generator=generator).to(dtype) for k, s in shapes.items()}
    return state | {"mask": torch.tensor([seed, 7], dtype=torch.uint8)}


KEYS = ["a.weight", "a.bias", "b.weight", "mask"]


def spread(states: list[State]) -> list[State]:
    return [{k: 0 * v + 0.5 for k, v in s.items() if v.is_floating_point()} for s in states]


def grams(states: list[State]) -> list[State]:
    generator = torch.Generator().manual_seed(99)
    found: list[State] = []
    for _ in states:
        x_a, x_b = (torch.randn(20, d, generator=generator) for d in (3, 4))
        found.append({"a.weight": x_a.T @ x_a / 20, "b.weight": x_b.T @ x_b / 20})
    return found


RULES: dict[str, Callable[[list[State]], dict[str, Tensor]]] = {
    "average": lambda s: rules.average(s, KEYS),
    "weighted": lambda s: rules.average(s, KEYS, [0.2, 0.3, 0.1][: len(s)]),
    "interpolate": lambda s: rules.interpolate(s[0], s[1], KEYS, 0.3),
    "slerp": lambda s: rules.slerp(s[0], s[1], KEYS, 0.3),
    "fisher": lambda s: rules.fisher(s, KEYS[:3], spread(s)),
    "regmean": lambda s: rules.regmean(s, KEYS, grams(s)),
    "task arithmetic": lambda s: rules.task_arithmetic(s, KEYS, model(9, s_dtype(s)), 1 / len(s)),
    "ties": lambda s: rules.ties(s, KEYS, model(9, s_dtype(s)), density=1.0),
    "dare": lambda s: rules.dare(
        s, KEYS, model(9, s_dtype(s)), drop=0.0, scale=1 / len(s), generator=torch.Generator()
    ),
}


def s_dtype(states: list[State]) -> torch.dtype:
    return states[0]["head"].dtype


def the_same(a: State, b: State) -> bool:
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rule", RULES)
def test_merging_a_model_with_itself_is_the_identity(rule: str, dtype: torch.dtype) -> None:
    merged = RULES[rule]([model(0, dtype)] * 3)
    assert merged["head"].dtype == dtype
    if rule == "regmean":  # solves a linear system
        for key, value in model(0, dtype).items():
            assert torch.allclose(merged[key].float(), value.float(), rtol=1e-6, atol=1e-7)
    else:
        assert the_same(merged, model(0, dtype))


@pytest.mark.parametrize("rule", RULES)
def test_rules_change_nothing_in_place_and_keep_the_rest_of_the_first(rule: str) -> None:
    states = [model(n) for n in range(3)]
    states[1]["head"] = torch.zeros(7)  # outside the keys models may differ in shape
    del states[2]["head"]
    merged = RULES[rule](states)
    for number, state in enumerate(states):
        assert torch.equal(state["a.weight"], model(number)["a.weight"])
    assert list(merged) == list(states[0])
    assert torch.equal(merged["head"], states[0]["head"])
    assert torch.equal(merged["mask"], states[0]["mask"])
    assert not torch.equal(merged["a.weight"], states[0]["a.weight"])
    merged["head"].zero_()
    merged["mask"].zero_()
    assert states[0]["head"].abs().sum() > 0
    assert states[0]["mask"].sum() > 0


@pytest.mark.parametrize("rule", ["average", "fisher", "task arithmetic", "ties"])
def test_the_order_of_models_does_not_matter_to_what_is_merged(rule: str) -> None:
    a, b, c = model(0), model(1), model(2)
    for key in KEYS[:3]:
        assert torch.allclose(RULES[rule]([a, b, c])[key], RULES[rule]([c, a, b])[key], atol=1e-7)


def test_average_by_hand() -> None:
    a, b, c = one(1.0, -2.0), one(3.0, 4.0), one(5.0, 1.0)
    assert rules.average([a, b, c], ["w"])["w"].tolist() == [3.0, 1.0]
    assert rules.average([a, b], ["w"], [1, 3])["w"].tolist() == [2.5, 2.5]
    assert rules.average([a, b], ["w"], [0, 2])["w"].tolist() == [3.0, 4.0]
    assert rules.average([b], ["w"])["w"].tolist() == [3.0, 4.0]


def test_interpolation_by_hand_and_at_its_ends() -> None:
    a, b = one(1.0, 0.1), one(5.0, 0.7)
    assert rules.interpolate(a, b, ["w"], 0.25)["w"].tolist() == pytest.approx([2.0, 0.25])
    assert the_same(rules.interpolate(a, b, ["w"], 0), a)
    assert the_same(rules.interpolate(a, b, ["w"], 1), b)
    assert the_same(rules.interpolate(a, b, ["w"], 0.5), rules.average([a, b], ["w"]))


def test_slerp_walks_the_circle() -> None:
    a, b = one(2.0, 0.0), one(0.0, 2.0)
    third = rules.slerp(a, b, ["w"], 1 / 3)["w"]
    assert third.tolist() == pytest.approx([2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)])
    c = one(2 * math.cos(0.7), 2 * math.sin(0.7))
    for p in (0.1, 0.5, 0.9):  # equal steps of the angle, at a constant radius
        x, y = rules.slerp(a, c, ["w"], p)["w"].tolist()
        assert math.hypot(x, y) == pytest.approx(2.0)
        assert math.atan2(y, x) == pytest.approx(0.7 * p)
    assert the_same(rules.slerp(a, c, ["w"], 0), a)
    assert torch.allclose(rules.slerp(a, c, ["w"], 1)["w"], c["w"])


def test_slerp_goes_straight_where_there_is_no_circle() -> None:
    a = one(1.0, 2.0)
    assert rules.slerp(a, one(2.0, 4.0), ["w"], 0.25)["w"].tolist() == [1.25, 2.5]
    assert rules.slerp(a, one(-1.0, -2.0), ["w"], 0.25)["w"].tolist() == [0.5, 1.0]
    assert rules.slerp(a, one(0.0, 0.0), ["w"], 0.25)["w"].tolist() == [0.75, 1.5]
    near = one(1.0, 2.0 + 2e-4)  # the two branches meet
    assert torch.allclose(
        rules.slerp(a, near, ["w"], 0.5)["w"], rules.average([a, near], ["w"])["w"], atol=1e-6
    )


def test_fisher_by_hand() -> None:
    a, b = one(1.0, 1.0), one(5.0, 5.0)
    information = [one(3.0, 1.0), one(1.0, 1.0)]
    plain = rules.fisher([a, b], ["w"], information, trace_normalised=False)["w"]
    assert plain.tolist() == pytest.approx([2.0, 3.0])  # (3*1 + 1*5)/4, (1 + 5)/2
    traced = rules.fisher([a, b], ["w"], information)["w"]
    assert traced.tolist() == pytest.approx(
        [(0.75 * 1 + 0.5 * 5) / 1.25, (0.25 * 1 + 0.5 * 5) / 0.75]
    )


def test_the_trace_is_over_all_information_merged_or_not() -> None:
    a, b = one(1.0), one(5.0)
    a["v"], b["v"] = torch.tensor([0.0]), torch.tensor([0.0])
    information = [one(1.0) | {"v": torch.tensor([3.0])}, one(1.0) | {"v": torch.tensor([0.0])}]
    merged = rules.fisher([a, b], ["w"], information)
    assert merged["w"].tolist() == pytest.approx([(0.25 * 1 + 1 * 5) / 1.25])


@pytest.mark.parametrize("trace_normalised", [True, False])
def test_equal_fisher_is_the_average_and_nothing_known_is_too(trace_normalised: bool) -> None:
    states = [model(n) for n in range(3)]
    f = {k: v.abs() for k, v in model(5).items() if v.is_floating_point()}
    f["a.weight"][0] = 0.0  # 0/0 without the floor
    expected = rules.average(states, KEYS[:3])
    found = rules.fisher(states, KEYS[:3], [f, f, f], trace_normalised=trace_normalised)
    for key in KEYS[:3]:
        assert torch.allclose(found[key], expected[key], rtol=1e-6, atol=1e-7)


def test_a_scale_of_the_information_cancels_in_the_trace() -> None:
    states: list[State] = [model(0), model(1)]
    f = [{k: model(n)[k].abs() for k in KEYS[:3]} for n in (5, 6)]
    scaled = [f[0], {k: 1000 * v for k, v in f[1].items()}]
    once = rules.fisher(states, KEYS[:3], f)
    assert torch.allclose(once["a.weight"], rules.fisher(states, KEYS[:3], scaled)["a.weight"])
    plain = rules.fisher(states, KEYS[:3], scaled, trace_normalised=False)
    # Nearly all the weight is on the second model.
    assert (plain["a.bias"] - states[1]["a.bias"]).abs().max() < 0.1


def test_task_arithmetic_by_hand() -> None:
    a, b, base = one(2.0, 0.0), one(1.0, 4.0), one(1.0, 1.0)
    assert rules.task_arithmetic([a, b], ["w"], base, 1)["w"].tolist() == [2.0, 3.0]
    assert rules.task_arithmetic([a, b], ["w"], base, 0.5)["w"].tolist() == [1.5, 2.0]
    assert rules.task_arithmetic([a], ["w"], base, -1)["w"].tolist() == [0.0, 2.0]  # negation
    halved = rules.task_arithmetic([model(0), model(1)], KEYS, model(2), 0.5)
    average = rules.average([model(0), model(1)], KEYS)
    assert all(torch.allclose(halved[k], average[k], atol=1e-6) for k in KEYS)


def test_ties_by_hand() -> None:
    base = {"w": torch.zeros(4), "v": torch.zeros(2)}
    a = {"w": torch.tensor([5.0, -4.0, 0.5, 0.0]), "v": torch.tensor([3.0, 0.1])}
    b = {"w": torch.tensor([1.0, 6.0, -0.2, 0.3]), "v": torch.tensor([-3.0, 2.0])}
    # Half of the six: a keeps 5, -4, 3; b keeps 6, -3, 2 (its 1 is the fourth).
    # Signs: +, 6-4 = +, 0, 0 | 3-3 = 0, +. Means of what agrees: 5, 6, 0, 0 | 0, 2.
    merged = rules.ties([a, b], ["w", "v"], base, density=0.5, scale=2.0)
    assert merged["w"].tolist() == [10.0, 12.0, 0.0, 0.0]
    assert merged["v"].tolist() == [0.0, 4.0]


def ties_by_loops(taus: np.ndarray, density: float) -> np.ndarray:
    kept = np.zeros_like(taus)
    for n, tau in enumerate(taus):
        for j in np.argsort(-np.abs(tau))[: round(density * len(tau))]:
            kept[n, j] = tau[j]
    merged = np.zeros(taus.shape[1])
    for j in range(taus.shape[1]):
        sign = np.sign(kept[:, j].sum())
        agreeing = [x for x in kept[:, j] if x != 0 and np.sign(x) == sign]
        merged[j] = np.mean(agreeing) if agreeing else 0.0
    return merged


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_ties_is_the_algorithm_in_loops(density: float) -> None:
    keys = KEYS[:3]
    base, states = model(9), [model(n) for n in range(3)]

    def flat(state: State) -> np.ndarray:
        return torch.cat([state[k].double().flatten() for k in keys]).numpy()

    taus = np.stack([flat(s) - flat(base) for s in states])
    merged = rules.ties(states, keys, base, density, scale=0.7)
    expected = flat(base) + 0.7 * ties_by_loops(taus, density)
    assert np.abs(flat(merged) - expected).max() < 1e-6


def test_dare_drops_a_share_and_keeps_the_mean() -> None:
    base = {"w": torch.zeros(20_000)}
    a, b = {"w": torch.full((20_000,), 2.0)}, {"w": torch.full((20_000,), 1.0)}
    merged = rules.dare(
        [a, b], ["w"], base, drop=0.75, scale=0.5, generator=torch.Generator().manual_seed(3)
    )["w"]
    # Of 2 and of 1, each kept with 1/4 and multiplied by 4, half of the sum: 0, 2, 4 or 6.
    values, counts = merged.unique(return_counts=True)
    assert values.tolist() == [0.0, 2.0, 4.0, 6.0]
    shares = counts / 20_000
    assert shares.tolist() == pytest.approx([9 / 16, 3 / 16, 3 / 16, 1 / 16], abs=0.01)
    assert float(merged.mean()) == pytest.approx(1.5, abs=0.05)


def test_dare_repeats_with_its_generator() -> None:
    def merged(seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return rules.dare([model(0), model(1)], KEYS, model(9), generator=generator)

    assert the_same(merged(1), merged(1))
    assert not the_same(merged(1), merged(2))


def test_dare_that_drops_nothing_is_task_arithmetic() -> None:
    states, base = [model(0), model(1)], model(9)
    all_kept = rules.dare(states, KEYS, base, 0.0, 0.3, generator=torch.Generator())
    assert the_same(all_kept, rules.task_arithmetic(states, KEYS, base, 0.3))


def test_regmean_is_least_squares_on_every_models_own_inputs() -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(50, 3)) * scale for scale in ([1, 2, 3], [3, 1, 0.5])]
    weights = [rng.normal(size=(4, 3)) for _ in inputs]
    states = [{"w": torch.tensor(w), "b": torch.tensor([float(n)])} for n, w in enumerate(weights)]
    gram = [{"w": torch.tensor(x.T @ x)} for x in inputs]
    merged = rules.regmean(states, ["w", "b"], gram, shrink=1.0)
    targets = np.concatenate([x @ w.T for x, w in zip(inputs, weights, strict=True)])
    expected = np.linalg.lstsq(np.concatenate(inputs), targets, rcond=None)[0].T
    assert np.abs(merged["w"].numpy() - expected).max() < 1e-6
    assert merged["b"].tolist() == [0.5]  # no Gram matrix: averaged


def test_regmean_by_hand_shrinks_the_off_diagonal() -> None:
    # shrink 0 leaves the diagonals: every column is an average weighted by the inputs' power.
    a, b = {"w": torch.tensor([[1.0, 2.0]])}, {"w": torch.tensor([[5.0, 4.0]])}
    gram = [
        {"w": torch.tensor([[3.0, 2.5], [2.5, 1.0]])},
        {"w": torch.tensor([[1.0, 0.5], [0.5, 1.0]])},
    ]
    found = rules.regmean([a, b], ["w"], gram, shrink=0.0)["w"]
    assert found.flatten().tolist() == pytest.approx([2.0, 3.0])
    # shrink 0.5: G_a = [[3, 1.25], [1.25, 1]], G_b = [[1, .25], [.25, 1]], and
    # W_a G_a + W_b G_b = [3 + 2.5 + 5 + 1, 1.25 + 2 + 1.25 + 4] = [11.5, 8.5],
    # times the inverse of [[4, 1.5], [1.5, 2]].
    found = rules.regmean([a, b], ["w"], gram, shrink=0.5)["w"]
    determinant = 4 * 2 - 1.5 * 1.5
    assert found.flatten().tolist() == pytest.approx(
        [(2 * 11.5 - 1.5 * 8.5) / determinant, (4 * 8.5 - 1.5 * 11.5) / determinant]
    )


def test_regmean_averages_inputs_that_no_model_uses() -> None:
    a, b = {"w": torch.tensor([[1.0, 2.0]])}, {"w": torch.tensor([[5.0, 4.0]])}
    dead = [{"w": torch.tensor([[g, 0.0], [0.0, 0.0]])} for g in (3.0, 1.0)]
    assert rules.regmean([a, b], ["w"], dead)["w"].flatten().tolist() == pytest.approx([2.0, 3.0])
    never = [{"w": torch.zeros(2, 2)}] * 2
    assert rules.regmean([a, b], ["w"], never)["w"].flatten().tolist() == pytest.approx([3.0, 3.0])


def test_check_names_the_first_tensor_that_differs() -> None:
    first, shape, kind = model(0), model(1), model(2)
    shape["a.bias"] = torch.zeros(5)
    kind["b.weight"] = kind["b.weight"].half()
    missing = {k: v for k, v in model(3).items() if k != "b.weight"}
    states.check([first, model(1)])
    states.check([first, shape], keys=["a.weight", "head"])
    states.check([first, kind], dtypes=False)
    for other, line in (
        (shape, r"a\.bias is \[5\] float32 in B and \[4\] float32 in A; merge models of one shape"),
        (kind, r"b\.weight is \[2, 4\] float16 in B and \[2, 4\] float32 in A; "),
        (missing, r"b\.weight is nothing in B and \[2, 4\] float32 in A; "),
    ):
        with pytest.raises(MethodError, match=rf"^{line}.*$"):
            states.check([first, other], ["A", "B"])
    with pytest.raises(MethodError, match=r"^b\.weight is nothing in B and .* in A"):
        states.check([model(0), missing], ["A", "B"])
    with pytest.raises(MethodError, match=r"^b\.weight is nothing in A and .* float32 in B; "):
        states.check([missing, first], ["A", "B"])
    with pytest.raises(MethodError, match=r"^no model"):
        states.check([])


F = {k: v.abs() for k, v in model(4).items()}
ZERO = {k: 0 * v for k, v in F.items()}
NAN = F | {"a.bias": torch.full((4,), math.nan)}
G: Any = {"a.weight": torch.eye(3)}
TWO: Any = [model(0), model(1)]


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: rules.average(TWO, KEYS, [1]), r"weights \[1\] for 2 models"),
        (lambda: rules.average(TWO, KEYS, [1, -1]), "weights "),
        (lambda: rules.average(TWO, KEYS, [0, 0]), "weights "),
        (lambda: rules.average(TWO, KEYS, [math.nan, 1]), "weights "),
        (lambda: rules.average([], KEYS), "weights |no model"),
        (lambda: rules.average(TWO, ["c"]), "c is nothing in model 1"),
        (lambda: rules.interpolate(*TWO, KEYS, 1.1), "p is 1.1; .* from 0 to 1"),
        (lambda: rules.slerp(*TWO, KEYS, math.nan), "p is nan"),
        (lambda: rules.fisher(TWO, KEYS, [F]), "information of 1 models for 2"),
        (lambda: rules.fisher(TWO, KEYS, [F, ZERO]), "information of model 2: smallest 0"),
        (lambda: rules.fisher(TWO, KEYS, [NAN, F]), "information of model 1: smallest .* mean nan"),
        (lambda: rules.fisher(TWO, KEYS, TWO), "information of model 1: smallest -"),
        (lambda: rules.fisher(TWO, KEYS, [F, {}]), "a.weight is nothing in the information of"),
        (lambda: rules.fisher(TWO, KEYS, [F, F], floor=0), "floor 0"),
        (lambda: rules.regmean(TWO, KEYS, [G]), "Gram matrices of 1 models for 2"),
        (lambda: rules.regmean(TWO, KEYS, [G, {}]), "Gram matrix of a.weight is missing"),
        (
            lambda: rules.regmean(TWO, KEYS, [{"a.weight": torch.eye(4)}] * 2),
            r"Gram matrix of a.weight is \[4, 4\]; .*\[3, 3\]",
        ),
        (lambda: rules.regmean(TWO, KEYS, [G, G], shrink=2), "shrink is 2"),
        (lambda: rules.task_arithmetic(TWO, KEYS, {}, 1), "a.weight is nothing in the base"),
        (lambda: rules.task_arithmetic(TWO, KEYS, TWO[0], math.inf), "scale is inf"),
        (lambda: rules.ties(TWO, KEYS, TWO[0], density=0), "density 0"),
        (lambda: rules.ties(TWO, KEYS, TWO[0], density=1.5), "density is 1.5"),
        (lambda: rules.ties([TWO[0], {}], KEYS, TWO[0]), "a.weight is nothing in model 2"),
        (lambda: rules.dare(TWO, KEYS, TWO[0], 1, generator=torch.Generator()), "drop 1 "),
        (lambda: rules.dare(TWO, KEYS, TWO[0], -1, generator=torch.Generator()), "drop is -1"),
    ],
)
def test_bad_input_is_one_line(call: Callable[[], object], line: str) -> None:
    with pytest.raises(MethodError, match=rf"^({line}).*$"):
        call()


@pytest.mark.parametrize("density", [0.01, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_smallest_that_ties_keeps_is_found_without_the_whole_vector(
    density: float, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    keys = ["a", "b", "c"]
    state, base = (
        {k: torch.randn(7, n, generator=generator).to(dtype) for n, k in enumerate(keys, 40)}
        for _ in range(2)
    )
    vector = torch.cat([(state[k].double() - base[k].double()).flatten() for k in keys]).abs()
    kept = max(1, round(density * len(vector)))
    expected = float(vector.kthvalue(len(vector) - kept + 1).values)
    assert rules.smallest_kept(state, keys, base, density) == expected


def test_pieces_are_merged_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    made = [{"a": torch.randn(9, 5, generator=generator)} for _ in range(4)]
    *models, base = made

    def merged() -> list[Tensor]:
        f = [{"a": s["a"].abs()} for s in models]
        drawn = torch.Generator().manual_seed(1)
        return [
            rules.average(models, ["a"], [1, 2, 3])["a"],
            rules.fisher(models, ["a"], f)["a"],
            rules.ties(models, ["a"], base)["a"],
            rules.dare(models, ["a"], base, 0.3, 0.5, generator=drawn)["a"],
        ]

    whole = merged()
    monkeypatch.setattr(states, "PIECE", 7)
    assert all(map(torch.equal, whole, merged()))


def test_regmean_of_gpt2_layers_is_that_of_linear_ones() -> None:
    # Conv1D keeps [in, out]; its bias tells, and square weights go by their siblings.
    generator = torch.Generator().manual_seed(0)
    names = {"h.0.mlp.c_fc": (4, 6), "h.0.mlp.c_proj": (6, 4), "h.0.attn.c_proj": (4, 4)}

    def model() -> dict[str, Tensor]:
        state = {}
        for name, (ins, outs) in names.items():
            state[f"{name}.weight"] = torch.randn(outs, ins, generator=generator)
            state[f"{name}.bias"] = torch.randn(outs, generator=generator)
        return state

    linear = [model(), model()]
    turned = [{k: v.T.contiguous() if v.dim() == 2 else v for k, v in m.items()} for m in linear]
    grams = []
    for _ in linear:
        x = {n: torch.randn(20, i, generator=generator).double() for n, (i, _) in names.items()}
        grams.append({f"{name}.weight": v.T @ v for name, v in x.items()})
    keys = list(linear[0])
    assert rules.inputs_first(linear[0], keys) == set()
    assert rules.inputs_first(turned[0], [k for k in keys if "weight" in k]) == {
        f"{name}.weight" for name in names
    }
    one, other = rules.regmean(linear, keys, grams), rules.regmean(turned, keys, grams)
    for key in keys:
        expected = one[key].T if one[key].dim() == 2 else one[key]
        torch.testing.assert_close(other[key], expected, rtol=1e-5, atol=1e-6)
    mixed = {**{f"a.{k}": v for k, v in linear[0].items()}, **turned[0]}
    with pytest.raises(MethodError, match="cannot be told; leave it out with --include"):
        rules.inputs_first(
            mixed | {"x.odd.weight": torch.ones(3, 3), "x.odd.bias": torch.ones(3)},
            ["x.odd.weight"],
        )


def test_information_of_an_empty_tensor_says_nothing() -> None:
    states = [{"a": torch.ones(2), "e": torch.empty(0)}, {"a": torch.zeros(2), "e": torch.empty(0)}]
    f = [{"a": torch.ones(2), "e": torch.empty(0)}] * 2
    assert rules.fisher(states, ["a", "e"], f)["a"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_ties_never_trims_what_is_not_finite(number: float) -> None:
    base = {"w": torch.zeros(9)}
    broken = {"w": torch.ones(9)}
    broken["w"][3] = number
    with pytest.raises(MethodError, match="not finite"):
        rules.ties([base, broken], ["w"], base, 0.5)
