"""An encoder of one's own in the suite mixup: a small BERT from a folder.

harness run mixup --plugin docs/examples/my_encoder.py --methods 'small-*' --scale smoke
"""

from pathlib import Path

from harness.plugins import Plugin
from suites import mixup


def plugin() -> Plugin:
    # Written with save_pretrained; "hub:roberta-base" would take one from the hub.
    return mixup.encoder("small", Path(__file__).parent / "encoder")
