"""Policies and rollouts: forward passes against plain loops, files, shipped policies, datasets."""

import dataclasses
import json
import os
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest

from harness.errors import DataError, SpecError
from suites.merging import experts, trajectories
from suites.merging.distillation import distil
from suites.merging.environments import ENVIRONMENTS, normalised
from suites.merging.experts import Policy, load_policy, read_policy, roll_out, save_policy, shipped
from suites.merging.recipes import FILES, FOLDER, MADE_FROM, SHIPPED

HOPPER = ENVIRONMENTS["hopper"]
SHORT = dataclasses.replace(HOPPER, max_steps=40)
NAMES = [f"{name}-{role}" for name, role in MADE_FROM]


def _policy(seed: int = 0, inputs: int = 11, outputs: int = 3, **changes: Any) -> Policy:
    rng = np.random.default_rng(seed)
    sizes = [inputs, 5, 4, outputs]
    layers = [
        (rng.normal(size=(n, m)).astype(np.float32), rng.normal(size=n).astype(np.float32))
        for m, n in pairwise(sizes)
    ]
    mean, std = rng.normal(size=inputs), rng.uniform(1, 2, inputs)
    policy = Policy(tuple(layers), mean.astype(np.float32), std.astype(np.float32))
    return dataclasses.replace(policy, **changes)


def _npz(path: Path, policy: Policy, **changes: Any) -> None:
    arrays: dict[str, Any] = {
        "n_layers": len(policy.layers),
        "obs_mean": policy.mean_S,
        "obs_std": policy.std_S,
        "obs_clip": policy.clip,
        "activation": policy.activation,
        "output": policy.output,
    }
    for i, (weight, bias) in enumerate(policy.layers):
        arrays |= {f"W{i}": weight, f"b{i}": bias}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{k: v for k, v in (arrays | changes).items() if v is not None})


@pytest.mark.parametrize("activation", ["tanh", "relu", "none"])
@pytest.mark.parametrize("output", ["tanh", "clip"])
def test_actions_equal_a_plain_loop(activation: Any, output: Any) -> None:
    policy = _policy(activation=activation, output=output, clip=0.8)
    states_BS = np.random.default_rng(1).normal(size=(6, 11)).astype(np.float32)
    function = {"tanh": np.tanh, "relu": lambda v: max(v, 0.0), "none": lambda v: v}[activation]
    squash = np.tanh if output == "tanh" else lambda v: min(max(v, -1.0), 1.0)
    for state, action in zip(states_BS, policy.act(states_BS, 0), strict=True):
        x = [
            min(max((s - m) / d, -0.8), 0.8)
            for s, m, d in zip(state, policy.mean_S, policy.std_S, strict=True)
        ]
        for depth, (weight, bias) in enumerate(policy.layers):
            x = [sum(w * v for w, v in zip(row, x, strict=True)) + b
                 for row, b in zip(weight, bias, strict=True)]  # fmt: skip
            x = [function(v) if depth < 2 else squash(v) for v in x]
        np.testing.assert_allclose(action, x, atol=1e-5)


def test_time_is_the_last_input() -> None:
    timed = _policy(inputs=12, timed=True)
    plain = dataclasses.replace(timed, timed=False)
    states_BS = np.ones((2, 11), np.float32)
    with_time = np.hstack([states_BS, np.full((2, 1), 0.75, np.float32)])
    np.testing.assert_array_equal(timed.act(states_BS, 250), plain.act(with_time, 0))


def test_noise_has_the_spread_that_was_asked_for() -> None:
    zero = Policy(
        ((np.zeros((1, 1), np.float32), np.zeros(1, np.float32)),),
        np.zeros(1, np.float32),
        np.ones(1, np.float32),
        log_std_A=np.log(np.array([0.2], np.float32)),
    )
    states_BS = np.zeros((20_000, 1), np.float32)
    for noise, std in ((0.1, 0.1), ("own", 0.2)):
        drawn = zero.act(states_BS, 0, noise, np.random.default_rng(0))  # type: ignore[arg-type]
        assert drawn.std() == pytest.approx(std, rel=0.03)
    # Sampled before the tanh, with a spread that depends on the state.
    head = (np.zeros((1, 1), np.float32), np.array([np.log(0.5)], np.float32))
    squashed = dataclasses.replace(zero, output="tanh", log_std_A=None, log_std_layer=head)
    drawn = squashed.act(states_BS, 0, "own", np.random.default_rng(0))
    assert np.arctanh(drawn).std() == pytest.approx(0.5, rel=0.03)
    bare = dataclasses.replace(zero, log_std_A=None)
    with pytest.raises(SpecError, match="no noise of its own"):
        bare.act(states_BS, 0, "own", np.random.default_rng(0))


