"""The specification of a trial or artifact as the suite wrote it before its settings had types.

`harness migrate` compares with it: see `harness.migrate`.
"""

from typing import Any

Spec = dict[str, Any]

CHOSEN = {
    "vanilla-equal-updates": ("budget",),
    "vanilla-equal-time": ("budget",),
    "mixup-convex": ("form",),
    "mixup-code": ("form",),
    "mixup-convex-k1": ("form", "repeats"),
    "mixup-code-k1": ("form", "repeats"),
    "joint": ("form",),
    "random-alpha": ("form",),
    "random-alpha-wide": ("form", "std"),
    "mixup-first-order": ("form", "hypergradient"),
    "mixup-exact": ("form", "hypergradient"),
    "mixup-rank-4": ("form", "rank"),
    "mixup-half": ("form", "split"),
    "mixup-paper-code": ("form", "protocol"),
}
"""Options that a method's line named; the others stood in the code."""


def former(spec: Spec) -> Spec:
    """Today's specification of a trial or artifact in its former form."""
    found = {**spec, "scale": {**spec["scale"], "params": _scale(spec["scale"]["params"])}}
    if "method" in spec:
        found["method"] = _method(spec["method"])
    if spec.get("task"):
        found["task"] = {**spec["task"], "params": _task(spec["task"]["params"])}
    if "artifact" in spec:
        params = spec["artifact"]["params"]
        values = {name: params[name] for name in ("vocabulary", "width", "layers")}
        values["mlm-tokens"] = params["mlm_tokens"]
        found["artifact"] = {**spec["artifact"], "params": values}
    return found


def _scale(params: Spec) -> Spec:
    """Warm-up, betas, epsilon and clipping stood in the code; sizes that are None were left out."""
    values: Spec = {name: params[name] for name in ("encoder", "pooling", "tokens", "epochs")}
    values |= {
        "freeze-embeddings": params["freeze_embeddings"],
        "batch-size": params["batch_size"],
        "weight-decay": params["optimizer"]["weight_decay"],
        "learning-rates": {"*": params["learning_rate"], **params["learning_rates"]},
    }
    if params["generated"] is not None:
        values |= {"n": params["generated"]["train"], "test-size": params["generated"]["test"]}
    if params["pretraining"] is not None:
        values["mlm-steps"] = params["pretraining"]["steps"]
        values["mlm-batch-size"] = params["pretraining"]["batch_size"]
    return values


def _method(method: Spec) -> Spec:
    params = method["params"]
    chosen = CHOSEN.get(method["name"].removeprefix("mlm-"), ())
    options = {name: params["options"][name] for name in chosen}
    encoder = {"encoder": params["encoder"]} if "encoder" in params else {}
    return {**method, "params": {"method": params["method"], "options": options, **encoder}}


def _task(params: Spec) -> Spec:
    if params["n"] is None:
        return {name: params[name] for name in ("train", "test", "measure")}
    return params
