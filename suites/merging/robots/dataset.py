"""The datasets that policies are trained on: rolled out by experts, or read from files.

A dataset is an artifact: `trajectories.safetensors`, with what it was made of in its header.
"""

from importlib.metadata import version
from pathlib import Path

from pydantic import JsonValue

from harness.errors import DataError
from harness.run import Context
from harness.store import file_digest
from suites.merging.robots import trajectories
from suites.merging.robots.environments import (
    Environment,
    environment,
    normalised,
    note_robots,
)
from suites.merging.robots.experts import load_policy, roll_out, shipped
from suites.merging.robots.mixtures import FOLDER, SHIPPED
from suites.merging.robots.trajectories import Trajectories, concatenate
from suites.merging.settings import MergingSettings, Robot

TRAJECTORIES = "trajectories.safetensors"


def make(ctx: Context) -> dict[str, JsonValue]:
    """Artifact: the dataset of one environment.

    `source` says whence: `shipped` and `folder` roll out policies, `d4rl` reads HDF5 files of
    version 2, `minari` the local store of that library.
    """
    settings, name = ctx.settings(MergingSettings), ctx.settings(Robot).environment
    if settings.source in ("shipped", "folder"):
        return roll_out_mixture(ctx)
    quality = settings.quality
    facts: dict[str, JsonValue] = {
        "source": settings.source,
        "environment": name,
        "quality": quality,
    }
    if settings.source == "d4rl":
        file = f"{name}_{quality.replace('-', '_')}-v2.hdf5"
        path = ctx.dataset_file("d4rl", f"mujoco/d4rl/{file}")
        read, where = trajectories.read_hdf5(path), str(path)
        facts["sha256"] = file_digest(path)
    else:
        where = f"mujoco/{name}/{quality}-v0"
        read = trajectories.read_minari(where)
        facts["sha256"] = read.digest
        ctx.contents[f"minari:{where}"] = f"sha256:{read.digest}"
    env = environment(name, settings.version)
    sizes = (read.states_NS.shape[1], read.actions_NA.shape[1])
    if sizes != (env.state_dim, env.action_dim):
        raise DataError(
            f"{where}: {sizes[0]} state and {sizes[1]} action components, {env.id} has "
            f"{env.state_dim} and {env.action_dim}; give the data of this robot"
        )
    facts |= {"episodes": read.count, "steps": len(read.rewards_N)}
    facts["return_mean"] = float(read.returns_T.mean())
    facts["return_sd"] = float(read.returns_T.std())
    read.save(ctx.out / TRAJECTORIES, facts)
    return facts


def roll_out_mixture(ctx: Context) -> dict[str, JsonValue]:
    """Rolls out the mixture of policies that stands for a quality; returns what it returned.

    Writes `trajectories.safetensors`. `source` is `shipped`, or `folder` for the policies of the
    dataset `mujoco-policies`.
    """
    settings = ctx.settings(MergingSettings)
    env = environment(ctx.settings(Robot).environment, settings.version)
    note_robots(ctx)
    mixture = (SHIPPED if settings.source == "shipped" else FOLDER)[env.name][settings.quality]
    folder: Path | None = ctx.dataset("mujoco-policies") if settings.source == "folder" else None
    ctx.generated(f"{env.id}-{settings.quality}")
    parts: list[Trajectories] = []
    rows: list[JsonValue] = []
    for done, ingredient in enumerate(mixture):
        policy = (
            shipped(env, ingredient.policy)
            if folder is None
            else load_policy(ingredient.policy, env, folder)
        )
        steps = max(1, round(ingredient.share * settings.steps))
        seed = ctx.stream("data", env.id, settings.quality, done)
        parts.append(roll_out(policy, env, steps, ingredient.noise, seed))
        rows.append({**ingredient._asdict(), **measured(parts[-1], env)})
        ctx.tick(done + 1, len(mixture))
    trajectories = concatenate(parts)
    facts: dict[str, JsonValue] = {
        "environment": env.id,
        "quality": settings.quality,
        "source": settings.source,
        "recipe": rows,
        **measured(trajectories, env),
        "gymnasium": version("gymnasium"),
        "mujoco": version("mujoco"),
    }
    trajectories.save(ctx.out / TRAJECTORIES, facts)
    return facts


def measured(trajectories: Trajectories, env: Environment) -> dict[str, JsonValue]:
    """Numbers of a set of trajectories, for people."""
    returns_T = trajectories.returns_T
    return {
        "episodes": trajectories.count,
        "steps": len(trajectories.rewards_N),
        "return_mean": round(float(returns_T.mean()), 1),
        "return_sd": round(float(returns_T.std()), 1),
        "score": round(normalised(env, float(returns_T.mean())), 1),
    }
