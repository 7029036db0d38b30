"""Routers from texts, against hidden states of transformers' own model; shared experts."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.errors import DataError, MethodError
from suites.bam.model import checkpoints, gates
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.upcycle import main, upcycle

WORDS = ["<unk>", *"abcdefghij", "end"]


def llama(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=20,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def ours(model: LlamaForCausalLM) -> BamForCausalLM:
    return checkpoints.convert(model.config, model.state_dict(), "llama")


def texts() -> list[torch.Tensor]:
    return [torch.tensor(ids) for ids in ([1, 2, 3, 1, 2], [4, 5, 6], [7, 8, 9, 10])]


def mix(method: Any, **options: Any) -> BamForCausalLM:
    return upcycle([ours(llama(n)) for n in range(3)], method, torch.Generator(), **options)


def test_rows_are_the_seeds_mean_hidden_states() -> None:
    mixture = mix("bam", router_from=texts(), router_init_std=0.3)
    seed = llama(2)
    expected: dict[str, list[torch.Tensor]] = {}
    for ids in texts():
        with torch.no_grad():
            states = seed(ids[None], output_hidden_states=True).hidden_states
            for number, layer in enumerate(seed.model.layers):
                h = layer.input_layernorm(states[number])
                expected.setdefault(f"{number}.attention", []).append(h[0].mean(0))
                after = (
                    states[number]
                    + layer.self_attn(
                        h,
                        position_embeddings=seed.model.rotary_emb(h, torch.arange(len(ids))[None]),
                        attention_mask=torch.ones(len(ids), len(ids)).tril()[None, None].log(),
                    )[0]
                )
                h = layer.post_attention_layernorm(after)
                expected.setdefault(f"{number}.feedforward", []).append(h[0].mean(0))
    for name, rows in expected.items():
        row_ED = torch.stack(rows)
        row_ED = row_ED - row_ED.mean(0)
        found = mixture.state_dict()[f"model.layers.{name}.router.weight"]
        torch.testing.assert_close(found, row_ED * 0.3 / row_ED.std(), rtol=1e-4, atol=1e-5)


def test_tokens_of_a_text_go_to_its_expert() -> None:
    mixture = mix("btx", router_from=texts(), router_init_std=1.0)
    equal = ours(llama(2))
    router = mixture.model.layers[0].feedforward.router
    for expert, ids in enumerate(texts()):
        h = {}
        equal.model.layers[0].feedforward.register_forward_pre_hook(
            lambda module, args, h=h: h.update(x=args[0])
        )
        equal(ids[None])
        assert int(router(h["x"][0].mean(0)).argmax()) == expert


def test_long_texts_are_read_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "WINDOW", 2)
    seed = ours(llama())
    ids = torch.tensor([1, 2, 3])
    parts = [gates._means(seed, part) for part in (ids[:2], ids[2:])]
    for name, mean in gates._means(seed, ids).items():
        torch.testing.assert_close(mean, (2 * parts[0][name] + parts[1][name]) / 3)


@pytest.mark.parametrize(
    ("method", "options", "count"),
    [
        ("btx", {"num_ffn_experts": 5}, 5),
        ("sparse", {}, 4),
        ("btx", {"shared_expert_weight": 0.5}, 2),
        ("bam", {"shared_expert_weight": 0.5}, 3),
        ("bam", {"attention_routing": "uniform", "shared_expert_weight": 0.5}, 2),
    ],
)
def test_every_routed_expert_has_a_text(method: Any, options: dict[str, Any], count: int) -> None:
    given = [torch.tensor([n + 1, n + 2]) for n in range(count)]
    mixture = mix(method, router_from=given, **options)
    assert all(t.isfinite().all() for t in mixture.state_dict().values())
    with pytest.raises(MethodError, match=f"{count + 1} texts for {count} routed experts"):
        mix(method, router_from=[*given, torch.tensor([1])], **options)


def test_experts_that_cannot_be_told_apart_are_a_warning() -> None:
    one, two, _ = texts()
    with pytest.warns(UserWarning, match="texts 1 and 3 have nearly equal mean hidden states"):
        mixture = mix("btx", router_from=[one, two, one])
    assert all(t.isfinite().all() for t in mixture.state_dict().values())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mix("btx", router_from=texts())


def test_impossible_texts_are_one_line() -> None:
    with pytest.raises(MethodError, match="has no routers"):
        mix("average", router_from=texts())
    with pytest.raises(DataError, match="text 2 has token 99, beyond the seed's vocabulary of 12"):
        mix("btx", router_from=[texts()[0], torch.tensor([99]), texts()[2]])


# --- a shared expert ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["bam", "btx", "sparse"])
def test_a_shared_expert_keeps_the_function_of_equal_experts(method: Any) -> None:
    dense = llama()
    options = {"shared_expert_weight": 0.3, "ffn_top_k": 2, "norm_topk_prob": True}
    mixture = upcycle([ours(dense)] * 3, method, torch.Generator(), **options)
    ids = torch.randint(12, (2, 9), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixture(ids).logits, dense(ids).logits, rtol=1e-4, atol=1e-5)


def test_the_shared_expert_is_the_seeds_and_is_added_by_its_share() -> None:
    mixture = mix("btx", shared_expert_weight=0.25, ffn_top_k=1, norm_topk_prob=True)
    assert mixture.config.num_ffn_experts == 2
    layer, h = mixture.model.layers[1], torch.randn(1, 5, 16)
    found, routing = layer.feedforward(h)
    dense = [llama(n).model.layers[1].mlp for n in range(3)]
    for token in range(5):
        x = h[0, token]
        routed = dense[int(routing.expert_NK[token])](x)
        torch.testing.assert_close(found[0, token], 0.25 * dense[2](x) + 0.75 * routed)
    ids = torch.tensor([[1, 2, 3, 4]])
    mixture.train()(ids, labels=ids).loss.backward()
    assert layer.feedforward.shared.gate.grad.abs().sum() > 0


# --- the command line --------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Three checkpoints with a tokenizer of words."""
    backend = Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **{"unk_token": WORDS[0]})
    for seed, name in enumerate(("code", "law", "seed")):
        llama(seed).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    return [str(tmp_path / name) for name in ("code", "law", "seed")]


