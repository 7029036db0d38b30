"""Upcycling tensor by tensor, what mixtures of equal experts compute, and the command line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from harness import weights
from harness.errors import DataError, MethodError
from harness.store import file_digest
from suites.bam.model import checkpoints
from suites.bam.model import upcycle as upcycling
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig
from suites.bam.model.upcycle import Method, main, upcycle

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 4,
}


def dense(seed: int, **options: Any) -> BamForCausalLM:
    model = BamForCausalLM(BamConfig(**(SIZES | options)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.4, generator=generator)
            if "norm" in name:
                parameter.add_(1.0)
    return model.eval()


def mix(models: list[BamForCausalLM], method: Method, **options: Any) -> BamForCausalLM:
    return upcycle(models, method, torch.Generator().manual_seed(0), **options)


def ids() -> Tensor:
    return torch.randint(40, (2, 9), generator=torch.Generator().manual_seed(1))


STACKED = {
    "bam": {"q": "copied", "o": "copied", "k": "copied", "v": "copied", "ffn": "copied"},
    "bam-shared-kv": {"q": "copied", "o": "copied", "k": "mean", "v": "mean", "ffn": "copied"},
    "btx": {"q": "mean", "o": "mean", "k": "mean", "v": "mean", "ffn": "copied"},
    "average": {"q": "mean", "o": "mean", "k": "mean", "v": "mean", "ffn": "mean"},
}


@pytest.mark.parametrize("method", STACKED)
@pytest.mark.parametrize("options", [{}, {"parallel_block": False, "attention_bias": True}])
def test_every_tensor_is_a_copy_a_mean_or_a_router(method: Method, options: dict[str, Any]) -> None:
    models = [dense(seed, **options) for seed in range(4)]
    mixture = mix(models, method)
    states = [model.state_dict() for model in models]
    checked = set()
    for name, tensor in mixture.state_dict().items():
        if "router" in name:
            continue
        sources = [state[name] for state in states]
        part = name.split(".")[4] if ".attention." in name else ""
        kind = STACKED[method].get("ffn" if ".feedforward." in name else part, "mean")
        if kind == "mean":
            torch.testing.assert_close(tensor, sum(sources) / 4, rtol=1e-6, atol=1e-7, msg=name)
        else:
            parts = tensor.chunk(4, dim=1 if part == "o" else 0)
            assert all(map(torch.equal, parts, sources)), name
        checked.add(name)
    routers = {name for name in mixture.state_dict() if "router" in name}
    expected = {"bam": 4, "bam-shared-kv": 4, "btx": 2, "average": 0}[method]
    assert len(routers) == expected
    assert checked | routers == set(mixture.state_dict())


def test_models_are_not_touched() -> None:
    models = [dense(0), dense(1)]
    before = [{k: v.clone() for k, v in m.state_dict().items()} for m in models]
    mixture = mix(models, "bam")
    with torch.no_grad():
        for parameter in mixture.parameters():
            parameter.fill_(7.0)
    for model, state in zip(models, before, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("method", ["bam", "bam-shared-kv", "btx"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_attention_heads": 4, "num_key_value_heads": 2, "rope_interleaved": True},
        {"parallel_block": False, "norm": "rmsnorm", "qk_norm": True, "attention_bias": True},
        {"tie_word_embeddings": True},
    ],
)
@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_equal_experts_compute_the_dense_function(
    method: Method, options: dict[str, Any], top_k: int
) -> None:
    model = dense(3, **options)
    mixture = mix([model] * 3, method, ffn_top_k=top_k, norm_topk_prob=True)
    torch.testing.assert_close(mixture(ids()).logits, model(ids()).logits, rtol=1e-4, atol=1e-5)


def test_equal_experts_without_renormalisation_need_all_of_them() -> None:
    model = dense(3)
    whole, first = (mix([model] * 3, "bam", ffn_top_k=k) for k in (3, 1))
    expected = model(ids()).logits
    torch.testing.assert_close(whole(ids()).logits, expected, rtol=1e-4, atol=1e-5)
    assert (first(ids()).logits - expected).abs().max() > 0.01


def test_mean_of_equal_tensors_is_exact() -> None:
    model = dense(3)
    mean = mix([model] * 7, "average").state_dict()
    assert all(torch.equal(mean[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (8,), (5, 13)])
def test_a_mean_in_pieces_is_the_mean_rounded_once(
    dtype: torch.dtype, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upcycling, "_CHUNK", 7)
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=generator).to(dtype) for _ in range(3)]
    before = [tensor.clone() for tensor in tensors]
    wanted = np.mean([tensor.double().numpy() for tensor in tensors], axis=0)
    assert torch.equal(upcycling.average(tensors), torch.as_tensor(wanted).to(dtype))
    assert all(map(torch.equal, tensors, before))


def test_additional_experts_are_the_seeds() -> None:
    models = [dense(seed) for seed in range(3)]
    mixture = mix(models, "btx", num_ffn_experts=5, ffn_top_k=3)
    gate = mixture.model.layers[0].feedforward.gate
    for expert, source in enumerate([0, 1, 2, 2, 2]):
        assert torch.equal(gate[expert], models[source].model.layers[0].feedforward.gate[0])
    assert mixture.model.layers[0].feedforward.router.out_features == 5


def test_sparse_upcycling_copies_the_seed_alone() -> None:
    models = [dense(0), dense(1)]
    mixture = mix(models, "sparse")
    assert (mixture.config.num_ffn_experts, mixture.config.ffn_top_k) == (4, 2)
    torch.testing.assert_close(mixture(ids()).logits, models[1](ids()).logits, rtol=1e-4, atol=1e-5)


def test_routers_come_from_the_generator_and_are_shared_by_methods() -> None:
    models = [dense(0), dense(1), dense(2)]
    bam, btx = mix(models, "bam"), mix(models, "btx")
    other = upcycle(models, "bam", torch.Generator().manual_seed(1))
    for layer in range(2):
        name = f"model.layers.{layer}.feedforward.router.weight"
        assert torch.equal(bam.state_dict()[name], btx.state_dict()[name])
        assert not torch.equal(bam.state_dict()[name], other.state_dict()[name])
    drawn = torch.cat([t.flatten() for n, t in bam.state_dict().items() if "router" in n])
    assert len(drawn) == 2 * 2 * 3 * 8
    assert drawn.std().item() == pytest.approx(0.02, rel=0.2)
    assert drawn.unique().numel() == len(drawn)


def test_uniform_gates_need_no_router() -> None:
    mixture = mix([dense(0), dense(1)], "bam", attention_routing="uniform")
    assert not any("attention.router" in name for name in mixture.state_dict())


def test_a_mixture_trains_in_every_part() -> None:
    mixture = mix([dense(0), dense(1)], "bam", ffn_top_k=2).train()
    output = mixture(ids(), labels=ids())
    (output.loss + output.auxiliary_loss).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in mixture.parameters())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"hidden_size": 16}, "model.embed_tokens.weight is [40, 8] in A and [40, 16] in B"),
        (
            {"intermediate_size": 16},
            "model.layers.0.feedforward.gate is [1, 12, 8] in A and [1, 16, 8] in B",
        ),
        ({"num_hidden_layers": 3}, "model.layers.2.norm.weight is missing in A and [8] in B"),
        ({"num_hidden_layers": 1}, "model.layers.1.norm.weight is [8] in A and missing in B"),
        (
            {"parallel_block": False},
            "model.layers.0.norm.weight is [8] in A and missing in B",
        ),
        ({"rope_theta": 500.0}, "rope_theta is 10000.0 in A and 500.0 in B"),
        ({"num_attention_heads": 4, "head_dim": 2}, "num_attention_heads is 2 in A and 4 in B"),
        ({"num_ffn_experts": 2}, "B is a mixture already"),
    ],
)
def test_models_that_do_not_fit_are_named(other: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError) as caught:
        upcycle([dense(0), dense(1, **other)], "bam", torch.Generator(), names=["A", "B"])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("btx", {"num_ffn_experts": 2}, "num_ffn_experts=2 does not go with method 'btx' and 3"),
        ("average", {"num_ffn_experts": 3}, "does not go with method 'average'"),
        (
            "moe",
            {},
            "unknown method of upcycling 'moe': there are average, bam, bam-shared-kv, btx",
        ),
        ("bam", {"hidden_size": 3}, "'hidden_size' cannot be chosen"),
    ],
)
def test_impossible_requests(method: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        mix([dense(0), dense(1), dense(2)], method, **options)


# --- the command line --------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Three checkpoints with a tokenizer."""
    made = []
    for index, name in enumerate(("code", "law", "seed")):
        folder = tmp_path / name
        checkpoints.save(dense(index), folder)
        vocabulary = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}}}
        (folder / "tokenizer.json").write_text(json.dumps(vocabulary))
        (folder / "tokenizer_config.json").write_text("{}")
        made.append(str(folder))
    return made


