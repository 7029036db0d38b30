"""A checkpoint loads, generates and is scored in a process that has nothing of ours."""

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from suites.bam.model import checkpoints, remote
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig

VARIANTS: dict[str, dict[str, Any]] = {
    "dense": {"tie_word_embeddings": True},
    "btx": {"num_ffn_experts": 3, "ffn_top_k": 2, "parallel_block": False, "norm": "rmsnorm"},
    "bam": {"num_ffn_experts": 2, "num_attention_experts": 2, "sliding_window": 5},
    "shared": {
        "num_ffn_experts": 2,
        "num_attention_experts": 2,
        "shared_kv": True,
        "qk_norm": True,
        "shared_expert_weight": 0.5,
        "hidden_act": "gelu_pytorch_tanh",
    },
}

# The process may import anything but this repository.
STRANGER = """
import sys
class Barrier:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("suites", "harness"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Barrier())
"""
LOADS = """
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
folder, again, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
ids = torch.arange(3, 15).reshape(2, 6)
found = {"logits": model(ids).logits, "generated": model.generate(ids, max_new_tokens=4)}
model.save_pretrained(again)
second = AutoModelForCausalLM.from_pretrained(again, trust_remote_code=True)
assert torch.equal(second(ids).logits, found["logits"])
model.save_pretrained(folder)
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
fresh = AutoModelForCausalLM.from_config(config, trust_remote_code=True)
assert type(fresh).__module__.startswith("transformers_modules")
assert not any(name.split(".")[0] in ("suites", "harness") for name in sys.modules)
save_file({name: tensor.detach().contiguous() for name, tensor in found.items()}, out)
"""


def build(variant: str) -> BamForCausalLM:
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 2}
    torch.manual_seed(0)
    model = BamForCausalLM(BamConfig(**(sizes | VARIANTS[variant]), eos_token_id=1, pad_token_id=0))
    return model.eval()


def stranger(script: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script elsewhere, isolated, with imports of ours refused."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-I", "-c", STRANGER + script, *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.parametrize(
    "variant",
    ["bam", *(pytest.param(v, marks=pytest.mark.slow) for v in ("dense", "btx", "shared"))],
)
def test_a_stranger_loads_a_checkpoint(variant: str, tmp_path: Path) -> None:
    model = build(variant)
    checkpoints.save(model, tmp_path / "mixture")
    done = stranger(
        LOADS,
        *(str(tmp_path / name) for name in ("mixture", "again", "out.safetensors")),
        home=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = load_file(tmp_path / "out.safetensors")
    ids = torch.arange(3, 15).reshape(2, 6)
    torch.testing.assert_close(found["logits"], model(ids).logits, rtol=1e-6, atol=1e-6)
    assert torch.equal(found["generated"], model.generate(ids, max_new_tokens=4))
    for folder in ("mixture", "again"):
        loaded = checkpoints.load(tmp_path / folder)
        assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))


def test_the_file_holds_the_modules_and_nothing_else(tmp_path: Path) -> None:
    tree = ast.parse(remote.source())
    names = [getattr(node, "name", None) for node in tree.body]
    names += [ast.unparse(t) for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
    assert [name for name, n in Counter(filter(None, names)).items() if n > 1] == []
    written = {ast.dump(node) for node in tree.body}
    folder = Path(remote.__file__).parent
    for module in remote.MODULES:
        for node in ast.parse((folder / f"{module}.py").read_text()).body:
            if not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr):
                assert ast.dump(node) in written, (module, node)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert not ast.unparse(node).split()[1].startswith(("suites", "harness", "."))
    build("dense").save_pretrained(tmp_path)
    assert (tmp_path / remote.CODE_FILE).read_text() == remote.source()
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == remote.AUTO_MAP


def test_every_module_of_the_model_travels() -> None:
    """A module that the model imports and that is not in the list would be missing there."""
    folder = Path(remote.__file__).parent
    for module in remote.MODULES:
        for node in ast.walk(ast.parse((folder / f"{module}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("suites"):
                name = (node.module or "").removeprefix("suites.bam.model.")
                assert name in (*remote.MODULES, "remote"), (module, node.module)


def test_a_checkpoint_saved_over_itself_is_whole(tmp_path: Path) -> None:
    model = build("bam")
    checkpoints.save(model, tmp_path)
    loaded = checkpoints.load(tmp_path)
    with torch.no_grad():
        loaded.lm_head.weight.add_(1)
    loaded.save_pretrained(tmp_path)
    again = checkpoints.load(tmp_path)
    assert torch.equal(again.lm_head.weight, model.lm_head.weight + 1)


def test_checkpoints_without_the_code_are_still_read(tmp_path: Path) -> None:
    model = build("btx")
    checkpoints.save(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for field in (
        "auto_map", "family", "recipe", "shared_expert_weight", "hidden_act", "sliding_window",
        "embedding_multiplier", "output_router_logits",
    ):  # fmt: skip
        config.pop(field, None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in (remote.CODE_FILE, remote.CHECKSUM):
        (tmp_path / name).unlink()
    save_file(load_file(tmp_path / "model.safetensors"), tmp_path / "model.safetensors")
    ids = torch.arange(3, 15).reshape(2, 6)
    assert torch.equal(checkpoints.load(tmp_path)(ids).logits, model(ids).logits)


def tokenizer() -> PreTrainedTokenizerFast:
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    words = {word: n for n, word in enumerate([*special.values(), *"abcdefghij"])}
    backend = Tokenizer(models.WordLevel(words, **{"unk_token": special["unk_token"]}))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


@pytest.mark.slow
def test_lm_eval_scores_a_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "mixture"
    checkpoints.save(build("bam"), folder)
    tokenizer().save_pretrained(folder)
    rows = [{"question": "a b c", "choices": ["d", "e"], "gold": n % 2} for n in range(4)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "toy.yaml").write_text(
        "task: toy\ndataset_path: json\n"
        f"dataset_kwargs:\n  data_files:\n    test: {data}\n"
        "output_type: multiple_choice\ntest_split: test\n"
        'doc_to_text: "{{question}}"\ndoc_to_target: gold\ndoc_to_choice: "{{choices}}"\n'
        "metric_list:\n  - metric: acc\n"
    )
    script = "from lm_eval.__main__ import cli_evaluate\nsys.argv[0] = 'lm_eval'\ncli_evaluate()"
    done = stranger(
        script,
        *("--model", "hf", "--model_args", f"pretrained={folder},trust_remote_code=True"),
        *("--include_path", str(tasks), "--tasks", "toy", "--device", "cpu"),
        *("--output_path", str(tmp_path / "out")),
        home=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (found,) = (tmp_path / "out").rglob("results*.json")
    assert 0 <= json.loads(found.read_text())["results"]["toy"]["acc,none"] <= 1
