"""Merged against individual Decision Transformers on MuJoCo locomotion.

The experiment on a few screens: methods, tasks, artifacts, tables, figures; sizes stand in
`scales.py`, claims in `claims.py`.
"""

from harness.suite import (
    Artifact,
    Dataset,
    Figure,
    Kind,
    Method,
    Metric,
    Paper,
    Params,
    Suite,
    Table,
    Task,
)
from suites.merging.claims import THREE, claims
from suites.merging.recipes import FILES
from suites.merging.scales import scales

FOUR = (*THREE, "ant")
_LABELS = {"hopper": "Hopper", "halfcheetah": "HalfCheetah", "walker2d": "Walker2d", "ant": "Ant"}

_VARIANTS: dict[str, Params] = {
    "different": {"init": "different", "extras": [], "size": "standard", "watched": True},
    "common": {"init": "common", "extras": [], "size": "standard", "watched": False},
    "pretrained": {"init": "pretrained", "extras": [], "size": "standard", "watched": False},
    "regularised": {
        "init": "pretrained", "extras": ["start"], "size": "standard", "watched": False,
    },
    "cotrained": {
        "init": "pretrained",
        "extras": ["start", "centres", "text"],
        "size": "standard",
        "watched": False,
    },
    "narrow": {"init": "common", "extras": [], "size": "narrow", "watched": False},
}  # fmt: skip
"""How policies are initialised and trained; the first is a policy for itself."""

_STARTS = {
    "different": "different random initialisations",
    "common": "shared random initialisation",
    "pretrained": "language model",
    "regularised": "language model, regularised",
    "cotrained": "language model, co-trained",
    "narrow": "shared random initialisation, half the width",
}


def _artifacts() -> tuple[Artifact, ...]:
    made = [Artifact(name="language-model", make="suites.merging.artifacts:make_language_model")]
    for env in FOUR:
        for suffix, quality in (("", {}), ("-base", {"quality": "medium"})):
            if suffix and env not in THREE:
                continue
            made.append(
                Artifact(
                    name=f"data-{env}{suffix}",
                    make="suites.merging.artifacts:make_data",
                    params={"environment": env, **quality},
                    datasets=("d4rl",),
                )
            )
    for variant, params in _VARIANTS.items():
        language = ("language-model",) if params["init"] == "pretrained" else ()
        made += [
            Artifact(
                name=f"policy-{env}-{variant}",
                make="suites.merging.artifacts:make_policy",
                params={"environment": env, **params},
                needs=(f"data-{env}", *language),
                over=("seed",),
            )
            for env in (FOUR if variant == "different" else THREE)
        ]
    for name, forgetful in (("multitask", False), ("multitask-forgetful", True)):
        made.append(
            Artifact(
                name=name,
                make="suites.merging.artifacts:make_multitask",
                params={"forgetful": forgetful},
                needs=_each("data-{}-base"),
                over=("seed",),
            )
        )
    made += [
        Artifact(
            name=f"finetuned-{env}",
            make="suites.merging.artifacts:make_finetuned",
            params={"environment": env},
            needs=("multitask", f"data-{env}"),
            over=("seed",),
        )
        for env in THREE
    ]
    return tuple(made)


def _each(template: str, environments: tuple[str, ...] = THREE) -> tuple[str, ...]:
    return tuple(template.format(env) for env in environments)


