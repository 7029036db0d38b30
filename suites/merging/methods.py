"""How policies are trained, and what is done with them: the artifacts and the methods."""

from collections.abc import Iterator
from typing import Any, Literal

from harness.suite import Artifact, Kind, Method
from suites.merging.settings import Merge, Multitask, PolicyOf, Robot

Name = Literal["hopper", "halfcheetah", "walker2d", "ant"]
THREE: tuple[Name, ...] = ("hopper", "halfcheetah", "walker2d")
"""The paper's environments."""
FOUR: tuple[Name, ...] = (*THREE, "ant")

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

_GROUPS = (("attn",), ("mlp",), ("attn", "mlp"))
_DIFFERENT, _COMMON, _FINETUNED = "policy-{}-different", "policy-{}-common", "finetuned-{}"
_NOT_IN_PAPER = ("Not in the paper.",)


def artifacts() -> tuple[Artifact, ...]:
    """The language model, data, policies, multi-task policies and their fine-tuned copies."""
    return (
        Artifact(name="language-model", make="suites.merging.artifacts:make_language_model"),
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
    for variant, settings in VARIANTS.items():
        language = ("language-model",) if settings["init"] == "pretrained" else ()
        for env in FOUR if variant == "different" else THREE:
            yield Artifact(
                name=f"policy-{env}-{variant}",
                make="suites.merging.artifacts:make_policy",
                params=PolicyOf(environment=env, **settings).plain(),
                needs=(f"data-{env}", *language),
                over=("seed",),
            )


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
        yield Artifact(
            name=f"finetuned-{env}",
            make="suites.merging.artifacts:make_finetuned",
            params=Robot(environment=env).plain(),
            needs=("multitask", f"data-{env}"),
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
    data = _each("data-{}")
    for kind in ("paper", "empirical", "true"):
        yield _method(
            f"fisher-{kind}-attn-common",
            "merged",
            _COMMON,
            f"Fisher ({kind}) average of attn: {STARTS['common']}",
            needs=data,
            rule="fisher",
            information=kind,
            groups=("attn",),
        )
    for rule, variant in (
        ("task-arithmetic", "common"),
        ("ties", "common"),
        ("dare", "common"),
        ("slerp", "common"),
        ("regmean", "common"),
        ("regmean-plus", "common"),
        ("tsv-m", "common"),
        ("iso-c", "common"),
        ("aligned", "different"),
    ):
        yield _method(
            f"{rule}-attn-mlp{_suffix(variant)}",
            "merged",
            f"policy-{{}}-{variant}",
            f"{rule} of attn and mlp: {STARTS[variant]}",
            "baseline",
            data if rule.startswith("regmean") else (),
            _NOT_IN_PAPER,
            rule=rule,
            groups=("attn", "mlp"),
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
