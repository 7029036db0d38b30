"""Checkpoints on disk: our own, and dense models of other families turned into ours.

A checkpoint is a folder in the format of transformers (config.json, safetensors). Ours also hold
`checksum.json`, so that a corrupt file is found before it is used.
"""

import contextlib
import io
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, GenerationConfig, PreTrainedConfig

from harness import pretrained, weights
from harness.errors import DataError, HarnessError, MethodError, brief, unknown
from harness.pretrained import CHECKSUM, CONFIG, GENERATION, check_plain
from harness.store import file_digest, read_json, write_atomic
from harness.weights import Weights
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig
from suites.bam.model.families import FAMILIES, REFUSED, Origin, origins, our_config


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose tensors are read one at a time."""

    folder: Path
    skeleton: BamForCausalLM
    """The model on the meta device: configuration, shapes and type of numbers."""
    tensors: "_Renamed"
    """By our names; each is read whenever it is asked for."""
    weights: Weights
    """By the names that they have in the files."""

    @property
    def config(self) -> BamConfig:
        """Of the family `bam`, whatever the checkpoint's own family."""
        config: BamConfig = self.skeleton.config
        return config

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        """Type of numbers of each tensor, by the names in the files."""
        return {name: tensor.dtype for name, tensor in self.weights.meta.items()}


