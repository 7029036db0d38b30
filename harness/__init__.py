"""A benchmark harness; what it offers to Python is read from records: see `harness.frames`."""

from harness.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    dict.fromkeys(("along", "claims", "figure", "record", "results", "table"), "harness.frames"),
)
