"""A GGUF chat model of SmolLM2-135M's shape, its weights at random: for measuring speed alone.

Its tokens are bytes, filled up to as many as SmolLM2 has, so that what is computed is as much.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

LAYERS, WIDTH, INNER, HEADS, KEY_HEADS, TOKENS = 30, 576, 1536, 9, 3, 49_152
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


def shaped_chat_model(file: Path, *, layers: int = LAYERS) -> Path:
    """Write it, in Q8_0 as published ones are."""
    head = WIDTH // HEADS
    narrow = head * KEY_HEADS
    writer = gguf.GGUFWriter(file, "llama")
    _vocabulary(writer)
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(100_000.0)
    writer.add_rope_dimension_count(head)
    block = {
        "attn_norm": (WIDTH,), "attn_q": (WIDTH, WIDTH), "attn_k": (narrow, WIDTH),
        "attn_v": (narrow, WIDTH), "attn_output": (WIDTH, WIDTH), "ffn_norm": (WIDTH,),
        "ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER),
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (TOKENS, WIDTH), "output_norm": (WIDTH,)}
    for layer in range(layers):
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    draw = np.random.default_rng(0)
    for name, shape in shapes.items():
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", np.ones(shape, np.float32))
            continue
        weights = draw.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[1]))
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(f"{name}.weight", gguf.quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _vocabulary(writer: gguf.GGUFWriter) -> None:
    plain = [_letter(byte) for byte in range(256)]
    filling = [f"<|filling-{at}|>" for at in range(TOKENS - 256 - len(SPECIAL))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*plain, *SPECIAL, *filling])
    types = [gguf.TokenType.NORMAL] * 256
    types += [gguf.TokenType.CONTROL] * (len(SPECIAL) + len(filling))
    writer.add_token_types(types)
    writer.add_token_merges([f"{_letter(0)} {_letter(1)}"])  # a list of none is no list in GGUF
    writer.add_bos_token_id(258)
    writer.add_eos_token_id(257)
    writer.add_add_bos_token(False)  # noqa: FBT003 - gguf's own signature
    writer.add_chat_template(TEMPLATE)


def _letter(byte: int) -> str:
    """What stands for a byte in byte-level vocabularies, as GPT-2 chose."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in shown:
        return chr(byte)
    return chr(256 + [one for one in range(256) if one not in shown].index(byte))
