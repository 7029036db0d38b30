"""Labelled texts of one's own in the suite mixup: short remarks, good or bad.

harness run mixup --plugin docs/examples/my_texts.py --tasks 'remarks-*' --scale smoke
"""

from pathlib import Path

from harness.plugins import Plugin
from suites import mixup

HERE = Path(__file__).parent


def plugin() -> Plugin:
    return mixup.text_task(
        "remarks",
        train=HERE / "remarks-train.tsv",  # two columns with the names text and label
        dev=HERE / "remarks-dev.tsv",
        metric="accuracy",
        sizes=(0, 16),
    )
