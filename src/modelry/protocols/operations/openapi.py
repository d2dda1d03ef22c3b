"""One OpenAPI document of all doors, and a page that shows it without foreign scripts."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any

from modelry import __version__
from modelry.domain.access import Permission
from modelry.protocols.http.endpoint import Door, Endpoint

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


def openapi_document(doors: Sequence[Door], management: Mapping[str, Any]) -> dict[str, Any]:
    """The document of `doors` merged with the management API's own."""
    paths: dict[str, Any] = {}
    for door in doors:
        for endpoint in door.endpoints:
            path = _PARAMETER.sub(r"{\1}", endpoint.path)
            for method in endpoint.methods:
                paths.setdefault(path, {})[method.lower()] = _operation(door, endpoint, method)
    paths |= management.get("paths", {})
    components = dict(management.get("components", {}))
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Modelry",
            "version": __version__,
            "description": "Self-hosted AI models as a service.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"key": []}],
        "paths": dict(sorted(paths.items())),
        "components": components,
    }


def _operation(door: Door, endpoint: Endpoint, method: str) -> dict[str, Any]:
    slug = re.sub(r"\W+", "_", endpoint.path).strip("_")
    operation: dict[str, Any] = {
        "operationId": f"{door.name}_{method.lower()}_{slug}",
        "summary": endpoint.summary,
        "tags": [door.name],
        "x-permission": endpoint.permission.value,
        "responses": {"200": {"description": "The answer."}},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(endpoint.path)
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}
        for name in endpoint.queries
    ]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.permission is Permission.PUBLIC:
        operation["security"] = []
    return operation | endpoint.operation


def docs_page(document: Mapping[str, Any]) -> str:
    """An HTML page that lists every endpoint of `document`, by tag."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["management"])[0]
            by_tag.setdefault(tag, []).append(_row(path, method, operation))
    sections = "".join(
        f"<h2>{escape(tag)}</h2><table><tr><th>Endpoint</th><th>What it does</th>"
        f"<th>Permission</th></tr>{''.join(rows)}</table>"
        for tag, rows in sorted(by_tag.items())
    )
    return _PAGE.format(
        title="Modelry API", version=escape(__version__), style=_STYLE, sections=sections
    )


def _row(path: str, method: str, operation: Mapping[str, Any]) -> str:
    summary = escape(operation.get("summary", ""))
    permission = escape(operation.get("x-permission", ""))
    return (
        f"<tr><td><code><b>{method.upper()}</b> {escape(path)}</code></td>"
        f"<td>{summary}</td><td><code>{permission}</code></td></tr>"
    )


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
       color: #1c2430; background: #fff }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid #dde3ea;
         vertical-align: top }
code { font-size: .9em }
@media (prefers-color-scheme: dark) {
  body { color: #e4e9f0; background: #14181f }
  th, td { border-color: #2c3542 }
  a { color: #8ab4ff }
}
"""
PAGE_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
)
"""What the page may load: its own style, told by its digest, and nothing else."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head><body>
<h1>{title} <small>{version}</small></h1>
<p>Send a key with every request: <code>Authorization: Bearer &lt;key&gt;</code>.
The machine-readable document is <a href="/openapi.json">/openapi.json</a>.</p>
{sections}
</body></html>
"""
