"""Writes docs/reference/ from the code (`make docs`); a test fails when a file is not current."""

from __future__ import annotations

import inspect
import json
import re
import sys
import tempfile
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer.main
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from modelry.bootstrap.doors import build_doors
from modelry.bootstrap.installation import Installation
from modelry.bootstrap.observer import Unwatched
from modelry.cli.main import app
from modelry.client import Client
from modelry.client.methods import SyncResource
from modelry.datasets.importers import FORMATS
from modelry.datasets.importers.options import ImportOptions
from modelry.domain.access import (
    MEANING,
    PLATFORM_PERMISSIONS,
    ROLE_PERMISSIONS,
    Permission,
    Role,
)
from modelry.domain.errors import ERRORS_BY_CODE
from modelry.processing.kinds import SIDES, StepKind
from modelry.processing.parameters import REQUIRED
from modelry.processing.registry import find_step, step_names
from modelry.protocols.http.errors import status_of
from modelry.protocols.oip.grpc_server import METHOD_PERMISSIONS, grpc_status_of
from modelry.settings import Settings
from modelry.tasks.registry import tasks
from modelry.training.options import LoopParameters
from modelry.training.registry import recipes

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
NOTE = "<!-- Made by `make docs` from the code; do not edit. -->\n\n"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def settings_page() -> str:
    """Every setting."""
    rows = [
        [f"`MODELRY_{name.upper()}`", _type(field), _default(field), field.description or ""]
        for name, field in Settings.model_fields.items()
    ]
    return f"# Settings\n\n{NOTE}Flags of `modelry up` win over environment variables.\n\n" + table(
        ["variable", "type", "default", "meaning"], rows
    )


_WORDS = {
    str: "text",
    bool: "yes or no",
    int: "integer",
    float: "number",
    Path: "path",
    SecretStr: "secret",
    dict: "JSON object",
    tuple: "list",
}


def _type(field: FieldInfo) -> str:
    """What a setting takes, in words; that it may be left out, its default tells."""
    annotation: Any = field.annotation
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (one for one in get_args(annotation) if one is not type(None))
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " / ".join(str(one.value) for one in annotation)
    if get_origin(annotation) is Literal:
        return " / ".join(get_args(annotation))
    return _WORDS[get_origin(annotation) or annotation]


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None or field.default is None:
        return "see meaning"
    return f"`{field.default}`"


def errors_page() -> str:
    """Every error code with its statuses."""
    rows = []
    for code, cls in sorted(ERRORS_BY_CODE.items()):
        if code == "error":
            continue
        error = cls("")
        meaning = (inspect.getdoc(cls) or "").splitlines()[0]
        rows.append([f"`{code}`", str(status_of(error)), grpc_status_of(error).name, meaning])
    return (
        f"# Error codes\n\n{NOTE}Each door tells errors in its protocol's own shape; the code and "
        "the status are the same everywhere.\n\n" + table(["code", "HTTP", "gRPC", "meaning"], rows)
    )


def routes_page() -> str:
    """Every HTTP endpoint with the permission that it demands."""
    parts = [f"# HTTP endpoints\n\n{NOTE}"]
    by_door: dict[str, list[list[str]]] = {}
    for path, operations in _http_document()["paths"].items():
        for method, operation in operations.items():
            door = (operation.get("tags") or ["management"])[0]
            by_door.setdefault(door, []).append(
                [
                    f"`{method.upper()} {path}`",
                    operation.get("summary", ""),
                    f"`{operation['x-permission']}`",
                ]
            )
    for door, rows in sorted(by_door.items()):
        parts.append(f"## {door}\n\n" + table(["endpoint", "what it does", "permission"], rows))
    return "\n".join(parts)


def _http_document() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data=Path(folder) / "data", cache=Path(folder) / "cache", starter=False)
        installation = Installation(settings, Unwatched().fetching)
        try:
            return build_doors(installation, lambda: {"ready": True}).document()
        finally:
            installation.close()


def steps_page() -> str:
    """Every processing step with its parameters."""
    parts = [f"# Processing steps\n\n{NOTE}`pre` runs before the engine, `post` after it."]
    for side in SIDES:
        parts.append(f"\n## `{side}`\n")
        for name in step_names(side):
            kind = find_step(side, name)
            if kind is not None:
                parts.append(_step(kind))
    return "\n".join(parts)


def _step(kind: StepKind) -> str:
    stages = ", ".join(kind.takes)
    gives = kind.gives or "what it took"
    text = inspect.cleandoc(kind.run.__doc__ or "")
    rows = []
    for parameter in kind.parameters:
        default = "required" if parameter.default is REQUIRED else f"`{parameter.default}`"
        short = " (also as a bare value)" if parameter.name == kind.shorthand else ""
        option = f"requests may override it as `{parameter.option}`" if parameter.option else ""
        rows.append(
            [
                f"`{parameter.name}`{short}",
                parameter.reader.expected,
                default,
                "; ".join(part for part in (parameter.about, option) if part),
            ]
        )
    return f"### `{kind.name}`\n\n{text}\n\nTakes {stages}; gives {gives}.\n\n" + (
        table(["parameter", "expected", "default", "meaning"], rows) if rows else ""
    )