@pytest.mark.parametrize("inputs", [111, 112])
def test_inputs_that_were_always_zero_are_folded_away(tmp_path: Path, inputs: int) -> None:
    ant = ENVIRONMENTS["ant"]
    whole = _policy(inputs=inputs, outputs=8, clip=1.5)
    _npz(tmp_path / "mujoco/some/Ant.npz", whole)
    policy = load_policy("some/Ant", ant, tmp_path)
    assert policy.timed == (inputs == 112)
    states_BS = np.random.default_rng(2).normal(size=(4, 27)).astype(np.float32)
    shown = np.zeros((4, inputs), np.float32)
    shown[:, :27] = states_BS
    if policy.timed:
        shown[:, -1] = 0.5
    np.testing.assert_allclose(policy.act(states_BS, 500), whole.act(shown, 0), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs_mean": np.zeros(7), "obs_std": np.ones(7)}, "7 inputs and 3 outputs"),
        ({"b2": np.zeros(4)}, "11 inputs and 4 outputs"),
        ({"W1": None}, "W1"),
    ],
)
def test_a_policy_that_does_not_fit_is_one_clear_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    _npz(tmp_path / "mujoco/some/Hopper.npz", _policy(), **changes)
    with pytest.raises(DataError, match=message) as caught:
        load_policy("some/Hopper", HOPPER, tmp_path)
    assert "\n" not in str(caught.value)


def test_damaged_or_missing_policies_are_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "mujoco/some/Hopper.npz"
    _npz(path, _policy())
    path.write_bytes(path.read_bytes()[:300])
    save_policy(_policy(), tmp_path / "p.safetensors")
    (tmp_path / "p.safetensors").write_bytes((tmp_path / "p.safetensors").read_bytes()[:300])
    for read in (
        lambda: load_policy("some/Hopper", HOPPER, tmp_path),
        lambda: load_policy("none/Hopper", HOPPER, tmp_path),
        lambda: read_policy(tmp_path / "p.safetensors"),
        lambda: read_policy(tmp_path / "none.safetensors"),
        lambda: shipped(HOPPER, "master"),
    ):
        with pytest.raises(DataError, match="cannot be read") as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("clip", [np.inf, 2.0])
def test_a_saved_policy_acts_the_same_to_half_precision(tmp_path: Path, clip: float) -> None:
    head = (np.full((3, 4), 0.1, np.float32), np.zeros(3, np.float32))
    policy = _policy(clip=clip, log_std_layer=head, output="tanh", facts={"licence": "MIT"})
    save_policy(policy, tmp_path / "p.safetensors")
    read = read_policy(tmp_path / "p.safetensors")
    assert (read.clip, read.facts, read.timed) == (clip, {"licence": "MIT"}, False)
    states_BS = np.random.default_rng(3).normal(size=(9, 11)).astype(np.float32)
    for noise in (0.0, "own"):
        a, b = (p.act(states_BS, 3, noise, np.random.default_rng(0)) for p in (policy, read))  # type: ignore[arg-type]
        np.testing.assert_allclose(a, b, atol=5e-3)


def test_a_rollout_is_what_gymnasium_would_have_recorded() -> None:
    policy = shipped(HOPPER)
    rolled = roll_out(policy, SHORT, 100, 0.0, seed=5)
    assert rolled.lengths_T.tolist() == [40, 40, 40]
    seeds = np.random.default_rng(5).integers(2**31, size=3)
    for episode, seed in enumerate(seeds.tolist()):
        env = gymnasium.make("Hopper-v5")
        state, _ = env.reset(seed=seed)
        for step in range(40):
            row = rolled.starts_T[episode] + step
            np.testing.assert_allclose(rolled.states_NS[row], state, atol=1e-4)
            state, reward, *_ = env.step(policy.act(state[None].astype(np.float32), step)[0])
            assert rolled.rewards_N[row] == pytest.approx(float(reward), abs=1e-3)


def test_rollouts_are_whole_episodes_and_repeat_with_the_seed() -> None:
    falls = _policy()
    brief = dataclasses.replace(HOPPER, max_steps=100)
    a, b, c = (roll_out(falls, brief, 300, 0.5, seed) for seed in (1, 1, 2))
    assert len(a.rewards_N) >= 300
    assert a.count > 3  # some fell
    assert (a.terminated_T | (a.lengths_T == 100)).all()
    np.testing.assert_array_equal(a.states_NS, b.states_NS)
    np.testing.assert_array_equal(a.actions_NA, b.actions_NA)
    assert a.states_NS.shape != c.states_NS.shape or (a.states_NS != c.states_NS).any()
    assert np.abs(a.actions_NA).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_policy_is_small_documented_and_as_good_as_it_says(name: str) -> None:
    environment, role = name.split("-")
    env = ENVIRONMENTS[environment]
    assert (experts.SHIPPED_FOLDER / f"{name}.safetensors").stat().st_size < 300_000
    facts: Any = shipped(env, role).facts
    assert facts["licence"].startswith("MIT, Copyright")
    assert facts["environment"] == env.id
    assert facts["episodes"] >= 50
    assert facts["score"] == pytest.approx(normalised(env, facts["return_mean"]), abs=0.1)
    if role == "expert":
        assert facts["score"] >= 85
    else:
        assert 25 < facts["score"] < 85
    source = MADE_FROM[env.name, role]
    assert (facts["source"], facts["origin"]) == (source.policy, source.origin)


