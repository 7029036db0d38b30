"""Which tensors of a state dict a merge touches: attention, MLP, norms, whole blocks, everything.

A group follows from the names alone, so it works for the policies of this suite and for the usual
transformers: `blocks.0.attn.qkv.weight`, `transformer.h.0.mlp.c_fc.weight`,
`model.layers.0.self_attn.q_proj.weight`, `encoder.layer.0.output.LayerNorm.bias`.

`attn`, `mlp` and `ln` are disjoint parts of `blocks`; embeddings, the final norm and the heads are
in `all` only. Source: section 3 of the paper, and the name filters of the released code, which
look for substrings and so also take the integer masks that some attention modules keep.
"""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from harness.errors import SpecError, unknown

GROUPS = {
    "attn": "attention of the blocks",
    "mlp": "feed-forward layers of the blocks",
    "ln": "norms of the blocks",
    "blocks": "the whole blocks",
    "all": "every tensor",
}
"""The names that `--include` takes, and what each means; a glob such as `embed_*` is one too."""

_BLOCK = re.compile(r"(?:^|\.)(?:blocks?|h|layers?)\.\d+\.(.+)$")
_PARTS = {  # the first that fits one name of the path inside the block
    "ln": re.compile(r"(ln(_?\w+)?|\w*norm(_\w+|\d*))", re.IGNORECASE),
    "attn": re.compile(r"\w*(attn|attention)\w*", re.IGNORECASE),
    "mlp": re.compile(
        r"mlp|ffn?|feed_?forward|(c_)?fc\d?|linear\d|intermediate|output|dense\w*|\w*(moe|experts)",
        re.IGNORECASE,
    ),
}


def matches(key: str, groups: Sequence[str]) -> bool:
    """Whether the tensor named `key` is in one of the groups.

    Raises:
        SpecError: a group that does not exist.
    """
    block = _BLOCK.search(key)
    part = _part(block[1]) if block else None
    for group in groups:
        if "*" in group:
            member = fnmatchcase(key, group)
        elif group not in GROUPS:
            raise SpecError(f"{unknown('group', group, GROUPS)}, and globs such as 'embed_*'")
        else:
            member = group in ("all", part) or (group == "blocks" and block is not None)
        if member:
            return True
    return False


def select(state: Mapping[str, Any], groups: Sequence[str]) -> list[str]:
    """The floating-point tensors of `state` that are in one of the groups, in its order.

    Raises:
        SpecError: a group that does not exist or that holds no tensor of `state`.
    """
    floating = [key for key, value in state.items() if value.is_floating_point()]
    for group in groups:
        if not any(matches(key, [group]) for key in floating):
            shown = ", ".join(floating[:3])
            raise SpecError(
                f"group {group!r} holds none of the {len(floating)} floating tensors "
                f"({shown}, ...); use another group, or a glob over the names"
            )
    return [key for key in floating if matches(key, groups)]


def _part(path: str) -> str | None:
    names = path.split(".")
    for part, pattern in _PARTS.items():
        if any(pattern.fullmatch(name) for name in names):
            return part
    return None
