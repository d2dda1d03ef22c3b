"""Versions side by side, and their cards."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import yaml

from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.evaluations import Evaluation, Measured
from modelry.services.evaluation.comparison import compared
from modelry.services.evaluation.model_card import MOST_CLASSES, model_card
from modelry.testing import samples
from modelry.testing.samples import NOW


def evaluation(number: int, metrics: dict[str, Measured], **changes: object) -> Evaluation:
    one = Evaluation(
        tenant_id=TENANT,
        evaluation_id=f"e{number}",
        model_name="pets",
        version_number=number,
        version_digest="sha256:1",
        dataset="photos@1",
        dataset_digest="sha256:a",
        split="test",
        rows=100,
        metrics=metrics,
        speed={"batch_rows": 32, "p50_ms": 1.5, "p99_ms": 2.5, "rows_per_s": 900.0},
        report_digest="sha256:r",
        job_id=f"e{number}",
        created_at=NOW,
        created_by="k1",
    )
    return replace(one, **changes)  # type: ignore[arg-type] # names of its fields


def test_the_best_is_told_and_whether_chance_could_have_made_it() -> None:
    first = evaluation(1, {"accuracy": Measured(0.8, 0.75, 0.85), "log_loss": Measured(0.5)})
    second = evaluation(2, {"accuracy": Measured(0.9, 0.86, 0.94), "log_loss": Measured(0.7)})
    elsewhere = evaluation(2, {"accuracy": Measured(0.1)}, dataset_digest="sha256:b")
    found = compared(
        [(samples.version(number=1), [first]), (samples.version(number=2), [elsewhere, second])]
    )
    assert found.versions == ("pets@1", "pets@2")
    (split,) = found.splits  # the other one was measured on one of them alone
    assert split.evaluation_ids == ("e1", "e2")
    accuracy, loss = split.metrics
    assert (accuracy.name, accuracy.best, accuracy.is_clear) == ("accuracy", 1, True)
    assert (loss.name, loss.best, loss.is_clear) == ("log_loss", 0, False)


def test_of_differences_between_groups_the_smaller_is_better() -> None:
    name = "equalised_odds_difference[sex]"
    found = compared(
        [
            (samples.version(number=1), [evaluation(1, {name: Measured(0.2, 0.1, 0.3)})]),
            (samples.version(number=2), [evaluation(2, {name: Measured(0.6, 0.5, 0.7)})]),
        ]
    )
    (metric,) = found.splits[0].metrics
    assert (metric.best, metric.is_clear) == (0, True)


def test_versions_that_overlap_are_not_told_apart() -> None:
    first = evaluation(1, {"accuracy": Measured(0.8, 0.75, 0.87)})
    second = evaluation(2, {"accuracy": Measured(0.9, 0.86, 0.94)})
    found = compared([(samples.version(number=1), [first]), (samples.version(number=2), [second])])
    assert not found.splits[0].metrics[0].is_clear


def test_the_newest_evaluation_on_the_same_rows_counts() -> None:
    old = evaluation(1, {"accuracy": Measured(0.1)})
    new = evaluation(1, {"accuracy": Measured(0.2)}, evaluation_id="new",
                     created_at=NOW + timedelta(days=1))  # fmt: skip
    found = compared([(samples.version(number=1), [new, old])] * 2)
    assert found.splits[0].evaluation_ids == ("new", "new")


def test_a_card_has_front_matter_that_hubs_read_and_tables() -> None:
    one = evaluation(1, {"accuracy": Measured(0.8, 0.75, 0.85)})
    report = {
        "per_class": [{"label": "cat | *dog*", "rows": 7, "precision": 0.5}],
        "slices": {"place": [{"value": "in", "rows": 4, "accuracy": 0.25}]},
        "groups": {
            "sex": {
                "favourable": "cat",
                "groups": [
                    {"value": "f", "rows": 40, "is_compared": True, "selection_rate": 0.5},
                    {"value": "m", "rows": 4, "is_compared": False, "selection_rate": None},
                ],
                "metrics": {"demographic_parity_ratio": {"value": 0.5, "low": 0.4, "high": 0.6}},
            }
        },
    }
    card = model_card(samples.version(), [(one, report)])
    _, front, body = card.split("---\n", 2)
    told = yaml.safe_load(front)
    (result,) = told["model-index"][0]["results"]
    assert result["dataset"] == {
        "type": "photos", "name": "photos@1", "split": "test", "revision": "sha256:a",
    }  # fmt: skip
    assert result["metrics"] == [{"type": "accuracy", "value": 0.8}]
    assert "| accuracy | 0.8000 | 0.7500 to 0.8500 |" in body
    assert "| cat \\| \\*dog\\* | 7 | 0.5000 |" in body
    assert "| in | 4 | 0.2500 |" in body
    assert "Groups by `sex`, by who is answered 'cat':" in body
    assert "| f | 40 | 0.5000 |" in body
    assert "| m (not compared) | 4 |  |" in body
    assert "| demographic_parity_ratio | 0.5000 | 0.4000 to 0.6000 |" in body


def test_a_card_says_how_many_classes_it_leaves_out() -> None:
    per_class = [{"label": f"class {at}", "f1": 0.5} for at in range(MOST_CLASSES + 7)]
    one = evaluation(1, {"accuracy": Measured(0.5)})
    card = model_card(samples.version(), [(one, {"per_class": per_class})])
    assert "The report tells of 7 classes more." in card


def test_the_card_of_what_was_never_measured_says_so() -> None:
    assert "It was not evaluated yet." in model_card(samples.version(), [])
