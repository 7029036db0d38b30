"""The rules over arrays: against gymnasium's own, also in states that episodes seldom reach."""

import numpy as np
import pytest

from suites.merging.robots.environments import ENVIRONMENTS, make
from suites.merging.robots.rewards import Rules


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_health_and_observation_are_gymnasiums(name: str) -> None:
    env = ENVIRONMENTS[name]
    own = make(env).unwrapped
    own.reset(seed=0)
    rules = Rules(own, name, "v5")
    start = np.concatenate([own.data.qpos, own.data.qvel])
    # Every number of the state in turn far off either way, a little off, and no number at all.
    off = np.array([-150.0, -0.5, 0.5, 150.0, np.inf, np.nan])
    states = np.tile(start, (len(off) * len(start), 1))
    for n, (value, at) in enumerate((value, at) for at in range(len(start)) for value in off):
        states[n, at] = value
    qpos, qvel = np.split(states, [own.model.nq], axis=1)
    health, observed = [], []
    for state in states:
        own.data.qpos[:], own.data.qvel[:] = np.split(state, [own.model.nq])
        health.append(bool(own.is_healthy) if name != "halfcheetah" else True)
        observed.append(own._get_obs())
    healthy = rules.healthy(qpos, qvel)
    assert healthy.tolist() == health
    assert rules.ended(healthy).tolist() == [not h for h in health]
    np.testing.assert_array_equal(rules.observed(qpos, qvel), observed)
    assert (len(set(health)) == 2) == (name != "halfcheetah")
