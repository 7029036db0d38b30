"""Methods that say that no seed touches them give the same numbers with any seed."""

import pytest

from harness import registry

SUITES = [registry.load(name) for name in ("bam", "gate", "merging", "mixup")]
CONSTANT = [(s.name, method.name) for s in SUITES for method in s.methods if s.constant(method)]


def test_there_are_such_methods_in_bam_alone() -> None:
    assert {name for name, _ in CONSTANT} == {"bam"}
    assert ("bam", "bam") not in CONSTANT  # its mixture has a seed


@pytest.mark.parametrize(("suite", "method"), CONSTANT)
def test_a_method_that_no_seed_touches_repeats(suite, method, with_two_seeds) -> None:
    task = "count-dense" if method == "counts" else "mean-installed"
    first, second = with_two_seeds(suite, method, task)
    assert first == second
    assert first
