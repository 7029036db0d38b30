"""The specification of a trial or artifact as the suite wrote it before its settings had types.

`harness migrate` compares with it: see `harness.migrate`.
"""

from typing import Any

Spec = dict[str, Any]


def former(spec: Spec) -> Spec:
    """Today's specification of a trial or artifact in its former form."""
    former_spec = {**spec, "scale": {**spec["scale"], "params": _scale(spec["scale"]["params"])}}
    if "method" in spec:
        params = {k: v for k, v in spec["method"]["params"].items() if v is not None}
        former_spec["method"] = {**spec["method"], "params": params}
    return former_spec


def _scale(params: Spec) -> Spec:
    """Optimiser and coefficients but one stood in the code; hyphens stood for underscores."""
    moved = ("trainings", "optimizer", "rules", "text_weight")
    values = {name.replace("_", "-"): v for name, v in params.items() if name not in moved}
    values["task-scale"] = params["rules"]["task_scale"]
    values["recipes"] = {
        name: {
            **{key: training[key] for key in ("updates", "batch", "lr", "warmup")},
            "schedule": training["decay"],
        }
        for name, training in params["trainings"].items()
    }
    return values
