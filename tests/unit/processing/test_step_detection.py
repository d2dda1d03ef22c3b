import io
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.support.processing import ANY, graph_of

from modelry.domain.errors import ManifestInvalid, ModelFailed
from modelry.domain.signature import Datatype
from modelry.processing.detection.candidates import suppress
from modelry.processing.values import Boxes, Context, Geometry

RNG = np.random.default_rng(11)
WIDTH, HEIGHT = 64, 48
INPUT = (("image", Datatype.FP32, (ANY, 3, HEIGHT, WIDTH)),)
PRE = ["decode", {"resize": [WIDTH, HEIGHT]}, {"layout": "nchw"}]
CONTEXT = Context(2, geometry=[Geometry(WIDTH, HEIGHT)] * 2, input_size=(HEIGHT, WIDTH))


def detector(step, outputs, *after):
    """A graph whose outputs have the shapes of these arrays."""
    specs = [(name, Datatype.FP32, (ANY, *array.shape[1:])) for name, array in outputs.items()]
    return graph_of(pre=PRE, post=[{"decode_boxes": step}, *after], inputs=INPUT, outputs=specs)


def detect(step, outputs, *after, context=CONTEXT):
    return detector(step, outputs, *after).after(outputs, context)


def rows_of(found):
    return [
        (score, int(index), *box)
        for score, index, box in zip(
            found.scores.tolist(), found.classes.tolist(), found.boxes.tolist(), strict=True
        )
    ]


def check(found, expected):
    """Per item, the same boxes in the same order."""
    assert len(found.items) == len(expected)
    for got, want in zip(found.items, expected, strict=True):
        ordered = sorted(want, key=lambda row: -row[0])
        assert len(rows_of(got)) == len(ordered) > 0
        np.testing.assert_allclose(rows_of(got), ordered, rtol=1e-4, atol=1e-3)


def centred(x, y, width, height):
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def softmax(row):
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def test_yolov5_rows():
    output = RNG.random((2, 40, 8)).astype("f4")
    output[..., :4] *= 40
    expected = [
        [
            (row[4] * max(row[5:]), int(np.argmax(row[5:])), *centred(*row[:4]))
            for row in item.tolist()
            if row[4] * max(row[5:]) >= 0.5
        ]
        for item in output
    ]
    check(detect({"family": "yolov5", "min_score": 0.5}, {"y": output}), expected)


@pytest.mark.parametrize("transposed", [True, False])
def test_yolov8_columns_in_pixels_or_fractions(transposed):
    output = RNG.random((2, 40, 7)).astype("f4")
    output[..., 4:] = output[..., 4:] * 4 - 2
    expected = []
    for item in output.tolist():
        found = []
        for x, y, width, height, *logits in item:
            scores = [1 / (1 + math.exp(-value)) for value in logits]
            if max(scores) >= 0.6:
                box = centred(x * WIDTH, y * HEIGHT, width * WIDTH, height * HEIGHT)
                found.append((max(scores), scores.index(max(scores)), *box))
        expected.append(found)
    given_output = output.transpose(0, 2, 1) if transposed else output
    step = {"family": "yolov8", "min_score": 0.6, "activation": "sigmoid", "unit": "fraction"}
    check(detect(step, {"y": given_output}), expected)


def grid(strides, centre):
    for stride in strides:
        for row in range(math.ceil(HEIGHT / stride)):
            for column in range(math.ceil(WIDTH / stride)):
                yield (column + centre) * stride, (row + centre) * stride, stride


def test_yolox_counts_in_cells():
    places = list(grid((8, 16, 32), 0))
    output = RNG.normal(size=(2, len(places), 7)).astype("f4")
    output[..., 4:] = RNG.random((2, len(places), 3))
    expected = [
        [
            (o * max(c), c.index(max(c)),
             *centred(x + dx * s, y + dy * s, math.exp(w) * s, math.exp(h) * s))
            for (dx, dy, w, h, o, *c), (x, y, s) in zip(item, places, strict=True)
            if o * max(c) >= 0.4
        ]
        for item in output.tolist()
    ]  # fmt: skip
    check(detect({"family": "yolox", "min_score": 0.4}, {"y": output}), expected)


def distance_outputs(strides, classes, bins):
    scores, boxes = {}, {}
    for stride in strides:
        count = math.ceil(HEIGHT / stride) * math.ceil(WIDTH / stride)
        scores[f"s{stride}"] = RNG.random((2, count, classes)).astype("f4")
        boxes[f"d{stride}"] = RNG.normal(size=(2, count, 4 * bins)).astype("f4") * 2
    return scores, boxes


