"""What a model file is and declares, read from its bytes without loading it.

Owns: detection by content, the refusals of dangerous, disguised and damaged files, and small
bounded readers of each accepted format.
Does not own: whether a runtime can serve the file, or what task it suits.
Extend by: a module with a reader `read_<format>(window, …) -> FileFacts`, named in `files.py`; or,
in another package, a `FileFormat` under the entry point group `modelry.formats`.
"""

from modelry.manifest.inspect.facts import FileFacts
from modelry.manifest.inspect.files import inspect_file, inspect_weights
from modelry.manifest.inspect.installed import FileFormat
from modelry.manifest.inspect.window import ByteWindow

__all__ = ["ByteWindow", "FileFacts", "FileFormat", "inspect_file", "inspect_weights"]
