"""Builds the policies that come with the suite from those of the data folder.

    python -m suites.merging.robots.build [--data FOLDER] [--only NAME ...]

Small networks are copied with weights in half precision, large ones distilled into small ones.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from harness import contents, tool
from suites.merging.robots.dataset import measured
from suites.merging.robots.distillation import distil
from suites.merging.robots.environments import ENVIRONMENTS
from suites.merging.robots.experts import (
    SHIPPED_FOLDER,
    Policy,
    load_policy,
    read_policy,
    roll_out,
    save_policy,
)
from suites.merging.robots.mixtures import MADE_FROM


def make_shipped(name: str, role: str, folder: Path) -> Policy:
    """Makes a shipped policy from the data folder's, and measures it over 50 episodes.

    Raises:
        DataError: the data folder lacks the policy.
    """
    env, source = ENVIRONMENTS[name], MADE_FROM[name, role]
    policy = load_policy(source.policy, env, folder)
    recipe = "copied, weights in half precision"
    if source.width is not None:
        policy = distil(policy, env, source.width, seed=0)
        recipe = f"distilled into two layers of {source.width}, weights in half precision"
    path = SHIPPED_FOLDER / f"{name}-{role}.safetensors"
    save_policy(policy, path)
    policy = read_policy(path)  # as users get it
    facts = {
        "source": source.policy,
        "origin": source.origin,
        "licence": source.licence,
        "recipe": recipe,
        "environment": env.id,
        **measured(roll_out(policy, env, 50 * env.max_steps, 0.0, seed=1), env),
        "gymnasium": version("gymnasium"),
        "mujoco": version("mujoco"),
    }
    policy = replace(policy, facts=facts)
    save_policy(policy, path)
    contents.seal(SHIPPED_FOLDER, SHIPPED_FOLDER.glob("*.safetensors"))
    return policy


def main(words: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = tool.Parser(
        prog="python -m suites.merging.robots.build",
        description="Builds the policies that come with the suite from those of the data folder.",
    )
    parser.add_argument("--data", type=Path, help="data folder; default: HARNESS_DATA")
    names = [f"{name}-{role}" for name, role in MADE_FROM]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    return tool.run(parser, _build, words)


def _build(args: argparse.Namespace) -> str:
    folder = args.data or Path(os.environ.get("HARNESS_DATA") or "data")
    lines = []
    for wanted in args.only:
        name, role = wanted.split("-")
        facts = make_shipped(name, role, folder).facts
        lines.append(f"{wanted}: {facts['recipe']}; {facts['return_mean']} +- {facts['return_sd']}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
