"""The SDK against the real doors over real sockets; models answer in the server's process."""

import asyncio
import dataclasses
import io
import json
import time

import numpy as np
import pytest
from PIL import Image
from tests.support.answering import KEY

from modelry import AsyncClient, Client
from modelry.client.errors import (
    InvalidInput,
    ModelFailed,
    NotFound,
    NotSupported,
    TensorMismatch,
    TimedOut,
    Unauthenticated,
    UnsupportedField,
)
from modelry.client.generation import TokenUsage
from modelry.client.images import image_bytes


def picture() -> Image.Image:
    return Image.new("RGB", (4, 3), "red")


def png() -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, format="PNG")
    return buffer.getvalue()


def test_a_chat_is_answered_whole(client):
    answer = client.chat("assistant", "hello there", temperature=0.5, max_tokens=10, n=2)
    assert answer.text == "hello there "
    assert [one.text for one in answer.choices] == ["hello there "] * 2
    assert answer.finish_reason == "stop"
    assert answer.usage == TokenUsage(3, 5, 8, 2)
    assert answer.version == "assistant@1"
    assert answer.request_id


def test_a_chat_is_streamed_with_its_usage_at_the_end(client):
    with client.chat("assistant", [{"role": "user", "content": "one two"}], stream=True) as deltas:
        assert deltas.version == "assistant@1"
        told = list(deltas)
    assert "".join(delta.text for delta in told) == "one two "
    assert [delta.finish_reason for delta in told if delta.finish_reason] == ["stop"]
    assert told[-1].usage == TokenUsage(3, 5, 8, 2)


def test_tool_calls_are_typed_whole_and_streamed(client):
    tools = [
        {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    ]
    (call,) = client.chat("assistant", "call a tool", tools=tools).tool_calls
    assert (call.call_id, call.name, call.arguments) == ("call_1", "weather", '{"city":"Paris"}')
    parts = [
        call
        for delta in client.chat("assistant", "call a tool", tools=tools, stream=True)
        for call in delta.tool_calls
    ]
    assert parts[0].name == "weather"
    assert "".join(part.arguments for part in parts) == '{"city":"Paris"}'


def test_line_separators_inside_an_answer_do_not_break_the_stream(client):
    said = "a\u2028b\u0085c\x0bd\r\ne"
    deltas = client.chat("assistant", said, stream=True)
    assert "".join(delta.text for delta in deltas) == said + " "


def test_a_stream_that_fails_raises_what_the_engine_said(client):
    stream = client.chat("assistant", "well die", stream=True)
    with pytest.raises(ModelFailed, match="out of luck"):
        list(stream)


def test_a_stream_left_early_frees_its_slot(client):
    for _ in range(12):
        with client.chat("assistant", "first wait", stream=True) as deltas:
            assert next(deltas).text == ""
            assert next(deltas).text == "first "
    assert client.chat("assistant", "still there").text == "still there "


def test_a_completion_goes_on_from_a_text(client):
    assert client.complete("assistant", "once upon", max_tokens=5).text == "once upon "
    parts = client.complete("assistant", "once upon", stream=True)
    assert "".join(part.text for part in parts) == "once upon "


def test_an_unknown_option_is_told_by_the_server(client):
    with pytest.raises(UnsupportedField, match="logit_biass") as caught:
        client.chat("assistant", "hi", logit_biass={})
    assert caught.value.param == "logit_biass"
    assert caught.value.status == 400


def test_embeddings_are_arrays(client):
    vectors = client.embed("minilm", ["a", "abc"])
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[1, 1, -1], [3, 1, -1]]
    assert client.embed("minilm", "ab").shape == (1, 3)


def test_more_texts_than_one_request_takes_are_sent_in_several(client):
    vectors = client.embed("minilm", ["x" * (1 + at % 7) for at in range(2500)])
    assert vectors.shape == (2500, 3)
    assert vectors[2499, 0] == 1 + 2499 % 7


