"""Which GGUF files OpenVINO GenAI serves as well as llama.cpp does; told before anything loads.

Mean negative log-likelihood (NLL) of SmolLM2-135M-Instruct on the text of `benchmarks/chat`,
OpenVINO against llama.cpp: Q8_0 3.244 and 3.252, Q4_0 3.406 and 3.403, but Q4_1 3.442 and 3.247.
"""

from __future__ import annotations

from collections.abc import Collection

from modelry.domain.errors import NotSupported
from modelry.manifest.inspect.facts import FileFacts

ARCHITECTURES = ("llama", "qwen2", "qwen3")
TOKENIZERS = ("gpt2",)
FAITHFUL_TYPES = ("F32", "F16", "BF16", "Q4_0", "Q8_0")
_REASONS = {
    "Q4_1": (
        "it is less accurate there than llama.cpp: measured on SmolLM2-135M, mean NLL 3.44 instead "
        "of 3.25"
    ),
    **dict.fromkeys(("Q5_0", "Q4_K", "Q6_K"), "it cannot read them"),
}
_ELSEWHERE = "Use the runtime 'llamacpp'"


def refuse_adapters(roles: Collection[str]) -> None:
    """Refuse a version with adapters, which would be left out without a word.

    Raises:
        NotSupported: there is a file of them.
    """
    if "adapter" in roles:
        raise NotSupported(
            f"The version has a file with adapters, which OpenVINO does not add. {_ELSEWHERE}."
        )


def refuse_unfaithful(facts: FileFacts, name: str) -> None:
    """Refuse a GGUF file that this runtime would serve wrongly or not at all.

    Args:
        facts: of the file.
        name: what messages call it.

    Raises:
        NotSupported: with what was measured, and what to do instead.
    """
    metadata = facts.metadata
    architecture = metadata.get("architecture", "unknown")
    if architecture not in ARCHITECTURES:
        raise NotSupported(
            f"File '{name}' is of the architecture '{architecture[:40]}'; OpenVINO reads from GGUF "
            f"only: {', '.join(ARCHITECTURES)}. {_ELSEWHERE}."
        )
    tokenizer = metadata.get("tokenizer", "none")
    if tokenizer not in TOKENIZERS:
        raise NotSupported(
            f"File '{name}' has a tokeniser of the kind '{tokenizer[:40]}'; OpenVINO reads from "
            f"GGUF only byte-pair tokenisers ('gpt2'). {_ELSEWHERE}."
        )
    for kind in metadata.get("tensor_types", "").split(","):
        if kind not in FAITHFUL_TYPES:
            reason = _REASONS.get(kind, "its answers were never compared with llama.cpp's")
            raise NotSupported(
                f"File '{name}' has tensors of the type {kind[:20]}, which OpenVINO is not trusted "
                f"with: {reason}. {_ELSEWHERE}, or a file quantised as Q8_0 or Q4_0 throughout."
            )