def distance_reference(scores, boxes, strides, bins, least):
    expected = []
    for item in range(2):
        found = []
        rows = list(itertools.chain(*(array[item].tolist() for array in scores.values())))
        distances = list(itertools.chain(*(array[item].tolist() for array in boxes.values())))
        for row, parts, (x, y, stride) in zip(rows, distances, grid(strides, 0.5), strict=True):
            left, top, right, bottom = (
                stride * sum(at * share for at, share in enumerate(softmax(parts[k : k + bins])))
                for k in range(0, 4 * bins, bins)
            )
            found += [
                (score, index, x - left, y - top, x + right, y + bottom)
                for index, score in enumerate(row)
                if score >= least
            ]
        expected.append(found)
    return expected


def test_distances_of_several_levels():
    strides, bins = (8, 16, 32, 64), 8
    scores, boxes = distance_outputs(strides, 3, bins)
    step = {"family": "dfl", "min_score": 0.8, "multi_label": True}
    expected = distance_reference(scores, boxes, strides, bins, 0.8)
    check(detect(step, {**scores, **boxes}), expected)
    mixed = dict(itertools.chain(*zip(scores.items(), boxes.items(), strict=True)))
    check(detect(step, mixed), expected)
    swapped = {**boxes, **scores}
    check(detect({**step, "outputs": [*scores, *boxes]}, swapped), expected)


def test_as_many_classes_as_numbers_of_a_distance():
    scores, boxes = distance_outputs((8, 16), 32, 8)
    step = {"family": "dfl", "min_score": 0.97, "multi_label": True, "strides": [8, 16]}
    expected = distance_reference(scores, boxes, (8, 16), 8, 0.97)
    check(detect(step, {**scores, **boxes}), expected)


def test_distances_beside_scores_in_one_output():
    strides, bins = (8, 16), 8
    scores, boxes = distance_outputs(strides, 5, bins)
    joined = np.concatenate(
        [
            np.concatenate(pair, axis=2)
            for pair in zip(scores.values(), boxes.values(), strict=True)
        ],
        axis=1,
    )
    step = {"family": "dfl", "min_score": 0.9, "multi_label": True, "strides": list(strides)}
    expected = distance_reference(scores, boxes, strides, bins, 0.9)
    check(detect(step, {"y": joined}), expected)


def test_priors_with_a_background():
    priors = [[[16, 16], [8, 24]], [[40, 30]]]
    places = [
        (x, y, w, h)
        for stride, level in zip((16, 32), priors, strict=True)
        for x, y, _ in grid((stride,), 0.5)
        for w, h in level
    ]
    scores = RNG.normal(size=(2, len(places), 3)).astype("f4") * 2
    offsets = RNG.normal(size=(2, len(places), 4)).astype("f4")
    expected = []
    for item in range(2):
        found = []
        for logits, (dx, dy, dw, dh), (x, y, w, h) in zip(
            scores[item].tolist(), offsets[item].tolist(), places, strict=True
        ):
            shares = softmax(logits)[1:]
            if max(shares) >= 0.5:
                box = centred(x + dx * 0.1 * w, y + dy * 0.1 * h,
                              w * math.exp(0.2 * dw), h * math.exp(0.2 * dh))  # fmt: skip
                found.append((max(shares), shares.index(max(shares)), *box))
        expected.append(found)
    step = {
        "family": "ssd", "strides": [16, 32], "priors": priors, "background": 0,
        "activation": "softmax", "min_score": 0.5,
    }  # fmt: skip
    check(detect(step, {"scores": scores, "boxes": offsets}), expected)
    check(detect(step, {"boxes": offsets, "scores": scores}), expected)


def test_boxes_that_the_model_finished():
    output = RNG.random((2, 9, 6)).astype("f4")
    output[..., 5] = np.arange(9) % 4
    output[0, :4, 4:] = [0, -1]  # padding, as exported models fill up
    expected = [
        [
            (score, int(index), x0 * WIDTH, y0 * HEIGHT, x1 * WIDTH, y1 * HEIGHT)
            for y0, x0, y1, x1, score, index in item
            if score >= 0.2
        ]
        for item in output.tolist()
    ]
    step = {"family": "finished", "min_score": 0.2, "unit": "fraction", "order": "yxyx"}
    check(detect(step, {"y": output}), expected)
    three = {"boxes": output[..., :4], "scores": output[..., 4], "classes": output[..., 5]}
    check(detect(step, three), expected)


