"""Explanations by gradients of models whose explanation is known, checked by the real engine."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from tests.support import backbones
from tests.support.explained import (
    bright_square,
    linear,
    looks_at,
    within,
    words_that_count,
)
from tests.support.onnx_models import model_of
from tests.support.task_models import ServedVersion, tokenizer_file, written
from torch.nn import functional

from modelry.domain.errors import InvalidInput, NotSupported
from modelry.explaining.asked import Asked
from modelry.explaining.asking import Subject
from modelry.explaining.contract import Explained, Wish
from modelry.explaining.explain import explain
from modelry.gradients.contract import ASKED, INFER
from modelry.gradients.further_files import in_one_piece
from modelry.gradients.grad_cam import GradCam
from modelry.gradients.integral import Way, integrated
from modelry.gradients.model import Gradients, Network, Question
from modelry.gradients.twin import Twin, as_tensor
from modelry.gradients.work import ExplainOne
from modelry.processing.text_encoder import load_text_encoder
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.tensors import pack_tensors, unpack_tensors
from modelry.runtime_api.work import Answer, WorkOrder
from modelry.testing.work import ThreadWorks

INTEGRATED = "integrated-gradients"


class Following:
    """Explains answers of a version by gradients, without processes."""

    def __init__(
        self,
        task: str,
        files: Mapping[str, Path],
        columns: Sequence[str] = (),
        served: Mapping[str, Path] | None = None,
        **manifest: Any,
    ) -> None:
        self._files = files
        self._columns = columns
        self._version = ServedVersion(task, served or files, **manifest)

    def __call__(self, item: Mapping[str, Any], **wish: Any) -> Explained:
        network = Network(
            self._files["model"].read_bytes(),
            self._version.steps.post,
            self._version.engine.signature,
            load_text_encoder(self._files["tokenizer"]) if "tokenizer" in self._files else None,
        )
        gradients = Gradients(network, Question(item, self._run, StopSignal()))
        subject = Subject(
            item, {}, self._version.predictor, self._run, 64, self._columns, gradients
        )
        return explain(subject, Wish(**wish), StopSignal())

    def _run(self, inputs: Any, rows: int) -> Any:
        del rows
        return self._version.engine.infer(inputs, StopSignal())


def weights_of(told: dict[str, Any]) -> dict[str, float]:
    found = told["attribution"]
    entries = found.get("columns") or found.get("words")
    return {one.get("name", one.get("text")): one["weight"] for one in entries}


def picture(size: int = 8) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 255, (size, size), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def table(folder: Path, model: onnx.ModelProto, names: Sequence[str]) -> Following:
    files = written(folder, model=model)
    return Following("tabular", files, names, pre=[{"columns": list(names)}])


def test_a_linear_model_gives_its_closed_form_and_the_shares_add_up(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    weights = random.normal(size=14).round(2).tolist()
    background = random.normal(size=(7, 14)).astype("f4").tolist()
    row = random.normal(size=14).astype("f4").tolist()
    follow = table(tmp_path, linear(weights), [chr(ord("a") + at) for at in range(14)])
    told = follow({"row": row}, background=tuple(background), method=INTEGRATED).told
    expected = np.array(weights) * (np.array(row) - np.mean(background, axis=0))
    assert list(weights_of(told).values()) == pytest.approx(expected, abs=2e-6)
    complete = told["parameters"]["completeness"]
    assert complete["is_met"]
    assert complete["sum"] == pytest.approx(complete["difference"], abs=1e-5)
    assert told["parameters"]["gradients"] == 9 * 7
    assert told["parameters"]["parity"] < 1e-5
    assert told["faithfulness"]["stability"] is not None


class Server:
    """The server's side of the work: files by name, and the engine that serves."""

    def __init__(self, folder: Path, version: ServedVersion, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.opened: list[str] = []
        self.asked = b""
        self.calls = 0
        self._folder = folder
        self._version = version

    def open_input(self, name: str) -> Any:
        self.opened.append(name)
        path = self._folder / "opened"
        path.write_bytes(self.files[name])
        return SimpleNamespace(path=path, close=lambda: None)

    def answer(self, what: str, header: Any, body: bytes) -> Answer:
        if what == ASKED:
            return Answer({}, self.asked)
        assert what == INFER
        self.calls += 1
        inputs = unpack_tensors(header["inputs"], body)
        entries, parts = pack_tensors(self._version.engine.infer(inputs, StopSignal()))
        return Answer({"arrays": entries}, b"".join(parts))

    def progress(self, *_: Any) -> None: ...

    def used(self, *_: Any) -> None: ...


def test_the_work_opens_a_version_once_and_another_one_anew(tmp_path: Path) -> None:
    works = ThreadWorks(ExplainOne())

    def server(name: str, weights: list[float]) -> tuple[Server, WorkOrder]:
        folder = tmp_path / name
        folder.mkdir()
        files = written(folder, model=linear(weights))
        version = ServedVersion("tabular", files, pre=[{"columns": ["a", "b"]}])
        request = {
            "known_as": name,
            "task": "tabular",
            "manifest": {"pre": version.steps.pre, "post": version.steps.post},
            "signature": version.engine.signature.to_wire(),
            "columns": ["a", "b"],
            "roles": ["model"],
        }
        held = {"file:model": files["model"].read_bytes()}
        return Server(folder, version, held), WorkOrder("explain-one", request, stays_for=name)

    def explained(asked: tuple[Server, WorkOrder], row: list[float]) -> dict[str, float]:
        side, order = asked
        wish = Wish(method=INTEGRATED, background=([0.0, 0.0],), checks=False)
        side.asked = Asked({"row": row}, {}, wish).to_bytes()
        told = works.run(order, side, StopSignal())  # type: ignore[arg-type] # as far as needed
        return weights_of(dict(told))

    one, other = server("one", [2.0, -1.0]), server("other", [5.0, 3.0])
    assert explained(one, [1.0, 1.0]) == pytest.approx({"a": 2, "b": -1}, abs=1e-5)
    assert explained(one, [3.0, 2.0]) == pytest.approx({"a": 6, "b": -2}, abs=1e-5)
    assert one[0].opened == ["file:model"]
    assert one[0].calls == 2 * 2  # the row itself, whoever wants to know, and where the way begins
    assert explained(other, [1.0, 1.0]) == pytest.approx({"a": 5, "b": 3}, abs=1e-5)
    assert other[0].opened == ["file:model"]


def one_number(end: float = 1) -> Way:
    return Way({"x": np.zeros((1, 1), "f4")}, {"x": np.full((1, 1), end, "f4")}, {})


def test_points_are_taken_where_the_score_bends_and_all_of_them_count() -> None:
    asked: list[float] = []

    def bends(held: Mapping[str, torch.Tensor]) -> torch.Tensor:
        asked.extend(held["x"].detach().reshape(-1).tolist())
        return torch.relu(held["x"] - 0.52).sum(dim=1)

    found = integrated(bends, one_number(), None, StopSignal())
    assert found.is_complete
    assert found.sum == pytest.approx(0.48, rel=0.01)
    assert found.gradients == found.points == len(asked) == len(set(asked)) < 20
    assert all(0.5 <= one <= 0.75 for one in asked[9:])
    few = integrated(bends, one_number(), 8, StopSignal())
    assert few.gradients == 7  # in panels, the last of which is cut once


def test_shares_of_a_smooth_score_are_its_integrals() -> None:
    """The integral over the way of each partial derivative is known here."""
    way = Way({"x": np.zeros((2, 2), "f4")}, {"x": np.array([[1, 2], [2, 1]], "f4")}, {})

    def smooth(held: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.sin(held["x"][:, 0] + held["x"][:, 1]) + held["x"][:, 0] ** 2

    found = integrated(smooth, way, None, StopSignal())
    sine = np.sin(3) / 3
    expected = [[sine + 1, 2 * sine], [2 * sine + 4, sine]]
    np.testing.assert_allclose(found.shares["x"], expected, rtol=2e-4)
    assert found.points <= 16


def test_a_sum_that_is_right_by_chance_is_not_taken_for_the_whole() -> None:
    """Whatever the points are, what is wrong in one share is made up for by the other."""

    def steep(held: Mapping[str, torch.Tensor]) -> torch.Tensor:
        one, other = torch.sigmoid(40 * (held["x"] - 0.55)).T
        return held["x"][:, 0] + one - other

    way = Way({"x": np.zeros((1, 2), "f4")}, {"x": np.ones((1, 2), "f4")}, {})
    first = integrated(steep, way, 9, StopSignal())
    assert first.is_complete
    assert not first.is_settled
    found = integrated(steep, way, None, StopSignal())
    assert found.is_settled
    np.testing.assert_allclose(found.shares["x"], [[2, -1]], atol=0.01)
    assert np.abs(first.shares["x"] - [[2, -1]]).max() > 0.1


def test_categories_are_explained_through_their_vectors_and_missing_cells_are_refused(
    tmp_path: Path,
) -> None:
    model = model_of(
        [
            helper.make_node("Gather", ["cells", "number"], ["size"], axis=1),
            helper.make_node("Gather", ["cells", "choice"], ["kind"], axis=1),
            helper.make_node("Cast", ["kind"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["vectors", "place"], ["vector"]),
            helper.make_node("Squeeze", ["vector", "one"], ["flat"]),
            helper.make_node("Concat", ["size", "flat"], ["all"], axis=1),
            helper.make_node("MatMul", ["all", "weights"], ["value"]),
        ],
        {"cells": (TensorProto.FLOAT, ["batch", 2])},
        {"value": (TensorProto.FLOAT, ["batch", 1])},
        {
            "number": np.array([0]),
            "choice": np.array([1]),
            "one": np.array([1]),
            "vectors": np.array([[1, 0], [0, 3], [5, 5]], "f4"),
            "weights": np.array([[2], [1], [10]], "f4"),
        },
    )
    follow = table(tmp_path, model, ["size", "kind"])
    told = follow({"row": [4.0, 1]}, background=([1.0, 0], [1.0, 2]), method=INTEGRATED).told
    assert weights_of(told) == pytest.approx({"size": 6, "kind": 30 - (1 + 55) / 2}, abs=1e-4)
    assert told["parameters"]["completeness"]["is_met"]


def test_a_step_has_no_gradient_and_the_explanation_says_what_is_missing(tmp_path: Path) -> None:
    model = model_of(
        [
            helper.make_node("Floor", ["cells"], ["whole"]),
            helper.make_node("ReduceSum", ["whole", "axis"], ["value"], keepdims=1),
        ],
        {"cells": (TensorProto.FLOAT, ["batch", 2])},
        {"value": (TensorProto.FLOAT, ["batch", 1])},
        {"axis": np.array([1])},
    )
    follow = table(tmp_path, model, ["a", "b"])
    told = follow({"row": [4.0, 1.0]}, background=([0.0, 0.0],), method=INTEGRATED).told
    assert not told["parameters"]["completeness"]["is_met"]
    assert "add up to 0 of a difference of 5" in told["sentence"]
    with pytest.raises(InvalidInput, match="need at least 3 here"):
        follow({"row": [4.0, 1.0]}, background=([0.0, 0.0],), method=INTEGRATED, calls=2)
    with pytest.raises(InvalidInput, match="can be explained by: shapley, leave-one-out, integr"):
        follow({"row": [4.0, 1.0]}, background=([0.0, 0.0],), method="grad-cam")


LABELS = ["dark", "bright"]


def test_the_square_that_decides_is_found_in_pixels(tmp_path: Path) -> None:
    files = written(tmp_path, model=looks_at(8, 20))
    follow = Following("image-classification", files, labels=LABELS)
    told = follow({"image": bright_square(8, 20)}, method=INTEGRATED, target="bright").told
    assert within(told["attribution"]["regions"][0]["box"], (19, 7, 29, 17))
    assert told["parameters"]["completeness"]["is_met"]
    assert told["faithfulness"]["is_better_than_random"]
    with pytest.raises(NotSupported, match="no convolution that gives maps; integrated gradients"):
        follow({"image": bright_square(8, 20)}, method="grad-cam")


def bright_places(ends_in: str = "") -> onnx.ModelProto:
    """Counts places of 32 x 32 pixels that are bright; 'dark' is half."""
    last = [helper.make_node(ends_in, ["counts"], ["scores"])] if ends_in else []
    return model_of(
        [
            helper.make_node("Conv", ["image", "kernel", "bias"], ["found"], strides=[2, 2]),
            helper.make_node("Relu", ["found"], ["maps"]),
            helper.make_node("GlobalAveragePool", ["maps"], ["means"]),
            helper.make_node("Flatten", ["means"], ["flat"]),
            helper.make_node("Gemm", ["flat", "dense", "shift"], ["counts"]),
            *last,
        ],
        {"image": (TensorProto.FLOAT, ["batch", 1, 32, 32])},
        {"scores" if ends_in else "counts": (TensorProto.FLOAT, ["batch", 2])},
        {
            "kernel": np.full((1, 1, 3, 3), 1 / 9, "f4"),
            "bias": np.array([-0.5], "f4"),
            "dense": np.array([[0, 30]], "f4"),
            "shift": np.array([0.5, 0], "f4"),
        },
    )


@pytest.mark.parametrize("ends_in", ["", "Softmax"])
def test_grad_cam_finds_the_places_that_speak_for_a_class(tmp_path: Path, ends_in: str) -> None:
    files = written(tmp_path, model=bright_places(ends_in))
    follow = Following("image-classification", files, labels=LABELS)
    told = follow({"image": bright_square(8, 20)}, method="grad-cam", target="bright").told
    assert within(told["attribution"]["regions"][0]["box"], (18, 6, 30, 18))
    assert told["parameters"]["layer"] == "maps"
    assert told["parameters"]["places"] == [15, 15]
    assert told["faithfulness"]["is_better_than_random"]


def weighed_by_place(counted: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """A dense layer on maps: 'bright' has a square, and all places lower both classes alike."""
    square = np.zeros((32, 32))
    square[8:16, 20:28] = 4 / 64
    dense = np.stack([np.zeros(32 * 32), square.ravel()], axis=1) - 4 / 64
    return model_of(
        [
            helper.make_node("Conv", ["image", "kernel"], ["found"]),
            helper.make_node("Relu", ["found"], ["maps"]),
            helper.make_node("Flatten", ["maps"], ["flat"]),
            helper.make_node("MatMul", ["flat", "dense"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["counts"], to=counted),
            helper.make_node("Cast", ["counts"], ["logits"], to=TensorProto.FLOAT),
        ],
        {"image": (TensorProto.FLOAT, ["batch", 1, 32, 32])},
        {"logits": (TensorProto.FLOAT, ["batch", 2])},
        {"kernel": np.ones((1, 1, 1, 1), "f4"), "dense": dense.astype("f4")},
    )


def test_maps_whose_features_lie_side_by_side_give_what_torch_gives() -> None:
    """Products for convolutions on single places, wider filters for what is padded unevenly."""
    random = np.random.default_rng(1)
    held = {
        "mix": random.normal(size=(6, 3, 1, 1)).astype("f4"),
        "shift": random.normal(size=6).astype("f4"),
        "least": np.float32(0),
        "most": np.float32(1),
        "own": random.normal(size=(6, 1, 3, 3)).astype("f4"),
        "back": random.normal(size=(2, 6, 1, 1)).astype("f4"),
    }
    uneven = {"pads": [0, 1, 1, 0], "strides": [2, 2], "group": 6}
    model = model_of(
        [
            helper.make_node("Conv", ["image", "mix", "shift"], ["mixed"]),
            helper.make_node("Clip", ["mixed", "least", "most"], ["clipped"]),
            helper.make_node("Conv", ["clipped", "own"], ["seen"], **uneven),
            helper.make_node("Conv", ["seen", "back"], ["maps"]),
        ],
        {"image": (TensorProto.FLOAT, ["batch", 3, 8, 8])},
        {"maps": (TensorProto.FLOAT, ["batch", 2, 4, 4])},
        held,
    )
    image = torch.from_numpy(random.normal(size=(2, 3, 8, 8)).astype("f4"))
    weight = {name: torch.from_numpy(np.asarray(one)) for name, one in held.items()}

    def plain(given: torch.Tensor) -> torch.Tensor:
        mixed = functional.conv2d(given, weight["mix"], weight["shift"]).clamp(0, 1)
        mixed = functional.pad(mixed, (1, 0, 0, 1))
        seen = functional.conv2d(mixed, weight["own"], None, 2, 0, 1, 6)
        return functional.conv2d(seen, weight["back"])

    def twin(given: torch.Tensor) -> torch.Tensor:
        return Twin(model.SerializeToString()).run(["maps"], {"image": given})[0]

    def followed(function: Any) -> Any:
        given = image.clone().requires_grad_()
        made = function(given)
        return made.detach(), torch.autograd.grad((made * made).sum(), [given])[0]

    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (served,) = session.run(None, {"image": image.numpy()})
    (made, gradient), (expected, right) = followed(twin), followed(plain)
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(made, torch.from_numpy(served), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient, right, rtol=1e-4, atol=1e-5)


def test_what_follows_from_weights_alone_is_computed_once() -> None:
    model = model_of(
        [
            helper.make_node("Transpose", ["weights"], ["turned"]),
            helper.make_node("Mul", ["turned", "turned"], ["squared"]),
            helper.make_node("MatMul", ["cells", "squared"], ["products"]),
            helper.make_node("Add", ["products", "turned"], ["value"]),
        ],
        {"cells": (TensorProto.FLOAT, ["batch", 1])},
        {"value": (TensorProto.FLOAT, ["batch", 2])},
        {"weights": np.array([[2], [3]], "f4")},
    )
    twin = Twin(model.SerializeToString())
    for cell in (1.0, 2.0):
        seen: dict[str, torch.Tensor] = {}
        (value,) = twin.run(["value"], {"cells": torch.tensor([[cell]])}, seen)
        assert value.tolist() == [[4 * cell + 2, 9 * cell + 3]]
        assert [*seen] == ["products", "value"]
    (turned,) = twin.run(["turned"], {})
    assert turned.tolist() == [[2, 3]]
    (held,) = twin.run(["value"], {"products": torch.zeros(1, 2)})
    assert held.tolist() == [[2, 3]]


def test_grad_cam_keeps_places_apart_where_the_last_layer_does(tmp_path: Path) -> None:
    """The mean gradient over places is below 0 here, and a map by it 0 everywhere; so is one of a
    logit by itself, as all places lower all of them."""
    files = written(tmp_path, model=weighed_by_place())
    follow = Following("image-classification", files, labels=LABELS, post=["softmax", {"top_k": 2}])
    told = follow({"image": bright_square(8, 20)}, method="grad-cam", target="bright").told
    grid = np.array(told["attribution"]["grid"])
    assert (grid[4:8, 10:14] > 0.1 * grid.max()).all()
    assert np.count_nonzero(grid) == 16
    assert told["parameters"]["layer"] == "maps"
    assert told["faithfulness"]["is_better_than_random"]
    against = follow({"image": bright_square(8, 20)}, method="grad-cam", target="dark").told
    assert not np.any(against["attribution"]["grid"])
    assert "Nothing in its last maps of features speaks for this." in against["sentence"]


def test_maps_that_no_gradient_leads_to_are_told(tmp_path: Path) -> None:
    files = written(tmp_path, model=weighed_by_place(TensorProto.INT64))
    follow = Following("image-classification", files, labels=LABELS)
    with pytest.raises(NotSupported, match="between its last maps of features and its scores"):
        follow({"image": bright_square(8, 20)}, method="grad-cam")


def test_maps_behind_residual_blocks_are_those_after_the_sum(tmp_path: Path) -> None:
    files = written(tmp_path, model=backbones.network(3))
    follow = Following("image-classification", files, labels=["a", "b", "c"], pre=backbones.PRE)
    told = follow({"image": picture()}, method="grad-cam", checks=False).told
    assert told["parameters"]["layer"] == "block2"
    told = follow({"image": picture()}, method=INTEGRATED, checks=False).told
    assert told["parameters"]["completeness"]["is_met"]


def text(folder: Path, **scores: float) -> Following:
    files = written(folder, model=words_that_count(scores), tokenizer=tokenizer_file())
    return Following("text-classification", files, labels=["no", "yes"])


def test_the_word_that_decides_is_found_through_its_vector(tmp_path: Path) -> None:
    follow = text(tmp_path, good=4.0, bad=-1.0)
    told = follow({"text": "The cat is good, bad dog."}, method=INTEGRATED, target="yes").told
    weights = weights_of(told)
    assert max(weights, key=lambda word: weights[word]) == "good"
    assert weights["bad"] < 0
    assert weights["cat"] == weights["."] == 0
    assert told["parameters"]["completeness"]["is_met"]
    assert sum(weights.values()) == pytest.approx(told["parameters"]["completeness"]["sum"])
    assert told["baseline"] == "the token [PAD] in the place of each other"
    pair = follow({"text": "good", "text_pair": "good bad"}, method=INTEGRATED).told
    assert [*weights_of(pair)] == ["good"]


def test_grad_cam_is_what_torch_gives_for_the_whole_network_at_any_size() -> None:
    """What leads to the maps is computed by ONNX Runtime, and only what follows by torch."""
    model = backbones.network(3)
    for side in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_param = "side"
    twin = Twin(model.SerializeToString())
    found = GradCam(twin, twin.scored("scores"), "scores")
    for size in (8, 12, 8):
        image = np.random.default_rng(size).random((1, 1, size, size)).astype("f4")
        heat = found.heat({"image": image}, 1, (size, size))
        found.begin({"image": image})
        begun = found.heat({"image": image.copy()}, 1, (size, size))
        np.testing.assert_array_equal(begun.pixels, heat.pixels)
        found.begin({"image": image + 1})  # by somebody who went away
        again = found.heat({"image": image}, 1, (size, size))
        np.testing.assert_array_equal(again.pixels, heat.pixels)
        assert heat.places == (size // 2, size // 2)
        seen: dict[str, torch.Tensor] = {}
        (scores,) = twin.run(["scores"], {"image": as_tensor(image).requires_grad_()}, seen)
        maps, logits = seen[heat.layer], seen["logits"]
        (gradient,) = torch.autograd.grad(logits[0, 1] - logits.mean(), [maps])
        right = torch.relu((gradient * maps).sum(dim=1, keepdim=True))
        wide = functional.interpolate(right, size=(size, size), mode="bilinear")
        np.testing.assert_allclose(heat.pixels, wide[0, 0].detach().numpy(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(heat.output, scores.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_a_version_without_a_twin_is_refused_by_what_is_missing(tmp_path: Path) -> None:
    model = model_of(
        [
            helper.make_node("Hardmax", ["cells"], ["hard"]),
            helper.make_node("ReduceSum", ["hard", "axis"], ["value"], keepdims=1),
        ],
        {"cells": (TensorProto.FLOAT, ["batch", 2])},
        {"value": (TensorProto.FLOAT, ["batch", 1])},
        {"axis": np.array([1])},
    )
    follow = table(tmp_path, model, ["a", "b"])
    with pytest.raises(NotSupported, match="its operator 'Hardmax' has no gradients here") as told:
        follow({"row": [4.0, 1.0]}, background=([0.0, 0.0],), method=INTEGRATED)
    assert "shapley" in told.value.message


def test_a_twin_that_answers_otherwise_than_what_serves_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    served = written(tmp_path / "served", model=linear([1.0, 2.0]))
    other = written(tmp_path, model=linear([1.0, 2.1]))
    follow = Following("tabular", other, ["a", "b"], served, pre=[{"columns": ["a", "b"]}])
    with pytest.raises(NotSupported, match="would explain another model"):
        follow({"row": [4.0, 1.0]}, background=([0.0, 0.0],), method=INTEGRATED)


def test_weights_in_a_further_file_are_put_in(tmp_path: Path) -> None:
    whole = linear([1.0, 2.0])
    apart = onnx.ModelProto()
    apart.CopyFrom(whole)
    data = b"before"
    for tensor in apart.graph.initializer:
        told = {"location": "data", "offset": str(len(data)), "length": str(len(tensor.raw_data))}
        data += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.extend(
            onnx.StringStringEntryProto(key=key, value=value) for key, value in told.items()
        )
    (tmp_path / "data").write_bytes(data)
    found = in_one_piece(apart.SerializeToString(), {"data": tmp_path / "data"})
    (given,) = Twin(found).run(["value"], {"row": as_tensor(np.array([[3, 4]], "f4"))})
    assert given.item() == pytest.approx(3 + 8 + 3)
    with pytest.raises(NotSupported, match="the file with its weight 'weights' is not there"):
        in_one_piece(apart.SerializeToString(), {})
    for name, value in (("offset", "-1"), ("length", "-2"), ("length", "99"), ("offset", "x")):
        wrong = onnx.ModelProto()
        wrong.CopyFrom(apart)
        for told_of in wrong.graph.initializer[0].external_data:
            told_of.value = value if told_of.key == name else told_of.value
        with pytest.raises(NotSupported, match="'weights' is at no place in its file"):
            in_one_piece(wrong.SerializeToString(), {"data": tmp_path / "data"})
    assert in_one_piece(whole.SerializeToString(), {}) == whole.SerializeToString()
