"""The specification of a trial as the suite wrote it before its settings had types.

`harness migrate` compares with it: see `harness.migrate`.
"""

from typing import Any

Spec = dict[str, Any]


def former(spec: Spec) -> Spec:
    """Today's specification of a trial in its former form."""
    return {
        **spec,
        "scale": {**spec["scale"], "params": _scale(spec["scale"]["params"])},
        "task": {**spec["task"], "params": _task(spec["task"]["params"])},
    }


def _scale(params: Spec) -> Spec:
    """Adam's betas and epsilon stood in the code; width, rate and epochs beside the rest."""
    values: Spec = {name: params[name] for name in ("nodes", "p", "side", "fitted")}
    if params["run"] is None:
        return values | dict.fromkeys(("hidden", "epochs", "lr"), "paper")
    run = params["run"]
    epochs = {name.replace("_", "-"): n for name, n in run["epochs"].items() if name != "generated"}
    same = len(set(epochs.values())) == 1
    values |= run
    values["epochs"] = next(iter(epochs.values())) if same else epochs
    return values


def _task(params: Spec) -> Spec:
    """Released settings and the source of the graph stood beside the rest."""
    values: Spec = {name: params[name] for name in ("graph", "depth", "metric")}
    values |= params["source"]
    return values | {f"paper-{name}": value for name, value in params["released"].items()}
