"""Trained policies of one's own in the suite merging: two small ones, and their averages.

harness run merging --plugin docs/examples/my_policies.py --methods '*-tiny' --scale smoke
"""

from pathlib import Path

from harness.plugins import Plugin
from suites import merging

HERE = Path(__file__).parent / "policies"


def plugin() -> Plugin:
    # Folders as suites.merging.policy.files.save writes them.
    return merging.policies("tiny", {env: HERE / env for env in ("hopper", "halfcheetah")})
