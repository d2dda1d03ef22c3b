"""A version that is trained further: its vocabulary and its weights, out of its own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
import torch
from onnx import numpy_helper
from tokenizers import Tokenizer

from modelry.domain.errors import InvalidInput
from modelry.runtime_api.sequence_models import (
    DECODER_ROLE,
    ENCODER_ROLE,
    TOKENIZER_ROLE,
    SequenceModel,
)
from modelry.runtime_api.tensors import Array
from modelry.training.recipes.seq2seq.graphs import TRANSPOSED
from modelry.training.recipes.seq2seq.network import Transformer
from modelry.training.recipes.seq2seq.tokens import SPECIAL

_ROLES = ("model", ENCODER_ROLE, DECODER_ROLE, TOKENIZER_ROLE)


def base_tokenizer(files: Mapping[str, Path]) -> Tokenizer:
    """The vocabulary of the version, which the new one keeps.

    Raises:
        InvalidInput: the version is none of this recipe.
    """
    missing = [role for role in _ROLES if role not in files]
    if missing:
        raise _foreign(f"it has no file '{missing[0]}'")
    try:
        model = SequenceModel.from_json(orjson.loads(files["model"].read_bytes()))
        found = Tokenizer.from_file(str(files[TOKENIZER_ROLE]))
    except (InvalidInput, orjson.JSONDecodeError) as error:
        raise _foreign(str(error)) from None
    except Exception as error:  # noqa: BLE001 - the library's errors are bare exceptions
        raise _foreign(f"its tokenizer cannot be read ({str(error)[:200]})") from None
    ids = tuple(found.token_to_id(token) for token in SPECIAL)
    if ids != (model.pad, model.start, model.end) or found.get_vocab_size() != model.vocabulary:
        raise _foreign("its vocabulary was not learnt here")
    return found


def take_weights(network: Transformer, files: Mapping[str, Path]) -> None:
    """Give the network the weights of the version.

    Raises:
        InvalidInput: the version's network has other sizes; says which.
    """
    kept: dict[str, Array] = {}
    for role in (ENCODER_ROLE, DECODER_ROLE):
        for tensor in _graph(files[role]).graph.initializer:
            kept[tensor.name] = numpy_helper.to_array(tensor)
    state = network.state_dict()
    found: dict[str, torch.Tensor] = {}
    for name, own in state.items():
        array = kept.get(name)
        if array is None and name + TRANSPOSED in kept:
            array = kept[name + TRANSPOSED].T
        if array is None or array.shape != tuple(own.shape):
            has = "none" if array is None else f"one of shape {list(array.shape)}"
            raise InvalidInput(
                f"The network has a weight '{name}' of shape {list(own.shape)}; the version that "
                f"is trained further has {has}. Choose its 'width', 'heads', 'inner_width', "
                "'encoder_layers', 'decoder_layers' and 'copying'.",
                param="base",
            )
        found[name] = torch.from_numpy(np.array(array, np.float32))
    extra = sorted(
        name
        for name in (one.removesuffix(TRANSPOSED) for one in kept)
        if name.startswith(("encoder.", "decoder.", "copy.")) and name not in state
    )
    if extra:
        raise InvalidInput(
            f"The version that is trained further has a weight '{extra[0]}', the network has none; "
            "choose as many 'encoder_layers' and 'decoder_layers' as it has, and 'copying' if it "
            "copies.",
            param="base",
        )
    network.load_state_dict(found)


def _graph(file: Path) -> Any:
    try:
        return onnx.load_model_from_string(file.read_bytes())
    except Exception as error:  # noqa: BLE001 - protobuf's errors are not public
        raise _foreign(f"a graph cannot be read ({type(error).__name__})") from None


def _foreign(why: str) -> InvalidInput:
    return InvalidInput(
        f"Only versions that the recipe 'seq2seq' made can be trained further by it; {why}.",
        param="base",
    )
