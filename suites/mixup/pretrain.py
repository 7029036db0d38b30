"""A small BERT, pretrained as a masked language model on the training texts of the suite's sets.

Labels and development sets are not read. The encoder is no match for a published one; it is there
because its pretraining is known to the last sentence, and has seen no sentence pair with a label.

Shape legend: B texts, T tokens, V vocabulary.
"""

import math
from collections.abc import Sequence

import torch
from pydantic import JsonValue
from tokenizers import BertWordPieceTokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from harness.errors import SpecError
from harness.run import Context
from harness.settings import factor
from harness.training import State, clip, finite, parameters
from suites.mixup import texts
from suites.mixup.datasets import CORPORA
from suites.mixup.encoder import initialise
from suites.mixup.optimizer import adamw, set_rates
from suites.mixup.settings import Encoder, MixupSettings
from suites.mixup.texts import Batches, Examples

_IGNORED = -100


def make(ctx: Context) -> dict[str, JsonValue]:
    """Trains tokenizer and encoder and saves both, as `from_pretrained` loads them."""
    sentences = collect(ctx)
    settings = ctx.settings(Encoder)
    tokenizer = train_tokenizer(sentences, settings.vocabulary)
    tokens = settings.mlm_tokens
    ids = tokenizer(sentences, max_length=tokens, truncation=True)["input_ids"]
    data = Examples(
        tuple(map(tuple, ids)), None, torch.zeros(len(ids)), 0, int(tokenizer.pad_token_id)
    )
    width = settings.width
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            num_hidden_layers=settings.layers,
            num_attention_heads=max(1, width // 64),
            intermediate_size=4 * width,
            max_position_embeddings=2 * tokens,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    initialise(model, ctx.torch_generator("init"))
    model.to(ctx.device)  # type: ignore[arg-type]
    loss = fit(ctx, model, data, int(tokenizer.mask_token_id))
    model.bert.save_pretrained(ctx.out)
    tokenizer.save_pretrained(ctx.out)
    return {"sentences": len(sentences), "loss": loss, "parameters": parameters(model)}


def collect(ctx: Context) -> list[str]:
    """All training texts of the artifact's sets, each once, in the order of the files."""
    found: dict[str, None] = {}
    for name in ctx.subject.datasets:  # type: ignore[union-attr]
        corpus = CORPORA[name]
        if corpus.train is not None:
            read = texts.read(ctx.dataset(name) / corpus.train.path, corpus.train, corpus)
            found.update(dict.fromkeys((*read.first, *(read.second or ()))))
    return [text for text in found if text]


def train_tokenizer(sentences: Sequence[str], vocabulary: int) -> BertTokenizer:
    """Lower-cased word pieces of those sentences."""
    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator(sentences, vocab_size=vocabulary, show_progress=False)
    made = BertTokenizer(vocab=pieces.get_vocab())
    made.split_special_tokens = True  # the names of special tokens in a text are text
    return made


def fit(ctx: Context, model: BertForMaskedLM, data: Examples, mask: int) -> float:
    """Trains as long as the scale says; returns the last loss, in nats per masked token.

    Raises:
        SpecError: the scale says nothing of it.
    """
    length, settings = ctx.settings(MixupSettings).pretraining, ctx.settings(Encoder)
    if length is None:
        raise SpecError(
            f"scale {ctx.scale.name} pretrains no encoder; set `pretraining` in "
            "suites/mixup/scales.py"
        )
    batches = Batches(data, length.batch_size, ctx.stream("batch"))
    optimizer = adamw(model, settings.learning_rate, settings.optimizer)
    generator = ctx.torch_generator("mask")
    state = State(
        modules={"model": model}, optimizers={"adamw": optimizer}, generators={"mask": generator}
    )
    state.values["loss"] = 0.0
    vocabulary = model.config.vocab_size
    model.train()
    rising = math.ceil(ctx.settings(MixupSettings).warmup * length.steps)
    for step in ctx.steps(length.steps, state):
        set_rates(optimizer, factor(step, length.steps, rising, decay="linear", first=0))
        batch = batches[step]
        inputs_BT, targets_BT = corrupt(
            batch.input_ids_BT,
            batch.attention_mask_BT,
            mask,
            vocabulary,
            generator,
            settings.masked,
        )
        logits_BTV = model(
            input_ids=inputs_BT.to(ctx.device),
            attention_mask=batch.attention_mask_BT.to(ctx.device),
        ).logits
        loss = nn.functional.cross_entropy(
            logits_BTV.flatten(0, 1), targets_BT.flatten().to(ctx.device), ignore_index=_IGNORED
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip(optimizer, settings.optimizer.clip)
        optimizer.step()
        state.values["loss"] = finite(loss.item(), step)
    return float(state.values["loss"])  # type: ignore[arg-type]


def corrupt(
    ids_BT: Tensor,
    mask_BT: Tensor,
    mask: int,
    vocabulary: int,
    generator: torch.Generator,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    """Inputs with some tokens hidden, and what is to be predicted: -100 elsewhere.

    First and last token of a text are never hidden; at least one token of a batch is.
    """
    inner_BT = mask_BT.bool()
    inner_BT = inner_BT & inner_BT.roll(-1, 1)  # the last token of a full row wraps to its first
    inner_BT[:, 0] = False
    inner_BT[:, -1] = False
    draw_BT = torch.rand(ids_BT.shape, generator=generator).masked_fill(~inner_BT, 1.0)
    chosen_BT = (draw_BT < share) | ((draw_BT == draw_BT.min()) & inner_BT)
    targets_BT = ids_BT.masked_fill(~chosen_BT, _IGNORED)
    kind_BT = torch.rand(ids_BT.shape, generator=generator)
    others_BT = torch.randint(vocabulary, ids_BT.shape, generator=generator)
    inputs_BT = torch.where(chosen_BT & (kind_BT < 0.8), mask, ids_BT)
    inputs_BT = torch.where(chosen_BT & (kind_BT >= 0.9), others_BT, inputs_BT)
    return inputs_BT, targets_BT
