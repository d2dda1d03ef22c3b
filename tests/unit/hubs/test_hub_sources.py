import json
from dataclasses import replace

import pytest
from tests.support.fetching import CONTENT, DIGEST, DIGITS, CallerLeft
from tests.support.web_places import Served

from modelry.domain.errors import (
    DigestMismatch,
    InvalidInput,
    PayloadTooLarge,
    SourceUnavailable,
)
from modelry.manifest.sources import parse_dataset_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE = "hf://org/repo@main/sub/model.gguf"
FIXED = f"hf://org/repo@{COMMIT}/sub/model.gguf"
RESOLVE = "/org/repo/resolve/{}/sub/model.gguf"


@pytest.fixture
def hub(fetch, place, other_place):
    """A hub whose large files lie on another host, as on the public one."""
    fetch.policy = replace(fetch.policy, hub_endpoint=place.url, hub_token="hf_secret")
    other_place.paths["/blob"] = Served(CONTENT)
    for revision in ("main", COMMIT):
        place.paths[RESOLVE.format(revision)] = large_file(other_place.url + "/blob")
    return place


def large_file(location: str, content: bytes = CONTENT, digits: str = DIGITS) -> Served:
    return Served(
        status=302,
        etag=None,
        location=location,
        headers={
            "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{digits}"',
            "X-Linked-Size": str(len(content)),
        },
    )


def refusal(status: int, code: str) -> Served:
    return Served(status=status, etag=None, headers={"X-Error-Code": code, "X-Error-Message": "no"})


def test_a_branch_becomes_a_commit(fetch, hub, tmp_path):
    found = fetch.fetcher().fetch(SOURCE, tmp_path / "out")
    assert found.path.read_bytes() == CONTENT
    assert found.digest == DIGEST
    assert found.source == f"{FIXED}#sha256={DIGITS}"
    assert found.name == "model.gguf"


def test_the_token_goes_to_the_hub_alone(fetch, hub, other_place):
    fetch(SOURCE)
    assert {seen.headers.get("authorization") for seen in hub.seen} == {"Bearer hf_secret"}
    assert {seen.headers.get("authorization") for seen in other_place.seen} == {None}


def test_a_commit_is_fetched_once(fetch, hub, other_place):
    fetch(FIXED)
    hub.seen.clear()
    assert fetch(FIXED) == CONTENT
    assert hub.seen == []
    assert fetch(SOURCE) == CONTENT  # the branch is asked for its commit, and no more
    assert [seen.method for seen in hub.seen] == ["HEAD"]
    assert len(other_place.seen) == 1


def test_a_small_file_without_a_digest(fetch, hub):
    path = "/org/repo/resolve/{}/tokenizer.json"
    for revision in ("main", COMMIT):
        hub.paths[path.format(revision)] = Served(
            b"{}", etag='"1234567890123456789012345678901234567890"',
            headers={"X-Repo-Commit": COMMIT},
        )  # fmt: skip
    assert fetch("hf://org/repo/tokenizer.json") == b"{}"


def test_a_cut_off_download_goes_on(fetch, hub, other_place):
    with pytest.raises(CallerLeft):
        fetch(SOURCE, leave_at=300_000)
    other_place.paths["/blob"].cuts = [1000]
    assert fetch(SOURCE) == CONTENT
    assert all("range" in seen.headers for seen in other_place.seen[1:])
    assert len(other_place.seen) == 3


def test_other_bytes_than_the_hub_promises(fetch, hub, other_place):
    other_place.paths["/blob"] = Served(b"other")
    with pytest.raises(DigestMismatch, match=DIGITS):
        fetch(SOURCE)


def test_other_bytes_than_the_source_promises_are_not_even_downloaded(fetch, hub, other_place):
    with pytest.raises(DigestMismatch, match=DIGITS):
        fetch(f"{SOURCE}#sha256={'0' * 64}")
    assert other_place.seen == []


