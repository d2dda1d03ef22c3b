"""Ids of requests: sound ones of callers are kept, ours tell their time and nothing else."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.services.inference.call import RawCall
from modelry.services.inference.request_ids import (
    MAX_CHARS,
    current_request_id,
    made_at,
    new_request_id,
    request_id_of,
    sound_request_id,
)


def test_our_ids_differ_and_tell_when_they_were_made():
    before = time.time()
    made = {new_request_id().decode() for _ in range(2000)}
    after = time.time()
    assert len(made) == 2000
    assert all(before - 0.001 <= made_at(one) <= after for one in made)
    assert all(sound_request_id(one.encode()) for one in made)


@given(st.binary(max_size=100))
def test_only_sound_ids_of_callers_are_kept(header):
    kept = request_id_of(header)
    sound = sound_request_id(header)
    assert len(kept) <= MAX_CHARS
    assert (kept == header.decode("latin-1")) == (sound is not None)
    assert sound is not None or made_at(kept) is not None


@pytest.mark.parametrize("id_", ["", "mine", "req_", "req_" + "g" * 28, "req_" + "0" * 29])
def test_other_ids_tell_no_time(id_):
    assert made_at(id_) is None


@pytest.mark.anyio
async def test_a_call_has_the_id_of_the_request_that_it_is_made_in(principal):
    token = current_request_id.set("mine")
    assert RawCall(principal, 2, b"{}").request_id == b"mine"
    current_request_id.reset(token)
    one, other = RawCall(principal, 2, b"{}"), RawCall(principal, 2, b"{}")
    assert made_at(one.request_id.decode())
    assert one.request_id != other.request_id
