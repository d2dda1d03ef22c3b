"""What a model card tells of what a version decides by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelry.domain.explanations import DatasetExplanation
from modelry.services.evaluation.model_card import markdown_table, plain

MOST_PARTS = 10
Report = Mapping[str, Any]


def explained_lines(found: Sequence[tuple[DatasetExplanation, Report]]) -> list[str]:
    """Lines of Markdown; none where nothing was explained."""
    if not found:
        return []
    lines = ["## What counts", ""]
    for explanation, report in found:
        lines += _one(explanation, report)
    return lines


def _one(explanation: DatasetExplanation, report: Report) -> list[str]:
    how = f"{explanation.rows} rows, {explanation.method}"
    lines = [f"### {explanation.dataset}, {explanation.split} ({how})", ""]
    if "sentence" in report:
        lines += [plain(report["sentence"]), ""]
    parts = (report.get("importance") or {}).get("parts", ())[:MOST_PARTS]
    if parts:
        rows = [
            [
                plain(one["name"]),
                f"{one['weight']:.4g}",
                f"{one['low']:.4g} to {one['high']:.4g}",
                f"{one['signed']:+.4g}",
            ]
            for one in parts
        ]
        lines += [*markdown_table(["part", "weight", "95 % interval", "with its sign"], rows), ""]
    lines += _permutation(report.get("permutation") or {})
    lines += _randomisation(report.get("randomisation") or {})
    return lines


def _permutation(told: Report) -> list[str]:
    columns: Sequence[Report] = told.get("columns", ())[:MOST_PARTS]
    if not columns:
        return []
    metric = next(name for name in columns[0] if name != "name")
    rows = [
        [plain(one["name"]), f"{one[metric]['value']:+.4g}", _bounds(one[metric])]
        for one in columns
    ]
    return [
        f"How much `{metric}` rises when a column is shuffled:",
        "",
        *markdown_table(["column", "rise", "95 % interval"], rows),
        "",
    ]


def _randomisation(check: Report) -> list[str]:
    stages = [one for one in check.get("stages", ()) if "correlation" in one]
    if not stages:
        return []
    last = stages[-1]["correlation"]
    verdict = {
        True: "The explanations depend on the weights",
        False: "The explanations hardly depend on the weights: do not rely on them",
        None: "It is not known whether the explanations depend on the weights",
    }[check.get("changes")]
    told = (
        f"{verdict}: with {stages[-1]['layers']} of {stages[-1]['of']} layers drawn anew, their "
        f"rank correlation with the version's own is {last['value']:.2f} ({_bounds(last)})."
    )
    return [told, ""]


def _bounds(one: Report) -> str:
    return f"{one['low']:.4g} to {one['high']:.4g}" if "low" in one else "no interval"
