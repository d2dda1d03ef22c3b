"""`/v1/classify`, `/v1/detect` and `/v1/tabular`: three ways to ask, and what is refused."""

import asyncio
import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.typed_door import MAX_BODY_BYTES, TypedServer

from modelry.domain.errors import MalformedBody
from modelry.protocols.tasks.form_question import parse_form
from modelry.protocols.tasks.question import MAX_ITEMS

pytestmark = pytest.mark.anyio

IMAGE = b"\x89PNG\r\n\x1a\n not really \x00\xff--b--"
BASE64 = base64.b64encode(IMAGE).decode()


@pytest.fixture
async def server():
    return TypedServer()


@pytest.fixture
async def client(server):
    async with server.client() as client:
        yield client


def image_result(*images: bytes):
    return [{"labels": [{"label": "x", "index": len(image)}]} for image in images]


# ---- three ways to ask ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/JPEG; q=1", "application/octet-stream"])
async def test_raw_bytes(server, client, kind):
    answer = await client.post(
        "/v1/classify?model=pets&top_k=3", content=IMAGE, headers={"content-type": kind}
    )
    assert answer.json() == {
        "model": "pets",
        "version": 1,
        "results": image_result(IMAGE),
        "usage": {"items": 1},
    }
    assert server.models["pets"].items == [{"image": IMAGE}]
    assert server.models["pets"].options == {"top_k": 3}


async def test_a_form_with_several_images(server, client):
    answer = await client.post(
        "/v1/classify",
        data={"model": "pets", "top_k": "2"},
        files=[("image", ("a.png", IMAGE)), ("image", ("b.png", b"12"))],
    )
    assert answer.json()["results"] == image_result(IMAGE, b"12")
    assert server.models["pets"].items == [{"image": IMAGE}, {"image": b"12"}]
    assert server.models["pets"].options == {"top_k": 2}


async def test_json_with_one_image_or_many(server, client):
    one = await client.post("/v1/classify", json={"model": "pets", "image": BASE64, "top_k": None})
    assert one.json()["results"] == image_result(IMAGE)
    assert server.models["pets"].options == {}
    many = await client.post("/v1/classify", json={"model": "pets", "image": [BASE64] * 3})
    assert many.json()["results"] == image_result(IMAGE, IMAGE, IMAGE)


@pytest.mark.parametrize(
    ("row", "rows"),
    [
        ({"a": 1.5, "b": None}, [{"a": 1.5, "b": None}]),
        ([1, "x", True], [[1, "x", True]]),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 2}]),
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]]),
    ],
)
async def test_one_row_or_many(server, client, row, rows):
    answer = await client.post("/v1/tabular", json={"model": "table", "row": row})
    assert answer.status_code == 200, answer.text
    assert server.models["table"].items == [{"row": one} for one in rows]


async def test_a_row_in_a_form_is_refused(client):
    answer = await client.post("/v1/tabular", data={"model": "table", "row": "1"}, files=[])
    assert answer.status_code == 400
    form = await client.post(
        "/v1/tabular", files=[("model", (None, "table")), ("row", (None, "1"))]
    )
    assert (form.status_code, form.json()["error"]["param"]) == (400, "row")


async def test_texts_and_pairs_of_texts(server, client):
    body = {"model": "mood", "text": ["fine", ""], "text_pair": ["a", "b"]}
    answer = await client.post("/v1/classify", json=body)
    assert answer.status_code == 200, answer.text
    assert server.models["mood"].items == [
        {"text": "fine", "text_pair": "a"},
        {"text": "", "text_pair": "b"},
    ]
    form = await client.post(
        "/v1/classify", files={"model": (None, "mood"), "text": (None, "grün")}
    )
    assert form.status_code == 200, form.text
    assert server.models["mood"].items == [{"text": "grün"}]


async def test_big_images_stay_whole(server, client):
    image = bytes(range(256)) * 700
    answer = await client.post("/v1/classify", data={"model": "pets"}, files={"image": image})
    assert answer.status_code == 200, answer.text
    assert server.models["pets"].items == [{"image": image}]


# ---- what is refused --------------------------------------------------------------------------


