"""The built-in catalogue: manifests in `manifest/catalog`, whose files come from sources.

Each entry is a `model.yaml` of one document, called as its file is. `starter: true` marks those
that a fresh installation fetches and deploys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable

from modelry.domain.errors import ManifestInvalid
from modelry.manifest.document import ManifestDocument, document_from_node
from modelry.manifest.nodes import nodes_from_yaml

_STARTER = "starter"


@dataclass(frozen=True, slots=True)
class _Entry:
    document: ManifestDocument
    is_starter: bool


class StarterEntries:
    """Implements `services.catalog.ports.StarterCatalogue` by a folder of manifests.

    Args:
        folder: holds the manifests; by default those that come with Modelry.
    """

    def __init__(self, folder: Traversable | None = None) -> None:
        self._folder = folder or files("modelry.manifest") / "catalog"

    def find(self, name: str) -> ManifestDocument | None:
        """The entry called `name`."""
        entry = self._entries.get(name)
        return None if entry is None else entry.document

    def names(self) -> Sequence[str]:
        """All entries, starters first."""
        others = [name for name, entry in self._entries.items() if not entry.is_starter]
        return [*self.defaults(), *others]

    def defaults(self) -> Sequence[str]:
        """Those that a fresh installation starts with, the smallest download first."""
        found = [entry.document for entry in self._entries.values() if entry.is_starter]
        found.sort(key=lambda document: int(document.metadata.get("size_bytes", 0)))
        return [document.name for document in found]

    @cached_property
    def _entries(self) -> Mapping[str, _Entry]:
        paths = [path for path in self._folder.iterdir() if path.name.endswith(".yaml")]
        return {
            path.name.removesuffix(".yaml"): _read(path)
            for path in sorted(paths, key=lambda path: path.name)
        }


def _read(path: Traversable) -> _Entry:
    nodes = nodes_from_yaml(path.read_text("utf-8"))
    if len(nodes) != 1:
        raise ManifestInvalid(f"The catalogue's {path.name} must hold one document.")
    document = document_from_node(nodes[0], ignored=(_STARTER,))
    if document.name != path.name.removesuffix(".yaml"):
        raise ManifestInvalid(f"The catalogue's {path.name} holds the model '{document.name}'.")
    marked = nodes[0].plain()
    return _Entry(document, isinstance(marked, dict) and marked.get(_STARTER) is True)
