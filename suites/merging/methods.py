"""How policies are trained, and what is done with them: the artifacts and the methods."""

from collections.abc import Iterator
from typing import Any, Literal

from harness.suite import Artifact, Kind, Method
from suites.merging.settings import (
    Chosen,
    Finetuned,
    Hidden,
    Information,
    Merge,
    Multitask,
    PolicyOf,
    Robot,
)

Name = Literal["hopper", "halfcheetah", "walker2d", "ant"]
THREE: tuple[Name, ...] = ("hopper", "halfcheetah", "walker2d")
"""The paper's environments."""
FOUR: tuple[Name, ...] = (*THREE, "ant")
HIDDEN = tuple(f"{env}-hidden" for env in THREE)
"""The same environments, of which policies are not shown velocities."""
HIDES: dict[Name, Hidden] = {
    "hopper": "velocities",
    "halfcheetah": "joint-velocities",
    "walker2d": "joint-velocities",
}
"""Which: a Hopper needs its attention only if it is shown none at all."""
NEEDED = tuple(f"{env}-hidden" for env in ("halfcheetah", "walker2d"))
"""Those on which policies are able and need their attention, whatever the seed: claims are judged
there. A Hopper without velocities lends its attention to the merges, but is not able every time."""
BLIND = "hidden-"
"""Begins the names of the methods that meet these tasks."""
RATES = (2e-4, 5e-4, 2e-3)
"""Learning rates at which copies of a multi-task policy are fine-tuned."""

VARIANTS: dict[str, dict[str, Any]] = {
    "different": {"init": "different", "watched": True},
    "common": {"init": "common"},
    "pretrained": {"init": "pretrained"},
    "regularised": {"init": "pretrained", "extras": ("start",)},
    "recommended": {"init": "pretrained", "extras": ("start", "early-centres")},
    "cotrained": {"init": "pretrained", "extras": ("start", "centres", "text")},
    "narrow": {"init": "common", "size": "narrow"},
}
"""How policies are initialised and trained: fields of `PolicyOf`."""

STARTS = {
    "different": "different random initialisations",
    "common": "shared random initialisation",
    "pretrained": "language model",
    "regularised": "language model, regularised",
    "recommended": "language model, regularised and toward its centres",
    "cotrained": "language model, co-trained",
    "narrow": "shared random initialisation, half the width",
}
"""How tables call them."""

KINDS: tuple[Information, ...] = ("paper", "empirical", "true")
"""Definitions of Fisher information."""
_GROUPS = (("attn",), ("mlp",), ("attn", "mlp"))
_DIFFERENT, _COMMON, _FINETUNED = "policy-{}-different", "policy-{}-common", "finetuned-{}"
_BLIND_STARTS = ("different", "common", "pretrained")
"""How policies that are not shown velocities start."""
_TASK_VECTORS = ("task-arithmetic", "ties", "dare", "tsv-m", "iso-c")
"""Rules that look at what has changed since a common start."""
_ON_DATA = ("regmean", "regmean-plus", "fisher", *_TASK_VECTORS)
"""Rules that measure something on the environments' data."""
_NOT_IN_PAPER = ("Not in the paper.",)


def artifacts() -> tuple[Artifact, ...]:
    """The language model, data, policies, multi-task policies and their fine-tuned copies."""
    return (
        Artifact(
            name="language-model",
            make="suites.merging.artifacts:make_language_model",
            datasets=("general-text",),
            over=("seed",),
        ),
        *_data(),
        *_policies(),
        *_multitask_policies(),
    )


def _data() -> Iterator[Artifact]:
    for env in FOUR:
        for suffix, quality in (("", {}), ("-base", {"quality": "medium"})):
            if not suffix or env in THREE:
                yield Artifact(
                    name=f"data-{env}{suffix}",
                    make="suites.merging.robots.dataset:make",
                    params=Robot(environment=env).plain() | quality,
                    datasets=("d4rl",),
                )


def _policies() -> Iterator[Artifact]:
    for variant in VARIANTS:
        for env in FOUR if variant == "different" else THREE:
            yield _policy(env, variant)
    for variant in _BLIND_STARTS:
        for env in THREE:
            yield _policy(env, variant, hidden=HIDES[env])


def _policy(env: Name, variant: str, **more: Any) -> Artifact:
    settings = VARIANTS[variant] | ({"watched": False} | more if more else {})
    return Artifact(
        name=f"policy-{BLIND if more else ''}{env}-{variant}",
        make="suites.merging.artifacts:make_policy",
        params=PolicyOf(environment=env, **settings).plain(),
        needs=(f"data-{env}", *_language(settings["init"])),
        datasets=("general-text",) if "text" in settings.get("extras", ()) else (),
        over=("seed",),
    )