@pytest.mark.parametrize("method", ["bam", "bam-shared-kv", "btx", "average", "sparse"])
def test_command_line_writes_what_auto_classes_load(
    method: Method, folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--experts", *folders[:2], "--seed", folders[2], "--method", method]
    assert main([*arguments, "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    loaded = AutoModelForCausalLM.from_pretrained(out)
    expected = mix([checkpoints.load(Path(f)) for f in folders], method)
    assert torch.equal(loaded(ids()).logits, expected(ids()).logits)
    assert loaded.generate(ids(), max_new_tokens=3, pad_token_id=0).shape == (2, 12)
    assert (out / "tokenizer.json").read_bytes() == Path(folders[2], "tokenizer.json").read_bytes()
    checkpoints.verify(out)
    assert "tokenizer.json" in json.loads((out / "checksum.json").read_text())["files"]


def test_command_line_options(folders: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--top-k", "2", "--ffn-experts", "4", "--attention-routing", "top2"]
    assert main(["--experts", *folders, *options, "--out", str(out)]) == 0
    config = checkpoints.load(out).config
    assert (config.ffn_top_k, config.num_ffn_experts) == (2, 4)
    assert (config.attention_routing, config.num_attention_experts) == ("top2", 3)


def _flip(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def _other_vocabulary(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": {"vocab": {"b": 0, "a": 1}}}')


def _wider(folder: Path) -> None:
    for path in folder.iterdir():
        if "tokenizer" not in path.name:
            path.unlink()
    checkpoints.save(dense(1, intermediate_size=16), folder)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_flip, "law/model.safetensors is corrupt"),
        (_other_vocabulary, "tokenizer.json: model.type is 'BPE' in"),
        (_wider, "model.layers.0.feedforward.gate is [1, 12, 8] in"),
        (_empty, "law has no config.json"),
    ],
)
def test_command_line_errors_are_one_line(
    spoil: Any, message: str, folders: list[str], tmp_path: Path, capsys: Any
) -> None:
    spoil(Path(folders[1]))
    capsys.readouterr()
    out = tmp_path / "out"
    assert main(["--experts", *folders, "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("bam-upcycle: ")
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()
    assert not list(tmp_path.glob(".tmp*"))


def test_command_line_does_not_overwrite(folders: list[str], capsys: Any) -> None:
    assert main(["--experts", *folders, "--out", folders[0]]) == 2
    assert "is there already" in capsys.readouterr().err


# --- other people's files ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["bam", "bam-shared-kv", "btx", "average", "sparse"])
@pytest.mark.parametrize("options", [{}, {"tie_word_embeddings": True, "qk_norm": True}])
def test_streaming_writes_what_is_mixed_in_memory(
    method: Method, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "PIECE", 13)
    models = [dense(seed, **options) for seed in range(3)]
    folders = [tmp_path / str(number) for number in range(3)]
    for model, folder in zip(models, folders, strict=True):
        checkpoints.save(model, folder)
    words = ["--experts", *map(str, folders), "--method", method, "--max-shard-size", "3KB"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    written, expected = checkpoints.load(tmp_path / "out"), mix(models, method)
    assert (tmp_path / "out" / "model.safetensors.index.json").exists()
    assert all(
        torch.equal(written.state_dict()[name], tensor)
        for name, tensor in expected.state_dict().items()
    )
    checkpoints.verify(tmp_path / "out")
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert [Path(model["path"]).name for model in recipe["models"]] == ["0", "1", "2"]
    assert recipe["models"][0]["sha256"] == {
        "model.safetensors": file_digest(folders[0] / "model.safetensors")
    }
    assert recipe["sha256"].keys() == {f.name for f in (tmp_path / "out").glob("*.safetensors")}


def test_unlike_precisions_need_a_choice(tmp_path: Path, capsys: Any) -> None:
    models = [dense(0).bfloat16(), dense(1)]
    for name, model in zip("AB", models, strict=True):
        checkpoints.save(model, tmp_path / name)
    words = ["--experts", *(str(tmp_path / n) for n in "AB"), "--method", "average"]
    assert main([*words, "--out", str(tmp_path / "no")]) == 1
    assert "choose one of them with --dtype" in capsys.readouterr().err
    assert main([*words, "--dtype", "bfloat16", "--out", str(tmp_path / "out")]) == 0
    mean = checkpoints.load(tmp_path / "out").state_dict()
    for name, tensor in mean.items():
        sources = [model.state_dict()[name].double() for model in models]
        assert torch.equal(tensor, (sum(sources) / 2).to(torch.bfloat16)), "rounded once"


def test_what_lies_beside_the_seed_comes_along(folders: list[str], tmp_path: Path) -> None:
    seed = Path(folders[2])
    settings = {"eos_token_id": [2, 7], "pad_token_id": 0, "repetition_penalty": 1.1}
    (seed / "LICENSE.txt").write_text("free")
    (seed / "checksum.json").unlink()
    (seed / "generation_config.json").write_text(json.dumps(settings))
    for folder in folders[:2]:
        Path(folder, "checksum.json").unlink()
        Path(folder, "generation_config.json").unlink()
    out = tmp_path / "out"
    assert main(["--experts", *folders, "--out", str(out)]) == 0
    assert checkpoints.load(out).generation_config.eos_token_id == [2, 7]
    assert (out / "LICENSE.txt").read_text() == "free"
    checkpoints.verify(out)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("generation_config.json", '{"eos_token_id": 9}', "generation_config.json: eos_token_id"),
        ("config.json", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("config.json", "[" * 100_000, "not JSON"),
        ("config.json", '{"model_type": "llama", "vocab_size": "x"}', "config.json is corrupt"),
        ("config.json", '{"model_type": "bam", "num_hidden_layers": 1000000000}', "1000000000"),
        ("config.json", '{"model_type": "llama", "quantization_config": {"a": 1}}', "quantised"),
        ("tokenizer.json", "<html>", "a web page"),
    ],
)
def test_files_beside_the_weights_that_are_wrong_are_one_line(
    name: str, content: str, message: str, folders: list[str], tmp_path: Path, capsys: Any
) -> None:
    for folder in folders:
        Path(folder, "checksum.json").unlink()
    Path(folders[2], "generation_config.json").write_text('{"eos_token_id": 2}')
    Path(folders[0], name).write_text(content)
    capsys.readouterr()
    assert main(["--experts", *folders, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_head_of_its_own_under_a_tied_configuration_is_refused(tmp_path: Path) -> None:
    checkpoints.save(dense(0, tie_word_embeddings=True), tmp_path)
    (tmp_path / "checksum.json").unlink()
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    save_file(state | {"lm_head.weight": state["model.embed_tokens.weight"].clone()}, path)
    checkpoints.load(tmp_path)  # the same once more is no contradiction
    save_file(state | {"lm_head.weight": torch.ones(40, 8)}, path)
    with pytest.raises(DataError, match="differs from the embeddings"):
        checkpoints.load(tmp_path)


_PEAK = """
import resource, sys
import torch
from safetensors.torch import load_file, save_file
from suites.bam.model import upcycle
own = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = own()
assert upcycle.main(sys.argv[1:]) == 0
print(own() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["average", "bam"])
def test_memory_is_a_shard_and_a_tensor_of_each_model(method: str, tmp_path: Path) -> None:
    sizes = {"vocab_size": 8000, "hidden_size": 512, "intermediate_size": 2048, "head_dim": 128}
    folders = [str(tmp_path / str(number)) for number in range(3)]
    for number, folder in enumerate(folders):
        checkpoints.save(dense(number, num_hidden_layers=5, **sizes), Path(folder))
    words = ["--experts", *folders, "--method", method, "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, *words, "--max-shard-size", "40MB"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    shards = [file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors")]
    assert len(shards) > 2
    tensor = 4 * 8000 * 512
    assert int(done.stdout.split()[-1]) < 1.3 * max(shards) + 3 * tensor
