"""Distillation: a student acts as its teacher does."""

import dataclasses

import numpy as np
import pytest

from suites.merging.robots.distillation import distil
from suites.merging.robots.environments import ENVIRONMENTS
from suites.merging.robots.experts import roll_out, shipped

HOPPER = ENVIRONMENTS["hopper"]
SHORT = dataclasses.replace(HOPPER, max_steps=40)


def test_a_student_learns_what_its_teacher_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_FIRST_STEPS": 400, "_MORE_STEPS": 200, "_ROUNDS": 2}.items():
        monkeypatch.setattr(f"suites.merging.robots.distillation.{name}", value)
    monkeypatch.setattr("suites.merging.robots.distillation._UPDATES", 50)
    monkeypatch.setattr("suites.merging.robots.distillation._LAST_UPDATES", 600)
    teacher = shipped(HOPPER)
    student, again = (distil(teacher, SHORT, 32, seed=0) for _ in range(2))
    seen = roll_out(teacher, SHORT, 200, 0.1, seed=7)
    told = teacher.act(seen.states_NS, 0)
    error = ((student.act(seen.states_NS, 0) - told) ** 2).mean()
    assert error < 0.15 * told.var()
    assert np.array_equal(student.layers[0][0], again.layers[0][0])
    assert [weight.shape for weight, _ in student.layers] == [(32, 11), (32, 32), (3, 32)]