def test_no_texts_are_refused_by_the_server_not_invented(client):
    with pytest.raises(InvalidInput):
        client.embed("minilm", [])


def test_documents_are_ranked(client):
    ranked = client.rerank("minilm", "aaa", ["aaa", "a" * 50], return_documents=True)
    assert [one.index for one in ranked] == [0, 1]
    assert ranked[0].relevance_score == pytest.approx(1.0)
    assert ranked[0].document == {"text": "aaa"}


@pytest.mark.parametrize("kind", ["bytes", "path", "text path", "pillow"])
def test_an_image_is_classified_however_it_is_given(client, tmp_path, kind):
    raw = png()
    (tmp_path / "cat.png").write_bytes(raw)
    image = {
        "bytes": raw,
        "path": tmp_path / "cat.png",
        "text path": str(tmp_path / "cat.png"),
        "pillow": picture(),
    }[kind]
    found = client.classify("pets", image=image)
    assert (found.label, found.score) == ("cat", 0.75)
    sent = image_bytes(image)
    assert found.labels[1].index == len(sent)
    assert Image.open(io.BytesIO(sent)).tobytes() == picture().tobytes()


def test_several_images_and_texts_are_classified_at_once(client):
    assert len(client.classify_many("pets", images=[png(), picture()], top_k=1)) == 2
    assert len(client.classify_many("mood", texts=["x"] * 300)) == 300
    assert len(client.classify_many("pets", images=[png()] * 17)) == 17
    assert len(client.tabular("sums", [[1, 2]] * 600)) == 600
    with pytest.raises(InvalidInput):
        client.classify_many("mood", texts=[])
    told = client.classify_many("mood", texts=["fine", "so so"])
    assert [one.labels[1].index for one in told] == [4, 5]
    assert client.classify("mood", text="fine", top_k=1).labels[0].label == "cat"


def test_texts_are_written_for_texts(client):
    found = client.translate("polyglot", "abc", beams=2)
    assert (found.text, found.score, found.is_complete) == ("cba", -0.5, True)
    assert not client.translate("polyglot", "abc", max_tokens=1).is_complete
    many = client.translate_many("polyglot", [str(number) for number in range(600)])
    assert [one.text for one in many] == [str(number)[::-1] for number in range(600)]
    assert client.summarize("brief", "abc").text == "cba"
    assert len(client.summarize_many("brief", ["a", "b"], length_penalty=0.5)) == 2
    with pytest.raises(NotSupported, match="'summarization'"):
        client.translate("brief", "abc")
    with pytest.raises(InvalidInput, match="beams"):
        client.translate("polyglot", "abc", beams=99)


def test_answers_are_explained(client, tmp_path):
    found = client.explain("mood", text="a bb", target=3, method="shapley", seed=5)
    assert (found.method, found.target.label, found.parameters) == ("shapley", "3", {"seed": 5})
    assert [one["weight"] for one in found.attribution["words"]] == [1, 2]
    assert found.faithfulness["is_better_than_random"]
    assert str(found) == found.sentence
    drawn = client.explain("pets", image=png(), checks=False)
    assert (drawn.picture, drawn._repr_png_(), drawn.faithfulness) == (b"PNG", b"PNG", None)
    boxed = client.explain("things", image=png(), min_score=0.5)
    assert (boxed.target.label, boxed.target.box) == ("dog", (1, 2, 3.5, 4))
    assert boxed.parameters == {"min_score": 0.5}
    assert found.save(tmp_path / "why.html").read_text().count("<span") == 2
    assert json.loads(drawn.save(tmp_path / "why.json").read_text())["picture"] == "UE5H"
    assert drawn.save(tmp_path / "why.png").read_bytes() == b"PNG"
    assert "data:image/png;base64,UE5H" in drawn._repr_html_()
    for name, words in (("why.png", "no picture"), ("why.svg", "kind '.svg'")):
        with pytest.raises(InvalidInput, match=words):
            dataclasses.replace(found, picture=b"").save(tmp_path / name)
    with pytest.raises(InvalidInput, match="one of image, text, row, messages and request_id"):
        client.explain("mood", text="a", row=[1])
    with pytest.raises(NotSupported, match="'tensor'"):
        client.explain("echo", text="abc")


