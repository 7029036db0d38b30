"""How each model is built: the artifacts, and the methods that are rows of the tables."""

from collections.abc import Callable

from harness.suite import Artifact, Kind, Method
from suites.bam import counts
from suites.bam.data.datasets import DOMAINS, PUBLIC, SPECIALITIES, TEXTS
from suites.bam.settings import Continued, Mixture, Model, Seed, Shares

EXPERTS = tuple(f"expert-{domain}" for domain in SPECIALITIES)
TEXT_NAMES = tuple(text.name for text in TEXTS)
PUBLIC_NAMES = tuple(text.name for text in PUBLIC)
_EQUAL: Shares = dict.fromkeys(DOMAINS, 0.25)
MIXTURES = {
    "btx": Mixture(method="btx", weights=_EQUAL, shorter=True),
    "bam": Mixture(method="bam", weights=_EQUAL, shorter=True, matched=True),
    "bam-shared-kv": Mixture(method="bam-shared-kv", weights=_EQUAL, matched=True),
    "bam-uniform": Mixture(method="bam", weights=_EQUAL, attention_routing="uniform", shorter=True),
    "btx-top2": Mixture(method="btx", weights=_EQUAL, ffn_top_k=2, norm_topk_prob=True),
    **{f"btx-{n}": Mixture(method="btx", weights=_EQUAL, num_ffn_experts=n) for n in (5, 6, 7, 8)},
    "btx-6-top3": Mixture(method="btx", weights=_EQUAL, num_ffn_experts=6, ffn_top_k=3),
    "top2-cm": Mixture(
        method="bam-shared-kv", weights=_EQUAL, budget="compute", attention_routing="top2"
    ),
    "top1-cm": Mixture(
        method="bam-shared-kv", weights=_EQUAL, budget="compute", attention_routing="top1"
    ),
    "bam-means": Mixture(method="bam", weights=_EQUAL, routers="means"),
    "bam-ridge": Mixture(
        method="bam", weights=_EQUAL, routers="ridge", norm_topk_prob=True, trained="none"
    ),
    "bam-frozen": Mixture(method="bam", weights=_EQUAL, routers="means", trained="routers"),
    "dense": Mixture(method="average", weights=_EQUAL, parts="dense"),
    "sparse-upcycling": Mixture(method="sparse", weights=_EQUAL, parts="dense"),
    "drop-upcycling": Mixture(method="sparse", weights=_EQUAL, parts="dense", redrawn=0.5),
}
"""The artifacts `mixture-<method>`: how each is built, and what is matched."""
MATCHED = {"bam-cm": "bam", "bam-shared-kv-cm": "bam-shared-kv"}
"""Methods at the compute of BTX -> the method that passes through them; see
`suites.bam.branches`."""
SHORTER = (*(name for name, mixture in MIXTURES.items() if mixture.shorter), "bam-cm")
"""Methods that are measured along tokens."""


def artifacts() -> tuple[Artifact, ...]:
    """Tokens, dense models, and one mixture for each method and seed."""

    def continued(name: str, settings: Continued) -> Artifact:
        return Artifact(
            name=name,
            make="suites.bam.training:make_continued",
            params=settings.plain(),
            needs=("tokens", "seed"),
            over=("seed",),
        )

    def mixture(name: str, settings: Mixture) -> Artifact:
        return Artifact(
            name=f"mixture-{name}",
            make="suites.bam.training:make_mixture",
            params=settings.plain(),
            needs=("tokens", *(("dense",) if settings.parts == "dense" else (*EXPERTS, "seed"))),
            over=("seed",),
        )

    seed = Seed(weights={"general": 0.7, "code": 0.1, "law": 0.1, "math": 0.1})
    union = Continued(phase="dense", weights={"general": 0.1, "code": 0.3, "law": 0.3, "math": 0.3})
    return (
        Artifact(
            name="tokens",
            random=False,
            make="suites.bam.data.tokens:make",
            datasets=(*TEXT_NAMES, *PUBLIC_NAMES),
            over=("data",),
        ),
        Artifact(
            name="seed",
            make="suites.bam.training:make_seed",
            params=seed.plain(),
            needs=("tokens",),
            over=("seed",),
        ),
        *(
            continued(
                f"expert-{domain}",
                Continued(phase="expert", weights={domain: 0.9, "general": 0.1}),
            )
            for domain in SPECIALITIES
        ),
        continued("dense", union),
        *(mixture(name, settings) for name, settings in MIXTURES.items()),
    )


_BTX_BASELINE = "A baseline of BTX's paper, not of BAM's."


