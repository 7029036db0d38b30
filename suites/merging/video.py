"""Records a video of one episode of each saved Decision Transformer, rendered offscreen by MuJoCo.

merge-video --policy DIR --env hopper --out hopper.gif
merge-video --policy .harness/artifacts/merging/policy-* --out videos
"""

import argparse
import dataclasses
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness import tool
from harness.errors import MethodError, UsageError, brief, unknown
from harness.store import write_atomic
from suites.merging.policy.evaluation import play
from suites.merging.policy.files import load
from suites.merging.policy.model import DecisionTransformer
from suites.merging.robots.environments import (
    ENVIRONMENTS,
    Environment,
    LockStep,
    environment,
    normalised,
)
from suites.merging.robots.trajectories import Statistics

_FRAMES_A_SECOND = 25
_PROBE = """
import mujoco
context = mujoco.GLContext(8, 8)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), 100)
"""


def record(
    policy: DecisionTransformer,
    env: Environment,
    statistics: Statistics,
    path: Path,
    *,
    seed: int,
    target: float | None = None,
    size: int = 320,
) -> tuple[int, float]:
    """Records an episode into a .gif or .mp4 file; returns its number of steps and its return.

    `size` is the picture's height and width in pixels.

    Raises:
        UsageError: another kind of file.
        MethodError: this machine has no OpenGL, or nothing to write .mp4 with.
    """
    if path.suffix not in (".gif", ".mp4"):
        raise UsageError(f"{path}: {unknown('kind of video', path.suffix, ('.gif', '.mp4'))}")
    check_opengl()
    world = LockStep(env, [seed], render_mode="rgb_array", width=size, height=size)
    every = max(1, round(world.steps_a_second / _FRAMES_A_SECOND))
    frames, rewards = [world.render()], []
    for _, reward_1 in play(policy, env, statistics, world, target, policy.shape.context):
        rewards.append(float(reward_1[0]))
        if len(rewards) % every == 0:
            frames.append(world.render())
    rate = world.steps_a_second / every
    write_atomic(path, _gif(frames, rate) if path.suffix == ".gif" else _mp4(frames, rate))
    return len(rewards), sum(rewards)


def check_opengl() -> None:
    """Makes sure that pictures can be drawn; without a display, through EGL or as MUJOCO_GL says.

    In a process of its own: some drivers end the process that asks them.

    Raises:
        MethodError: they cannot; the message is one line.
    """
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ["MUJOCO_GL"] = os.environ.get("MUJOCO_GL") or "egl"
    done = subprocess.run(
        [sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise MethodError(
            f"no video: this machine has no OpenGL for MuJoCo's offscreen renderer ({reason}); "
            "install EGL or OSMesa and set MUJOCO_GL to egl or osmesa"
        )


def _gif(frames: Sequence[NDArray[np.uint8]], rate: float) -> bytes:
    from PIL import Image

    first, *rest = map(Image.fromarray, frames)
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest, duration=1000 / rate, loop=0)
    return file.getvalue()


def _mp4(frames: Sequence[NDArray[np.uint8]], rate: float) -> bytes:
    try:
        import imageio.v3

        data: bytes = imageio.v3.imwrite(
            "<bytes>", np.stack(frames), extension=".mp4", fps=round(rate)
        )
    except (ImportError, OSError, ValueError) as error:
        raise MethodError(
            f"no video: nothing here writes .mp4 ({brief(error)}); choose .gif, or install it "
            "with: pip install 'imageio[ffmpeg]'"
        ) from None
    return data


def main(words: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = tool.Parser(
        prog="merge-video", description="Records a video of an episode of each saved policy."
    )
    parser.add_argument(
        "--policy", type=Path, required=True, nargs="+", help="folders of saved policies"
    )
    parser.add_argument(
        "--env", choices=list(ENVIRONMENTS), help="default: what the policy was trained on"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help=".gif or .mp4, or a folder for a .gif per policy"
    )
    parser.add_argument("--version", default="v5", help="of the environment")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", type=float, help="return to ask for")
    parser.add_argument("--steps", type=int, default=1000, help="most steps to record")
    return tool.run(parser, _record_all, words)


def _record_all(args: argparse.Namespace) -> str:
    if args.out.suffix and len(args.policy) > 1:
        raise UsageError(
            f"{len(args.policy)} policies and one file {args.out}; give a folder as --out"
        )
    if args.seed < 0 or args.steps < 1 or not math.isfinite(args.target or 0.0):
        raise UsageError(
            f"--seed {args.seed} --steps {args.steps} --target {args.target}; a seed is at least "
            "0, steps at least 1, and a target a finite number"
        )
    lines = []
    for folder in args.policy:
        env = environment(args.env or trained_on(folder), args.version)
        env = dataclasses.replace(env, max_steps=args.steps)
        policy, statistics = load(folder)
        path = args.out if args.out.suffix else args.out / f"{folder.name}.gif"
        path.parent.mkdir(parents=True, exist_ok=True)
        steps, returned = record(policy, env, statistics, path, seed=args.seed, target=args.target)
        score = normalised(env, returned)
        lines.append(f"{path}: {env.id}, {steps} steps, return {returned:.0f}, score {score:.1f}")
    return "\n".join(lines)


def trained_on(folder: Path) -> str:
    """The environment that a policy of the suite was trained on, as its evaluations name it.

    Raises:
        UsageError: the folder does not say.
    """
    try:
        curve = json.loads((folder / "curve.json").read_text())
        return str(next(iter(curve[-1][1])))
    except (OSError, ValueError, LookupError, TypeError, StopIteration):
        raise UsageError(f"{folder} does not say what it was trained on; add --env") from None


if __name__ == "__main__":
    sys.exit(main())
