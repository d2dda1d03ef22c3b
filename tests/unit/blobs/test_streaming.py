"""The streaming format, held against Tink's own implementation."""

from __future__ import annotations

import io

import pytest
import tink
from hypothesis import given, settings
from hypothesis import strategies as st
from tink import streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from modelry.adapters.blobs.streaming import (
    HEADER_BYTES,
    SEGMENT_BYTES,
    EncryptedStream,
    StreamDamagedError,
    encrypted,
    encrypted_size,
    plain_size,
)

KEY = bytes(range(32))
ABOUT = b"whose and what"
FIRST = SEGMENT_BYTES - HEADER_BYTES - 16
SIZES = [0, 1, 1000, FIRST - 1, FIRST, FIRST + 1, FIRST + SEGMENT_BYTES - 16,
         FIRST + SEGMENT_BYTES - 15, 3 * SEGMENT_BYTES + 7]  # fmt: skip


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def stream_of(plaintext: bytes, step: int = 300_000) -> bytes:
    chunks = (plaintext[start : start + step] for start in range(0, len(plaintext), step))
    return b"".join(encrypted(KEY, ABOUT, chunks))


def opened(stream: bytes, key: bytes = KEY, about: bytes = ABOUT) -> EncryptedStream:
    def read_at(offset: int, count: int) -> bytes:
        return stream[offset : offset + count]

    return EncryptedStream(key, about, read_at, len(stream))


def all_of(stream: bytes, key: bytes = KEY, about: bytes = ABOUT) -> bytes:
    reader = opened(stream, key, about)
    return b"".join(reader.read(0, reader.size_bytes))


@pytest.fixture(scope="module")
def primitive() -> streaming_aead.StreamingAead:
    streaming_aead.register()
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(
        version=0,
        key_value=KEY,
        params=aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
            ciphertext_segment_size=SEGMENT_BYTES,
            derived_key_size=32,
            hkdf_hash_type=common_pb2.SHA256,
        ),
    )
    keyset = tink_pb2.Keyset(
        primary_key_id=1,
        key=[
            tink_pb2.Keyset.Key(
                key_data=tink_pb2.KeyData(
                    type_url="type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey",
                    value=key.SerializeToString(),
                    key_material_type=tink_pb2.KeyData.SYMMETRIC,
                ),
                status=tink_pb2.ENABLED,
                key_id=1,
                output_prefix_type=tink_pb2.RAW,
            )
        ],
    )
    from tink import secret_key_access

    handle = tink.proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


class _Kept(io.BytesIO):
    """Tink closes what it wrote to."""

    def close(self) -> None:
        self.kept = self.getvalue()
        super().close()


@pytest.mark.parametrize("size", SIZES)
def test_tink_reads_what_is_written(primitive, size):
    stream = stream_of(content(size))
    with primitive.new_decrypting_stream(io.BytesIO(stream), ABOUT) as reader:
        assert reader.read() == content(size)


@pytest.mark.parametrize("size", SIZES)
def test_what_tink_wrote_is_read(primitive, size):
    sink = _Kept()
    with primitive.new_encrypting_stream(sink, ABOUT) as writer:
        writer.write(content(size))
    assert len(sink.kept) == encrypted_size(size)
    assert all_of(sink.kept) == content(size)


@pytest.mark.parametrize("size", SIZES)
def test_lengths(size):
    assert len(stream_of(content(size))) == encrypted_size(size)
    assert plain_size(encrypted_size(size)) == size


@settings(deadline=None)
@given(st.integers(0, 2**45))
def test_every_size_has_its_length(size):
    assert plain_size(encrypted_size(size)) == size


@settings(deadline=None)
@given(st.integers(0, 4 * SEGMENT_BYTES))
def test_lengths_that_are_none(length):
    size = plain_size(length)
    assert size is None or encrypted_size(size) == length


LONG = content(2 * SEGMENT_BYTES + 777)
LONG_STREAM = stream_of(LONG)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(LONG)), st.integers(0, len(LONG)))
def test_any_range(one, other):
    start, end = sorted((one, other))
    assert b"".join(opened(LONG_STREAM).read(start, end)) == LONG[start:end]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(LONG_STREAM) * 8 - 1))
def test_any_flipped_bit_is_seen(bit):
    changed = bytearray(LONG_STREAM)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(StreamDamagedError):
        all_of(bytes(changed))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(LONG_STREAM) - 1))
def test_any_cut_is_seen(length):
    with pytest.raises(StreamDamagedError):
        all_of(LONG_STREAM[:length])


@pytest.mark.parametrize("more", [b"\0", b"\0" * 16, b"\0" * SEGMENT_BYTES])
def test_what_is_added_is_seen(more):
    with pytest.raises(StreamDamagedError):
        all_of(LONG_STREAM + more)


def test_segments_keep_their_places():
    one, two = SEGMENT_BYTES, 2 * SEGMENT_BYTES
    with pytest.raises(StreamDamagedError):  # the last one left out at a border
        all_of(LONG_STREAM[:two])
    three = stream_of(content(3 * SEGMENT_BYTES))
    with pytest.raises(StreamDamagedError):  # two that changed places
        all_of(three[:one] + three[two : two + one] + three[one:two] + three[two + one :])


def test_another_key_or_purpose_reads_nothing():
    for key, about in ((bytes(32), ABOUT), (KEY, b"another")):
        with pytest.raises(StreamDamagedError):
            all_of(LONG_STREAM, key, about)


def test_the_same_content_is_never_the_same_twice():
    assert stream_of(b"same") != stream_of(b"same")