class _Renamed(Mapping[str, Tensor]):
    """Tensors of a checkpoint by our names."""

    def __init__(self, tensors: Mapping[str, Tensor], names: Mapping[str, Origin]) -> None:
        self._tensors, self._names = tensors, names

    def over(self, tensors: Mapping[str, Tensor]) -> "_Renamed":
        """The same names for other tensors of the checkpoint."""
        return _Renamed(tensors, self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> Tensor:
        return self._names[name].take(self._tensors)

    def pieces(self, name: str) -> Iterator[Tensor]:
        """The elements of a tensor in their order, in flat pieces."""
        origin = self._names[name]
        if origin.ones or origin.rows != slice(None):
            return weights.pieces({name: self[name]}, name)
        return weights.pieces(self._tensors, origin.key)


def save(model: BamForCausalLM, folder: Path) -> None:
    """Writes a checkpoint and the checksums of its files.

    Raises:
        StoreError: If the checksums cannot be written.
    """
    model.save_pretrained(folder)
    _seal(folder)


def write(
    model: BamForCausalLM,
    make: Callable[[str], Iterable[Tensor]],
    folder: Path,
    beside: Iterable[Path] = (),
    shard_size: int = weights.SHARD_SIZE,
) -> dict[str, str]:
    """Writes what `save` would, one tensor at a time.

    Args:
        model: On the meta device.
        make: The tensor of a name in pieces; called once for each.
        folder: Of the checkpoint, empty.
        beside: Files to copy into it, in place of those that the model would write.
        shard_size: Bytes that a file holds at most.

    Returns:
        File name -> sha256 of the weight files.
    """
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar over no shard at all
        model.save_pretrained(folder, state_dict={})
    pretrained.copy(beside, folder)
    digests = weights.write(folder, stored(model), make, shard_size)
    _seal(folder, digests)
    return digests


def stored(model: BamForCausalLM) -> dict[str, Tensor]:
    """The tensors that a checkpoint of this model holds: a tied head is not written twice."""
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    return {name: t for name, t in sorted(model.state_dict().items()) if name not in tied}


def _seal(folder: Path, known: Mapping[str, str] | None = None) -> None:
    """Writes the checksums; `known` are those that need not be computed."""
    files = {
        path.name: (known or {}).get(path.name) or file_digest(path)
        for path in sorted(folder.iterdir())
        if path.suffix in (".safetensors", ".json", ".py") and path.name != CHECKSUM
    }
    text = json.dumps({"algorithm": "sha256", "files": files}, indent=1)
    write_atomic(folder / CHECKSUM, text.encode())


def read(folder: Path) -> Checkpoint:
    """A checkpoint of any of the `FAMILIES`, its tensors not yet read.

    Raises:
        DataError: If it is missing, corrupt, quantised, or of another family.
        MethodError: If its architecture has parts that a `BamForCausalLM` has not.
    """
    verify(folder)
    config = _read_config(folder)
    opened = Weights(folder)
    weights.check_floating(opened.meta, (n for n in opened if not _is_constant(n)), folder)
    return _checked(folder, config, opened, opened.meta)


def _checked(
    folder: Path, config: PreTrainedConfig, opened: Weights, meta: Mapping[str, Tensor]
) -> Checkpoint:
    name = str(folder)
    ours = _as_ours(config, name)
    if ours.num_hidden_layers > len(opened):
        raise DataError(
            f"{name}: its {CONFIG} asks for {ours.num_hidden_layers} layers, its files hold "
            f"{len(opened)} tensors; the checkpoint is not whole"
        )
    own = isinstance(config, BamConfig)
    names = {key: Origin(key) for key in opened} if own else origins(opened, ours)
    tensors = _Renamed(opened, names)
    shapes = {key: origin.take(meta) for key, origin in names.items()}
    model = skeleton(ours, name)
    _check_state(model, shapes, name)
    _check_head(ours, tensors, name)
    return Checkpoint(folder, cast(model, shapes["model.norm.weight"].dtype), tensors, opened)


def load(folder: Path) -> BamForCausalLM:
    """Loads a checkpoint of any of the `FAMILIES`, on the CPU, in the precision of its files.

    Raises:
        DataError: If it is missing, corrupt, of another family, or in several precisions.
        MethodError: If its architecture has parts that a `BamForCausalLM` has not.
    """
    source = read(folder)
    one_dtype([source], None, "convert the checkpoint to one of them")
    tensors = dict(source.tensors.over(source.weights.load()))
    for name, tensor in tensors.items():
        check_finite(name, tensor, folder)
    model = assemble(source.config, tensors, str(folder))
    if (folder / GENERATION).is_file():
        read_json(folder / GENERATION)
        try:
            model.generation_config = GenerationConfig.from_pretrained(folder)
        except Exception as error:  # whatever readers raise on odd values
            raise DataError(f"{folder / GENERATION} is corrupt ({brief(error)})") from None
    return model


def one_dtype(sources: Sequence[Checkpoint], dtype: torch.dtype | None, advice: str) -> torch.dtype:
    """The one type of numbers of all tensors, or the one that was chosen.

    Raises:
        MethodError: If there are several and none was chosen, naming two tensors.
    """
    first: tuple[str, Path, torch.dtype] | None = None
    for source in sources:
        for name, found in source.dtypes.items():
            if _is_constant(name):
                continue
            first = first or (name, source.folder, found)
            if dtype is None and found != first[2]:
                raise MethodError(
                    f"{name} is {_plain(found)} in {source.folder} and {first[0]} is "
                    f"{_plain(first[2])} in {first[1]}; {advice}"
                )
    return dtype or (first[2] if first else torch.float32)


def check_finite(name: str, tensor: Tensor, folder: Path) -> None:
    """Raises DataError for a tensor with NaN or infinity."""
    if not weights.is_finite(tensor):
        raise DataError(f"{folder}: tensor {name} holds a number that is not finite")


def load_dense(folder: Path) -> BamForCausalLM:
    """Loads a checkpoint that has one expert of each kind.

    Raises:
        DataError: As `load`.
        MethodError: As `load`, or if it is a mixture already.
    """
    model = load(folder)
    check_dense(model.config, str(folder))
    return model


def check_dense(config: BamConfig, name: str) -> None:
    """Raises MethodError for a mixture."""
    if max(config.num_ffn_experts, config.num_attention_experts) > 1:
        raise MethodError(
            f"{name} is a mixture already ({config.num_ffn_experts} feed-forward and "
            f"{config.num_attention_experts} attention experts); give dense models"
        )


def verify(folder: Path) -> None:
    """Compares a checkpoint's files with its checksums, where it has any.

    Raises:
        DataError: If a file is corrupt or missing.
    """
    path = folder / CHECKSUM
    if not path.is_file():
        return
    document = read_json(path)
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, dict) or not all(name == Path(name).name for name in files):
        raise DataError(f"{path} is corrupt; make or download the checkpoint again")
    for name, expected in files.items():
        if not (folder / name).is_file():
            raise DataError(f"{folder / name} is missing; make or download the checkpoint again")
        if (found := file_digest(folder / name)) != expected:
            raise DataError(
                f"{folder / name} is corrupt: sha256 {found[:12]}..., expected "
                f"{str(expected)[:12]}...; make or download the checkpoint again"
            )