def tasks_page() -> str:
    """Every task with what its items, options and results are."""
    parts = [f"# Tasks\n\n{NOTE}"]
    for name, task in tasks().items():
        parts.append(f"## `{name}`\n\n{task.summary} Formats: {', '.join(sorted(task.formats))}.\n")
        if task.form is not None:
            shapes = {
                "item": task.form.item,
                "options": task.form.options,
                "result": task.form.result,
            }
            parts += [
                f"{what}:\n\n```json\n{json.dumps(shape, indent=1)}\n```\n"
                for what, shape in shapes.items()
            ]
    return "\n".join(parts)


CLI_MANNERS = """\
Results go to stdout, everything else (progress, notes, errors) to stderr. With `--json` stdout
holds one JSON value. Global options stand before the command:
`modelry --url http://there:8080 status`. `modelry --install-completion` teaches the shell to
complete.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | it failed, or `doctor` found something bad |
| 2 | wrong usage or settings |
| 3 | the server is not reachable, or the key is not known or may not do it |
| 130 | interrupted |
"""


def cli_page() -> str:
    """Every command with its help text."""
    root = typer.main.get_command(app)
    parts = [f"# Command line\n\n{NOTE}{CLI_MANNERS}"]
    parts += _commands(root, "modelry")
    return "\n".join(parts)


def _commands(command: Any, path: str) -> list[str]:
    context = command.context_class(command, info_name=path)
    below = getattr(command, "commands", {})
    if below:
        pages = [_command(command, context, path)] if path == "modelry" else []
        return pages + [
            part for name in sorted(below) for part in _commands(below[name], f"{path} {name}")
        ]
    return [_command(command, context, path)]


def _command(command: Any, context: Any, path: str) -> str:
    rows = [
        [
            f"`{', '.join([*parameter.opts, *parameter.secondary_opts])}`",
            getattr(parameter, "help", "") or "",
        ]
        for parameter in command.get_params(context)
        if "--help" not in parameter.opts
    ]
    text = inspect.cleandoc(command.help or "").split("\f")[0]
    return f"## `{path}`\n\n{text}\n\n" + (table(["parameter", "meaning"], rows) if rows else "")


def sdk_page() -> str:
    """Every method of the SDK with its parameters."""
    parts = [f"# Python SDK\n\n{NOTE}{inspect.cleandoc(Client.__doc__ or '').split('Args:')[0]}"]
    parts.append(
        "`AsyncClient` has the same methods; they are awaited. Errors are those of "
        "`modelry.client.errors`, by the codes of the [reference](errors.md).\n"
    )
    client = Client("http://127.0.0.1:8080")
    groups = {"client": client} | {
        f"client.{name}": group
        for name, group in vars(client).items()
        if isinstance(group, SyncResource)
    }
    for path, holder in groups.items():
        parts.append(f"## `{path}`\n")
        for name, method in inspect.getmembers(holder, callable):
            if not name.startswith("_"):
                parts.append(_method(f"{path}.{name}", method))
    client.close()
    return "\n".join(parts)


def _method(path: str, method: Any) -> str:
    text, _, rest = (inspect.getdoc(method) or "").partition("\n\nArgs:\n")
    arguments = inspect.cleandoc(rest.split("\n\n")[0]).splitlines() if rest else []
    told = "\n".join(
        f"  {line.strip()}" if line.startswith(" ") else re.sub(r"^(\w+):", r"- `\1`:", line)
        for line in arguments
    )
    signature = inspect.signature(method)
    bare = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    call = signature.replace(parameters=bare, return_annotation=signature.empty)
    parts = [f"### `{path}{call}`", text.split("\n\nRaises:")[0], told]
    return "\n\n".join(part for part in parts if part) + "\n"


def permissions_page() -> str:
    """Who may do what, from the one table that the server itself decides by."""
    roles = list(Role)
    rows = []
    for permission in Permission:
        has = [
            ("home tenant" if permission in PLATFORM_PERMISSIONS else "yes")
            if permission in ROLE_PERMISSIONS[role]
            else ""
            for role in roles
        ]
        if permission is not Permission.PUBLIC:
            rows.append([f"`{permission}`", MEANING[permission], *has])
    parts = [
        f"# Permissions\n\n{NOTE}{PERMISSION_MANNERS}",
        table(["permission", "lets its holder", *(f"`{role}`" for role in roles)], rows),
        "\n## What needs which\n",
        table(["permission", "HTTP endpoints and gRPC methods"], _demands()),
    ]
    return "\n".join(parts)


