"""Whether two sets of weights compute the same function, asked of the model itself.

The model is built from its configuration alone, by transformers or as this suite's policy; no code
that comes with a checkpoint is run.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness import weights
from harness.pretrained import CONFIG
from harness.store import read_json
from suites.merging.policy.model import DecisionTransformer, Shape

TOLERANCE = 1e-3
"""Largest difference of outputs, as a share of the largest output: sums change their order."""
_POSITIONS = 12
_TOKENS = 16
"""Of the vocabulary: rows of embeddings and of the head are read that far alone."""


def difference(
    folder: Path,
    shapes: Mapping[str, Tensor],
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    size: int,
) -> float | None:
    """Largest difference of the outputs on random inputs, as a share of the largest output.

    Args:
        folder: what holds the configuration.
        shapes: the weights on the meta device.
        size: bytes that the model may take; of a larger one the first layer alone is built.

    Returns:
        None where no such model can be built from the configuration, or its weights are others.
    """
    if not (folder / CONFIG).is_file():
        return None
    config = read_json(folder / CONFIG)
    with torch.random.fork_rng([]), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        try:
            model, inputs = _policy(config) if "shape" in config else _transformer(folder, size)
        except Exception:  # whatever a configuration makes its class come up with
            return None
        names = _names(model, shapes)
        if names is None:
            return None
        outputs = []
        for state in (before, after):
            for name, tensor in model.state_dict().items():
                if name in names:
                    _copy(state, names[name], tensor)
            try:
                outputs.append(_first(model.eval()(**inputs)).double())
            except Exception:  # inputs that this kind of model does not take
                return None
    scale = float(outputs[0].abs().max())
    found = float((outputs[0] - outputs[1]).abs().max())
    return found / scale if scale else found


def _policy(config: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Tensor]]:
    shape = Shape(**config["shape"])
    model = DecisionTransformer(shape, torch.Generator().manual_seed(0))
    steps = min(shape.context, shape.max_steps)
    return model, {
        "states_BKS": torch.randn(2, steps, shape.state_dim),
        "actions_BKA": torch.randn(2, steps, shape.action_dim),
        "returns_to_go_BK1": torch.randn(2, steps, 1),
        "timesteps_BK": torch.arange(steps).repeat(2, 1),
    }


def _transformer(folder: Path, size: int) -> tuple[nn.Module, dict[str, Tensor]]:
    import transformers

    config: Any = transformers.AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    kind = getattr(transformers, config.architectures[0])
    if isinstance(getattr(config, "vocab_size", None), int):
        config.vocab_size = min(config.vocab_size, _TOKENS)
        if (getattr(config, "pad_token_id", None) or 0) >= config.vocab_size:
            config.pad_token_id = None
    with torch.device("meta"):
        floats = sum(p.numel() for p in kind(config).parameters())
    if 4 * floats > size:
        config.num_hidden_layers = 1
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:1]
    model = kind(config).float()
    if model.main_input_name == "pixel_values":
        side = (config.image_size,) * 2 if isinstance(config.image_size, int) else config.image_size
        return model, {"pixel_values": torch.randn(1, config.num_channels, *side)}
    ids = torch.randint(config.vocab_size, (1, _POSITIONS))
    return model, {"input_ids": ids}


def _names(model: nn.Module, shapes: Mapping[str, Tensor]) -> dict[str, str] | None:
    """Name in the model -> name among the weights; None where a parameter has none of its shape."""
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    found = {}
    for name, tensor in model.state_dict().items():
        for candidate in (name, name.removeprefix(prefix), prefix + name):
            if candidate in shapes and _begins(shapes[candidate], tensor):
                found[name] = candidate
                break
    shared = {id(p) for name, p in model.named_parameters(remove_duplicate=False) if name in found}
    return found if all(id(p) in shared for p in model.parameters()) else None


def _begins(whole: Tensor, part: Tensor) -> bool:
    """Whether `part` has the shape of `whole`, or of its first rows where it has one per token."""
    fewer = len(part) == _TOKENS <= len(whole) if part.dim() and whole.dim() else True
    return part.shape[1:] == whole.shape[1:] and (fewer or part.shape == whole.shape)


def _copy(state: Mapping[str, Tensor], name: str, into: Tensor) -> None:
    """Copies a tensor or its first rows, and reads no more of it."""
    flat, start = into.view(-1), 0
    for piece in weights.pieces(state, name):
        taken = piece[: len(flat) - start]
        flat[start : start + len(taken)] = taken
        start += len(taken)
        if start == len(flat):
            return


def _first(output: Any) -> Tensor:
    found: Tensor = output if isinstance(output, Tensor) else output[0]
    return found