def _methods() -> tuple[Method, ...]:
    made: list[Method] = []

    def method(
        name: str,
        function: str,
        policies: str,
        label: str,
        kind: Kind = "proposed",
        needs: tuple[str, ...] = (),
        deviations: tuple[str, ...] = (),
        environments: tuple[str, ...] = THREE,
        **params: object,
    ) -> None:
        made.append(
            Method(
                name=name,
                run=f"suites.merging.methods:{function}",
                params={"policies": policies, **params},
                needs=(*dict.fromkeys((*_each(policies, environments), *needs)),),
                label=label,
                kind=kind,
                deviations=deviations,
            )
        )

    data = _each("data-{}")
    for variant, start in _STARTS.items():
        policies, suffix = f"policy-{{}}-{variant}", _suffix(variant)
        method(f"individual{suffix}", "individual", policies, f"individual: {start}", "baseline")
        for groups in (["attn"], ["mlp"], ["attn", "mlp"]):
            method(
                f"average-{'-'.join(groups)}{suffix}",
                "merged",
                policies,
                f"average of {' and '.join(groups)}: {start}",
                rule="average",
                groups=groups,
            )
    for variant in ("different", "common"):
        for group in ("attn", "mlp"):
            method(
                f"path-{group}{_suffix(variant)}",
                "path",
                f"policy-{{}}-{variant}",
                f"halfway to the next task, {group}: {_STARTS[variant]}",
                groups=[group],
            )
    different, common = "policy-{}-different", "policy-{}-common"
    for kind in ("paper", "empirical", "true"):
        method(
            f"fisher-{kind}-attn-common",
            "merged",
            common,
            f"Fisher ({kind}) average of attn: {_STARTS['common']}",
            needs=data,
            rule="fisher",
            information=kind,
            groups=["attn"],
        )
    outside = ("Not in the paper.",)
    for rule, where in (
        ("task-arithmetic", common),
        ("ties", common),
        ("dare", common),
        ("slerp", common),
        ("regmean", common),
        ("aligned", different),
    ):
        method(
            f"{rule}-attn-mlp{_suffix(where.rpartition('-')[2])}",
            "merged",
            where,
            f"{rule} of attn and mlp: {_STARTS[where.rpartition('-')[2]]}",
            "baseline",
            data if rule == "regmean" else (),
            outside,
            rule=rule,
            groups=["attn", "mlp"],
        )
    for body, variant, name, label, kind_ in _FROZEN:
        method(
            name,
            "frozen",
            f"policy-{{}}-{variant}",
            label,
            kind_,
            data,
            () if body == "merged" else outside,
            body=body,
        )
    for name, change, label, of_kind in _CHANGES:
        method(
            name, "changed", different, label, of_kind, change=change, groups=["attn"],
        )  # fmt: skip
    method("multitask", "individual", "multitask", "multi-task policy", "baseline")
    method(
        "multitask-forgetful",
        "individual",
        "multitask-forgetful",
        "multi-task policy, two of three input and output layers never trained",
        "control",
        (),
        ("What the released code does, whatever it was meant to do.",),
    )
    finetuned = "finetuned-{}"
    method(
        "finetuned",
        "individual",
        finetuned,
        "multi-task policy, fine-tuned on its own task",
        "baseline",
    )
    method(
        "finetuned-other",
        "changed",
        finetuned,
        "backbone fine-tuned on another task",
        "control",
        change="other",
        groups=["blocks"],
    )
    method(
        "multitask-average",
        "merged",
        finetuned,
        "average of the fine-tuned backbones",
        rule="average",
        groups=["blocks"],
    )
    method(
        "multitask-fisher",
        "merged",
        finetuned,
        "Fisher (paper) average of the fine-tuned backbones",
        needs=data,
        deviations=(
            "The information of each policy is measured on its own environment's data alone.",
        ),
        rule="fisher",
        information="paper",
        groups=["blocks"],
    )
    method("four-individual", "individual", different, "individual", "baseline", environments=FOUR)
    for groups in (["attn"], ["mlp"], ["attn", "mlp"]):
        method(
            f"four-average-{'-'.join(groups)}",
            "merged",
            different,
            f"average of {' and '.join(groups)} of four",
            deviations=outside,
            environments=FOUR,
            rule="average",
            groups=groups,
        )
    return tuple(made)


_FROZEN: tuple[tuple[str, str, str, str, Kind], ...] = (
    (
        "merged",
        "different",
        "mff",
        "merge-freeze-finetune: different random initialisations",
        "proposed",
    ),
    (
        "merged",
        "common",
        "mff-common",
        "merge-freeze-finetune: shared random initialisation",
        "proposed",
    ),
    ("merged", "pretrained", "mff-pretrained", "merge-freeze-finetune: language model", "proposed"),
    ("random", "different", "frozen-random", "random frozen backbone, rest trained", "control"),
    (
        "other",
        "different",
        "frozen-other",
        "another task's frozen backbone, rest trained",
        "control",
    ),
)