def test_heat_maps_of_centres():
    rows, columns = HEIGHT // 4, WIDTH // 4
    heat = RNG.random((2, 1, rows, columns)).astype("f4")
    sizes = RNG.normal(size=(2, 2, rows, columns)).astype("f4")
    offsets = RNG.random((2, 2, rows, columns)).astype("f4")
    expected = []
    for item in range(2):
        found = []
        for row, column in np.ndindex(rows, columns):
            score = float(heat[item, 0, row, column])
            if score >= 0.9:
                height, width = (4 * math.exp(v) for v in sizes[item, :, row, column].tolist())
                down, right = offsets[item, :, row, column].tolist()
                box = centred((column + right + 0.5) * 4, (row + down + 0.5) * 4, width, height)
                found.append((score, 0, *box))
        expected.append(found)
    outputs = {"heat": heat, "sizes": sizes, "offsets": offsets}
    check(detect({"family": "centerface", "min_score": 0.9}, outputs), expected)


def test_candidates_are_the_best_and_bounded():
    output = np.zeros((2, 50, 6), "f4")
    output[..., 4] = 1
    output[..., 5] = np.linspace(0, 1, 50)
    found = detect({"family": "yolov5", "max_candidates": 7, "min_score": 0}, {"y": output})
    expected = np.linspace(0, 1, 50)[::-1][:7]
    for boxes in found.items:
        np.testing.assert_allclose(boxes.scores, expected, rtol=1e-6)


def test_nothing_found_is_no_error():
    output = np.zeros((2, 9, 6), "f4")
    found = detect({"family": "yolov5"}, {"y": output}, "nms", "unletterbox")
    assert [len(boxes.scores) for boxes in found.items] == [0, 0]
    assert found.items[0].boxes.shape == (0, 4)


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(column, bad):
    output = np.ones((2, 3, 6), "f4")
    output[1, 1, column] = bad
    if column < 4 and bad == math.inf:
        found = detect({"family": "finished"}, {"y": output}, "unletterbox")
        assert np.isfinite(found.items[1].boxes).all()
        return
    with pytest.raises(ModelFailed):
        detect({"family": "finished"}, {"y": output}, "unletterbox")


def test_sizes_that_overflow_are_cut_at_the_border():
    places = list(grid((8, 16, 32), 0))
    output = np.zeros((2, len(places), 6), "f4")
    output[0, 0] = [3, 3, 1e9, 800, 1, 1]
    found = detect({"family": "yolox"}, {"y": output}, "nms", "unletterbox")
    assert found.items[0].boxes.tolist() == [[0, 0, WIDTH, HEIGHT]]


def test_a_wrong_number_of_places_is_told():
    output = np.zeros((2, 10, 6), "f4")
    with pytest.raises(ModelFailed, match=r"gave 10 boxes.*64 x 48 .*\[8, 16, 32\] has 64"):
        detect({"family": "yolox"}, {"y": output})


@pytest.mark.parametrize(
    ("step", "shapes", "words"),
    [
        ({"family": "yolov5"}, [(9, 6), (9, 6)], "reads 1 output(s), but there are 2"),
        ({"family": "yolov5"}, [(9, 5)], "5 numbers per box"),
        ({"family": "yolov5"}, [(9, 6, 2)], "[n, boxes, 5 + classes]"),
        ({"family": "yolov8", "outputs": ["z"]}, [(9, 6)], "no output 'z'"),
        ({"family": "yolov8", "outputs": ["a", "a"]}, [(9, 6)], "reads 1 output(s)"),
        ({"family": "dfl"}, [(9, 3), (9, 32), (8, 3), (9, 32)], "no pairs"),
        ({"family": "dfl"}, [(9, 64), (9, 32)], "'bins: 8'"),
        ({"family": "dfl", "bins": 5}, [(9, 3), (9, 32)], "no pairs"),
        ({"family": "dfl", "bins": 9}, [(9, 36)], "no class scores"),
        ({"family": "dfl"}, [(9, ANY), (9, 32)], "open"),
        ({"family": "ssd"}, [(9, 3), (9, 4)], "'priors'"),
        ({"family": "ssd"}, [(9, 3), (9, 5)], "four numbers"),
        (
            {"family": "ssd", "strides": [8], "priors": [[[8, 8]]], "background": 3},
            [(9, 3), (9, 4)],
            "'background' is 3",
        ),
        ({"family": "finished"}, [(9, 7)], "[n, boxes, 6]"),
        ({"family": "finished"}, [(9, 4), (9,)], "three"),
        ({"family": "centerface"}, [(1, 9, 9), (3, 9, 9), (2, 9, 9)], "heat map, sizes"),
        ({"family": "centerface", "strides": [4, 8]}, [(1, 9, 9)] + [(2, 9, 9)] * 2, "one stride"),
    ],
)
def test_outputs_of_another_family_are_found_before_anything_runs(step, shapes, words):
    outputs = [
        (name, Datatype.FP32, (ANY, *shape)) for name, shape in zip("abcd", shapes, strict=False)
    ]
    with pytest.raises(ManifestInvalid) as caught:
        graph_of(pre=PRE, post=[{"decode_boxes": step}], inputs=INPUT, outputs=outputs)
    assert caught.value.param == "post[0]"
    assert words in caught.value.message


