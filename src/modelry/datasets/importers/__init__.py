"""Importers: files of other programs as rows.

Owns: one module per format, what all of them share (options, problems, safe archives and streams,
inferring types and roles). Does not own: our shards, splits by seed, statistics (`datasets`).
Extend by: a module with `open_files(request) -> Source` and a line in `formats.FORMATS`.

Every file is taken to be hostile: sizes are bounded before anything is allocated, nothing is
unpacked to a disk, nothing is executed, and what cannot be used is named with file and place.
"""

from modelry.datasets.importers.formats import FORMATS, check_options, open_source

__all__ = ["FORMATS", "check_options", "open_source"]