@pytest.mark.parametrize("name", ["hopper", "halfcheetah", "walker2d", "ant"])
def test_shipped_experts_do_their_task_here(name: str) -> None:
    env = dataclasses.replace(ENVIRONMENTS[name], max_steps=300)
    returns_T = roll_out(shipped(env), env, 1200, 0.0, seed=0).returns_T
    assert np.median(returns_T) > 0.85 * 0.3 * env.expert_return


def _context(out: Path, data: Path | None = None, **params: Any) -> Any:
    """As much of the engine's context as an artifact function of this module uses."""
    given = {"environment": "hopper", "version": "v5", "source": "shipped", "steps": 80} | params
    notes: list[str] = []
    out.mkdir()
    return SimpleNamespace(
        out=out,
        param=given.__getitem__,
        dataset=lambda name: {"mujoco-policies": data}[name],
        stream=lambda *keys: sum(map(len, map(str, keys))),
        generated=notes.append,
        installed=lambda *_: None,
        tick=lambda *_: None,
        notes=notes,
    )


@pytest.mark.parametrize("quality", ["expert", "medium", "medium-expert", "medium-replay"])
def test_a_dataset_is_rolled_out_by_its_recipe(tmp_path: Path, quality: Any) -> None:
    facts: Any = experts.make_dataset(_context(tmp_path / "a", quality=quality))
    again = experts.make_dataset(_context(tmp_path / "b", quality=quality))
    assert facts == again == json.loads(json.dumps(facts))
    files = [tmp_path / x / "trajectories.safetensors" for x in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()
    data = trajectories.load(files[0])
    assert data.states_NS.shape[1] == 11
    recipe = SHIPPED["hopper"][quality]
    assert [(r["policy"], r["noise"]) for r in facts["recipe"]] == [i[:2] for i in recipe]
    assert sum(r["steps"] for r in facts["recipe"]) == facts["steps"] == len(data.rewards_N) >= 80
    assert sum(i.share for i in recipe) == pytest.approx(1)
    assert facts["environment"] == "Hopper-v5"
    assert facts["return_mean"] == pytest.approx(data.returns_T.mean(), abs=0.1)


def test_unknown_qualities_and_sources_are_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="unknown quality 'best'; there are: expert, medium"):
        experts.make_dataset(_context(tmp_path / "a", quality="best"))
    with pytest.raises(SpecError, match="unknown source of policies 'web'; there are: shipped"):
        experts.make_dataset(_context(tmp_path / "b", quality="expert", source="web"))


def test_every_policy_of_the_recipes_has_a_digest() -> None:
    named = {i.policy for recipes in FOLDER.values() for r in recipes.values() for i in r}
    named |= {source.policy for source in MADE_FROM.values()}
    assert {f"mujoco/{policy}.npz" for policy in named} == set(FILES)
    assert all(sum(i.share for i in r) == 1 for e in FOLDER.values() for r in e.values())
    shipped_roles = {i.policy for e in SHIPPED.values() for r in e.values() for i in r}
    assert shipped_roles == {"expert", "medium"}


def test_a_student_learns_what_its_teacher_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_FIRST_STEPS": 400, "_MORE_STEPS": 200, "_ROUNDS": 2}.items():
        monkeypatch.setattr(f"suites.merging.distillation.{name}", value)
    monkeypatch.setattr("suites.merging.distillation._UPDATES", 50)
    monkeypatch.setattr("suites.merging.distillation._LAST_UPDATES", 600)
    teacher = shipped(HOPPER)
    student, again = (distil(teacher, SHORT, 32, seed=0) for _ in range(2))
    seen = roll_out(teacher, SHORT, 200, 0.1, seed=7)
    told = teacher.act(seen.states_NS, 0)
    error = ((student.act(seen.states_NS, 0) - told) ** 2).mean()
    assert error < 0.15 * told.var()
    assert np.array_equal(student.layers[0][0], again.layers[0][0])
    assert [weight.shape for weight, _ in student.layers] == [(32, 11), (32, 32), (3, 32)]


def test_the_command_line_tells_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = experts.main(["--data", str(tmp_path), "--only", "hopper-expert"])
    err = capsys.readouterr().err
    assert code == 1
    assert err.count("\n") == 1
    assert "berkeley-cs294-experts/Hopper.npz" in err


@pytest.mark.data
def test_the_data_folder_gives_the_returns_that_were_measured() -> None:
    folder = os.environ.get("HARNESS_DATA")
    if folder is None:
        pytest.skip("HARNESS_DATA is not set")
    policy = load_policy("berkeley-cs294-experts/Hopper", HOPPER, Path(folder))
    assert roll_out(policy, HOPPER, 3000, 0.0, seed=0).returns_T.mean() == pytest.approx(
        3728, abs=15
    )
