import hashlib
import os
import threading
import time
from dataclasses import replace

import pytest
from tests.support.fetching import CONTENT, DIGITS, CallerLeft
from tests.support.web_places import Served, place_on_loopback

from modelry.adapters.hubs import FetchPhase, FetchProgress
from modelry.domain.errors import (
    DeadlineExceeded,
    DigestMismatch,
    InvalidInput,
    PayloadTooLarge,
    SourceUnavailable,
)

PINNED = f"#sha256={DIGITS}"


def test_a_file_comes_with_progress(fetch, place):
    place.paths["/m.onnx"] = Served(CONTENT)
    assert fetch(place.url + "/m.onnx") == CONTENT
    assert fetch.told[0].phase == FetchPhase.RESOLVING
    assert fetch.told[-1] == FetchProgress(
        place.url + "/m.onnx", FetchPhase.DONE, len(CONTENT), len(CONTENT)
    )
    loading = [told for told in fetch.told if told.phase == FetchPhase.DOWNLOADING]
    assert {told.total_bytes for told in loading} == {len(CONTENT)}
    done = [told.done_bytes for told in loading]
    assert done == sorted(done)
    assert len(done) > 3
    assert fetch.partial_files() == []


def test_promised_content_is_fetched_once(fetch, place):
    place.paths["/m"] = Served(CONTENT)
    assert fetch(place.url + "/m" + PINNED) == CONTENT
    assert fetch(place.url + "/m" + PINNED) == CONTENT
    assert len(place.seen) == 1


def test_unpromised_content_is_never_taken_from_the_cache(fetch, place):
    place.paths["/m"] = Served(b"old")
    assert fetch(place.url + "/m") == b"old"
    place.paths["/m"] = Served(b"new")
    assert fetch(place.url + "/m") == b"new"


def test_a_digest_alone_gives_no_right_to_bytes_of_another_source(fetch, place):
    place.paths["/mine"] = Served(CONTENT)
    fetch(place.url + "/mine" + PINNED)
    with pytest.raises(SourceUnavailable, match="404"):
        fetch(place.url + "/guessed" + PINNED)


def test_a_damaged_cache_is_noticed(fetch, place):
    place.paths["/m"] = Served(CONTENT)
    fetch(place.url + "/m" + PINNED)
    (kept,) = fetch.cached_files()
    kept.write_bytes(CONTENT[:-1] + b"?")
    assert fetch(place.url + "/m" + PINNED) == CONTENT
    assert len(place.seen) == 2


def test_what_was_not_used_for_longest_makes_room(fetch, place):
    fetch.policy = replace(fetch.policy, max_cache_bytes=2_500)
    contents = {name: name.encode() * 1000 for name in "abcd"}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    hours_ago = {"a": 5, "b": 9, "c": 7}
    for name, content in contents.items():
        place.paths[f"/{name}"] = Served(content)
        assert fetch(f"{place.url}/{name}#sha256={digests[name]}") == content
        if name in hours_ago:
            kept = next(path for path in fetch.cached_files() if path.name == digests[name])
            used_s = time.time() - hours_ago[name] * 3600
            os.utime(kept, (used_s, used_s))
    assert {path.name for path in fetch.cached_files()} == {digests["a"], digests["d"]}


def test_what_was_just_used_stays(fetch, place):
    fetch.policy = replace(fetch.policy, max_cache_bytes=1)
    place.paths["/m"] = Served(CONTENT)
    fetch(place.url + "/m" + PINNED)
    assert fetch(place.url + "/m" + PINNED) == CONTENT
    assert len(place.seen) == 1


@pytest.mark.parametrize("promise", ["", PINNED])
@pytest.mark.parametrize("cuts", [[1], [500_000], [999_999], [300_000, 300_000, 1, 7]])
def test_a_cut_off_download_goes_on(fetch, place, cuts, promise):
    place.paths["/m"] = Served(CONTENT, cuts=list(cuts))
    assert fetch(place.url + "/m" + promise) == CONTENT
    starts = [sum(cuts[:count]) for count in range(len(cuts) + 1)]
    asked = [seen.headers.get("range") for seen in place.seen]
    assert asked == [None, *(f"bytes={start}-" for start in starts[1:])]
    assert {seen.headers.get("if-range") for seen in place.seen[1:]} == {'"v1"'}


