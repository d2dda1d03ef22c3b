"""Signing in with a real issuer, through a real server, as a browser does."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from tests.support.issuer import (
    CLIENT_ID,
    CLIENT_SECRET,
    LocalIssuer,
    Person,
    local_issuer,
    rsa_key,
)
from tests.support.operating import wait_until
from tests.support.server import Running
from tests.support.server import server as running_server

SECRET_VARIABLE = "TEST_CLIENT_SECRET"
IDLE_S = 600


@pytest.fixture(scope="module")
def issuer() -> Iterator[LocalIssuer]:
    with local_issuer() as running:
        yield running


@pytest.fixture(autouse=True)
def as_it_should_be(issuer: LocalIssuer) -> Iterator[None]:
    yield
    issuer.changes, issuer.described, issuer.published = {}, {}, None
    issuer.make_token = issuer.sign
    issuer.person = Person("ada", groups=["ml-devs"])


@pytest.fixture(scope="module")
def server(issuer: LocalIssuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("signin")
    document = {
        "issuers": {
            "corp": {
                "issuer": issuer.url,
                "client_id": CLIENT_ID,
                "client_secret_env": SECRET_VARIABLE,
                "tenants": {
                    "default": {
                        "groups": {"ml-devs": "developer", "ml-admins": "admin", "eyes": "viewer"}
                    }
                },
            }
        }
    }
    path = folder / "sign-in.yaml"
    path.write_text(json.dumps(document))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SECRET_VARIABLE, CLIENT_SECRET)
        with running_server(
            folder / "data", sign_in_file=str(path), session_idle_minutes=str(IDLE_S / 60)
        ) as running:
            yield running


@pytest.fixture
def browser(server: Running) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=30) as client:
        yield client


def to_issuer(browser: httpx2.Client, **query: str) -> str:
    """Begin; the URL that the issuer sends the browser back to."""
    begun = browser.get("/auth/login/corp", params=query)
    assert begun.status_code == 303, begun.text
    sent_back = httpx2.get(begun.headers["location"])
    return str(sent_back.headers["location"])


def sign_in(browser: httpx2.Client, **query: str) -> httpx2.Response:
    return browser.get(to_issuer(browser, **query))


def signed_in(browser: httpx2.Client) -> dict[str, Any]:
    answer = browser.get("/auth/session")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def audit(server: Running, action: str) -> list[dict[str, Any]]:
    with server.http() as http:
        answer = http.get("/api/v1/audit/entries", params={"action": action, "limit": "1000"})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["entries"]
        return found


def test_a_person_signs_in_acts_and_signs_out(server: Running, issuer: LocalIssuer) -> None:
    issuer.person = Person("ada", groups=["ml-devs", "unknown"])
    with httpx2.Client(base_url=server.url) as browser:
        back = sign_in(browser, next="/docs?x=1")
        assert back.status_code == 303
        assert back.headers["location"] == "/docs?x=1"
        assert back.headers["cache-control"] == "no-store"
        told = signed_in(browser)
        assert told["role"] == "developer"
        assert told["key_id"].startswith("user:")
        assert browser.get("/api/v1/models").status_code == 200
        assert browser.get("/v1/models").status_code == 200
        assert browser.get("/api/v1/keys").status_code == 403
        whoami = browser.get("/api/v1/whoami").json()
        assert whoami["key_id"] == told["key_id"]
        csrf = {"x-csrf-token": told["csrf_token"]}
        left = browser.post("/auth/logout", headers=csrf)
        assert left.status_code == 204
        assert browser.get("/auth/session").status_code == 401
        begun, ended = audit(server, "sign_in.begin"), audit(server, "sign_in.end")
        assert {one["actor"] for one in (*begun, *ended)} == {told["key_id"]}


def test_cookies_are_kept_from_scripts_and_other_sites(
    browser: httpx2.Client, issuer: LocalIssuer
) -> None:
    begun = browser.get("/auth/login/corp")
    back = browser.get(httpx2.get(begun.headers["location"]).headers["location"])
    for answer, name in ((begun, "modelry_sign_in"), (back, "modelry_session")):
        (cookie,) = [
            one for one in answer.headers.get_list("set-cookie") if one.startswith(name + "=")
        ]
        flags = {flag.strip().lower() for flag in cookie.split(";")[1:]}
        assert {"httponly", "path=/", "samesite=lax"} <= flags
        assert not any(flag.startswith("domain") for flag in flags)
        assert len(cookie.partition(";")[0]) > 40
    assert any('modelry_sign_in=""' in one for one in back.headers.get_list("set-cookie"))


def test_behind_tls_cookies_are_secure_and_of_this_host_alone(
    issuer: LocalIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenants = {"default": {"groups": {"ml-devs": "developer"}}}
    corp = {"issuer": issuer.url, "client_id": CLIENT_ID, "client_secret_env": SECRET_VARIABLE}
    path = tmp_path / "sign-in.yaml"
    path.write_text(json.dumps({"issuers": {"corp": {**corp, "tenants": tenants}}}))
    monkeypatch.setenv(SECRET_VARIABLE, CLIENT_SECRET)
    public = "https://models.example.com"
    issuer.person = Person("tls", groups=["ml-devs"])
    with running_server(tmp_path / "data", sign_in_file=str(path), public_url=public) as running:
        headers = {"host": "models.example.com"}
        begun = httpx2.get(running.url + "/auth/login/corp", headers=headers)
        location = begun.headers["location"]
        assert parse_qs(urlsplit(location).query)["redirect_uri"] == [f"{public}/auth/callback"]
        flow = begun.headers["set-cookie"].partition(";")[0]
        assert flow.startswith("__Host-modelry_sign_in=")
        back = urlsplit(httpx2.get(location).headers["location"])
        done = httpx2.get(
            f"{running.url}{back.path}?{back.query}", headers={**headers, "cookie": flow}
        )
        (cookie,) = [one for one in done.headers.get_list("set-cookie") if "_session=" in one]
        assert cookie.startswith("__Host-modelry_session=")
        assert "; secure" in cookie.lower()
        session = cookie.partition(";")[0]
        for sent, status in ((session, 200), (session.removeprefix("__Host-"), 401)):
            asked = httpx2.get(running.url + "/auth/session", headers={**headers, "cookie": sent})
            assert asked.status_code == status


def test_unsafe_requests_of_a_session_need_its_token(
    server: Running, browser: httpx2.Client, issuer: LocalIssuer
) -> None:
    issuer.person = Person("csrf", groups=["ml-admins"])
    sign_in(browser)
    csrf = signed_in(browser)["csrf_token"]
    with httpx2.Client(base_url=server.url) as other:
        sign_in(other)
        foreign = signed_in(other)["csrf_token"]
    assert foreign != csrf
    body = {"name": "made in a browser", "role": "viewer"}
    for headers in (
        {}, {"x-csrf-token": ""}, {"x-csrf-token": "x"}, {"x-csrf-token": foreign},
        {"x-csrf-token": csrf, "origin": "https://evil.example"},
        {"x-csrf-token": csrf, "sec-fetch-site": "cross-site"},
    ):  # fmt: skip
        for method, path in (("POST", "/api/v1/keys"), ("POST", "/auth/logout"),
                             ("DELETE", "/auth/sessions"), ("POST", "/v1/chat/completions"),
                             ("POST", "/v2/repository/index")):  # fmt: skip
            answer = browser.request(method, path, json=body, headers=headers)
            assert answer.status_code == 403, (method, path, headers, answer.text)
    made = browser.post("/api/v1/keys", json=body, headers={"x-csrf-token": csrf})
    assert made.status_code == 201, made.text


def test_a_sign_in_makes_a_new_session_and_ends_the_one_before(
    server: Running, browser: httpx2.Client, issuer: LocalIssuer
) -> None:
    browser.cookies.set("modelry_session", "chosen-by-an-attacker")
    browser.cookies.clear()
    sign_in(browser)
    before = browser.cookies["modelry_session"]
    sign_in(browser)
    after = browser.cookies["modelry_session"]
    assert before != after
    old = httpx2.get(server.url + "/auth/session", headers={"cookie": f"modelry_session={before}"})
    assert old.status_code == 401
    planted = "planted" * 6
    back = to_issuer(browser)
    flow = browser.cookies["modelry_sign_in"]
    fixed = httpx2.get(
        back, headers={"cookie": f"modelry_sign_in={flow}; modelry_session={planted}"}
    )
    assert fixed.status_code == 303
    assert planted not in str(fixed.headers)


def test_two_cookies_of_one_name_are_refused(server: Running, browser: httpx2.Client) -> None:
    sign_in(browser)
    good = browser.cookies["modelry_session"]
    for cookies in (
        f"modelry_session={good}; modelry_session=x",
        f"modelry_session=x; modelry_session={good}",
    ):
        answer = httpx2.get(server.url + "/auth/session", headers={"cookie": cookies})
        assert answer.status_code == 401


def test_own_sessions_are_listed_and_ended(
    server: Running, browser: httpx2.Client, issuer: LocalIssuer
) -> None:
    issuer.person = Person("many", groups=["eyes"])
    sign_in(browser)
    with httpx2.Client(base_url=server.url) as other, httpx2.Client(base_url=server.url) as third:
        sign_in(other)
        sign_in(third)
        csrf = {"x-csrf-token": signed_in(browser)["csrf_token"]}
        listed = browser.get("/auth/sessions").json()["sessions"]
        assert len(listed) == 3
        assert [one["is_this"] for one in listed].count(True) == 1
        theirs = signed_in(other)["session"]["session_id"]
        assert browser.delete(f"/auth/sessions/{theirs}", headers=csrf).status_code == 204
        assert other.get("/auth/session").status_code == 401
        assert browser.delete(f"/auth/sessions/{theirs}", headers=csrf).status_code == 404
        issuer.person = Person("somebody else", groups=["eyes"])
        sign_in(other)
        mine = signed_in(browser)["session"]["session_id"]
        foreign = {"x-csrf-token": signed_in(other)["csrf_token"]}
        assert other.delete(f"/auth/sessions/{mine}", headers=foreign).status_code == 404
        assert browser.delete("/auth/sessions", headers=csrf).status_code == 204
        assert browser.get("/auth/session").status_code == 401
        assert third.get("/auth/session").status_code == 401
        assert other.get("/auth/session").status_code == 200


def test_a_disabled_member_is_out_and_stays_out(
    server: Running, browser: httpx2.Client, issuer: LocalIssuer
) -> None:
    issuer.person = Person("leaver", groups=["ml-devs"])
    sign_in(browser)
    member = signed_in(browser)["key_id"].removeprefix("user:")
    with server.http() as http:
        answer = http.post(f"/api/v1/members/{member}/disable")
        assert answer.status_code == 200, answer.text
        wait_until(lambda: browser.get("/auth/session").status_code == 401, "it is out", 5)
        refused = sign_in(browser)
        assert refused.status_code == 401
        assert http.post(f"/api/v1/members/{member}/enable").status_code == 200
    assert sign_in(browser).status_code == 303


def test_groups_decide_and_unknown_groups_give_nothing(
    server: Running, browser: httpx2.Client, issuer: LocalIssuer
) -> None:
    for groups, role in (
        (["ml-admins"], "admin"), (["eyes"], "viewer"), (["eyes", "ml-admins"], "admin"),
        ([], None), (["nothing"], None), ("eyes", "viewer"), (["EYES"], None), ([["eyes"]], None),
    ):  # fmt: skip
        issuer.person = Person("mover", groups=groups)
        back = sign_in(browser)
        if role is None:
            assert back.status_code == 401, groups
            assert back.json()["error"]["code"] == "sign_in_failed"
        else:
            assert back.status_code == 303, (groups, back.text)
            assert signed_in(browser)["role"] == role
    issuer.person = Person("nobody", groups=[], email="nobody@example.com")
    assert sign_in(browser).status_code == 401


def test_invitations_are_taken_by_verified_addresses_only(
    server: Running, browser: httpx2.Client, issuer: LocalIssuer
) -> None:
    with server.http() as http:
        invited = http.post(
            "/api/v1/members", json={"email": "grace@example.com", "role": "operator"}
        )
        assert invited.status_code == 201, invited.text
    for verified in (False, "true", 1, None):
        issuer.person = Person("mallory", email="grace@example.com", email_verified=verified)
        assert sign_in(browser).status_code == 401
    issuer.person = Person("grace", email="Grace@Example.com")
    assert sign_in(browser).status_code == 303
    assert signed_in(browser)["role"] == "operator"
    issuer.person = Person("mallory", email="grace@example.com")
    with httpx2.Client(base_url=server.url) as other:
        assert sign_in(other).status_code == 401


def test_an_answer_belongs_to_the_browser_that_began(
    server: Running, browser: httpx2.Client, issuer: LocalIssuer
) -> None:
    back = to_issuer(browser)
    with httpx2.Client(base_url=server.url) as victim:
        for flow in ("", "x", "A" * 400):
            answer = victim.get(back, headers={"cookie": f"modelry_sign_in={flow}"})
            assert answer.status_code == 401
            assert "modelry_session" not in answer.headers.get("set-cookie", "")
        to_issuer(victim)
        assert victim.get(back).status_code == 401
    assert browser.get(back.replace("state=", "state=x")).status_code == 401


def test_a_code_is_used_once(browser: httpx2.Client) -> None:
    back = to_issuer(browser)
    flow = browser.cookies["modelry_sign_in"]
    assert browser.get(back).status_code == 303
    assert browser.get(back).status_code == 401
    again = httpx2.get(back, headers={"cookie": f"modelry_sign_in={flow}"})
    assert again.status_code == 401


@pytest.mark.parametrize(
    "query", ["error=access_denied&state={}", "state={}", "code=&state={}", "code=made-up&state={}"]
)
def test_what_the_issuer_did_not_say_signs_nobody_in(
    browser: httpx2.Client, server: Running, query: str
) -> None:
    state = parse_qs(urlsplit(to_issuer(browser)).query)["state"][0]
    answer = browser.get(f"/auth/callback?{query.format(state)}")
    assert answer.status_code == 401
    assert "access_denied" not in answer.text
    failed = audit(server, "sign_in.failed")
    assert failed
    assert failed[0]["outcome"] == "sign_in_failed"


BAD_TOKENS: dict[str, dict[str, Any]] = {
    "another nonce": {"nonce": "x"},
    "another audience": {"aud": "other"},
    "another issuer": {"iss": "https://evil.example"},
    "expired": {"exp": 1},
    "no subject": {"sub": None},
}


@pytest.mark.parametrize("changes", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_tokens_that_prove_nothing_sign_nobody_in(
    browser: httpx2.Client, issuer: LocalIssuer, changes: dict[str, Any]
) -> None:
    issuer.changes = changes
    answer = sign_in(browser)
    assert answer.status_code == 401, answer.text
    assert "modelry_session" not in answer.headers.get("set-cookie", "")


def test_a_foreign_key_signs_nobody_in_and_keys_are_not_asked_for_all_the_time(
    browser: httpx2.Client, issuer: LocalIssuer
) -> None:
    assert sign_in(browser).status_code == 303
    issuer.published = issuer.key_set()["keys"]
    foreign = rsa_key("made-up", 2)
    issuer.make_token = lambda claims: foreign.sign({"alg": "RS256", "kid": "made-up"}, claims)
    before = issuer.asked.count("/keys")
    for _ in range(5):
        assert sign_in(browser).status_code == 401
    assert issuer.asked.count("/keys") - before <= 1


@pytest.mark.parametrize(
    "asked",
    [
        "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "docs", "",
        "javascript:alert(1)", "/\t/evil.example", "/docs\r\nSet-Cookie: a=b", "/%0d\n", "/ü",
        "http:evil.example", "///evil.example", "/a" * 2000,
    ],
)  # fmt: skip
def test_nobody_is_sent_elsewhere_afterwards(browser: httpx2.Client, asked: str) -> None:
    answer = browser.get("/auth/login/corp", params={"next": asked})
    assert answer.status_code == 400, answer.headers
    assert "location" not in answer.headers


def test_unknown_issuers_and_tenants_are_told(browser: httpx2.Client) -> None:
    assert browser.get("/auth/issuers").json() == {"issuers": ["corp"]}
    assert browser.get("/auth/login/other").status_code == 404
    assert browser.get("/auth/login/corp", params={"tenant": "other"}).status_code == 404


def test_keys_have_no_sessions_and_sessions_are_no_keys(
    server: Running, browser: httpx2.Client
) -> None:
    with server.http() as http:
        told = http.get("/auth/session").json()
        assert told["csrf_token"] is None
        assert http.get("/auth/sessions").status_code == 404
        assert http.post("/auth/logout").status_code == 404
    sign_in(browser)
    token = browser.cookies["modelry_session"]
    as_key = httpx2.get(server.url + "/api/v1/whoami", headers={"authorization": f"Bearer {token}"})
    assert as_key.status_code == 401


def test_secrets_are_told_nowhere(server: Running, browser: httpx2.Client) -> None:
    sign_in(browser)
    token = browser.cookies["modelry_session"]
    time.sleep(0.1)
    kept = b"".join(path.read_bytes() for path in server.data.rglob("modelry.db*"))
    for secret in (token, CLIENT_SECRET):
        assert secret.encode() not in kept
        assert secret not in server.output()
    assert not re.search(r"id_token|eyJ", server.output())