PERMISSION_MANNERS = """\
What a caller may do is what its role allows, within the scopes of its key (if it has any), within
the reach of its tenant: rights over the platform exist in the home tenant (`default`) alone. A key
may be limited to some deployments on top; those that another tenant shares are named
`<deployment>@<tenant>`. Another tenant's things answer 404, a right that is lacking 403. A server
does not start with an endpoint or method that declares no permission.

Scopes are these words. A key makes keys that have no right, scope, deployment or lifetime that it
lacks itself, and nobody adds members who may do more.
"""


def _demands() -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for path, operations in _http_document()["paths"].items():
        for method, operation in operations.items():
            found.setdefault(operation["x-permission"], []).append(f"`{method.upper()} {path}`")
    for name, permission in METHOD_PERMISSIONS.items():
        found.setdefault(permission.value, []).append(f"gRPC `{name}`")
    return [[f"`{one}`", ", ".join(found.get(one, ["none yet"]))] for one in Permission]


def recipes_page() -> str:
    """Every recipe with its parameters."""
    shared = LoopParameters.model_fields
    parts = [
        f"# Recipes\n\n{NOTE}{RECIPE_MANNERS}",
        "## What most recipes share\n",
        _parameters(LoopParameters, shared),
    ]
    for name, recipe in recipes().items():
        kind = recipe.parameters
        is_shared = issubclass(kind, LoopParameters)
        own = {
            field: held
            for field, held in kind.model_fields.items()
            if not (is_shared and field in shared and held.default == shared[field].default)
        }
        parts += [
            f"## `{name}`\n\n{recipe.summary} Makes versions of the task "
            f"{' or '.join(f'`{one}`' for one in recipe.tasks)}."
            + (" Takes what is listed above, and:" if is_shared else "")
            + "\n",
            _parameters(kind, own),
        ]
    return "\n".join(parts)


def import_formats_page() -> str:
    """Every format of files that become datasets, with its options."""
    shared = ImportOptions.model_fields
    parts = [
        f"# Formats of imports\n\n{NOTE}{IMPORT_MANNERS}",
        "## What every format takes\n",
        _parameters(ImportOptions, shared),
    ]
    for name, format_ in FORMATS.items():
        kind = format_.options
        own = {field: held for field, held in kind.model_fields.items() if field not in shared}
        parts += [f"## `{name}`\n\n{format_.summary}\n", _parameters(kind, own)]
    return "\n".join(parts)


IMPORT_MANNERS = """\
`modelry datasets import FILES --format FORMAT --option NAME=VALUE`, `options` in Python and in the
API. The format is told by names and first bytes where it is left out. Files are read in a
locked-down process, in bounded memory; types hold for all rows, as every row is looked at before
any is made.

Which split files belong to is told by words in their names (`train`, `val`, `test`, ...). Rows that
cannot be used end the import with the first twenty of them named, by file and place; with
`on_bad_rows=skip` they are left out, counted and named in the version's origin. Texts that are no
times, numbers or truth values in every row are texts: codes such as `007` and whole numbers with
more digits than are kept stay as they are. A label of a few whole numbers is taken for classes;
`labels=numbers` says that it is a quantity.
"""


RECIPE_MANNERS = """\
A recipe trains a model on a dataset version and makes a version of a model of it: data, model,
loss, optimiser, loop, export to ONNX, parity check. `modelry train RECIPE DATASET --name MODEL -p
NAME=VALUE` sets its parameters. The same seed, data and parameters on the same machine give the
same weights, also when a run was ended in between; see [ADR 20](../adr/0020-own-loop-on-torch.md).
"""


def _parameters(kind: type[BaseModel], shown: Mapping[str, FieldInfo]) -> str:
    schema = kind.model_json_schema()["properties"]
    rows = [
        [f"`{name}`", _expected(schema[name]), _set_to(field), field.description or ""]
        for name, field in shown.items()
    ]
    return table(["parameter", "expected", "default", "meaning"], rows) if rows else ""


def _set_to(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "" if value is None or value == () else f"`{json.dumps(value)}`"


def _expected(schema: dict[str, Any]) -> str:
    """What a parameter takes, in words, from its JSON schema."""
    ways = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return " or ".join(dict.fromkeys(_expected_way(one) for one in ways))


def _expected_way(schema: dict[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        return " / ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    kind = {"string": "text", "boolean": "true or false", "object": "object"}.get(
        schema.get("type", ""), schema.get("type", "any")
    )
    if kind == "array":
        held = schema.get("items") or next(iter(schema.get("prefixItems", [])), {})
        return f"list of {_expected(held)}"
    bounds = [
        f"{word} {schema[key]:.10g}"
        for key, word in (
            ("minimum", "from"),
            ("exclusiveMinimum", "over"),
            ("maximum", "to"),
            ("exclusiveMaximum", "under"),
        )
        if key in schema
    ]
    return " ".join([kind, *bounds])


PAGES = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "http.md": routes_page,
    "permissions.md": permissions_page,
    "cli.md": cli_page,
    "sdk.md": sdk_page,
    "steps.md": steps_page,
    "tasks.md": tasks_page,
    "recipes.md": recipes_page,
    "import-formats.md": import_formats_page,
}


def main() -> int:
    """Write all pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