_CHANGES: tuple[tuple[str, str, str, Kind], ...] = (
    ("attention-other", "other", "another task's attn", "control"),
    ("attention-random", "random", "random attn", "control"),
    ("attention-off", "attention-off", "attention left out", "ablation"),
    ("norm-identity", "norm-identity", "norms set to the identity", "ablation"),
)


def _suffix(variant: str) -> str:
    return "" if variant == "different" else f"-{variant}"


def _tasks() -> tuple[Task, ...]:
    return tuple(
        Task(
            name=env,
            label=_LABELS[env],
            params={"environment": env},
            metrics=("score", "return"),
            optional=("score-best", "retained", "episode-sd"),
            note="The scale says which data the policies are trained on.",
        )
        for env in FOUR
    )


def _metrics() -> tuple[Metric, ...]:
    def metric(name: str, label: str, unit: str, select: str, better: str = "higher") -> Metric:
        return Metric(
            name=name,
            label=label,
            unit=unit,
            better=better,
            split="evaluation episodes",
            select=select,
        )

    return (
        metric("score", "D4RL-normalised score", "", "last"),
        metric("return", "return", "", "last"),
        metric("score-best", "D4RL-normalised score, best evaluation", "", "best-on-test"),
        metric("retained", "score minus that of the individual policy", "", "last"),
        metric("episode-sd", "spread of the return over episodes", "", "last", "neither"),
    )


def _tables() -> tuple[Table, ...]:
    def table(
        name: str,
        title: str,
        *methods: str,
        metric: str = "score",
        note: str = "",
        tasks: tuple[str, ...] = THREE,
    ) -> Table:
        return Table(name=name, title=title, metric=metric, methods=methods, note=note, tasks=tasks)

    individuals = ("individual", "individual-*")
    return (
        table(
            "merged",
            "Averages of three policies, by group and by where they started",
            *individuals,
            "average-*",
            note="Unmerged parameter groups are taken from the task's own policy.",
        ),
        table("retained", "The same, minus the individual policy", "average-*", metric="retained"),
        table("halfway", "Halfway to the next task's policy", "individual", "path-*"),
        table(
            "rules",
            "Other rules of merging",
            *("average-attn-common", "fisher-*", "average-attn-mlp-common", "average-attn-mlp"),
            *("task-arithmetic-*", "ties-*", "dare-*", "slerp-*", "regmean-*", "aligned-*"),
            note="Task arithmetic with a coefficient of 1/3 over three policies of one "
            "initialisation is the plain average by construction: its row says nothing of its own "
            "and will be tested again, like TIES and DARE, with a tuned coefficient. Attention is "
            "hardly needed by these policies, so rows that merge attention alone say little.",
        ),
        table(
            "frozen",
            "Merge, freeze, finetune the rest, against other frozen backbones",
            *("individual", "average-attn-mlp", "mff*", "frozen-*"),
            note="At laptop scale a third of a policy's updates after freezing, where the paper "
            "has as many; to be tested again with 3,000.",
        ),
        table(
            "attention",
            "How much the policies need their attention",
            *("individual", "average-attn", "attention-*", "norm-identity"),
        ),
        table(
            "fourth",
            "With a fourth robot: averages of four policies",
            "four-*",
            note="Every policy has a random initialisation of its own.",
            tasks=FOUR,
        ),
        table(
            "multitask",
            "Multi-task policies",
            *("multitask*", "finetuned*"),
            note="At laptop scale one untuned learning rate (2e-3) and an undertrained multi-task "
            "policy; to be tested again with more updates and a sweep of the rate.",
        ),
        table("returns", "Returns, not normalised", "*", metric="return", tasks=FOUR),
        table(
            "selection",
            "The best of the evaluations during training, as the released code selects",
            *("individual", "mff*", "frozen-*"),
            metric="score-best",
            note="Chosen on the episodes that it is reported on: optimistic.",
        ),
    )


