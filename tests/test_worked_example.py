"""The worked example of adding a suite runs as it stands there, from somebody else's package."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_worked_example_runs_to_a_verdict(tmp_path: Path) -> None:
    text = (ROOT / "docs/adding-a-suite.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    package = tmp_path / "site"
    (package / "coin").mkdir(parents=True)
    (package / "coin" / "__init__.py").touch()
    (package / "coin" / "suite.py").write_text(code[1])
    info = package / "coin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: coin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[harness.suites]\ncoin = coin.suite:suite\n")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")]),
        "HARNESS_CACHE": str(tmp_path / "cache"),
    }

    def harness(*words: str) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("harness")), *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    harness("run", "coin", "--scale", "laptop")
    records = [json.loads(p.read_text()) for p in tmp_path.glob("results/coin/laptop/*.json")]
    assert len(records) == 20
    assert {r["status"] for r in records} == {"ok"}
    assert "holds at laptop scale" in harness("claims", "coin")
    reported = harness("report")
    varied = ("--scale", "laptop", "--set", "tosses=3000")
    harness("run", "coin", *varied)
    assert len([*tmp_path.glob("results/coin/laptop+tosses-3000/*.json")]) == 20
    assert "holds at laptop+tosses-3000 scale" in harness("claims", "coin", *varied)
    assert "laptop+tosses-3000" in harness("status")
    assert "nothing to do" in harness("plan", "coin", *varied)
    assert re.search("tosses +3000 +How often", harness("show", "coin", *varied))
    assert "0 folders" in harness("gc")
    assert harness("report") == reported
    harness("compare", "coin/bent", "coin/fair", *varied)
    harness("report")
    assert "Heads" in (tmp_path / "reports/coin/laptop/report.md").read_text()
