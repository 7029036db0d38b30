"""Merged against individual Decision Transformers on MuJoCo locomotion.

The experiment as data: `methods.py` run at `scales.py`, judged by `claims.py`; here is what is
measured and shown.
"""

from typing import Any

from harness.suite import Answer, Dataset, Figure, Metric, Paper, Quantity, Suite, Table, Task
from suites.merging.claims import claims
from suites.merging.methods import FOUR, HIDDEN, HIDES, THREE, artifacts, methods
from suites.merging.robots.mixtures import FILES, TEXTS
from suites.merging.scales import scales
from suites.merging.settings import Robot

_LABELS = {"hopper": "Hopper", "halfcheetah": "HalfCheetah", "walker2d": "Walker2d", "ant": "Ant"}


_HIDES = {"velocities": "any velocity", "joint-velocities": "the velocities of its joints"}


def _tasks() -> tuple[Task, ...]:
    note = "The scale says which data the policies are trained on."
    blind = f"{note} The policy is not shown {{}}, so that it has to look back."
    return (
        *(_task(env, env, _LABELS[env], note) for env in FOUR),
        *(
            _task(
                name,
                env,
                f"{_LABELS[env]}, velocities hidden",
                blind.format(_HIDES[HIDES[env]]),
                hidden=HIDES[env],
            )
            for name, env in zip(HIDDEN, THREE, strict=True)
        ),
    )


def _task(name: str, env: str, label: str, note: str, **more: Any) -> Task:
    return Task(
        name=name,
        label=label,
        params=Robot(environment=env, **more).plain(),
        metrics=("score", "return"),
        optional=("score-best", "retained", "kept", "episode-sd"),
        note=note,
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
        metric("kept", "share of the individual policy's score", "%", "last"),
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
            "hidden",
            "Averages of three policies that are not shown velocities",
            *("hidden-individual*", "hidden-average-*", "hidden-attention-*"),
            note="Without them a policy has to look back, through its attention. Unmerged "
            "parameter groups are taken from the task's own policy.",
            tasks=HIDDEN,
        ),
        table(
            "hidden-kept",
            "Averages of policies that are not shown velocities, in percent of the individual's",
            *("hidden-average-*", "hidden-attention-*"),
            metric="kept",
            tasks=HIDDEN,
        ),
        table(
            "hidden-rules",
            "Rules that might save the average of attention where it is needed",
            *("hidden-individual", "hidden-average-attn", "hidden-average-attn-pretrained"),
            *(f"hidden-{rule}-attn*" for rule in ("fisher-paper", "regmean", "regmean-plus")),
            *("hidden-aligned-attn", "hidden-slerp-attn*", "hidden-task-arithmetic-attn*"),
            *(f"hidden-{rule}-attn*" for rule in ("ties", "dare", "tsv-m", "iso-c")),
            "hidden-ensemble-attn",
            note="The scale of task arithmetic, TIES, DARE, TSV-M and Iso-C is chosen by the loss "
            "on held-out episodes. The ensemble averages actions, not weights: it keeps every "
            "network.",
            tasks=HIDDEN,
        ),
        table(
            "hidden-frozen",
            "Merge, freeze, finetune the rest, velocities hidden",
            *("hidden-individual", "hidden-average-attn-mlp", "hidden-mff", "hidden-frozen-*"),
            note="As many updates after freezing as a policy has.",
            tasks=HIDDEN,
        ),
        table(
            "merged",
            "Averages of three policies, by group and by where they started",
            *individuals,
            "average-*",
            note="Unmerged parameter groups are taken from the task's own policy.",
        ),
        table(
            "retained",
            "Averages of three policies, minus the individual policy",
            "average-*",
            metric="retained",
        ),
        table(
            "kept",
            "Averages of three policies, in percent of the individual policy's score",
            "average-*",
            metric="kept",
        ),
        table("halfway", "Halfway to the next task's policy", "individual", "path-*"),
        table(
            "rules",
            "Other rules of merging",
            *("average-attn-common", "fisher-*", "average-attn-mlp-common", "average-attn-mlp"),
            *("task-arithmetic-*", "ties-*", "dare-*", "tsv-m-*", "iso-c-*", "slerp-*"),
            *("regmean-*", "aligned-*"),
            note="The scale of task arithmetic, TIES, DARE, TSV-M and Iso-C is chosen by the loss "
            "on held-out episodes; 1/3 is the plain average in task arithmetic. Policies that are "
            "shown velocities hardly need their attention: see the table `hidden-rules` for rules "
            "that merge it.",
        ),
        table(
            "frozen",
            "Merge, freeze, finetune the rest, against other frozen backbones",
            *("individual", "average-attn-mlp", "mff*", "frozen-*"),
            note="As many updates after freezing as a policy has.",
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
            note="Each copy is fine-tuned at three learning rates; that with the least loss on "
            "held-out episodes is taken.",
        ),
        table("returns", "Returns, not normalised", "*", metric="return", tasks=(*FOUR, *HIDDEN)),
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
            caption="Bars are means with 95 % intervals, points are seeds; hatched are controls.",
        ),
        Figure(
            name="hidden",
            title="Merged against individual, velocities hidden",
            draw="suites.merging.figures:hidden",
            caption="Bars are means with 95 % intervals, points are seeds; hatched are controls.",
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
            note="Only to rebuild the policies that come with the suite, which all trials use: "
            "python -m suites.merging.robots.build. They were published as pickles, which the "
            "harness does not open; the suite's README says how to convert them.",
        ),
        Dataset(
            name="general-text",
            files={},
            licence="CC0 (Standard Ebooks), CC BY-SA 3.0 (Wikipedia)",
            source="twelve books of Standard Ebooks, sixty articles of WikiText-2",
            sizes="12 MB, 576 documents",
            splits="none",
            note="Looked for when a language model is trained at laptop, gpu or paper scale: "
            f"{', '.join(TEXTS)}. Without them: --set text=manual, whose records are their own.",
        ),
        Dataset(
            name="d4rl",
            files={},
            licence="CC BY 4.0",
            source="D4RL, gym-mujoco version 2 (Fu et al., 2020)",
            sizes="1,000,000 steps each, 2,000,000 of medium-expert",
            splits="none",
            fetch="suites.merging.robots.published:fetch",
            note="Looked for when the paper scale runs: "
            "mujoco/d4rl/<environment>_<quality>-v2.hdf5, of medium and medium_expert.",
        ),
        Dataset(
            name="minari",
            files={},
            licence="in the metadata of each set",
            source="Minari, mujoco/<environment>/<quality>-v0 of three robots",
            sizes="about 1,000,000 steps each, medium and expert",
            splits="none",
            fetch="suites.merging.robots.published:fetch_minari",
            note="For --set source=minari. Kept in that library's own store; needs `pip install "
            "minari[hdf5]`.",
        ),
    )


