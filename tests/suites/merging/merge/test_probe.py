"""The probe of a function, on models of transformers built from tiny configurations."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from suites.merging.merge import probe
from suites.merging.merge.alignment import Aligned
from suites.merging.merge.command import main
from suites.merging.policy.files import save
from suites.merging.policy.model import DecisionTransformer, Shape
from suites.merging.robots.trajectories import Statistics

SIZES: dict[str, Any] = {"vocab_size": 30, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "gpt2": (
        transformers.GPT2LMHeadModel,
        transformers.GPT2Config,
        {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16},
    ),
    "gpt_neo": (
        transformers.GPTNeoForCausalLM,
        transformers.GPTNeoConfig,
        {
            "hidden_size": 8, "num_layers": 2, "num_heads": 2, "window_size": 8,
            "max_position_embeddings": 16, "attention_types": [[["global"], 2]],
        },
    ),
    "llama": (
        transformers.LlamaForCausalLM,
        transformers.LlamaConfig,
        {
            "hidden_size": 8, "intermediate_size": 20, "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
    ),
}  # fmt: skip


@pytest.fixture(params=KINDS)
def folders(request: pytest.FixtureRequest, tmp_path: Path) -> list[Path]:
    model_class, config_class, sizes = KINDS[request.param]
    made = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = model_class(config_class(**SIZES, **sizes))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.5)
        model.save_pretrained(tmp_path / str(seed))
        made.append(tmp_path / str(seed))
    return made


@pytest.mark.parametrize("size", [10**9, 1])
def test_an_aligned_model_is_probed_and_another_function_is_found(
    folders: list[Path], size: int, tmp_path: Path
) -> None:
    from harness.weights import Weights

    one, two = map(Weights, folders)
    aligned = Aligned(one, two, two.meta)
    assert aligned.moved
    off = probe.difference(folders[1], two.meta, two, aligned, size)
    assert off is not None
    assert off < 1e-5
    first = next(key for key in sorted(aligned.moved) if key.endswith("weight"))
    aligned._moves.pop(first)
    off = probe.difference(folders[1], two.meta, two, aligned, size)
    assert off is not None
    assert off > probe.TOLERANCE
    words = ["--method", "average", "--models", *map(str, folders), "--align"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0


def test_weights_of_another_size_than_the_configuration_says_are_not_probed(
    tmp_path: Path,
) -> None:
    from harness.weights import Weights

    model_class, config_class, sizes = KINDS["llama"]
    model_class(config_class(**SIZES, **sizes)).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_size": 16}))
    state = Weights(tmp_path)
    assert probe.difference(tmp_path, state.meta, state, state, 10**9) is None


def test_policies_of_this_suite_are_probed(tmp_path: Path) -> None:
    from harness.weights import Weights

    unit = Statistics(np.zeros(3, np.float32), np.ones(3, np.float32))
    shape = Shape(3, 2, width=8, layers=1, heads=2, context=3, max_steps=4)
    for seed in range(2):
        policy = DecisionTransformer(shape, torch.Generator().manual_seed(seed))
        save(policy, unit, tmp_path / str(seed))
    one, two = (Weights(tmp_path / str(seed)) for seed in range(2))
    off = probe.difference(tmp_path / "1", two.meta, two, Aligned(one, two, two.meta, 2), 10**9)
    assert off is not None
    assert off < 1e-5
    assert probe.difference(tmp_path, two.meta, two, two, 10**9) is None, "no configuration"