def _language(init: str | None) -> tuple[str, ...]:
    return ("language-model",) if init == "pretrained" else ()


def _multitask_policies() -> Iterator[Artifact]:
    for name, forgetful in (("multitask", False), ("multitask-forgetful", True)):
        yield Artifact(
            name=name,
            make="suites.merging.artifacts:make_multitask",
            params=Multitask(forgetful=forgetful).plain(),
            needs=_each("data-{}-base"),
            over=("seed",),
        )
    for env in THREE:
        candidates = tuple(f"finetuned-{env}-{rate:g}" for rate in RATES)
        for name, rate in zip(candidates, RATES, strict=True):
            yield Artifact(
                name=name,
                make="suites.merging.artifacts:make_finetuned",
                params=Finetuned(environment=env, lr=rate).plain(),
                needs=("multitask", f"data-{env}"),
                over=("seed",),
            )
        yield Artifact(
            name=f"finetuned-{env}",
            make="suites.merging.artifacts:choose",
            params=Chosen(environment=env, candidates=candidates).plain(),
            needs=(*candidates, f"data-{env}"),
            over=("seed",),
        )


def methods() -> tuple[Method, ...]:
    """All methods, in the order of tables."""
    return (
        *_averages(),
        *_paths(),
        *_rules(),
        *_frozen(),
        *_changed(),
        *_multitask(),
        *_four(),
        *_blind(),
    )


def _method(
    name: str,
    function: str,
    policies: str,
    label: str,
    kind: Kind = "proposed",
    needs: tuple[str, ...] = (),
    deviations: tuple[str, ...] = (),
    environments: tuple[Name, ...] = THREE,
    **settings: Any,
) -> Method:
    """Which function of `suites.merging.trials` does what with which policies."""
    return Method(
        name=name,
        run=f"suites.merging.trials:{function}",
        params=Merge(policies=policies, **settings).plain(),
        needs=(*dict.fromkeys((*_each(policies, environments), *needs)),),
        label=label,
        kind=kind,
        deviations=deviations,
    )


def _averages() -> Iterator[Method]:
    for variant, start in STARTS.items():
        policies, suffix = f"policy-{{}}-{variant}", _suffix(variant)
        yield _method(
            f"individual{suffix}", "individual", policies, f"individual: {start}", "baseline"
        )
        for groups in _GROUPS:
            yield _method(
                f"average-{'-'.join(groups)}{suffix}",
                "merged",
                policies,
                f"average of {' and '.join(groups)}: {start}",
                rule="average",
                groups=groups,
            )


def _paths() -> Iterator[Method]:
    for variant in ("different", "common"):
        for group in ("attn", "mlp"):
            yield _method(
                f"path-{group}{_suffix(variant)}",
                "path",
                f"policy-{{}}-{variant}",
                f"halfway to the next task, {group}: {STARTS[variant]}",
                groups=(group,),
            )


def _rules() -> Iterator[Method]:
    for kind in KINDS:
        yield _rule("fisher", ("attn",), "common", kind)
    rules = ("task-arithmetic", "ties", "dare", "slerp", "regmean", "regmean-plus")
    for rule in (*rules, "tsv-m", "iso-c"):
        yield _rule(rule, ("attn", "mlp"), "common")
    yield _rule("aligned", ("attn", "mlp"), "different")


def _rule(
    rule: str, groups: tuple[str, ...], variant: str, kind: Information | None = None
) -> Method:
    """The policies of one start merged by one rule."""
    title = f"Fisher ({kind}) average" if kind else rule
    return _method(
        f"{'-'.join((rule, *([kind] if kind else ()), *groups))}{_suffix(variant)}",
        "merged",
        f"policy-{{}}-{variant}",
        f"{title} of {' and '.join(groups)}: {STARTS[variant]}",
        "proposed" if kind else "baseline",
        (
            *(_each("data-{}") if rule in _ON_DATA else ()),
            *(_language(variant) if rule in _TASK_VECTORS else ()),
        ),
        () if kind else _NOT_IN_PAPER,
        rule=rule,
        information=kind,
        groups=groups,
        start=variant if rule in _TASK_VECTORS else None,
    )