def refusal(answer, status=400):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "param"}
    return error


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"model": None}, "invalid_input", "model"),
        ({"model": 3}, "invalid_input", "model"),
        ({"image": None}, "invalid_input", "image"),
        ({"image": ""}, "invalid_input", "image"),
        ({"image": []}, "invalid_input", "image"),
        ({"image": [BASE64, 3]}, "invalid_input", "image[1]"),
        ({"image": [[BASE64]]}, "invalid_input", "image[0]"),
        ({"image": BASE64[:-1]}, "invalid_input", "image"),
        ({"image": BASE64 + "\n"}, "invalid_input", "image"),
        ({"image": "data:image/png;base64," + BASE64}, "invalid_input", "image"),
        ({"image": "https://cdn.example/a.png"}, "not_supported", "image"),
        ({"image": [BASE64, "HTTP://127.0.0.1/a.png"]}, "not_supported", "image[1]"),
        ({"image": "ünïcode"}, "invalid_input", "image"),
        ({"image": ["AA=="] * (MAX_ITEMS + 1)}, "invalid_input", "image"),
        ({"image": {"$bytes": [0, 5]}}, "invalid_input", "image"),
        ({"top_k": 0}, "invalid_input", "top_k"),
        ({"top_k": 1.5}, "invalid_input", "top_k"),
        ({"top_k": True}, "invalid_input", "top_k"),
        ({"top_k": "3"}, "invalid_input", "top_k"),
        ({"top_k": 10**30}, "invalid_input", "top_k"),
        ({"min_area": 1}, "unsupported_field", "min_area"),
        ({"text": "x"}, "unsupported_field", "text"),
    ],
)
async def test_wrong_json(client, change, code, param):
    error = refusal(
        await client.post("/v1/classify", json={"model": "pets", "image": BASE64} | change)
    )
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"model": NaN}', b'{"model": "\\ud800"}', b"[" * 100_000]
)
async def test_no_json(client, body):
    answer = await client.post(
        "/v1/classify", content=body, headers={"content-type": "application/json"}
    )
    assert refusal(answer)["code"] == "malformed_body"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("", "model"),
        ("?model=", "model"),
        ("?model=pets&model=pets", "model"),
        ("?model=pets&top_k=1&top_k=2", "top_k"),
        ("?model=pets&top_k=1_0", "top_k"),
        ("?model=pets&top_k=%D9%A3", "top_k"),
        ("?model=pets&top_k=" + "9" * 5000, "top_k"),
        ("?model=pets&top_k=nan", "top_k"),
        ("?model=pets&size=3", "size"),
        ("?model=pets&image=AAAA", "image"),
    ],
)
async def test_wrong_query(client, query, param):
    answer = await client.post(
        f"/v1/classify{query}", content=IMAGE, headers={"content-type": "image/png"}
    )
    assert refusal(answer)["param"] == param


async def test_wrong_content_types(client):
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "application/xml"):
        answer = await client.post("/v1/classify", content=b"x", headers={"content-type": kind})
        assert refusal(answer)["param"] == "content-type"
    empty = await client.post("/v1/classify?model=pets", headers={"content-type": "image/png"})
    assert refusal(empty)["param"] == "image"
    packed = await client.post(
        "/v1/classify?model=pets",
        content=IMAGE,
        headers={"content-type": "image/png", "content-encoding": "gzip"},
    )
    assert refusal(packed)["code"] == "malformed_body"
    both = await client.post("/v1/classify?model=pets", json={"model": "pets", "image": BASE64})
    assert refusal(both)["code"] == "unsupported_field"


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ({"image": ("a", IMAGE)}, "model"),
        ({"model": (None, "pets")}, "image"),
        ({"model": (None, "pets"), "image": (None, "text")}, "image"),
        ({"model": (None, "pets"), "image": ("a", b"")}, "image"),
        ({"model": ("pets", "pets"), "image": ("a", IMAGE)}, "model"),
        ({"model": (None, "pets"), "image": ("a", IMAGE), "top_k": ("a", b"3")}, "top_k"),
        ({"model": (None, "pets"), "image": ("a", IMAGE), "other": (None, "3")}, "other"),
        ({"model": (None, "mood"), "text": ("a", b"3")}, "text"),
    ],
)
async def test_wrong_forms(client, parts, param):
    assert refusal(await client.post("/v1/classify", files=parts))["param"] == param


async def test_too_much_in_a_form(client):
    parts = [("image", ("a", b"x"))] * (MAX_ITEMS + 1)
    answer = await client.post("/v1/classify", data={"model": "pets"}, files=parts)
    assert refusal(answer)["code"] == "malformed_body"
    assert str(MAX_ITEMS) in answer.json()["error"]["message"]


async def test_unlike_numbers_of_texts(client):
    body = {"model": "mood", "text": ["a", "b"], "text_pair": ["c"]}
    assert (
        "2 of text, 1 of text_pair"
        in refusal(await client.post("/v1/classify", json=body))["message"]
    )


async def test_a_body_beyond_the_limit(client):
    answer = await client.post(
        "/v1/classify?model=pets",
        content=b"x" * (MAX_BODY_BYTES + 1),
        headers={"content-type": "image/png"},
    )
    assert refusal(answer, 413)["code"] == "payload_too_large"