def methods() -> tuple[Method, ...]:
    """The rows of the tables."""

    def method(
        name: str,
        label: str,
        kind: Kind = "baseline",
        *deviations: str,
        needs: tuple[str, ...] = (),
        note: str = "",
        artifact: str = "",
    ) -> Method:
        trained = MATCHED.get(name, name)
        artifact = artifact or (f"mixture-{trained}" if trained in MIXTURES else trained)
        return Method(
            name=name,
            label=label,
            kind=kind,
            run="suites.bam.trials:run",
            seeds="none",  # all that is random lies in the artifact
            params=Model(artifact=artifact, matched=name in MATCHED).plain(),
            needs=("tokens", *(needs or (artifact,))),
            deviations=deviations,
            note=note,
        )

    masked = (
        "All attention experts are computed and the unchosen ones masked, so that it is no faster "
        "than soft routing; FLOPs are counted for the chosen ones alone."
    )
    upcycled_late = (
        "Upcycled from the dense model that has seen the experts' data, not from the seed before "
        "it: the same data at a fraction of the cost."
    )
    return (
        method("seed", "seed"),
        *(method(f"expert-{domain}", f"{domain} expert") for domain in SPECIALITIES),
        method("btx", "BTX", note="BAM's main baseline, as its paper defines it: top-1."),
        method("bam", "BAM, data-matched", "proposed"),
        method("bam-cm", "BAM, compute-matched", "proposed"),
        method("bam-shared-kv", "BAM shared KV, data-matched", "proposed"),
        method(
            "bam-shared-kv-cm",
            "BAM shared KV, compute-matched",
            "proposed",
            note="Also the row `soft` of the routing ablation.",
        ),
        method(
            "btx-top2",
            "BTX, top-2 renormalised (BTX's own gate)",
            "baseline",
            note="As BTX's paper defines it (arXiv 2403.07816, section 3.2): the best two experts, "
            "their gates summing to 1. It has more FLOPs per token than top-1.",
        ),
        *(method(f"btx-{n}", f"BTX, {n} experts", "ablation") for n in (5, 6, 7, 8)),
        method("btx-6-top3", "BTX, top-3 of 6 experts", "ablation"),
        method("top2-cm", "BAM shared KV, top-2 attention, compute-matched", "ablation", masked),
        method("top1-cm", "BAM shared KV, top-1 attention, compute-matched", "ablation", masked),
        method(
            "bam-uniform",
            "BAM, uniform attention gates",
            "control",
            "Not in the paper: a quarter of each attention expert for every token.",
        ),
        *_later(method),
        method("dense", "dense, same data (BTX's baseline)", note=_BTX_BASELINE),
        method(
            "btm",
            "BTM ensemble, top-2 (BTX's baseline)",
            "baseline",
            "Experts are chosen per token, from the text before it in its window.",
            needs=(*EXPERTS, "seed"),
            note=_BTX_BASELINE,
            artifact="ensemble",
        ),
        method(
            "sparse-upcycling",
            "sparse upcycling, top-2 of 4 (BTX's baseline)",
            "baseline",
            upcycled_late,
            note=_BTX_BASELINE,
        ),
        method(
            "drop-upcycling",
            "Drop-Upcycling, top-2 of 4",
            "baseline",
            upcycled_late,
            note="Sparse upcycling with half of each expert's hidden units drawn again (Nakamura "
            "et al. 2025, arXiv 2502.19261); not in either paper.",
        ),
        counts.method(),
    )


def _later(method: Callable[..., Method]) -> tuple[Method, ...]:
    """Ways to make BAM's mixture that were published after it."""
    return (
        method(
            "bam-means",
            "BAM, routers from domain means",
            "ablation",
            "Rows of both routers begin as the seed's mean hidden states on 8,192 tokens of each "
            "domain, centred and scaled as random ones; mergekit takes prompts and does not train.",
            note="Routers as in mergekit's gate mode `hidden` and FlexOlmo; not in the paper.",
        ),
        method(
            "bam-ridge",
            "BAM, ridge-regression routers, untrained",
            "ablation",
            "DUME's closed-form routers (arXiv 2603.29765) in BAM's mixture: fitted on domains of "
            "tokens, layer after layer, scaled to predict them best; the feed-forward gate is 1.",
            note="Nothing is trained after the experts: no mixture phase, no FLOPs; not in the "
            "paper.",
        ),
        method(
            "bam-frozen",
            "BAM, frozen experts, trained routers",
            "ablation",
            "Like FlexOlmo (arXiv 2507.07024) in that only routers are trained, from domain means; "
            "but the experts never saw a frozen common one, attention is mixed too, and "
            "embeddings and norms are averages. FLOPs are counted as if all were trained.",
            note="Not in the paper.",
        ),
    )