def _blind() -> Iterator[Method]:
    """What is done with policies that need their attention: velocities are hidden."""
    shown = {m.name: m for m in (*_averages(), *_frozen(), *_changed())}
    for variant in _BLIND_STARTS:
        kinds = ("individual", "average-attn", "average-mlp", "average-attn-mlp")
        for kind in kinds:
            yield _unseen(shown[f"{kind}{_suffix(variant)}"])
    for name in ("attention-other", "attention-random", "attention-off", "mff", "frozen-random"):
        yield _unseen(shown[name])
    yield _unseen(shown["frozen-other"])
    for variant in ("different", "pretrained"):
        yield _unseen(_rule("fisher", ("attn",), variant, "paper"))
        for rule in ("regmean", "regmean-plus"):
            yield _unseen(_rule(rule, ("attn",), variant))
    yield _unseen(_rule("aligned", ("attn",), "different"))
    for rule in ("slerp", *_TASK_VECTORS):
        yield _unseen(_rule(rule, ("attn",), "pretrained"))
    yield _unseen(
        _method(
            "ensemble-attn",
            "ensemble",
            _DIFFERENT,
            f"mean action of policies with each attn in turn: {STARTS['different']}",
            "control",
            deviations=_NOT_IN_PAPER,
            groups=("attn",),
        )
    )


def _unseen(method: Method) -> Method:
    """The same with the policies that are not shown velocities."""

    def of(name: str) -> str:
        return name.replace("policy-", f"policy-{BLIND}")

    policies = str(method.params["policies"])
    return method.model_copy(
        update={
            "name": f"{BLIND}{method.name}",
            "label": f"{method.label}, velocities hidden",
            "params": method.params | {"policies": of(policies)},
            "needs": tuple(map(of, method.needs)),
        }
    )


def _frozen() -> Iterator[Method]:
    rows: tuple[tuple[str, str, str, str, Kind], ...] = (
        *(
            ("merged", v, f"mff{_suffix(v)}", f"merge-freeze-finetune: {STARTS[v]}", "proposed")
            for v in ("different", "common", "pretrained")
        ),
        ("random", "different", "frozen-random", "random frozen backbone, rest trained", "control"),
        (
            "other",
            "different",
            "frozen-other",
            "another task's frozen backbone, rest trained",
            "control",
        ),
    )
    for backbone, variant, name, label, kind in rows:
        deviations = () if backbone == "merged" else _NOT_IN_PAPER
        policies = f"policy-{{}}-{variant}"
        yield _method(
            name, "frozen", policies, label, kind, _each("data-{}"), deviations, body=backbone
        )


def _changed() -> Iterator[Method]:
    rows: tuple[tuple[str, str, str, Kind], ...] = (
        ("attention-other", "other", "another task's attn", "control"),
        ("attention-random", "random", "random attn", "control"),
        ("attention-off", "attention-off", "attention left out", "ablation"),
        ("norm-identity", "norm-identity", "norms set to the identity", "ablation"),
    )
    for name, change, label, kind in rows:
        yield _method(name, "changed", _DIFFERENT, label, kind, change=change, groups=("attn",))


def _multitask() -> Iterator[Method]:
    yield _method("multitask", "individual", "multitask", "multi-task policy", "baseline")
    yield _method(
        "multitask-forgetful",
        "individual",
        "multitask-forgetful",
        "multi-task policy, two of three input and output layers never trained",
        "control",
        deviations=("What the released code does, whatever it was meant to do.",),
    )
    yield _method(
        "finetuned",
        "individual",
        _FINETUNED,
        "multi-task policy, fine-tuned on its own task",
        "baseline",
    )
    yield _method(
        "finetuned-other",
        "changed",
        _FINETUNED,
        "backbone fine-tuned on another task",
        "control",
        change="other",
        groups=("blocks",),
    )
    yield _method(
        "multitask-average",
        "merged",
        _FINETUNED,
        "average of the fine-tuned backbones",
        rule="average",
        groups=("blocks",),
    )
    yield _method(
        "multitask-fisher",
        "merged",
        _FINETUNED,
        "Fisher (paper) average of the fine-tuned backbones",
        needs=_each("data-{}"),
        deviations=(
            "The information of each policy is measured on its own environment's data alone.",
        ),
        rule="fisher",
        information="paper",
        groups=("blocks",),
    )


def _four() -> Iterator[Method]:
    yield _method(
        "four-individual", "individual", _DIFFERENT, "individual", "baseline", environments=FOUR
    )
    for groups in _GROUPS:
        yield _method(
            f"four-average-{'-'.join(groups)}",
            "merged",
            _DIFFERENT,
            f"average of {' and '.join(groups)} of four",
            deviations=_NOT_IN_PAPER,
            environments=FOUR,
            rule="average",
            groups=groups,
        )


def _each(template: str, environments: tuple[Name, ...] = THREE) -> tuple[str, ...]:
    return tuple(template.format(env) for env in environments)


def _suffix(variant: str) -> str:
    return "" if variant == "different" else f"-{variant}"
