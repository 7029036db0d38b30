"""The specification of a trial or artifact as the suite wrote it before its settings had types.

`harness migrate` compares with it: see `harness.migrate`.
"""

from typing import Any

Spec = dict[str, Any]


def former(spec: Spec) -> Spec:
    """Today's specification of a trial or artifact in its former form."""
    kinds = {"method": _method, "task": _task, "artifact": _artifact}
    found = {**spec, "scale": {**spec["scale"], "params": _scale(spec["scale"]["params"])}}
    for kind, change in kinds.items():
        if found.get(kind):
            found[kind] = {**found[kind], "params": change(found[kind]["params"])}
    return found


def _scale(params: Spec) -> Spec:
    """Optimiser and routing stood in the code; what a pretrained seed lacks was left out."""
    values = {name: params[name] for name in ("characters", "context", "batch")}
    values["pretrained"] = params["model"] is None
    values |= {"held-out": params["held_out"], "micro-batch": params["micro_batch"]}
    values |= {name: params[name] for name in ("model", "vocabulary") if params[name] is not None}
    values["compile"] = params["compile"]
    phases = {name: phase for name, phase in params["phases"].items() if phase is not None}
    values["phases"] = {
        name: {key: phase[key] for key in ("steps", "peak", "warmup", "floor")}
        for name, phase in phases.items()
    }
    asked = params["evaluation"]
    values |= {f"evaluation-{name}": asked[name] for name in ("tokens", "document", "batch")}
    return values | {name: asked[name] for name in ("questions", "shots")}


def _method(params: Spec) -> Spec:
    if params.get("artifact") == "ensemble":
        return {"artifact": "ensemble", "top-k": params["top_k"]}
    return {name: value for name, value in params.items() if name == "artifact"}


def _task(params: Spec) -> Spec:
    if "counted" in params:
        return {"model": params["counted"]}
    if params["domains"]:
        return {"domains": params["domains"]}
    return {} if params["cost"] else {"group": params["group"]}


def _artifact(params: Spec) -> Spec:
    if "method" not in params:
        return params
    chosen = ("num_ffn_experts", "ffn_top_k", "attention_routing")
    values = {name: params[name] for name in ("method", "parts", "budget", "weights")}
    return values | {"options": {n: params[n] for n in chosen if params[n] is not None}}
