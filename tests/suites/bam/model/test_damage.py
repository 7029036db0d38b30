"""Whatever is wrong with a file of a checkpoint: a mixture that works, or one line and nothing."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from suites.bam.data import tokens
from suites.bam.model import checkpoints, upcycle
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig

SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of ours and of transformers, in one file and in shards, with what lies beside."""
    root = tmp_path_factory.mktemp("valid")
    tokenizer = tokens.train(iter(["a few words of text"] * 9), SIZES["vocab_size"])
    for number in range(2):
        ours = BamForCausalLM(BamConfig(**SIZES))
        ours.reset_parameters(torch.Generator().manual_seed(number))
        checkpoints.save(ours, root / "ours" / f"{number}")
        torch.manual_seed(number)
        theirs = LlamaForCausalLM(LlamaConfig(**SIZES))
        theirs.save_pretrained(root / "whole" / f"{number}")
        theirs.save_pretrained(root / "shards" / f"{number}", max_shard_size="12KB")
        for folder in (root / kind / f"{number}" for kind in ("ours", "whole", "shards")):
            tokenizer.save_pretrained(folder)
            GenerationConfig(eos_token_id=[0, 1]).save_pretrained(folder)
            (folder / "chat_template.jinja").write_text("{{ messages }}")
            (folder / "LICENSE").write_text("Do as you like.\n")
    return root


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["ours", "whole", "shards"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_checkpoint_is_right_or_refused(
    valid: Path, tmp_path: Path, damage: Any, end_of: Any, copied: Any, kind: str, data: Any
) -> None:
    models = copied(valid / kind, tmp_path / "models")
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    what = damage(data.draw, models / data.draw(st.sampled_from("01")))
    method = data.draw(st.sampled_from(["bam", "btx", "average"]))
    words = ["--experts", str(models / "0"), str(models / "1"), "--method", method]
    ended = end_of(upcycle.main, [*words, "--out", str(work / "out")], work)
    if ended.code == 0:
        assert ended.left == ["out"], what
        model = checkpoints.load(work / "out")
        assert model(torch.arange(6)[None]).logits.shape == (1, 6, model.config.vocab_size), what
        shutil.rmtree(work / "out")
    else:
        assert not ended.left, what
        assert ended.out == "", what
        assert ended.err.startswith("bam-upcycle: "), what
        assert ended.err.count("\n") == 1, (what, ended.err)
