"""Every gpu scale is cut to what one GPU does in half an hour, by the estimate of its suite."""

import pytest

from harness import plan, registry
from harness.gpu import estimate


@pytest.mark.parametrize("name", ["bam", "gate", "merging", "mixup"])
def test_a_gpu_is_done_with_its_scale_in_half_an_hour(name: str) -> None:
    suite = registry.load(name)
    scale, effort = suite.scale("gpu"), registry.call(str(suite.effort))
    trials, nodes = plan.trials(suite, scale)
    jobs = [effort(t.method, t.task, scale.settings) for t in trials]
    jobs += [effort(node.artifact, node.task, scale.settings) for node in nodes.values()]
    assert 60 < estimate(jobs).seconds <= 1800
