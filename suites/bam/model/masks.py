"""Which keys a token may look at: causal, padded, packed, windowed, after any kind of cache.

Shape suffixes: B sequences, T tokens, S keys (cached ones too).
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.cache_utils import Cache


def visible(
    tokens: int,
    device: torch.device,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    cache: Cache | None = None,
    window: int | None = None,
) -> Tensor | None:
    """A mask [B or 1, 1, T, S], True where a token may look; None where the kernel's rule does.

    Args:
        tokens: T.
        device: Of the mask.
        attention_mask: [B, S], 0 for padding; or a whole mask, which is returned.
        position_ids: [T] or [B, T]. Where they start again, another sequence begins, which does not
            see the one before it.
        cache: Earlier tokens. A static one has keys that are not filled yet, one with a window has
            lost its first keys.
        window: Tokens that a token sees, itself included.
    """
    if attention_mask is not None and attention_mask.dim() == 4:
        return attention_mask
    past = 0 if cache is None else cache.get_seq_length()
    keys, first = (tokens, 0) if cache is None else cache.get_mask_sizes(tokens, 0)
    sequence_BT = None
    if position_ids is not None and tokens > 1 and past == 0:
        sequence_BT = _sequences(position_ids, attention_mask)
    plain = attention_mask is None and sequence_BT is None
    narrow = window is not None and keys > window
    if plain and not narrow and (past == 0 or tokens == 1) and keys == past + tokens - first:
        return None
    key_S = first + torch.arange(keys, device=device)
    query_T1 = (past + torch.arange(tokens, device=device)).unsqueeze(1)
    seen = key_S <= query_T1
    if window is not None:
        seen = seen & (key_S > query_T1 - window)
    if sequence_BT is not None:
        of_key_BS = F.pad(sequence_BT, (0, keys - tokens), value=-1)
        seen = seen & (of_key_BS.unsqueeze(1) == sequence_BT.unsqueeze(2))
    if attention_mask is not None:
        kept_BS = attention_mask[:, first : first + keys].bool()
        kept_BS = F.pad(kept_BS, (0, keys - kept_BS.size(1)))
        # Padding looks at itself: a row without any key would be a softmax of nothing.
        seen = (kept_BS.unsqueeze(1) & seen) | (key_S == query_T1)
    return seen.unsqueeze(1) if seen.dim() == 3 else seen[None, None]


def token_weights(attention_mask: Tensor | None, tokens: int) -> Tensor | None:
    """1 for a token, 0 for padding, [N]; None where nothing is padded."""
    if attention_mask is None or attention_mask.dim() == 4:
        return None
    return attention_mask[:, -tokens:].flatten().float()


def _sequences(position_ids: Tensor, attention_mask: Tensor | None) -> Tensor | None:
    """Number of the packed sequence that each token is of, [B or 1, T]; None where there is one.

    A sequence begins where a position does not follow the one before it, padding aside: tools
    number padding as they like.
    """
    position_BT = position_ids.reshape(-1, position_ids.size(-1))
    restart_BT = position_BT.diff(dim=1) != 1
    if attention_mask is not None:
        kept_BT = attention_mask[:, : position_BT.size(1)].bool()
        restart_BT = restart_BT & kept_BT[:, 1:] & kept_BT[:, :-1]
    if not torch.compiler.is_compiling() and not restart_BT.any():
        return None
    return F.pad(restart_BT.cumsum(dim=1), (1, 0))