def test_a_file_that_is_too_large(fetch, hub, other_place):
    fetch.policy = replace(fetch.policy, max_bytes=1000)
    with pytest.raises(PayloadTooLarge, match="1000000 bytes"):
        fetch(SOURCE)
    assert other_place.seen == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(404, "RepoNotFound"), "no such repository"),
        (refusal(401, "RepoNotFound"), "no such repository"),
        (refusal(404, "RevisionNotFound"), "no revision 'main'"),
        (refusal(404, "EntryNotFound"), "no file 'sub/model.gguf'"),
        (refusal(403, "GatedRepo"), "gated"),
        (Served(status=500, etag=None), "answered 500"),
        (Served(b"<html>", headers={"Content-Type": "text/html"}), "no commit"),
    ],
)
def test_what_the_hub_refuses_is_told(fetch, hub, answer, words):
    hub.paths[RESOLVE.format("main")] = answer
    with pytest.raises(SourceUnavailable, match=words) as told:
        fetch(SOURCE)
    assert "hf_secret" not in str(told.value)


def test_a_hub_that_is_not_there(fetch):
    fetch.policy = replace(fetch.policy, hub_endpoint="http://127.0.0.1:9")
    with pytest.raises(SourceUnavailable, match="could not be reached"):
        fetch(SOURCE)


DATASET = "/datasets/org/rows/resolve/{}/data/train.csv"
INFO = "/api/datasets/org/rows/revision/main"


def test_a_file_of_a_dataset(fetch, hub, other_place):
    for revision in ("main", COMMIT):
        hub.paths[DATASET.format(revision)] = large_file(other_place.url + "/blob")
    assert fetch("hf://datasets/org/rows@main/data/train.csv") == CONTENT
    assert fetch("hf://datasets/org/rows/data/train.csv") == CONTENT


def test_the_files_of_a_dataset(fetch, hub):
    told = {"id": "org/rows", "sha": COMMIT, "private": False, "tags": [], "downloads": 0,
            "likes": 0, "siblings": [{"rfilename": "b.csv"}, {"rfilename": "a.csv"}]}  # fmt: skip
    hub.paths[INFO] = Served(json.dumps(told).encode())
    found = fetch.fetcher().files_of(parse_dataset_source("hf://datasets/org/rows"))
    assert (found.commit, found.paths) == (COMMIT, ("a.csv", "b.csv"))
    assert hub.seen[-1].headers.get("authorization") == "Bearer hf_secret"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(404, "RepoNotFound"), "no such repository"),
        (refusal(404, "RevisionNotFound"), "no revision 'main'"),
        (refusal(403, "GatedRepo"), "gated"),
        (Served(b"<html>"), "none of a model hub"),
        (Served(b"{}"), "none of a model hub|no commit"),
    ],
)
def test_what_the_hub_refuses_of_datasets_is_told(fetch, hub, answer, words):
    hub.paths[INFO] = answer
    with pytest.raises(SourceUnavailable, match=words):
        fetch.fetcher().files_of(parse_dataset_source("hf://datasets/org/rows"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://datasets/org/rows", "hf://datasets/org/rows@main"),
        ("hf://datasets/org/rows@refs%2Fpr%2F1/de/", "hf://datasets/org/rows@refs%2Fpr%2F1/de"),
        ("hf://datasets/org/rows@v1/a/b.csv", "hf://datasets/org/rows@v1/a/b.csv"),
    ],
)
def test_datasets_are_named(text, expected):
    assert str(parse_dataset_source(text)) == expected


@pytest.mark.parametrize(
    "text",
    ["hf://org/rows", "hf://datasets/rows", "hf://datasets/a/b@../x", "hf://datasets/a/b/../c",
     "hf://datasets/a/..", "https://datasets/a/b", "hf://datasets/a/b@x\n"],
)  # fmt: skip
def test_what_names_no_dataset(text):
    with pytest.raises(InvalidInput):
        parse_dataset_source(text)