def convert(config: PreTrainedConfig, tensors: Mapping[str, Tensor], name: str) -> BamForCausalLM:
    """A dense model of another family as ours, with equal logits.

    Args:
        config: Of one of the other `FAMILIES`.
        tensors: State dict of that family's `...ForCausalLM`.
        name: What messages call it.

    Raises:
        DataError: If a tensor is missing, too many or of the wrong shape.
        MethodError: If the family is another, or has parts that we have not.
    """
    ours = our_config(config, name)
    names = origins(tensors, ours)
    return assemble(ours, dict(_Renamed(tensors, names)), name)


def assemble(config: BamConfig, state: dict[str, Tensor], name: str) -> BamForCausalLM:
    """A model made of these tensors, not of copies.

    Raises:
        DataError: If one is missing, too many or of the wrong shape, or if the head is said to be
            the embeddings and is not.
    """
    model = skeleton(config, name)
    _check_head(config, state, name)
    if config.tie_word_embeddings and "model.embed_tokens.weight" in state:
        state = {**state, "lm_head.weight": state["model.embed_tokens.weight"]}
    _check_state(model, state, name)
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    model.requires_grad_(True).train(False)
    return model


def skeleton(config: BamConfig, name: str) -> BamForCausalLM:
    """A model on the meta device: configuration and shapes, no numbers.

    Raises:
        DataError: If the configuration describes no model.
    """
    try:
        with torch.device("meta"):
            return BamForCausalLM(config)
    except HarnessError:
        raise
    except Exception as error:  # sizes that are no sizes
        raise DataError(f"{name}: its {CONFIG} describes no model ({brief(error)})") from None


def cast(model: BamForCausalLM, dtype: torch.dtype) -> BamForCausalLM:
    """The same model, its tensors of that type."""
    model.to(dtype=dtype)  # type: ignore[call-arg]  # transformers hides torch's types
    return model


def _check_state(model: BamForCausalLM, state: Mapping[str, Tensor], name: str) -> None:
    """Compares names and shapes with what the configuration asks for; `state` may be meta."""
    config = model.config
    expected = model.state_dict()
    for key, tensor in expected.items():
        if key not in state:
            if key == "lm_head.weight" and config.tie_word_embeddings:
                continue
            raise DataError(f"{name}: tensor {key} is missing; the checkpoint is not whole")
        if state[key].shape != tensor.shape:
            raise DataError(
                f"{name}: tensor {key} is {list(state[key].shape)}, its config.json asks for "
                f"{list(tensor.shape)}"
            )
    for key in state:
        if key not in expected:
            raise DataError(f"{name}: tensor {key} is not part of a {config.model_type} model")


def _check_head(config: BamConfig, state: Mapping[str, Tensor], name: str) -> None:
    """Refuses a head of its own where the configuration says that there is none."""
    keys = ("lm_head.weight", "model.embed_tokens.weight")
    if not config.tie_word_embeddings or any(key not in state for key in keys):
        return
    head, embeddings = (state[key] for key in keys)
    if head is not embeddings and not torch.equal(head, embeddings):
        raise DataError(
            f"{name}: lm_head.weight differs from the embeddings to which its {CONFIG} ties it; "
            'set "tie_word_embeddings" to false there if the head is meant, or take it out'
        )


def _read_config(folder: Path) -> PreTrainedConfig:
    path = folder / CONFIG
    if not path.is_file():
        raise DataError(f"{folder} has no {CONFIG}; give the folder of a checkpoint")
    document = read_json(path)
    if not isinstance(document, dict):
        raise DataError(f"{path} is corrupt (not an object); make or download the checkpoint again")
    check_plain(document, path)
    kind = document.get("model_type")
    if kind in REFUSED:
        raise MethodError(f"{path}: model_type {kind!r} does not map: {REFUSED[kind]}")
    if kind not in FAMILIES:
        raise DataError(f"{path}: {unknown('model_type', kind, FAMILIES)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config: PreTrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True)
    except HarnessError:
        raise
    except Exception as error:  # whatever readers raise on odd values
        raise DataError(f"{path} is corrupt ({brief(error)}); make or download it again") from None
    return config


def _as_ours(config: PreTrainedConfig, name: str) -> BamConfig:
    if isinstance(config, BamConfig):
        return config
    try:
        return our_config(config, name)
    except HarnessError:
        raise
    except Exception as error:  # values of a kind that the family does not have
        raise DataError(f"{name}: its {CONFIG} describes no model ({brief(error)})") from None


def _is_constant(key: str) -> bool:
    """Old checkpoints keep the frequencies of RoPE."""
    return key.endswith("rotary_emb.inv_freq")


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
