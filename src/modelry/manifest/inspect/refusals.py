"""Formats that are refused, recognised by content, each with the reason and the way out."""

from __future__ import annotations

import io
import pickletools
import struct

from modelry.domain.errors import FileRefused
from modelry.manifest.inspect.window import ByteWindow

_PICKLE_ADVICE = (
    "a pickle, which runs arbitrary code when it is loaded. Export the model to ONNX, or save "
    "its weights as safetensors."
)
_ARCHIVE_ADVICE = "an archive. Unpack it and give the model file inside."
_PROGRAM_ADVICE = "a program, not a model."
_HDF5_ADVICE = (
    "an HDF5 (.h5) file, which can carry code. Re-save the model as '.keras', or export it to ONNX."
)
_DATA_ADVICE = "not a model. Give the model file itself (ONNX or GGUF)."

_MAGICS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x7fELF", "an ELF executable or library", _PROGRAM_ADVICE),
    (0, b"MZ", "a Windows executable or library", _PROGRAM_ADVICE),
    (0, b"\xfe\xed\xfa\xce", "a Mach-O executable", _PROGRAM_ADVICE),
    (0, b"\xfe\xed\xfa\xcf", "a Mach-O executable", _PROGRAM_ADVICE),
    (0, b"\xce\xfa\xed\xfe", "a Mach-O executable", _PROGRAM_ADVICE),
    (0, b"\xcf\xfa\xed\xfe", "a Mach-O executable", _PROGRAM_ADVICE),
    (0, b"\xca\xfe\xba\xbe", "a Mach-O or Java program", _PROGRAM_ADVICE),
    (0, b"\x00asm", "a WebAssembly program", _PROGRAM_ADVICE),
    (0, b"!<arch>\n", "a static library or Debian package", _PROGRAM_ADVICE),
    (0, b"#!", "a script", _PROGRAM_ADVICE),
    (0, b"\x1f\x8b", "gzip", _ARCHIVE_ADVICE),
    (0, b"BZh", "bzip2", _ARCHIVE_ADVICE),
    (0, b"\xfd7zXZ\x00", "xz", _ARCHIVE_ADVICE),
    (0, b"\x28\xb5\x2f\xfd", "zstandard", _ARCHIVE_ADVICE),
    (0, b"\x04\x22\x4d\x18", "LZ4", _ARCHIVE_ADVICE),
    (0, b"7z\xbc\xaf\x27\x1c", "7-Zip", _ARCHIVE_ADVICE),
    (0, b"Rar!\x1a\x07", "RAR", _ARCHIVE_ADVICE),
    (257, b"ustar", "tar", _ARCHIVE_ADVICE),
    (0, b"\x93NUMPY", "a NumPy array", _DATA_ADVICE),
    (0, b"PAR1", "a Parquet table", _DATA_ADVICE),
    (0, b"SQLite format 3\x00", "a SQLite database", _DATA_ADVICE),
    (0, b"%PDF-", "a PDF document", _DATA_ADVICE),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", _DATA_ADVICE),
    (0, b"\xff\xd8\xff", "a JPEG image", _DATA_ADVICE),
    (4, b"TFL3", "TensorFlow Lite", "of a format that is not served. Export it to ONNX."),
    (4, b"ORTM", "the ORT format", "of a format that is not served. Give the ONNX file."),
    (0, b"lmgg", "GGML", "of a format that GGUF replaced. Convert it with llama.cpp."),
    (0, b"tjgg", "GGJT", "of a format that GGUF replaced. Convert it with llama.cpp."),
    (0, b"fmgg", "GGMF", "of a format that GGUF replaced. Convert it with llama.cpp."),
)
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_OFFSETS = (0, 512, 1024, 2048)
_ZLIB_SECOND_BYTES = b"\x01\x5e\x9c\xda"
_TAR_HEADER_BYTES = 512
_PICKLE_PREFIX_BYTES = 64 * 1024
_MAX_OPCODES = 20_000
_TELLING_OPCODES = frozenset(
    {
        "GLOBAL",
        "STACK_GLOBAL",
        "INST",
        "OBJ",
        "NEWOBJ",
        "REDUCE",
        "BUILD",
        "PUT",
        "BINPUT",
        "LONG_BINPUT",
        "MEMOIZE",
        "PROTO",
    }
)


def refuse_known(window: ByteWindow) -> None:
    """Refuse content that is known and never accepted.

    Raises:
        FileRefused: a pickle, archive, program, HDF5 file, or data that is no model.
    """
    head = window.read(0, min(4096, window.size))
    for offset, magic, what, advice in _MAGICS:
        if head.startswith(magic, offset):
            raise window.refused(f"it is {what}: {advice}")
    if any(head.startswith(_HDF5, offset) for offset in _HDF5_OFFSETS):
        raise window.refused(f"it is {_HDF5_ADVICE}")
    if head[:1] == b"\x78" and head[1:2] in _ZLIB_SECOND_BYTES and _zlib_header(head):
        raise window.refused(
            "it is zlib-compressed, as joblib writes pickles; both are refused. Export the model "
            "to ONNX."
        )
    if _is_old_tar(head):
        raise window.refused(f"it is tar: {_ARCHIVE_ADVICE}")
    if _is_binary_pickle(head):
        raise window.refused(f"it is {_PICKLE_ADVICE}")


def refuse_text_pickle(window: ByteWindow) -> None:
    """Refuse a pickle of the old protocols, which have no magic bytes.

    Raises:
        FileRefused: the file reads as a pickle program from its first byte.
    """
    if reads_as_pickle(window):
        raise window.refused(f"it is {_PICKLE_ADVICE}")


def unknown(window: ByteWindow) -> FileRefused:
    """The error for content that nothing here knows."""
    head = window.read(0, min(8, window.size))
    return window.refused(
        f"its content (first bytes {head.hex(' ')}) is of no known format. Accepted are ONNX, "
        "GGUF, safetensors, '.keras', tokenizer.json and plain text; the file's extension is not "
        "looked at."
    )


def reads_as_pickle(window: ByteWindow) -> bool:
    """Whether the file's beginning is a run of pickle opcodes that builds or ends something."""
    prefix = window.read(0, min(_PICKLE_PREFIX_BYTES, window.size))
    telling = count = 0
    try:
        for opcode, _argument, _position in pickletools.genops(io.BytesIO(prefix)):
            count += 1
            telling += opcode.name in _TELLING_OPCODES
            if opcode.name == "STOP":
                return telling > 0
            if count >= _MAX_OPCODES:
                break
    except (ValueError, IndexError, KeyError, OverflowError, EOFError, struct.error):
        # a program that goes on beyond the prefix fails at its end, after many opcodes
        return window.size > len(prefix) and telling > 0 and count > 64
    return telling > 0


def _is_binary_pickle(head: bytes) -> bool:
    return len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5


def _zlib_header(head: bytes) -> bool:
    return int.from_bytes(head[:2], "big") % 31 == 0


def _is_old_tar(head: bytes) -> bool:
    """Whether the first block has a tar header's checksum: before 'ustar' there was no magic."""
    if len(head) < _TAR_HEADER_BYTES:
        return False
    block = head[:_TAR_HEADER_BYTES]
    stated = block[148:156].strip(b" \x00")
    if not stated or not all(digit in b"01234567" for digit in stated):
        return False
    return int(stated, 8) == sum(block[:148]) + 8 * 0x20 + sum(block[156:])
