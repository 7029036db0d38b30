"""How deep the encoder of a scale is: its distance to the paper's BERT-large."""

from collections.abc import Mapping
from typing import Any

LAYERS = {"tiny": 2, "minilm-2": 2, "minilm-6": 6, "hub:google-bert/bert-large-cased": 24}


def layers(settings: Mapping[str, Any]) -> int | None:
    """Layers of the encoder; None where it is another one."""
    return LAYERS.get(settings["encoder"])