def test_a_later_process_goes_on_where_the_caller_left(fetch, place):
    place.paths["/m"] = Served(CONTENT)
    with pytest.raises(CallerLeft):
        fetch(place.url + "/m" + PINNED, leave_at=400_000)
    assert fetch.cached_files() == []
    assert fetch(place.url + "/m" + PINNED) == CONTENT
    held = int(place.seen[-1].headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 400_000 <= held < len(CONTENT)


def test_what_was_complete_is_not_fetched_again(fetch, place):
    place.paths["/m"] = Served(CONTENT)
    with pytest.raises(CallerLeft):
        fetch(place.url + "/m" + PINNED, leave_at=len(CONTENT))
    fetch.told.clear()
    assert fetch(place.url + "/m" + PINNED) == CONTENT
    assert place.seen[-1].headers["range"] == f"bytes={len(CONTENT)}-"
    assert FetchPhase.DOWNLOADING not in {told.phase for told in fetch.told}


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(fetch, place):
    place.paths["/m"] = Served(CONTENT)
    with pytest.raises(CallerLeft):
        fetch(place.url + "/m", leave_at=400_000)
    changed = bytes(reversed(CONTENT))
    place.paths["/m"] = Served(changed, etag='"v2"')
    assert fetch(place.url + "/m") == changed


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_nothing_resumes_without_a_validator_or_a_promise(fetch, place, etag):
    place.paths["/m"] = Served(CONTENT, etag=etag, cuts=[500_000])
    assert fetch(place.url + "/m") == CONTENT
    assert [seen.headers.get("range") for seen in place.seen] == [None, None]


def test_a_wrong_partial_is_not_trusted(fetch, place):
    place.paths["/m"] = Served(CONTENT)
    with pytest.raises(CallerLeft):
        fetch(place.url + "/m" + PINNED, leave_at=400_000)
    for partial in fetch.partial_files():
        if partial.suffix != ".json":
            partial.write_bytes(b"\0" * partial.stat().st_size)
    assert fetch(place.url + "/m" + PINNED) == CONTENT
    assert place.seen[-1].headers.get("range") is None


def test_a_server_without_ranges_starts_again(fetch, place):
    place.paths["/m"] = Served(CONTENT, cuts=[500_000], knows_ranges=False)
    assert fetch(place.url + "/m" + PINNED) == CONTENT


def test_other_bytes_than_promised_are_refused(fetch, place):
    place.paths["/m"] = Served(b"other")
    with pytest.raises(DigestMismatch, match=DIGITS):
        fetch(place.url + "/m" + PINNED)
    assert fetch.cached_files() == fetch.partial_files() == []


@pytest.mark.parametrize("is_chunked", [False, True])
def test_size_is_bounded_whatever_the_server_says(fetch, place, is_chunked):
    fetch.policy = replace(fetch.policy, max_bytes=600_000)
    place.paths["/m"] = Served(CONTENT, is_chunked=is_chunked)
    with pytest.raises(PayloadTooLarge, match="600000"):
        fetch(place.url + "/m")
    assert fetch.partial_files() == []


@pytest.mark.parametrize("promise", ["", PINNED])
def test_a_length_that_never_comes_true(fetch, place, promise):
    place.paths["/m"] = Served(CONTENT, extra_length=10, knows_ranges=False)
    with pytest.raises(SourceUnavailable, match="cut off"):
        fetch(place.url + "/m" + promise)


def test_a_busy_server_is_asked_again(fetch, place):
    place.paths["/m"] = Served(CONTENT, statuses=[503, 429])
    assert fetch(place.url + "/m") == CONTENT


@pytest.mark.parametrize(("status", "words"), [(404, "not found"), (403, "forbidden")])
def test_a_refusal_is_told(fetch, place, status, words):
    place.paths["/m"] = Served(status=status)
    with pytest.raises(SourceUnavailable, match=f"{status}.*{words}"):
        fetch(place.url + "/m")
    assert len(place.seen) == 1


def test_a_server_that_is_not_there(fetch):
    with place_on_loopback() as gone:
        url = gone.url
    with pytest.raises(SourceUnavailable, match="could not be reached"):
        fetch(url + "/m")


def test_time_is_bounded(fetch, place):
    fetch.policy = replace(fetch.policy, max_duration_s=0.0)
    place.paths["/m"] = Served(CONTENT)
    with pytest.raises(DeadlineExceeded):
        fetch(place.url + "/m")


def test_the_same_file_is_downloaded_once_for_all(fetch, place):
    place.paths["/m"] = Served(CONTENT)
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch(place.url + "/m" + PINNED)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT] * 6
    assert len(place.seen) == 1


def test_a_caller_who_waits_for_anothers_download_can_leave(fetch, place, tmp_path):
    hold = threading.Event()
    place.paths["/m"] = Served(CONTENT, before_body=lambda: hold.wait(10))
    first = threading.Thread(target=fetch.fetcher().fetch, args=(place.url + "/m", tmp_path))
    first.start()
    while not place.seen:
        pass
    calls = []

    def leave_at_the_third(progress):
        calls.append(progress)
        if len(calls) == 3:
            raise CallerLeft

    try:
        with pytest.raises(CallerLeft):
            fetch.fetcher().fetch(place.url + "/m", tmp_path, leave_at_the_third)
    finally:
        hold.set()
        first.join()


def test_paths_only_below_the_given_roots(fetch, tmp_path):
    (tmp_path / "readable").mkdir()
    (tmp_path / "readable" / "m.onnx").write_bytes(CONTENT)
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "readable" / "link").symlink_to(tmp_path / "secret")
    assert fetch(f"{tmp_path}/readable/m.onnx{PINNED}") == CONTENT
    for path in ("secret", "readable/../secret", "readable/link", "readable/none"):
        with pytest.raises(SourceUnavailable, match="no file"):
            fetch(f"{tmp_path}/{path}")
    with pytest.raises(DigestMismatch):
        fetch(f"{tmp_path}/readable/m.onnx#sha256={'0' * 64}")
    fetch.policy = replace(fetch.policy, path_roots=())
    with pytest.raises(InvalidInput, match="not read here"):
        fetch(f"{tmp_path}/readable/m.onnx")
