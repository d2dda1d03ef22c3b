"""Registering versions: from files here, or from sources that the server fetches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelry.client.decoding import decode
from modelry.client.errors import InvalidInput
from modelry.client.exchange import Flow, Request, send_json, work
from modelry.client.model_files import BareFile, LocalManifest, Registrable, read_registrable
from modelry.client.operations.paths import api
from modelry.client.operations.uploads import Progress, upload_file
from modelry.client.records import Registration

REGISTER_TIMEOUT_S = 600.0


def register(
    path: str | Path,
    *,
    name: str | None = None,
    task: str | None = None,
    progress: Progress | None = None,
) -> Flow[Registration]:
    """Register a version from a `model.yaml`, a folder with one, or a bare model file.

    Files are hashed first; what the server has already is not sent again, and what is cut off
    goes on from there. Registering the same thing twice gives the same version.

    Args:
        path: the manifest (its files relative to it), folder or file.
        name: for a bare file: the model's name, by default made of the file's.
        task: for a bare file: the model's task, by default inferred.
        progress: called as files are hashed and sent.

    Raises:
        InvalidInput: nothing registrable, several manifests, or files that must be pulled.
        ManifestInvalid, FileRefused: what the server found wrong.
    """
    found = yield from work(lambda: read_registrable(path))
    if len(found) != 1:
        raise InvalidInput(
            f"'{path}' holds {len(found)} manifests; use register_all.", param="path"
        )
    return (yield from register_found(found[0], name=name, task=task, progress=progress))


def register_all(path: str | Path, *, progress: Progress | None = None) -> Flow[list[Registration]]:
    """Register every manifest of a file, in order."""
    found = yield from work(lambda: read_registrable(path))
    registered = []
    for one in found:
        one_more = yield from register_found(one, progress=progress)
        registered.append(one_more)
    return registered


def register_found(
    what: Registrable,
    *,
    name: str | None = None,
    task: str | None = None,
    progress: Progress | None = None,
) -> Flow[Registration]:
    """Register what was read from a file."""
    if isinstance(what, BareFile):
        digest = yield from upload_file(what.path, progress=progress)
        body: dict[str, Any] = {"file": {"name": what.path.name, "digest": digest}}
        body |= {k: v for k, v in (("name", name), ("task", task)) if v is not None}
        return (yield from _registered(body))
    if name is not None or task is not None:
        raise InvalidInput(
            "name and task stand in the manifest; give them for bare files only.",
            param="name" if name is not None else "task",
        )
    if not isinstance(what, LocalManifest):
        raise InvalidInput(
            "The manifest's files are elsewhere; let the server fetch them with pull.",
            param="files",
        )
    digests = {}
    for role, file in what.files.items():
        digests[role] = yield from upload_file(file, progress=progress)
    return (yield from _registered({"manifest": what.text, "files": digests}))


def _registered(body: dict[str, Any]) -> Flow[Registration]:
    request = Request(
        "POST", api("versions"), json=body, idempotent=True, timeout_s=REGISTER_TIMEOUT_S
    )
    return decode(Registration, (yield from send_json(request)))