def _write(folder: Path, *contents: bytes) -> list[str]:
    files = [folder / f"{n}.txt" for n in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    return [str(file) for file in files]


def test_command_line(folders: list[str], tmp_path: Path, capsys: Any) -> None:
    files = _write(tmp_path, b"a b c a b", "\ufeffd e\nf".encode(), b"g h i j")
    out = tmp_path / "out"
    options = ["--method", "btx", "--top-k", "2", "--norm-topk-prob", "--router-scale", "0.3"]
    options += ["--load-balancing-weight", "0.02", "--z-loss-weight", "0", "--router-from", *files]
    assert main(["--experts", *folders, "--out", str(out), *options]) == 0
    loaded = checkpoints.load(out)
    config = loaded.config
    assert (config.norm_topk_prob, config.router_init_std) == (True, 0.3)
    assert (config.load_balancing_weight, config.z_loss_weight) == (0.02, 0)
    expected = mix("btx", router_from=texts(), router_init_std=0.3)
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name], msg=name)
    recipe = json.loads((out / "recipe.json").read_text())
    assert [Path(text["path"]).name for text in recipe["router_from"]] == [
        "0.txt", "1.txt", "2.txt",
    ]  # fmt: skip
    capsys.readouterr()
    options = ["--router-from", files[0], files[1], files[0], "--shared-expert", "0.5"]
    assert main(["--experts", *folders, "--out", str(tmp_path / "two"), *options]) == 0
    error = capsys.readouterr().err
    assert error.startswith("bam-upcycle: warning: router_from: texts 1 and 3 have nearly equal")
    assert error.count("\n") == 1
    assert checkpoints.load(tmp_path / "two").config.num_ffn_experts == 2


@pytest.mark.parametrize(
    ("contents", "options", "message"),
    [
        ([b"a", b"b"], [], "2 texts for 3 routed experts"),
        ([b"a", b"", b"c"], [], "1.txt has no token"),
        ([b"a", b"\xff\xfe", b"c"], [], "1.txt cannot be read"),
        ([], ["--router-from", "missing.txt"], "missing.txt cannot be read"),
        ([], ["--shared-expert", "1.5"], "shared_expert_weight=1.5 must be at least 0 and below 1"),
        ([], ["--router-scale", "nan"], "router_init_std=nan must be a number"),
        ([], ["--z-loss-weight", "-1"], "z_loss_weight=-1.0 must be a number of at least 0"),
        ([], ["--method", "average", "--shared-expert", "0.5"], "needs routed experts"),
    ],
)
def test_command_line_errors_are_one_line(
    contents: list[bytes],
    options: list[str],
    message: str,
    folders: list[str],
    tmp_path: Path,
    capsys: Any,
) -> None:
    if contents:
        options = ["--router-from", *_write(tmp_path, *contents)]
    capsys.readouterr()
    assert main(["--experts", *folders, "--out", str(tmp_path / "out"), *options]) != 0
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