def suite() -> Suite:
    """The suite, for `harness.registry`."""
    return Suite(
        name="merging",
        paper=Paper(
            title="Merging Decision Transformers: Weight Averaging for Forming Multi-Task Policies",
            authors="Daniel Lawson, Ahmed H. Qureshi",
            arxiv="2303.07551",
            venue="ICRA",
            year=2024,
            numbers="The paper's full text was not available: none of its numbers is shown.",
        ),
        summary="Policies are trained on different robots, each by itself. Can parts of them be "
        "averaged into one backbone that still works for each?",
        methods=methods(),
        tasks=_tasks(),
        metrics=_metrics(),
        scales=scales(),
        artifacts=artifacts(),
        datasets=_datasets(),
        claims=claims(),
        tables=_tables(),
        figures=_figures(),
        headline="hidden",
        answers=(
            Answer(
                scale="laptop",
                text="Where policies need attention, averaging or exchanging it costs half of the "
                "score and more; no other rule, common start or finetuning makes it good.",
                rests_on={
                    "hidden-attention": "opposite",
                    "hidden-attention-other": "opposite",
                    "hidden-mlp": "holds",
                    "hidden-pretrained-repairs": "equivalent",
                    "hidden-mff": "opposite",
                    "hidden-attention-common": "opposite",
                    "hidden-attention-pretrained": "opposite",
                    "hidden-rule-regmean-attn": "opposite",
                    "hidden-rule-regmean-plus-attn": "opposite",
                    "hidden-rule-aligned-attn": "opposite",
                    "hidden-rule-fisher-paper-attn": "opposite",
                    "hidden-rule-fisher-paper-attn-pretrained": "opposite",
                    "hidden-rule-regmean-attn-pretrained": "opposite",
                    "hidden-rule-regmean-plus-attn-pretrained": "opposite",
                    "hidden-rule-task-arithmetic-attn-pretrained": "opposite",
                    "hidden-rule-ties-attn-pretrained": "opposite",
                    "hidden-rule-dare-attn-pretrained": "opposite",
                    "hidden-rule-tsv-m-attn-pretrained": "opposite",
                    "hidden-rule-iso-c-attn-pretrained": "opposite",
                    "hidden-rule-slerp-attn-pretrained": "opposite",
                },
            ),
        ),
        distance=(
            Quantity(name="width", value="sizes.standard.width"),
            Quantity(name="updates", value="trainings.policy.updates"),
        ),
        effort="suites.merging.effort:effort",
        preload=("suites.merging.trials:warm_up",),
        deviations=(
            "The full text of the paper was not available: the protocol follows its abstract and "
            "its released code, and its tables are not quoted.",
            "Merges start from the last weights of every training. The released code keeps those "
            "that did best on the environment; the table `selection` shows what that adds.",
            "Evaluation episodes are seeded, the same for every method of a seed; the released "
            "code leaves the environment unseeded.",
            "Fisher information has a floor, where the released code divides 0 by 0.",
            "A byte-level language model, one for each seed, takes the place of ChibiT, which is "
            "not on any package index. It is trained on books and encyclopedia articles of the "
            "data folder, at smoke scale on Python's reference manual.",
            "The tasks `*-hidden` are additions: policies are not shown velocities (of "
            "HalfCheetah's and Walker2d's joints, all of Hopper's), so that they need their "
            "attention. Whether averages of three work is decided there, on HalfCheetah and "
            "Walker2d; the paper's own tasks show all, and their claims are secondary.",
            "One episode in twenty is held out of every training. Scales of merged task vectors "
            "and the learning rate of fine-tuning are chosen by the loss on these episodes, never "
            "by returns.",
            "The activation is relu for every initialisation; ChibiT's is gelu.",
            "The README of the released code recommends the language model with the k-means term "
            "and the regularisation toward the initialisation: the methods `*-recommended`, which "
            "the smoke and laptop scales leave out. `regularised` has no k-means term, `cotrained` "
            "trains on text too.",
            "The k-means term takes cosines. So does the released trainer, which `recommended` "
            "follows; the released joint training takes plain inner products, where `cotrained` "
            "takes cosines.",
            "AdamW has an epsilon of 1e-8 everywhere; the released code has 1e-6 for policies that "
            "start from a language model.",
            "`norm-identity` resets the two norms of every block. The released filter looks for "
            "`ln` in the names, so that it also resets the final norm and the norm of the "
            "embeddings.",
            "A policy that is fine-tuned on its own task trains its own input and output layers; "
            "in the released code the optimiser sees those of one environment.",
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