def test_labels_are_counted_against_the_models_classes():
    outputs = [("y", Datatype.FP32, (ANY, 9, 8))]
    with pytest.raises(ManifestInvalid, match="2 labels, but the model has 3 classes"):
        graph_of(pre=PRE, post=[{"decode_boxes": "yolov5"}, "label"], inputs=INPUT,
                 outputs=outputs, labels=["a", "b"])  # fmt: skip


def boxes_of(drawn):
    ordered = sorted(drawn, key=lambda row: -row[0])
    return Boxes(
        np.array([row[2] for row in ordered], float).reshape(-1, 4),
        np.array([row[0] for row in ordered], float),
        np.array([row[1] for row in ordered], int),
    )


def overlap(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [max(0.0, c[2] - c[0]) * max(0.0, c[3] - c[1]) for c in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union else 0.0


def box_from(x, y, width, height):
    return (x, y, x + width, y + height)


coordinate = st.integers(0, 12)
candidate = st.tuples(
    st.floats(0, 1), st.integers(0, 2), st.builds(box_from, *[coordinate] * 2, *[coordinate] * 2)
)


@settings(deadline=None)
@given(st.lists(candidate, max_size=25), st.floats(0, 1), st.booleans(), st.integers(1, 30))
def test_suppression_is_the_greedy_rule(drawn, iou, class_wise, limit):
    found = boxes_of(drawn)
    kept: list[int] = []
    for at, box in enumerate(found.boxes):
        rivals = [k for k in kept if not class_wise or found.classes[k] == found.classes[at]]
        if all(overlap(found.boxes[k], box) <= iou + 1e-12 for k in rivals):
            kept.append(at)
    got = suppress(found, iou=iou, limit=limit, class_wise=class_wise).tolist()
    borderline = any(
        abs(overlap(a, b) - iou) < 1e-9 for a, b in itertools.combinations(found.boxes, 2)
    )
    if not borderline:
        assert got == kept[:limit]


@settings(deadline=None)
@given(st.lists(candidate, max_size=25), st.floats(0, 1), st.booleans())
def test_what_stays_neither_overlaps_nor_changes_any_more(drawn, iou, class_wise):
    found = boxes_of(drawn)
    stays = found.take(suppress(found, iou=iou, limit=100, class_wise=class_wise))
    assert len(stays.scores) <= len(found.scores)
    assert (len(stays.scores) > 0) == (len(found.scores) > 0)
    assert stays.scores.tolist() == sorted(stays.scores.tolist(), reverse=True)
    again = stays.take(suppress(stays, iou=iou, limit=100, class_wise=class_wise))
    np.testing.assert_array_equal(again.boxes, stays.boxes)
    for a, b in itertools.combinations(range(len(stays.scores)), 2):
        if not class_wise or stays.classes[a] == stays.classes[b]:
            assert overlap(stays.boxes[a], stays.boxes[b]) <= iou + 1e-9


def test_boxes_come_back_in_pixels_of_the_original():
    graph = graph_of(
        pre=["decode", {"letterbox": 64}, {"layout": "nchw"}],
        post=[{"decode_boxes": "finished"}, "nms", "unletterbox", "label"],
        inputs=[("image", Datatype.FP32, (ANY, 3, 64, 64))],
        outputs=[("y", Datatype.FP32, (ANY, 3, 6))],
        labels=["cat", "dog"],
    )
    file = io.BytesIO()
    Image.new("RGB", (200, 100)).save(file, "PNG")
    inputs, context = graph.before([{"image": file.getvalue()}])
    assert inputs["image"].shape == (1, 3, 64, 64)
    output = np.array(
        [[[0, 16, 32, 48, 0.9, 1], [-50, 0, 99, 99, 0.8, 0], [3, 0, 9, 15, 0.7, 0]]], "f4"
    )
    found = graph.after({"y": output}, context)
    np.testing.assert_allclose(found.items[0].boxes, [[0, 0, 100, 100], [0, 0, 200, 100]])
    assert found.items[0].classes.tolist() == [1, 0]
    assert found.sizes == [(200, 100)]
    assert found.labels == ("cat", "dog")
    fewer = graph.after({"y": output}, context, {"max_objects": 1, "min_score": 0.5})
    assert len(fewer.items[0].scores) == 1
    none = graph.after({"y": output}, context, {"min_score": 0.95})
    assert len(none.items[0].scores) == 0
