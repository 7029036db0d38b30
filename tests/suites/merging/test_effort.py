"""The estimated work of policies: in proportion to updates and episodes."""

from harness import registry
from suites.merging.effort import effort


def test_work_is_in_proportion_to_what_is_asked_for() -> None:
    suite = registry.load("merging")
    settings = suite.scale("laptop").settings
    policy = next(a for a in suite.artifacts if a.name == "policy-hopper-different")
    once = effort(policy, None, settings)
    longer = settings.model_copy(update={"episodes": 2 * settings.episodes})  # type: ignore[attr-defined]
    assert effort(policy, None, longer).host == 2 * once.host
    individual = next(m for m in suite.methods if m.name == "individual")
    assert effort(individual, None, settings).kernels < once.kernels
    assert effort(individual, None, settings).host <= once.host
