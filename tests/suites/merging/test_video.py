"""Videos: what is in them, and one clear line where they cannot be recorded."""

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.errors import MethodError, UsageError
from suites.merging import video
from suites.merging.policy import files
from suites.merging.policy.evaluation import evaluate
from suites.merging.policy.fast import FastDecisionTransformer
from suites.merging.policy.model import DecisionTransformer, Shape
from suites.merging.robots.environments import ENVIRONMENTS
from suites.merging.robots.trajectories import Statistics

HOPPER = dataclasses.replace(ENVIRONMENTS["hopper"], max_steps=30)
STATISTICS = Statistics(np.zeros(11, np.float32), np.ones(11, np.float32))


def _policy() -> DecisionTransformer:
    shape = Shape(11, 3, width=16, layers=1, context=3, dropout=0.0)
    return FastDecisionTransformer(shape, torch.Generator().manual_seed(0)).eval()


@pytest.fixture
def opengl() -> None:
    """Skips where there is no OpenGL."""
    try:
        video.check_opengl()
    except MethodError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("opengl")
def test_a_gif_shows_the_evaluated_episode_in_real_time(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "hopper.gif"
    steps, found = video.record(_policy(), HOPPER, STATISTICS, path, seed=3, size=64)
    expected = evaluate(_policy(), HOPPER, STATISTICS, seeds=[3], context=3).returns_E[0]
    assert found == pytest.approx(expected)
    with Image.open(path) as image:
        frames: Any = image
        assert image.size == (64, 64)
        assert frames.n_frames == 1 + steps // 5  # 125 steps a second, 25 pictures
        assert abs(image.info["duration"] - 40) <= 1
        pictures = []
        for index in (0, frames.n_frames - 1):
            image.seek(index)
            pictures.append(np.asarray(image.convert("RGB"), np.int32))
    assert (abs(pictures[0] - pictures[1]) > 30).any()  # it moved


@pytest.mark.usefixtures("opengl")
def test_the_command_line_records_a_saved_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.save(_policy(), STATISTICS, tmp_path / "policy")
    out = tmp_path / "video.gif"
    words = ["--policy", str(tmp_path / "policy"), "--env", "hopper", "--out", str(out)]
    assert video.main([*words, "--steps", "12"]) == 0
    assert out.read_bytes().startswith(b"GIF89a")
    assert "Hopper-v5, 12 steps, return" in capsys.readouterr().out


@pytest.mark.usefixtures("opengl")
def test_every_policy_gets_a_video_in_the_environment_it_was_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / "policy-one", tmp_path / "policy-two"]
    for folder in folders:
        files.save(_policy(), STATISTICS, folder)
        (folder / "curve.json").write_text('[[10, {"hopper": [1.0, 2.0]}]]')
    words = ["--policy", *map(str, folders), "--steps", "8"]
    assert video.main([*words, "--out", str(tmp_path / "videos")]) == 0
    videos = sorted(p.name for p in (tmp_path / "videos").iterdir())
    assert videos == ["policy-one.gif", "policy-two.gif"]
    assert capsys.readouterr().out.count("Hopper-v5, 8 steps") == 2
    assert video.main([*words, "--out", str(tmp_path / "video.gif")]) == 2
    assert "give a folder as --out" in capsys.readouterr().err


def test_a_policy_that_does_not_say_its_environment_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.save(_policy(), STATISTICS, tmp_path / "policy")
    words = ["--policy", str(tmp_path / "policy"), "--out", str(tmp_path / "video.gif")]
    assert video.main(words) == 2
    assert "add --env" in capsys.readouterr().err


def test_without_opengl_there_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files.save(_policy(), STATISTICS, tmp_path / "policy")
    words = ["--policy", str(tmp_path / "policy"), "--env", "hopper"]

    def fail(*_: Any, **__: Any) -> Any:
        return subprocess.CompletedProcess([], 1, "", "Traceback\n  ...\nImportError: no EGL")

    monkeypatch.setattr(subprocess, "run", fail)
    assert video.main([*words, "--out", str(tmp_path / "video.gif")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "no OpenGL for MuJoCo's offscreen renderer (ImportError: no EGL)" in err
    assert not list(tmp_path.glob("*.gif"))


def test_a_renderer_that_does_not_exist_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    with pytest.raises(MethodError, match=r"no OpenGL .*MUJOCO_GL") as caught:
        video.check_opengl()
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # imageio's files
def test_an_mp4_holds_the_frames_in_their_order(tmp_path: Path) -> None:
    import imageio_ffmpeg

    frames = [np.full((64, 64, 3), 10 * n, np.uint8) for n in range(20)]
    path = tmp_path / "video.mp4"
    path.write_bytes(video._mp4(frames, 25))
    about, *read = imageio_ffmpeg.read_frames(path)
    assert (about["size"], about["fps"], len(read)) == ((64, 64), 25, 20)
    levels = [np.frombuffer(frame, np.uint8).mean() for frame in read]
    assert np.abs(levels - 10 * np.arange(20)).max() < 4  # the codec loses a little


def test_another_kind_of_file_or_no_writer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        UsageError, match=r"unknown kind of video '\.avi': .*there are \.gif, \.mp4"
    ):
        video.record(_policy(), HOPPER, STATISTICS, tmp_path / "video.avi", seed=0)

    def imwrite(*_: Any, **__: Any) -> bytes:
        raise OSError("no backend\nat all")

    import imageio.v3

    monkeypatch.setattr(imageio.v3, "imwrite", imwrite)
    with pytest.raises(MethodError, match=r"nothing here writes .mp4 \(no backend\); choose .gif"):
        video._mp4([np.zeros((8, 8, 3), np.uint8)], 25)


def test_a_folder_without_a_policy_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--policy", str(tmp_path), "--env", "hopper", "--out", str(tmp_path / "x.gif")]
    assert video.main(words) == 1
    assert capsys.readouterr().err.count("\n") == 1