def test_answers_come_with_their_explanations(client):
    wish = {"method": "shapley", "target": 3, "checks": False}
    found = client.classify("mood", text="a bb", top_k=1, explain=wish)
    assert (found.label, len(found.labels)) == ("cat", 1)
    why = found.explanation
    assert (why.method, why.target.label, why.faithfulness) == ("shapley", "3", None)
    assert client.classify("mood", text="a bb").explanation is None
    for wanted, method in ((True, "usual"), ({}, "usual"), ({"method": "rise"}, "rise")):
        found = client.classify("pets", image=png(), explain=wanted)
        assert (found.label, found.explanation.method) == ("cat", method)
        assert found.explanation.faithfulness["is_better_than_random"]
    drawn = client.classify("pets", image=png(), explain={"picture": True, "checks": False})
    assert drawn.explanation.picture == b"PNG"
    boxed = client.detect("things", png(), explain=True)
    assert boxed.objects[0].label == boxed.explanation.target.label == "dog"
    written = client.translate("polyglot", "abc", explain={"target": "c"})
    assert (written.text, written.explanation.attribution["output"]["text"]) == ("cba", "cba")
    assert client.summarize("brief", "abc", explain=True).explanation.model == "brief"
    with pytest.raises(UnsupportedField, match="odd is not known here"):
        client.classify("mood", text="a", explain={"odd": 1})
    with pytest.raises(InvalidInput, match="2 rows; explain one at a time"):
        client.tabular("sums", [[1], [2]], explain=True)


def test_written_answers_and_pairs_are_explained(client):
    talk = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    found = client.explain(
        "assistant", messages=talk, answer="yes", within=[1], level="words", max_tokens=3
    )
    assert [one["text"] for one in found.attribution["segments"]] == ["one", "two"]
    asked = {"answer": "yes", "within": [1], "level": "words", "max_tokens": 3}
    assert found.parameters == {"seed": 0, **asked}
    found = client.explain("polyglot", text="abc", target="c")
    assert (found.attribution["output"]["text"], found.target.label) == ("cba", "c")
    found = client.explain("minilm", text="a", compared_with="b")
    assert found.attribution["compared_with"][0]["text"] == "b"
    for name, more in (("assistant", {"text": "a"}), ("polyglot", {"messages": talk})):
        with pytest.raises(UnsupportedField):
            client.explain(name, **more)


def test_objects_are_detected(client):
    found = client.detect("things", png(), min_score=0.1)
    assert (found.width, found.height) == (640, 480)
    assert found.objects[0].box == (1.0, 2.0, 3.5, 4.0)
    assert client.detect("things", png(), min_score=0.9).objects == ()
    assert len(client.detect_many("things", [png(), png()], max_objects=3)) == 2


def test_rows_of_tables_are_predicted(client):
    found = client.tabular("sums", [{"a": 1, "b": 2.5}, [1, None], {"a": 3}, ["x", 1]], top_k=1)
    assert [one.value for one in found] == [3.5, 1.0, None, None]
    assert found[2].values == (3.0, -3.0)
    assert found[3].label == "text"


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    whole = rng.integers(0, 100, (3, 2))
    found = {
        kind: whole.astype(kind)
        for kind in ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
    }
    return {
        **found,
        "fp16": rng.random((3, 2)).astype("f2"),
        "fp32": np.array([[np.nan, np.inf], [-0.0, 1e-40], [3, 4]], "f4"),
        "fp64": rng.random((3, 2)),
        "bool": whole % 2 == 0,
        "bf16": np.array([[1.0, -2.5], [0.0, 65536.0], [np.inf, 3.0]], "f4"),
        "bytes": np.array([["", "text"], [b"\x00\xff", "ü"], [b"", b"z"]], dtype=object),
    }


