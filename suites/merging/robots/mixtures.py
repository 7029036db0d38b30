"""What data are made of, as plain data: policies that roll them out, with noise, shares, digests
and licences; files of text.

The numbers of `FOLDER` imitate D4RL's four qualities with policies that others have trained; those
of `SHIPPED` do the same with the small policies that come with the suite. Importing this module
needs nothing but the standard library.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Quality = Literal["expert", "medium", "medium-expert", "medium-replay"]
QUALITIES: tuple[Quality, ...] = ("expert", "medium", "medium-expert", "medium-replay")


class Ingredient(NamedTuple):
    """One policy's part of a dataset."""

    policy: str
    """A role for shipped policies, `folder/stem` for those of the data folder."""
    noise: float | Literal["own"]
    """Standard deviation of the Gaussian noise on actions; `own` samples from the policy's own."""
    share: float = 1.0
    """Of the dataset's steps."""


class Source(NamedTuple):
    """A policy of the data folder that a shipped policy is made from."""

    policy: str
    licence: str
    origin: str
    width: int | None = None
    """Hidden units of the two layers of a distilled student; None copies the policy."""


Mixture = tuple[Ingredient, ...]
"""Who rolls out one dataset."""


def _mixed(expert: Mixture, medium: Mixture, replay: Mixture) -> dict[Quality, Mixture]:
    """The three mixtures and medium-expert: medium and expert, half of the steps each."""
    halves = tuple(i._replace(share=i.share / 2) for i in (*medium, *expert))
    return {"expert": expert, "medium": medium, "medium-expert": halves, "medium-replay": replay}


def _replay(*policies: tuple[str, float | Literal["own"]]) -> Mixture:
    """What a replay buffer on the way to medium holds: policies from weak to medium."""
    return tuple(Ingredient(name, noise, 1 / len(policies)) for name, noise in policies)


BERKELEY, ZOO, ARS = "berkeley-cs294-experts", "rl-trained-agents", "ars-linear"

FOLDER: Mapping[str, Mapping[Quality, Mixture]] = MappingProxyType(
    {
        "hopper": _mixed(
            (Ingredient(f"{BERKELEY}/Hopper", 0.1),),
            (Ingredient(f"{ZOO}-sac/Hopper", "own"),),
            _replay(
                (f"{ZOO}-a2c/Hopper", "own"),
                (f"{ARS}/Hopper", 0.3),
                (f"{ZOO}-sac/Hopper", 0.6),
                (f"{ZOO}-sac/Hopper", "own"),
            ),
        ),
        "halfcheetah": _mixed(
            (Ingredient(f"{ZOO}-tqc/HalfCheetah", "own"),),
            (Ingredient(f"{ZOO}-ppo/HalfCheetah", "own"),),
            _replay(
                (f"{ZOO}-trpo/HalfCheetah", "own"),
                (f"{ZOO}-a2c/HalfCheetah", "own"),
                (f"{BERKELEY}/HalfCheetah", 0.3),
                (f"{ZOO}-ppo/HalfCheetah", "own"),
            ),
        ),
        "walker2d": _mixed(
            (Ingredient(f"{BERKELEY}/Walker2d", 0.1),),
            (Ingredient(f"{ZOO}-ppo/Walker2d", 0.3),),
            _replay(
                (f"{ZOO}-a2c/Walker2d", "own"),
                (f"{ZOO}-ars/Walker2d", 0.3),
                (f"{ZOO}-trpo/Walker2d", "own"),
                (f"{ZOO}-ppo/Walker2d", 0.3),
            ),
        ),
        "ant": _mixed(
            (Ingredient(f"{ZOO}-trpo/Ant", 0.1),),
            (Ingredient(f"{ZOO}-ars/Ant", 0.1),),
            _replay(
                (f"{ZOO}-a2c/Ant", "own"),
                (f"{ZOO}-ppo/Ant", "own"),
                (f"{ZOO}-ars/Ant", 0.3),
                (f"{ZOO}-ars/Ant", 0.1),
            ),
        ),
    }
)
"""Datasets from the policies of the data folder: environment -> quality -> mixture."""


def _shipped(expert: float, medium: float | Literal["own"]) -> dict[Quality, Mixture]:
    return _mixed(
        (Ingredient("expert", expert),),
        (Ingredient("medium", medium),),
        _replay(("medium", 1.0), ("medium", 0.6), ("medium", 0.3), ("medium", medium)),
    )


SHIPPED: Mapping[str, Mapping[Quality, Mixture]] = MappingProxyType(
    {
        "hopper": _shipped(0.1, "own"),
        "halfcheetah": _shipped(0.1, "own"),
        "walker2d": _shipped(0.1, 0.3),
        "ant": _shipped(0.1, 0.1),
    }
)
"""Datasets from the policies that come with the suite: environment -> quality -> mixture."""

