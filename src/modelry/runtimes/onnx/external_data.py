"""Weights that an ONNX model keeps in further files."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import onnxruntime as ort

from modelry.runtime_api.engine import LoadSpec
from modelry.runtimes.engine_reasons import file_name


@contextmanager
def offered_files(spec: LoadSpec, options: ort.SessionOptions) -> Iterator[None]:
    """Offer the version's other files to a session that is made with `options` meanwhile.

    They are offered as memory: the library follows no links, and a version's files are links.
    """
    names: list[str] = []
    contents: list[mmap.mmap] = []
    with ExitStack() as opened:
        for role, path in spec.files.items():
            if role == "model" or path.stat().st_size == 0:
                continue
            file = opened.enter_context(path.open("rb"))
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            names.append(file_name(spec, role))
            contents.append(opened.enter_context(content))
        if names:
            lengths = [len(content) for content in contents]
            options.add_external_initializers_from_files_in_memory(names, contents, lengths)
        yield
