import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.errors import ERRORS_BY_CODE, QuotaExceeded, error_from_code
from modelry.runtime_api.frames import (
    MAX_HEADER_BYTES,
    PREFIX,
    FrameDecoder,
    FrameError,
    Kind,
    encode,
    encode_error,
    error_from_wire,
)

frames = st.lists(
    st.tuples(
        st.sampled_from(list(Kind)),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=50),
        st.binary(max_size=200),
        st.integers(0, 2**32 - 1),
    ),
    max_size=8,
)


@given(frames, st.integers(1, 64))
def test_any_split_of_the_stream_gives_the_same_frames(sent, chunk):
    stream = b"".join(encode(*frame) for frame in sent)
    decoder = FrameDecoder()
    got = [
        frame
        for start in range(0, len(stream), chunk)
        for frame in decoder.feed(stream[start : start + chunk])
    ]
    assert [
        (frame.kind, frame.call_id, frame.header, frame.body, frame.timeout_ms) for frame in got
    ] == sent


def test_lengths_beyond_the_limit_end_the_link():
    prefix = PREFIX.pack(MAX_HEADER_BYTES + 1, 0, 1, 0, Kind.INFER, 0, 0)
    with pytest.raises(FrameError):
        list(FrameDecoder().feed(prefix))


@pytest.mark.parametrize("code", sorted(ERRORS_BY_CODE))
def test_every_error_survives_the_wire(code):
    error = error_from_code(code, "what, expected, mend", param="x", retry_after_s=2.5)
    (frame,) = FrameDecoder().feed(encode_error(9, error))
    back = error_from_wire(frame.json())
    assert type(back) is ERRORS_BY_CODE[code]
    assert (back.message, back.param, back.retry_after_s) == ("what, expected, mend", "x", 2.5)
    assert str(back) == "what, expected, mend"


def test_an_unknown_code_becomes_an_internal_error():
    assert error_from_code("from_the_future", "?").code == "internal_error"
    assert QuotaExceeded("x").code == "quota_exceeded"
