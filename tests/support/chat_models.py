"""Small GGUF chat models of every architecture that adapters are trained for, weights at random.

Their tokens are bytes, so that they read any text; llama.cpp loads them as it does real ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

CONTEXT = 256
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
EXTRAS: dict[str, dict[str, Any]] = {
    "granite": {
        "embedding_scale": 6.0,
        "residual_scale": 0.4,
        "attention.scale": 0.2,
        "logit_scale": 2.0,
    },
}


def chat_model(
    path: Path,
    architecture: str = "llama",
    *,
    seed: int = 0,
    width: int = 64,
    layers: int = 2,
    template: str = TEMPLATE,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    tied: bool = True,
    left_out: str = "",
    more: dict[str, np.ndarray] | None = None,
    **keys: Any,
) -> Path:
    """Write a model to `path`; `keys` are further metadata below its architecture's name."""
    heads, key_heads, inner = 4, 2, 2 * width
    size = 32 if architecture == "gemma" else width // heads
    writer = gguf.GGUFWriter(path, architecture)
    _vocabulary(writer, template)
    values: dict[str, Any] = {
        "context_length": CONTEXT,
        "embedding_length": width,
        "block_count": layers,
        "feed_forward_length": inner,
        "attention.head_count": heads,
        "attention.head_count_kv": key_heads,
        "attention.key_length": size,
        "attention.value_length": size,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 10_000.0,
        "rope.dimension_count": size,
        **EXTRAS.get(architecture, {}),
        **{name.replace("__", "."): value for name, value in keys.items()},
    }
    for name, value in values.items():
        key = f"{architecture}.{name}"
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    tensors = _tensors(architecture, (width, inner, heads * size, key_heads * size), layers, size)
    if not tied:
        tensors["output.weight"] = (256 + len(SPECIAL), width)
    draw = np.random.default_rng(seed)
    for name, shape in tensors.items():
        if name == left_out:
            continue
        if len(shape) == 2:
            weights = draw.normal(0, 1.5 / np.sqrt(shape[1]), shape).astype(np.float32)
            data = gguf.quantize(weights, kind)
            writer.add_tensor(name, data, raw_dtype=kind)
        else:
            centre = 0.0 if name.endswith("bias") else 1.0
            writer.add_tensor(name, draw.normal(centre, 0.2, shape).astype(np.float32))
    for name, array in (more or {}).items():
        writer.add_tensor(name, array.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(
    architecture: str, sizes: tuple[int, int, int, int], layers: int, head: int
) -> dict[str, tuple[int, ...]]:
    width, inner, wide, narrow = sizes
    found: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (256 + len(SPECIAL), width),
        "output_norm.weight": (width,),
    }
    block: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (width,),
        "attn_q.weight": (wide, width),
        "attn_k.weight": (narrow, width),
        "attn_v.weight": (narrow, width),
        "attn_output.weight": (width, wide),
        "ffn_norm.weight": (width,),
        "ffn_gate.weight": (inner, width),
        "ffn_up.weight": (inner, width),
        "ffn_down.weight": (width, inner),
    }
    if architecture == "qwen2":
        block |= {
            f"attn_{one}.bias": (size,)
            for one, size in zip("qkv", (wide, narrow, narrow), strict=True)
        }
    if architecture == "qwen3":
        block |= {f"attn_{one}_norm.weight": (head,) for one in "qk"}
    for layer in range(layers):
        found |= {f"blk.{layer}.{name}": size for name, size in block.items()}
    return found


def _vocabulary(writer: gguf.GGUFWriter, template: str) -> None:
    plain = [_letter(byte) for byte in range(256)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*plain, *SPECIAL])
    writer.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * len(SPECIAL))
    writer.add_token_merges([f"{_letter(0)} {_letter(1)}"])  # a list of none is no list in GGUF
    writer.add_bos_token_id(258)
    writer.add_eos_token_id(257)
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)


def _letter(byte: int) -> str:
    """What stands for a byte in byte-level vocabularies, as GPT-2 chose."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in shown:
        return chr(byte)
    return chr(256 + [one for one in range(256) if one not in shown].index(byte))
