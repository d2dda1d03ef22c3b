"""From text to token tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modelry.domain.errors import ContextLengthExceeded, InvalidInput, ModelFailed
from modelry.domain.signature import DYNAMIC, Datatype, Signature, TensorSpec
from modelry.processing.casting import to_input
from modelry.processing.complaints import of_item
from modelry.processing.kinds import Building, StepKind
from modelry.processing.parameters import Parameter, Unfit, choice, integer, optional, show
from modelry.processing.text_encoder import Padding, TextEncoder, TokenRow, load_text_encoder
from modelry.processing.values import Form, Item, Stage, Tensors
from modelry.runtime_api.tensors import Array

TOKENIZER_ROLE = "tokenizer"
USUAL_MAX_LENGTH = 512
MAX_LENGTH = 2**20

MEANINGS = {
    "input_ids": "ids",
    "ids": "ids",
    "tokens": "ids",
    "attention_mask": "mask",
    "input_mask": "mask",
    "mask": "mask",
    "token_type_ids": "types",
    "segment_ids": "types",
    "position_ids": "positions",
}
"""What inputs of text models mean, by the names that exporters give them."""


@dataclass(frozen=True, slots=True)
class TokenInputs:
    """Which inputs the model has for tokens: (meaning, input), and their fixed length."""

    specs: tuple[tuple[str, TensorSpec], ...]
    length: int | None


def tokenize(
    items: Sequence[Item],
    *,
    encoder: TextEncoder,
    inputs: TokenInputs,
    max_length: int,
    on_overflow: str,
    pad_multiple: int,
    max_characters: int,
) -> Tensors:
    """Turns texts, pairs of texts or token ids into the model's token tensors.

    Rows are padded to the longest of the call, rounded up to `pad_multiple`, or to the length
    that the model's file fixes. An item with more than `max_length` tokens, special tokens
    included, is refused (`on_overflow: error`) or cut (`truncate`). Token ids get the special
    tokens around them unless they have them already.
    """
    cut = max_length if on_overflow == "truncate" else None
    rows = _rows(items, encoder, max_characters, cut)
    counts = tuple(len(row.ids) for row in rows)
    _check_counts(items, counts, max_length)
    rounded = -(-max(counts) // pad_multiple) * pad_multiple
    width = inputs.length or min(rounded, max_length)
    mask = _mask(counts, width, encoder.padding)
    tensors = {
        spec.name: to_input(_filled(meaning, rows, mask, encoder.padding), spec)
        for meaning, spec in inputs.specs
    }
    return Tensors(tensors, mask=mask, token_counts=counts)


def _rows(
    items: Sequence[Item], encoder: TextEncoder, max_characters: int, cut: int | None
) -> list[TokenRow]:
    texts: list[str | tuple[str, str]] = []
    given: dict[int, TokenRow] = {}
    for index, item in enumerate(items):
        where = of_item(index, len(items))
        if "tokens" in item:
            given[index] = encoder.complete(_tokens(item, encoder, where), cut)
        else:
            texts.append(_text(item, where, max_characters))
    try:
        encoded = iter(encoder.encode(texts) if texts else [])
    except Unfit as reason:  # the file was accepted when the graph was built
        raise ModelFailed(f"The tokenizer broke: {reason}") from None
    return [given[at] if at in given else next(encoded) for at in range(len(items))]


def _text(item: Item, where: str, max_characters: int) -> str | tuple[str, str]:
    first = _checked_text(item, "text", where, max_characters)
    if item.get("text_pair") is None:
        return first
    return first, _checked_text(item, "text_pair", where, max_characters)


def _checked_text(item: Item, field: str, where: str, max_characters: int) -> str:
    value = item.get(field)
    if not isinstance(value, str):
        raise InvalidInput(f"{where}'{field}' is {show(value)}; expected text.", param=field)
    if len(value) > max_characters:
        raise ContextLengthExceeded(
            f"{where}'{field}' has {len(value)} characters; at most {max_characters} are read. "
            "Shorten it or send it in parts.",
            param=field,
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            f"{where}'{field}' has half of a surrogate pair, which is not Unicode text.",
            param=field,
        ) from None
    return value


def _tokens(item: Item, encoder: TextEncoder, where: str) -> list[int]:
    tokens = item["tokens"]
    if "text" in item or "text_pair" in item:
        raise InvalidInput(f"{where}it has both 'text' and 'tokens'; give one.", param="tokens")
    size = encoder.vocabulary_size
    is_fit = isinstance(tokens, list | tuple) and set(map(type, tokens)) <= {int}
    if not is_fit or (tokens and not 0 <= min(tokens) <= max(tokens) < size):
        raise InvalidInput(
            f"{where}'tokens' is {show(tokens)}; expected a list of this model's token ids, "
            f"integers from 0 to {size - 1}.",
            param="tokens",
        )
    return list(tokens)


def _check_counts(items: Sequence[Item], counts: Sequence[int], max_length: int) -> None:
    for index, count in enumerate(counts):
        where = of_item(index, len(items))
        field = "tokens" if "tokens" in items[index] else "text"
        if count > max_length:
            raise ContextLengthExceeded(
                f"{where}it has {count} tokens; this model takes at most {max_length}. Shorten it "
                "or send it in parts.",
                param=field,
            )
        if count == 0:
            raise InvalidInput(f"{where}'{field}' is empty; expected some text.", param=field)


def _mask(counts: Sequence[int], width: int, padding: Padding) -> Array:
    """(n, width) booleans, true at tokens."""
    places = np.arange(width)
    lengths = np.asarray(counts)[:, None]
    if padding.on_left:
        mask: Array = places >= width - lengths
    else:
        mask = places < lengths
    return mask


def _filled(meaning: str, rows: Sequence[TokenRow], mask: Array, padding: Padding) -> Array:
    """(n, width) int64: what the input means, at the tokens; padding elsewhere."""
    if meaning == "mask":
        return mask.astype(np.int64)
    if meaning == "positions":
        positions: Array = np.maximum(np.cumsum(mask, axis=1, dtype=np.int64) - 1, 0)
        return positions
    filler = padding.token_id if meaning == "ids" else padding.type_id
    filled = np.full(mask.shape, filler, dtype=np.int64)
    values = [row.ids if meaning == "ids" else row.types for row in rows]
    filled[mask] = np.concatenate([np.asarray(part, dtype=np.int64) for part in values])
    return filled


def _token_inputs(signature: Signature) -> TokenInputs:
    specs = [(MEANINGS.get(spec.name), spec) for spec in signature.inputs]
    if len(specs) == 1:
        specs = [("ids", specs[0][1])]
    meant: list[tuple[str, TensorSpec]] = []
    for meaning, spec in specs:
        if meaning is None:
            raise Unfit(
                f"the model's input '{spec.name}' is not one that text has; known are: "
                f"{', '.join(MEANINGS)}."
            )
        if len(spec.shape) != 2 or spec.datatype is Datatype.BYTES:
            raise Unfit(
                f"the model's input '{spec.name}' is {spec.datatype} of shape "
                f"{list(spec.shape)}; expected integers of shape [n, tokens]."
            )
        meant.append((meaning, spec))
    if "ids" not in (meaning for meaning, _ in meant):
        raise Unfit("the model has no input for token ids ('input_ids').")
    lengths = {spec.shape[1] for _, spec in meant} - {DYNAMIC}
    if len(lengths) > 1:
        raise Unfit(f"the model's inputs differ in length: {sorted(lengths)}.")
    return TokenInputs(tuple(meant), next(iter(lengths), None))


def _prepare(parameters: dict[str, Any], building: Building) -> dict[str, Any]:
    inputs = _token_inputs(building.signature)
    encoder = load_text_encoder(building.file(TOKENIZER_ROLE))
    length = parameters["max_length"]
    if length is None:
        length = inputs.length or encoder.declared_max_length or USUAL_MAX_LENGTH
    if inputs.length is not None and length > inputs.length:
        raise Unfit(f"'max_length' is {length}, but the model's file fixes {inputs.length} tokens.")
    if parameters["on_overflow"] == "truncate":
        encoder.truncate_to(length)
    return {**parameters, "max_length": length, "encoder": encoder, "inputs": inputs}


def _trace(form: Form, bound: Mapping[str, Any]) -> Form:
    return replace(form, names=frozenset(spec.name for _, spec in bound["inputs"].specs))


STEPS = (
    StepKind(
        name="tokenize",
        side="pre",
        run=tokenize,
        takes=(Stage.ITEMS,),
        gives=Stage.TENSORS,
        parameters=(
            Parameter(
                "max_length",
                optional(integer(1, MAX_LENGTH)),
                default=None,
                about="tokens per item, special ones included; by default what the model's file "
                "fixes, else what the tokenizer declares, else 512",
            ),
            Parameter(
                "on_overflow",
                choice("error", "truncate"),
                default="error",
                about="what happens to an item with more tokens",
            ),
            Parameter(
                "pad_multiple",
                integer(1, 4096),
                default=1,
                about="rows are padded to a multiple of it",
            ),
            Parameter(
                "max_characters",
                integer(1, 10**8),
                default=400_000,
                about="longer texts are refused before they are tokenised",
            ),
        ),
        prepare=_prepare,
        trace=_trace,
        files=lambda _: (TOKENIZER_ROLE,),
        reads=("text", "text_pair", "tokens"),
    ),
)