def _figures() -> tuple[Figure, ...]:
    return (
        Figure(
            name="path",
            title="Score on the way to another task's policy",
            draw="suites.merging.figures:path",
            caption="Only the named groups are interpolated. Mean over "
            "seeds with its 95 % interval.",
        ),
        Figure(
            name="merged",
            title="Merged against individual",
            draw="suites.merging.figures:merged",
            caption="Bars are means with 95 % intervals, points are seeds, grey bars are controls.",
        ),
        Figure(
            name="information",
            title="Fisher information by layer",
            draw="suites.merging.figures:by_layer",
            caption="Common logarithm of the mean over a group's parameters; every seed a line.",
        ),
        Figure(
            name="recovery",
            title="Recovery by finetuning the rest",
            draw="suites.merging.figures:recovery",
            caption="Score against updates after the backbone was frozen; mean over seeds with its "
            "95 % interval. The dotted line is the individual policy.",
        ),
    )


def _datasets() -> tuple[Dataset, ...]:
    return (
        Dataset(
            name="mujoco-policies",
            files=dict(FILES),
            licence="MIT; see PROVENANCE.md in each folder",
            source="github.com/DLR-RM/rl-trained-agents, github.com/berkeleydeeprlcourse/homework "
            "and linear policies of augmented random search",
            sizes="trained policies as plain arrays",
            splits="none",
            note="Only to rebuild the policies that come with the suite: "
            "python -m suites.merging.experts",
        ),
        Dataset(
            name="d4rl",
            files={},
            licence="CC BY 4.0",
            source="D4RL, gym-mujoco version 2 (Fu et al., 2020)",
            sizes="1,000,000 steps each, 2,000,000 of medium-expert",
            splits="none",
            note="Looked for when the paper scale runs: "
            "mujoco/d4rl/<environment>_<quality>-v2.hdf5, of medium and medium_expert.",
        ),
    )


def suite() -> Suite:
    """The suite, for `harness.registry`."""
    methods = _methods()
    return Suite(
        name="merging",
        paper=Paper(
            title="Merging Decision Transformers: Weight Averaging for Forming Multi-Task Policies",
            authors="Daniel Lawson, Ahmed H. Qureshi",
            arxiv="2303.07551",
            venue="ICRA",
            year=2024,
        ),
        summary="Policies are trained on different robots, each by itself. Can parts of them be "
        "averaged into one backbone that still works for each?",
        methods=methods,
        tasks=_tasks(),
        metrics=_metrics(),
        scales=scales(tuple(m.name for m in methods if not m.name.startswith("four-"))),
        artifacts=_artifacts(),
        datasets=_datasets(),
        claims=claims(),
        tables=_tables(),
        figures=_figures(),
        headline="merged",
        preload=("suites.merging.methods:warm_up",),
        deviations=(
            "The full text of the paper was not available: the protocol follows its abstract and "
            "its released code, and its tables are not quoted.",
            "Merges start from the last weights of every training. The released code keeps those "
            "that did best on the environment; the table `selection` shows what that adds.",
            "Evaluation episodes are seeded, the same for every method of a seed; the released "
            "code leaves the environment unseeded.",
            "Fisher information has a floor, where the released code divides 0 by 0.",
            "A byte-level language model trained on Python's reference manual takes the place of "
            "ChibiT, which is not on any package index.",
            "The activation is relu for every initialisation; ChibiT's is gelu.",
            "Ant is an addition: its policies and averages of four are in one table of their own, "
            "and no claim is judged on it.",
        ),
        defects=(
            "The multi-task model of the released code keeps the layers of each environment in a "
            "plain list, so that the optimiser trains those of the last one only. `multitask` "
            "trains all, `multitask-forgetful` follows the code.",
            "The released filters by substring also average the integer masks of attention; here "
            "floating tensors alone are merged.",
            "The released script for Fisher merge-freeze-finetune never switches Fisher on and "
            "averages plainly; here `mff` is the plain average under its own name.",
        ),
    )
