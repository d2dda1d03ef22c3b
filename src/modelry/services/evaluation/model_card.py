"""Model cards: Markdown with the front matter that model hubs read.

Source: the `model-index` of Hugging Face's model cards; M. Mitchell et al., Model Cards for Model
Reporting (FAT* 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from modelry.domain.catalog import Version
from modelry.domain.evaluations import Evaluation, Measured

MOST_CLASSES = 50


def model_card(
    version: Version, evaluations: Sequence[tuple[Evaluation, Mapping[str, Any]]]
) -> str:
    """The card of a version.

    Args:
        version: which.
        evaluations: of it, each with its report.
    """
    front = yaml.safe_dump(_front(version, [one for one, _ in evaluations]), sort_keys=False,
                           allow_unicode=True)  # fmt: skip
    lines = [
        "---",
        front.rstrip("\n"),
        "---",
        "",
        f"# {version.ref}",
        "",
        f"- task: {version.task}",
        f"- runtime: {version.runtime}",
        f"- digest: `{version.digest}`",
        f"- made: {version.created_at:%Y-%m-%d %H:%M} UTC, source: {plain(version.source)}",
        "",
        "## Files",
        "",
        *markdown_table(
            ["role", "file", "bytes", "digest"],
            [
                [one.role, plain(one.name), str(one.size_bytes), f"`{one.digest[:23]}…`"]
                for one in version.files
            ],
        ),
        "",
        "## Evaluation",
        "",
    ]
    if not evaluations:
        lines += ["It was not evaluated yet.", ""]
    for evaluation, report in evaluations:
        lines += _evaluation(evaluation, report)
    return "\n".join(lines)


def _front(version: Version, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    results = [
        {
            "task": {"type": version.task},
            "dataset": {
                "type": one.dataset.partition("@")[0],
                "name": one.dataset,
                "split": one.split,
                "revision": one.dataset_digest,
            },
            "metrics": [
                {"type": name, "value": round(metric.value, 6)}
                for name, metric in one.metrics.items()
            ],
        }
        for one in evaluations
    ]
    front: dict[str, Any] = {"library_name": "modelry", "pipeline_tag": version.task}
    if results:
        front["model-index"] = [{"name": version.model_name, "results": results}]
    return front


def _evaluation(evaluation: Evaluation, report: Mapping[str, Any]) -> list[str]:
    lines = [
        f"### {evaluation.dataset}, {evaluation.split} ({evaluation.rows} rows)",
        "",
        *markdown_table(
            ["metric", "value", "95 % interval"],
            [
                [name, f"{one.value:.4f}", _interval(one)]
                for name, one in evaluation.metrics.items()
            ],
        ),
        "",
    ]
    per_class: Sequence[Mapping[str, Any]] = report.get("per_class", ())
    if per_class:
        heads = [name for name in per_class[0] if name != "label"]
        rows = [
            [plain(one["label"]), *(_number(one[name]) for name in heads)]
            for one in per_class[:MOST_CLASSES]
        ]
        lines += [*markdown_table(["class", *heads], rows), ""]
        if len(per_class) > len(rows):
            lines += [f"The report tells of {len(per_class) - len(rows)} classes more.", ""]
    for column, slices in report.get("slices", {}).items():
        heads = [name for name in slices[0] if name != "value"] if slices else []
        rows = [[plain(one["value"]), *(_number(one[name]) for name in heads)] for one in slices]
        lines += [f"By `{plain(column)}`:", "", *markdown_table(["value", *heads], rows), ""]
    for column, compared in report.get("groups", {}).items():
        lines += _groups(column, compared)
    speed = evaluation.speed
    if speed:
        lines += [
            (
                f"Speed: {speed['rows_per_s']} rows/s; a batch of {speed['batch_rows']} took "
                f"{speed['p50_ms']} ms (median), {speed['p99_ms']} ms (p99)."
            ),
            "",
        ]
    return lines


def _groups(column: str, compared: Mapping[str, Any]) -> list[str]:
    """How the groups of a sensitive column fare."""
    favourable = compared.get("favourable")
    what = f", by who is answered '{plain(favourable)}'" if favourable is not None else ""
    groups: Sequence[Mapping[str, Any]] = compared["groups"]
    heads = [name for name in groups[0] if name not in ("value", "is_compared")] if groups else []
    rows = [
        [
            plain(one["value"]) + ("" if one["is_compared"] else " (not compared)"),
            *(_number_or_metric(one.get(name)) for name in heads),
        ]
        for one in groups
    ]
    metrics = [
        [name, f"{one['value']:.4f}", _interval(Measured.from_wire(one))]
        for name, one in compared["metrics"].items()
    ]
    lines = [
        f"Groups by `{plain(column)}`{what}:",
        "",
        *markdown_table(["group", *heads], rows),
        "",
    ]
    if metrics:
        lines += [*markdown_table(["fairness", "value", "95 % interval"], metrics), ""]
    return lines


def _number_or_metric(value: Any) -> str:
    if isinstance(value, Mapping):
        found = Measured.from_wire(value)
        told = _interval(found)
        return f"{found.value:.4f}" + (f" ({told})" if told else "")
    return _number(value)


def _interval(one: Measured) -> str:
    return "" if one.low is None or one.high is None else f"{one.low:.4f} to {one.high:.4f}"


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def plain(text: str) -> str:
    """Text that stays within its cell and is no mark-up."""
    kept = "".join(character if character.isprintable() else " " for character in text)
    for mark in "\\|`*_<>[]":
        kept = kept.replace(mark, f"\\{mark}")
    return kept


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines of Markdown."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
