"""BAM against BTX: dense language models become one mixture, attention included."""

from harness.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "BamConfig": "suites.bam.model.configuration",
        "BamForCausalLM": "suites.bam.model.causal_lm",
        "upcycle": "suites.bam.model.upcycle",
        **dict.fromkeys(("expert", "lm_eval_tasks"), "suites.bam.own"),
    },
)
