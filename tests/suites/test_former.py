"""Today's specifications in their former form are exactly those of the last untyped version."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from harness import plan, registry
from harness.migrate import former_ids
from harness.suite import Suite

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "former.json").read_text())
"""By suite and scale: the number of trials, and a digest over all identities, artifacts' too."""

RAISED = {
    "method": {"mixup-exact", "child-tuning-d", "dps-dense"},
    "task": {"generated-overlap", *(f"sts-b-{size}" for size in ("n300", "n500", "n1000", "full"))},
}
"""What has a higher version than then."""


def before(spec: dict[str, Any]) -> dict[str, Any]:
    """The specification with the versions of then."""
    then = {
        part: {**spec[part], "version": 1}
        for part, names in RAISED.items()
        if (spec.get(part) or {}).get("name") in names
    }
    return {**spec, **then}


JOINED = {
    "mixup": {
        "probe", "lp-ft", "wise-ft", "bit-fit", "sam", "ema", "vanilla-embeddings",
        "vanilla-pairs", "probe-pairs", "majority", "zero-shot",
    },
}  # fmt: skip
"""Methods that came later."""


def as_it_was(suite: Suite) -> Suite:
    """The suite without the methods that have joined."""
    joined = JOINED.get(suite.name, set())
    kept = tuple(method for method in suite.methods if method.name not in joined)
    return suite.model_copy(update={"methods": kept})


@pytest.mark.parametrize("key", sorted(GOLDEN))
def test_former_identities_are_those_of_the_last_untyped_version(key: str) -> None:
    name, _, scale = key.partition("/")
    suite = as_it_was(registry.load(name))
    # That version ran methods that no seed touches once for every seed.
    every = tuple(m.model_copy(update={"seeds": "each"}) for m in suite.methods)
    suite = suite.model_copy(update={"methods": every})
    trials, nodes = plan.trials(suite, suite.scale(scale))
    own = registry.call(str(suite.former))
    former = former_ids(trials, nodes, lambda spec: own(before(spec)))
    assert len({former[trial.id] for trial in trials}) == GOLDEN[key]["trials"]
    whole = "".join(sorted(set(former.values())))
    assert hashlib.sha256(whole.encode()).hexdigest() == GOLDEN[key]["digest"]
