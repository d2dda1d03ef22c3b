"""`modelry infer`: tensors through a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.operations.inference import Inferred

SHOWN_ELEMENTS = 20


def infer(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A deployment.", show_default=False)],
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="name=file.npy, name=file.json, name='[[1, 2]]', or a JSON file (or '-') with "
            'all inputs: {"name": [[1, 2]]}.',
            show_default=False,
        ),
    ],
    *,
    output_names: Annotated[
        list[str] | None,
        typer.Option("--output", help="An output that is wanted; may be repeated. [default: all]"),
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="A version that the deployment serves.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the outputs to this .npz file.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run tensors through a model; JSON numbers become the type that the model wants."""
    given = read_inputs(inputs)
    with client_of(context) as client:
        metadata = client.model_metadata(model, version=version)
        wanted = {one["name"]: one["datatype"] for one in metadata.get("inputs", [])}
        plain = {
            name: wanted[name]
            for name, value in given.items()
            if name in wanted and isinstance(value, list | int | float | str | bool)
        }
        answer = client.infer(
            model, given, outputs=output_names or None, datatypes=plain, version=version
        )
    if save is not None:
        import numpy as np

        with save.open("wb") as file:
            np.savez(file, allow_pickle=False, **dict(answer))
    output = Output(as_json)
    output.result(_as_json(answer), lambda: _show(output, answer))


def read_inputs(given: Sequence[str]) -> dict[str, Any]:
    """Arrays and JSON values by input name, from the command's arguments."""
    if len(given) == 1 and "=" not in given[0]:
        text = sys.stdin.read() if given[0] == "-" else _file_text(given[0])
        return _inputs_of_document(_json(text, given[0]))
    found: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not name or not equals:
            raise usage_error(f"'{one[:80]}' is not of the form name=value.", "INPUTS")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    if text.endswith(".npy"):
        import numpy as np

        try:
            return np.load(text, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise usage_error(f"'{text}' cannot be read as an array: {error}.", "INPUTS") from None
    if text.endswith(".json"):
        return _json(_file_text(text), text)
    return _json(text, text)


def _inputs_of_document(document: Any) -> dict[str, Any]:
    """Inputs of `{"name": data}`, or of a v2 request `{"inputs": [{"name", "shape", "data"}]}`."""
    if isinstance(document, dict) and isinstance(document.get("inputs"), list):
        return {one["name"]: _shaped(one) for one in document["inputs"]}
    if not isinstance(document, dict):
        raise usage_error('expected a JSON object such as {"name": [[1, 2]]}.', "INPUTS")
    return document


def _shaped(tensor: Mapping[str, Any]) -> Any:
    import numpy as np

    if tensor.get("datatype") == "BYTES":
        return np.array(tensor["data"], dtype=object).reshape(tensor["shape"])
    return np.array(tensor["data"]).reshape(tensor["shape"]).tolist()


def _file_text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise usage_error(f"'{path}' cannot be read: {error}.", "INPUTS") from None


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise usage_error(f"'{what[:80]}' is no JSON ({error}).", "INPUTS") from None


def _as_json(answer: Inferred) -> dict[str, Any]:
    outputs = {
        name: {"shape": list(array.shape), "data": _plain(array)} for name, array in answer.items()
    }
    return {"model": answer.model, "version": answer.version, "outputs": outputs}


def _plain(array: Any) -> Any:
    if array.dtype.kind == "O":
        return [item.decode("utf-8", "replace") for item in array.ravel()]
    return array.tolist()


def _show(output: Output, answer: Inferred) -> None:
    import numpy as np

    for name, array in answer.items():
        kind = "BYTES" if array.dtype.kind == "O" else str(array.dtype)
        output.say(f"{name}: {kind} {list(array.shape)}")
        shown = np.array2string(array, threshold=SHOWN_ELEMENTS, edgeitems=3, precision=4)
        output.say("  " + shown.replace("\n", "\n  "))
