"""The digest of a version's processing graph: the same for the same processing, and only then."""

import copy

import pytest

from modelry.tasks.graphs import graph_digest

MANIFEST = {
    "name": "pets",
    "task": "image-classification",
    "files": {"model": {"name": "a.onnx", "digest": "sha256:a"}, "labels": {"digest": "sha256:l"}},
    "pre": [{"step": "resize", "size": 256}],
    "post": [{"step": "top_k", "k": 5}],
    "defaults": {"top_k": 3},
}


def changed(path, value):
    manifest = copy.deepcopy(MANIFEST)
    place = manifest
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return graph_digest("image-classification", manifest)


WHOLE = graph_digest("image-classification", MANIFEST)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("pre", 0, "size"), 224), (("post",), []), (("defaults", "top_k"), 4),
        (("files", "labels", "digest"), "sha256:m"), (("labels",), ["cat"]),
    ],
)  # fmt: skip
def test_other_processing_has_another_digest(path, value):
    assert changed(path, value) != WHOLE


@pytest.mark.parametrize(
    ("path", "value"), [(("name",), "cats"), (("files", "model", "digest"), "sha256:b")]
)
def test_another_model_with_the_same_processing_has_the_same(path, value):
    assert changed(path, value) == WHOLE


def test_the_task_counts_and_the_order_of_keys_does_not():
    assert graph_digest("tensor", MANIFEST) != WHOLE
    assert graph_digest("image-classification", dict(reversed(MANIFEST.items()))) == WHOLE