async def test_models_of_other_tasks(client):
    for path, model in (("classify", "talk"), ("detect", "pets"), ("classify", "things")):
        answer = await client.post(f"/v1/{path}", json={"model": model, "image": BASE64})
        assert refusal(answer)["code"] == "not_supported"
    raw = await client.post(
        "/v1/classify?model=mood", content=b"x", headers={"content-type": "image/png"}
    )
    assert refusal(raw)["code"] == "not_supported"
    unknown = await client.post("/v1/classify", json={"model": "none", "image": BASE64})
    assert refusal(unknown, 404)["param"] == "model"


async def test_keys(server):
    for token, status in (("", 401), ("wrong", 401), ("viewer", 403)):
        async with server.client(token) as client:
            answer = await client.post("/v1/classify", json={"model": "pets", "image": BASE64})
            refusal(answer, status)


async def test_nothing_stays_open(server, client):
    for body in ({"model": "pets", "image": BASE64}, {"model": "pets", "image": "*"}):
        await client.post("/v1/classify", json=body)
    assert server.groups["pets"].in_flight == 0
    assert server.groups["pets"].accounts.open_requests() == 0


def test_the_description_follows_the_tasks():
    operation = TypedServer().door.endpoints[0].operation
    bodies = operation["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert [sorted(body["properties"]) for body in bodies] == [
        ["explain", "image", "min_score", "model", "top_k"],
        ["explain", "min_score", "model", "text", "text_pair", "tokens", "top_k"],
    ]
    assert json.dumps(operation).count("contentEncoding") == 2


# ---- forms ------------------------------------------------------------------------------------

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\npets\r\n'
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    + IMAGE
    + b"\r\n--b--\r\n"
)
KIND = "multipart/form-data; boundary=b"


async def test_a_form_is_read_whole():
    assert await parse_form(KIND, FORM) == {"model": ["pets"], "image": [IMAGE]}


async def test_a_form_that_is_cut_off_is_refused_wherever():
    for end in range(FORM.index(b"--b--") + 4):
        with pytest.raises(MalformedBody):
            await parse_form(KIND, FORM[:end])


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data", "multipart/form-data; boundary=", KIND + "; charset=punycode"],
)
async def test_forms_with_a_bad_header(kind):
    with pytest.raises(MalformedBody):
        await parse_form(kind, FORM)


@given(st.lists(st.tuples(st.integers(0, len(FORM)), st.integers(0, 3), st.binary(max_size=4))))
def test_damaged_forms_are_read_or_refused(damages):
    form = bytearray(FORM)
    for at, cut, put in damages:
        form[at : at + cut] = put
    try:
        fields = asyncio.run(parse_form(KIND, bytes(form)))
    except MalformedBody:
        return
    assert all(isinstance(value, str | bytes) for found in fields.values() for value in found)


# ---- texts for texts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "model"), [("/v1/translate", "polyglot"), ("/v1/summarize", "brief")]
)
async def test_texts_and_options_reach_the_model(server, client, path, model):
    body = {"model": model, "text": ["one", ""], "beams": 2, "max_tokens": 7, "length_penalty": 0}
    answer = await client.post(path, json=body)
    assert answer.status_code == 200
    assert len(answer.json()["results"]) == 2
    assert server.models[model].items == [{"text": "one"}, {"text": ""}]
    assert server.models[model].options == {"beams": 2, "max_tokens": 7, "length_penalty": 0}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"text": 7}, "expected a text"),
        ({}, "text is missing"),
        ({"text": "x", "beams": 0}, "beams"),
        ({"text": "x", "beams": 2.5}, "beams"),
        ({"text": "x", "max_tokens": 10**9}, "max_tokens"),
        ({"text": "x", "length_penalty": -1}, "length_penalty"),
        ({"text": "x", "temperature": 1}, "temperature is not known here"),
        ({"text": ["x"] * (MAX_ITEMS + 1)}, "in one request"),
    ],
)
async def test_what_translation_does_not_take_is_refused(server, client, more, told):
    answer = await client.post("/v1/translate", json={"model": "polyglot", **more})
    assert answer.status_code == 400
    assert told in answer.text
    assert server.models["polyglot"].items == []


async def test_models_of_other_tasks_are_refused(client):
    answer = await client.post("/v1/translate", json={"model": "brief", "text": "x"})
    assert answer.status_code == 400
    assert "serves translation" in answer.text
    answer = await client.post("/v1/translate?model=polyglot", content=IMAGE,
                               headers={"content-type": "image/png"})  # fmt: skip
    assert "takes no raw bytes" in answer.text
