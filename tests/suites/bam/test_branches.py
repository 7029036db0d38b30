"""One trunk for several lengths: what is trained when, and that a branch is a training alone."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from suites.bam import branches, training
from suites.bam.branches import Segment
from suites.bam.model import checkpoints
from suites.bam.settings import BamSettings, Mixture, MixturePhase

PHASE = MixturePhase(steps=16, peak=0.01, warmup=1, floor=0.1, cooldown=0.25, halvings=2)
POINTS = {"final": 16, "halved-1": 8, "halved-2": 4}


def test_branches_leave_the_trunk_where_their_cooldown_begins() -> None:
    assert branches.segments(POINTS, "final", PHASE.stable) == (
        Segment(0, 3, 16),
        Segment(3, 4, 4, "halved-2"),
        Segment(3, 6, 16),
        Segment(6, 8, 8, "halved-1"),
        Segment(6, 16, 16, "final"),
    )


def test_without_a_cooldown_every_length_begins_at_zero() -> None:
    phase = PHASE.model_copy(update={"cooldown": None})
    assert branches.segments(POINTS, "final", phase.stable) == (
        Segment(0, 4, 4, "halved-2"),
        Segment(0, 8, 8, "halved-1"),
        Segment(0, 16, 16, "final"),
    )


def test_all_lengths_cost_little_more_than_the_longest() -> None:
    phase = PHASE.model_copy(update={"steps": 960, "cooldown": 0.3})
    points = {training.halved(n): phase.halved(n) for n in range(4)}
    made = branches.segments(points, training.FINAL, phase.stable)
    assert sum(s.last - s.first for s in made) < 1.27 * 960


def test_the_rate_is_shared_until_the_cooldown_and_ends_at_the_floor() -> None:
    long, short = ([PHASE.rate_of(step, end) for step in range(end)] for end in (16, 8))
    assert long[:6] == short[:6] == [0.01] * 6
    assert long[12:] == sorted(long[12:], reverse=True)
    assert long[12] < 0.01
    assert long[-1] == short[-1] == pytest.approx(0.001)
    # 1 - sqrt: half-way through a cooldown of four updates, 1 - sqrt(2 / 4) is left.
    assert long[13] == pytest.approx(0.001 + 0.009 * (1 - 0.5**0.5))


def test_without_a_cooldown_the_rate_is_that_of_the_schedule() -> None:
    phase = PHASE.model_copy(update={"cooldown": None, "warmup": 4})
    assert [phase.rate_of(step, 16) for step in range(16)] == [phase.rate(s) for s in range(16)]


def test_a_cooldown_within_the_warm_up_is_refused() -> None:
    with pytest.raises(ValidationError, match="shortest of 2 halvings has 4 updates, whose cool"):
        MixturePhase(steps=16, peak=0.01, warmup=4, cooldown=0.25, halvings=2)


@pytest.mark.parametrize("cooldown", [0.25, None])
@pytest.mark.parametrize("point", ["halved-1", "matched", "matched-halved-1"])
def test_a_branch_is_the_training_of_its_length_alone(
    workshop: Any, point: str, cooldown: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = workshop.artifact("mixture-bam", "bam")
    settings = ctx.settings(BamSettings)
    phase = settings.phases.mixture.model_copy(update={"cooldown": cooldown})
    phases = settings.phases.model_copy(update={"mixture": phase})
    settings = settings.model_copy(update={"phases": phases})
    mixture = ctx.settings(Mixture)
    known = {BamSettings: settings, Mixture: mixture}
    monkeypatch.setattr(ctx, "settings", lambda kind: known[kind])
    ctx.out.mkdir(parents=True, exist_ok=True)
    training.make_mixture(ctx)
    end = training.read(ctx.out, point).counts["updates"]
    assert 0 < end < phase.steps
    branch = checkpoints.load(ctx.out / training.folder(point)).state_dict()
    whole = checkpoints.load(ctx.out / training.MODEL).state_dict()
    curves = training.read(ctx.out, point).curves
    assert set(curves) == {"loss", "load-balancing", "z", "held-out"}

    alone = workshop.artifact("mixture-bam", "bam")
    short = phase.model_copy(update={"steps": end, "halvings": 0})
    phases = settings.phases.model_copy(update={"mixture": short})
    single = mixture.model_copy(update={"shorter": False, "matched": False})
    known_alone = {
        BamSettings: settings.model_copy(update={"phases": phases}),
        Mixture: single,
    }
    monkeypatch.setattr(alone, "settings", lambda kind: known_alone[kind])
    training.make_mixture(alone)
    expected = checkpoints.load(alone.out / training.MODEL).state_dict()
    assert all(torch.equal(branch[name], expected[name]) for name in expected)
    assert curves == training.read(alone.out).curves
    assert any(not torch.equal(whole[name], expected[name]) for name in expected)
