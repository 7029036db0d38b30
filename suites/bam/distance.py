"""How large the model of a scale is and how much it reads: its distance to the paper's."""

from collections.abc import Mapping
from typing import Any


def parameters(settings: Mapping[str, Any]) -> int | None:
    """Parameters of one dense model with untied embeddings, norms and biases left out.

    None where the model is one that somebody else pretrained.
    """
    model, vocabulary = settings["model"], settings["vocabulary"]
    if model is None or vocabulary is None:
        return None
    d = int(model["hidden_size"])
    inner = int(model["intermediate_size"] or 2 * d)
    return 2 * int(vocabulary) * d + int(model["num_hidden_layers"]) * (4 * d * d + 3 * d * inner)


def tokens(settings: Mapping[str, Any]) -> int:
    """Tokens of the mixture phase."""
    steps = int(settings["phases"]["mixture"]["steps"])
    return steps * int(settings["batch"]) * int(settings["context"])