def test_every_datatype_goes_through_infer_unchanged(client):
    sent = tensors()
    answer = client.infer("echo", sent, datatypes={"bf16": "BF16"})
    assert (answer.model, answer.version) == ("echo", 1)
    assert set(answer) == {f"{name}_out" for name in sent}
    for name, array in sent.items():
        back = answer[f"{name}_out"]
        if name == "bytes":
            wanted = [one.encode() if isinstance(one, str) else one for one in array.ravel()]
            assert back.ravel().tolist() == wanted
        elif name == "bf16":  # the model in the server's process knows BF16 by its bits alone
            np.testing.assert_array_equal(back, array.view("u4") >> 16)
        else:
            assert back.dtype == array.dtype
            np.testing.assert_array_equal(back, array)


def test_wanted_outputs_and_versions_can_be_named(client):
    sent = tensors()
    types = {"bf16": "BF16"}
    outputs = [f"{name}_out" for name in sent]
    answer = client.infer("echo", sent, outputs=outputs, datatypes=types, version=1)
    assert sorted(answer) == sorted(outputs)
    with pytest.raises(InvalidInput, match="nothing"):
        client.infer("echo", sent, outputs=["nothing"], datatypes=types)
    with pytest.raises(NotFound):
        client.infer("echo", sent, datatypes=types, version=9)


def test_wrong_tensors_are_told_with_their_name(client):
    sent = tensors() | {"int8": np.zeros((1, 5), "i1")}
    with pytest.raises(InvalidInput, match="int8"):
        client.infer("echo", sent, datatypes={"bf16": "BF16"})
    with pytest.raises(TensorMismatch, match="complex"):
        client.infer("echo", {"x": np.zeros(2, complex)})


def test_metadata_and_readiness(client):
    assert client.server_metadata()["name"] == "modelry"
    assert client.model_metadata("echo")["inputs"][0]["datatype"] == "BOOL"
    client.wait_ready(5)
    assert client.is_model_ready("echo")
    client.wait_model_ready("echo", 5)
    with pytest.raises(NotFound):
        client.wait_model_ready("nothing", 5)


def test_a_wrong_key_is_told_and_never_shown(doors):
    with Client(doors, "secret-of-mine") as client:
        with pytest.raises(Unauthenticated) as caught:
            client.chat("assistant", "hi")
        shown = f"{client!r} {caught.value!r} {caught.value} {vars(caught.value)}"
        assert "secret-of-mine" not in shown
        assert "secret-of-mine" not in repr(client._transport.connection)


def test_a_slow_answer_is_given_up_in_time(doors):
    with Client(doors, KEY, timeout_s=0.3) as client:
        started = time.monotonic()
        with pytest.raises(TimedOut):
            client.chat("assistant", "wait")
        assert time.monotonic() - started < 3


def test_the_async_client_does_the_same(doors, tmp_path):
    (tmp_path / "cat.png").write_bytes(png())

    async def work() -> None:
        async with AsyncClient(doors, KEY) as client:
            await client.wait_ready(5)
            one, two = await asyncio.gather(
                client.chat("assistant", "hello"), client.embed("minilm", ["a", "ab"])
            )
            assert one.text == "hello "
            assert two.shape == (2, 3)
            async with await client.chat("assistant", "a b", stream=True) as deltas:
                assert "".join([delta.text async for delta in deltas]) == "a b "
            async with await client.chat("assistant", "first wait", stream=True) as deltas:
                async for delta in deltas:
                    if delta.text == "first ":
                        break
            assert (await client.classify("pets", image=tmp_path / "cat.png")).label == "cat"
            sent = tensors()
            answer = await client.infer("echo", sent, datatypes={"bf16": "BF16"})
            np.testing.assert_array_equal(answer["int64_out"], sent["int64"])
            with pytest.raises(NotFound):
                await client.chat("nothing", "hi")
            with pytest.raises(ModelFailed):
                async for _ in await client.chat("assistant", "well die", stream=True):
                    pass

    asyncio.run(work())
