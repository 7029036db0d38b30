"""How each model is built: the artifacts, and the methods that are rows of the tables."""

from harness.suite import Artifact, Kind, Method
from suites.bam import counts
from suites.bam.data.datasets import DOMAINS, PUBLIC, SPECIALITIES, TEXTS
from suites.bam.settings import Continued, Mixture, Model, Seed, Shares

EXPERTS = tuple(f"expert-{domain}" for domain in SPECIALITIES)
TEXT_NAMES = tuple(text.name for text in TEXTS)
PUBLIC_NAMES = tuple(text.name for text in PUBLIC)
_EQUAL: Shares = dict.fromkeys(DOMAINS, 0.25)
MIXTURES = {
    "btx": Mixture(method="btx", weights=_EQUAL),
    "bam": Mixture(method="bam", weights=_EQUAL),
    "bam-shared-kv": Mixture(method="bam-shared-kv", weights=_EQUAL),
    "bam-cm": Mixture(method="bam", weights=_EQUAL, budget="compute"),
    "bam-shared-kv-cm": Mixture(method="bam-shared-kv", weights=_EQUAL, budget="compute"),
    **{f"btx-{n}": Mixture(method="btx", weights=_EQUAL, num_ffn_experts=n) for n in (5, 6, 7, 8)},
    "btx-6-top3": Mixture(method="btx", weights=_EQUAL, num_ffn_experts=6, ffn_top_k=3),
    "top2-cm": Mixture(
        method="bam-shared-kv", weights=_EQUAL, budget="compute", attention_routing="top2"
    ),
    "top1-cm": Mixture(
        method="bam-shared-kv", weights=_EQUAL, budget="compute", attention_routing="top1"
    ),
    "bam-uniform": Mixture(method="bam", weights=_EQUAL, attention_routing="uniform"),
    "dense": Mixture(method="average", weights=_EQUAL, parts="dense"),
    "sparse-upcycling": Mixture(method="sparse", weights=_EQUAL, parts="dense"),
}
"""The artifacts `mixture-<method>`: how each is built, and what is matched."""


def artifacts() -> tuple[Artifact, ...]:
    """Tokens, dense models, and one mixture for each method and seed."""

    def continued(name: str, settings: Continued) -> Artifact:
        return Artifact(
            name=name,
            make="suites.bam.training:make_continued",
            params=settings.plain(),
            needs=("tokens", "seed"),
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
        artifact = artifact or (f"mixture-{name}" if name in MIXTURES else name)
        return Method(
            name=name,
            label=label,
            kind=kind,
            run="suites.bam.trials:run",
            seeds="none",  # all that is random lies in the artifact
            params=Model(artifact=artifact).plain(),
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
        counts.method(),
    )
