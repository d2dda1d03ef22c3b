"""The processing graph of a version, from its steps and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelry.domain.errors import ManifestInvalid
from modelry.domain.signature import Signature
from modelry.manifest.digests import digest_of_json
from modelry.processing.graph import ProcessingGraph
from modelry.processing.kinds import LABELS_ROLE, Assets
from modelry.processing.values import Stage
from modelry.tasks.contract import Steps, Task

MODEL_ROLE = "model"


def assets_of(
    files: Mapping[str, Path],
    labels: Sequence[str] | None,
    digests: Mapping[str, str] | None = None,
) -> Assets:
    """A version's files for its graph.

    Args:
        files: readable paths, by role.
        labels: the labels that the manifest lists; None takes the lines of the file `labels`.
        digests: `sha256:…` of the files by role, where known.
    """
    if labels is None and LABELS_ROLE in files:
        labels = files[LABELS_ROLE].read_text("utf-8-sig").splitlines()
    return Assets(files, labels, digests or {})


def graph_digest(task: str, manifest: Mapping[str, Any]) -> str:
    """`sha256:…` of all that happens around a version's engine.

    Versions with the same one process alike, whatever their model file: it covers the task, the
    steps before and after, the labels, the defaults, and the digests of all files but the model.

    Args:
        task: the version's task.
        manifest: its resolved manifest.
    """
    files: Mapping[str, Mapping[str, Any]] = manifest.get("files") or {}
    return digest_of_json(
        {
            "task": task,
            **{name: manifest.get(name) for name in ("pre", "post", "labels", "defaults")},
            "files": {
                role: file.get("digest") for role, file in files.items() if role != MODEL_ROLE
            },
        }
    )


def build_graph(task: Task, steps: Steps, signature: Signature, assets: Assets) -> ProcessingGraph:
    """The graph of `steps`, known to end in what `task`, which must have items, answers with.

    Raises:
        ManifestInvalid: steps, files and signature do not fit each other; `param` is the path.
    """
    assert task.form is not None
    graph = ProcessingGraph.build(steps.pre, steps.post, signature, assets)
    form = graph.result_form
    if form.stage not in task.form.ends_in or not task.form.accepts(form):
        shape = f" of shape {list(form.sizes)}" if form.stage is Stage.TENSOR and form.sizes else ""
        raise ManifestInvalid(
            f"'post' ends in {form.stage}{shape}; the task '{task.name}' answers with "
            f"{' or '.join(task.form.ends_in)}. {task.form.hint}",
            param="post",
        )
    return graph