_COURSE = "github.com/berkeleydeeprlcourse/homework @ dde95f4"
_AGENTS = "github.com/DLR-RM/rl-trained-agents @ cd35bde"
_MIT_COURSE = "MIT, Copyright (c) 2017 berkeleydeeprlcourse"
_MIT_AGENTS = "MIT, Copyright (c) 2020 Antonin RAFFIN"

MADE_FROM: Mapping[tuple[str, str], Source] = MappingProxyType(
    {
        ("hopper", "expert"): Source(f"{BERKELEY}/Hopper", _MIT_COURSE, _COURSE),
        ("hopper", "medium"): Source(f"{ZOO}-sac/Hopper", _MIT_AGENTS, _AGENTS),
        ("halfcheetah", "expert"): Source(f"{ZOO}-tqc/HalfCheetah", _MIT_AGENTS, _AGENTS, 128),
        ("halfcheetah", "medium"): Source(f"{ZOO}-ppo/HalfCheetah", _MIT_AGENTS, _AGENTS),
        ("walker2d", "expert"): Source(f"{BERKELEY}/Walker2d", _MIT_COURSE, _COURSE),
        ("walker2d", "medium"): Source(f"{ZOO}-ppo/Walker2d", _MIT_AGENTS, _AGENTS),
        ("ant", "expert"): Source(f"{ZOO}-trpo/Ant", _MIT_AGENTS, _AGENTS),
        ("ant", "medium"): Source(f"{ZOO}-ars/Ant", _MIT_AGENTS, _AGENTS),
    }
)
"""(environment, role) -> what the shipped policy is made from."""

_DIGESTS = {
    ARS: {
        "Hopper": "f6f6f819c09477748cedaa01e62ed35deee7cf641836fc3fc25ed0b535561a6b",
    },
    BERKELEY: {
        "HalfCheetah": "873054e36aafe6244876af9d949b947621018909aea0145af9b6292d2a7f7700",
        "Hopper": "785dad67624341e0e6f1fd80c434723a5924a5a10a2deeaa40e72e66a6cdf692",
        "Walker2d": "da1fcb68cdf49dcbcabdceb9bcd7bca6dad8b6066a16c3bc9576cbb7c034f01c",
    },
    f"{ZOO}-a2c": {
        "Ant": "a15b5262471a8be668d3ef0b0d12602ab61a7ded97364605fcfe9364633dad54",
        "HalfCheetah": "4187bb77c812605246fa6b1379b985adf43bed66b19e1ffaee7af8f714ffbc89",
        "Hopper": "252656730fd1470af22716ec60ef49f33b36cafda11229ef2140e2c84cd59d8a",
        "Walker2d": "3baf2c1e70d86cdcfb2c8175d00e8e7b998f0c649ab55b39fc31379d5bc9398c",
    },
    f"{ZOO}-ars": {
        "Ant": "6b03c9cac67ea48bda951c7c14b30fa25bd51509989a61be8bb3a327ea6e6422",
        "Walker2d": "b3fc0e7d107e83897d924d5cf7d2693eafde270a110ae7ccaa483fe34bba9d33",
    },
    f"{ZOO}-ppo": {
        "Ant": "e0eab865d81af909578dff460c55dcd5a8cdd25d0d1a7a75c19e2f66b5b32752",
        "HalfCheetah": "e6aeb148499b2edb32413ff1d14d361ae75d28e3098becc03fcf5b48dcefdcdf",
        "Walker2d": "fb2b88ee32cc33594341d1162ea9f22f0e64ef2d3634969e8540773abdd3614e",
    },
    f"{ZOO}-sac": {
        "Hopper": "b5b319ceeb73efb7a87e025a49913df9c6a6687b3dbdfd8dfe04e9921b1b044b",
    },
    f"{ZOO}-tqc": {
        "HalfCheetah": "547ddc1c0bf7181e1ef5cb57fff3245edddfd082349aa52b2caf93ed08a8a540",
    },
    f"{ZOO}-trpo": {
        "Ant": "faa086411747a1e966b63c92e1d16be6a9e405c8723d6274c418a435bf8ac8bb",
        "HalfCheetah": "17f95e5c133b1e5f54fa955b109f7cf3379ef7893a41d166b6df26bd462a899d",
        "Walker2d": "e95bcf29f8c61e62409b0fcddd844ff9d30c772cef20fc75ae310225a6a81c87",
    },
}

FILES: Mapping[str, str] = MappingProxyType(
    {
        f"mujoco/{folder}/{stem}.npz": digest
        for folder, stems in _DIGESTS.items()
        for stem, digest in stems.items()
    }
)
"""The data folder's policies that the recipes name: path -> sha256."""

TEXTS = (
    "lm/general_wikitext2_valid/docs-00.jsonl",
    *(f"lm/general_standardebooks/docs-0{n}.jsonl" for n in range(3)),
)
"""The data folder's general text that language models are trained on."""
