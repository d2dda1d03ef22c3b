"""Datasets: importing files and arrays, deriving versions, looking at rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypedDict, Unpack

from modelry.client.dataset_records import Dataset, DatasetRows, DatasetVersion
from modelry.client.decoding import decode, decode_field, decode_list
from modelry.client.errors import InvalidInput, ServerError, UnexpectedAnswer, told_error
from modelry.client.exchange import Flow, Request, send, send_json, sleep, work
from modelry.client.operations.paths import api
from modelry.client.operations.uploads import Progress, upload_file
from modelry.client.row_files import arrays_file, name_of, sendable

ON_A_HUB = "hf://datasets/"
FIRST_LOOK_S = 0.1
LONGEST_PAUSE_S = 2.0

Step = Mapping[str, Any]
Watch = Callable[[Mapping[str, Any]], None]
"""Told of the job as the server tells it, whenever it is looked at."""


class ImportOptions(TypedDict, total=False):
    """What may be said about an import.

    `format`: csv, parquet, jsonl, chat, image-folder, coco, yolo, idx, parallel-text, npz; told by
    the files by default. `options`: those of the format, such as `{"label": "kind"}`. `split`: the
    share of each split, such as `{"train": 0.8, "test": 0.2}`, of rows that come without splits;
    `seed` and `stratify` (a column) say how they are shared out. `priority`: of the job.
    """

    format: str
    options: Mapping[str, Any]
    split: Mapping[str, float]
    seed: int
    stratify: str
    priority: int


def import_files(
    paths: str | Path | Sequence[str | Path],
    name: str | None = None,
    *,
    progress: Progress | None = None,
    watch: Watch | None = None,
    **asked: Unpack[ImportOptions],
) -> Flow[DatasetVersion]:
    """Import files, or folders of files, as a version of a dataset, and wait for it.

    Args:
        paths: one or several; a folder is sent as one archive. Or a dataset on a hub that the
            server fetches: `hf://datasets/org/repo@revision/folder`.
        name: the dataset's, by default made of the first file's.
        progress: called as files are hashed and sent.
        watch: called with the job while it is waited for.
        asked: see `ImportOptions`.

    Raises:
        RowsInvalid: rows cannot be used; names the first of them.
        InvalidInput: files or options cannot be used.
    """
    job_id = yield from start_import(paths, name, progress=progress, **asked)
    return (yield from await_version(job_id, watch=watch))


def start_import(
    paths: str | Path | Sequence[str | Path],
    name: str | None = None,
    *,
    progress: Progress | None = None,
    **asked: Unpack[ImportOptions],
) -> Flow[str]:
    """As `import_files`, without waiting: the id of the job."""
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    if len(listed) == 1 and is_on_a_hub(listed[0]):
        source = str(listed[0])
        repository = source.removeprefix(ON_A_HUB).split("/")[1:2]
        wanted = name or "".join(repository).partition("@")[0].lower()
        return (yield from _submitted(wanted, {"source": source}, asked))
    with ExitStack() as opened:
        files = yield from work(lambda: opened.enter_context(sendable(listed)))
        wanted = name or name_of(listed[0])
        sent = []
        for file in files:
            digest = yield from upload_file(file, progress=progress)
            sent.append({"name": file.name, "digest": digest})
    return (yield from _submitted(wanted, {"files": sent}, asked))


def is_on_a_hub(path: str | Path) -> bool:
    """Whether something to import is a dataset on a hub, and no file of this machine."""
    return isinstance(path, str) and path.startswith(ON_A_HUB)


def from_arrays(
    name: str,
    x_train: Any,
    y_train: Any = None,
    *,
    x_test: Any = None,
    y_test: Any = None,
    x_validation: Any = None,
    y_validation: Any = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
    **asked: Unpack[ImportOptions],
) -> Flow[DatasetVersion]:
    """Make arrays a version of a dataset, and wait for it; the first axis counts rows.

    Args:
        name: the dataset's.
        x_train: what is predicted from.
        y_train: what is to be predicted; whole numbers or texts are classes.
        x_test: of the split `test`.
        y_test: of the split `test`.
        x_validation: of the split `validation`.
        y_validation: of the split `validation`.
        progress: called as they are hashed and sent.
        watch: called with the job while it is waited for.
        asked: see `ImportOptions`; `split` shares out what has no splits of its own.

    Raises:
        InvalidInput: arrays have different numbers of rows, or hold objects.
    """
    given = {
        "x_train": x_train,
        "y_train": y_train,
        "x_test": x_test,
        "y_test": y_test,
        "x_validation": x_validation,
        "y_validation": y_validation,
    }
    arrays = {key: value for key, value in given.items() if value is not None}
    if set(arrays) <= {"x_train", "y_train"} and "split" in asked:
        arrays = {key.removesuffix("_train"): value for key, value in arrays.items()}
    with ExitStack() as opened:
        file = yield from work(lambda: opened.enter_context(arrays_file(arrays)))
        digest = yield from upload_file(file, progress=progress)
    sent = [{"name": file.name, "digest": digest}]
    job_id = yield from _submitted(name, {"files": sent}, {"format": "npz", **asked})
    return (yield from await_version(job_id, watch=watch))


def _submitted(name: str, what: Mapping[str, Any], asked: ImportOptions) -> Flow[str]:
    body: dict[str, Any] = dict(what)
    body |= {key: asked[key] for key in ("format", "options", "priority") if key in asked}
    if "split" in asked:
        plan: dict[str, Any] = {"fractions": dict(asked["split"]), "seed": asked.get("seed", 0)}
        if "stratify" in asked:
            plan["stratify"] = asked["stratify"]
        body["split"] = plan
    elif "seed" in asked or "stratify" in asked:
        raise InvalidInput("seed and stratify say how to share out; give split too.", param="split")
    told = yield from send_json(Request("POST", api("datasets", name, "imports"), json=body))
    return decode_field(str, told, "job_id")


def derive(
    name: str,
    sources: str | Sequence[str],
    steps: Sequence[Step] = (),
    *,
    priority: int = 0,
    watch: Watch | None = None,
) -> Flow[DatasetVersion]:
    """Make a version of other versions, and wait for it.

    Args:
        name: of the dataset that gets the version; may be that of a source.
        sources: such as `digits@3`, or `digits` for its newest version; several are appended.
        steps: done one after the other: `{"filter": 'label != "other" and width >= 32'}`,
            `{"split": {"fractions": {"train": 0.8, "test": 0.2}, "seed": 1}, "of": "train"}`,
            `{"join": ["train", "validation"], "to": "train"}`, `{"splits": ["train"]}`,
            `{"rename": {"a": "b"}}`, `{"types": {"year": "text"}}`, `{"roles": {"b": "label"}}`,
            `{"classes": {"b": ["no", "yes"]}}`, `{"drop": ["c"]}`, `{"sample": 0.1, "seed": 1}`,
            `{"distinct": True}`.
        priority: of the job.
        watch: called with the job while it is waited for.

    Raises:
        InvalidInput: a step cannot be done; says which, and why.
        RowsInvalid: rows cannot be used; names the first.
    """
    job_id = yield from start_derive(name, sources, steps, priority=priority)
    return (yield from await_version(job_id, watch=watch))


def start_derive(
    name: str, sources: str | Sequence[str], steps: Sequence[Step] = (), *, priority: int = 0
) -> Flow[str]:
    """As `derive`, without waiting: the id of the job."""
    body = {
        "sources": [sources] if isinstance(sources, str) else list(sources),
        "steps": [dict(one) for one in steps],
        "priority": priority,
    }
    told = yield from send_json(Request("POST", api("datasets", name, "derivations"), json=body))
    return decode_field(str, told, "job_id")


def await_version(job_id: str, *, watch: Watch | None = None) -> Flow[DatasetVersion]:
    """Wait for a job that makes a version of a dataset; the version.

    Args:
        job_id: the job's.
        watch: called with the job whenever it is looked at.

    Raises:
        ModelryError: what ended the job.
    """
    pause_s = FIRST_LOOK_S
    while True:
        job = yield from send_json(Request("GET", api("jobs", job_id), idempotent=True))
        if watch is not None:
            watch(job)
        match job.get("state"):
            case "succeeded":
                return (yield from get_dataset(_ref_of(job)))
            case "failed":
                raise told_error(500, job.get("error") or "The job failed.")
            case "cancelled":
                raise ServerError(f"Job {job_id} was cancelled.", code="cancelled")
        yield from sleep(pause_s)
        pause_s = min(LONGEST_PAUSE_S, pause_s * 1.3)


def _ref_of(job: Mapping[str, Any]) -> str:
    outcome = job.get("outcome")
    if not isinstance(outcome, Mapping) or not isinstance(outcome.get("ref"), str):
        raise UnexpectedAnswer("The job made no version of a dataset.")
    return str(outcome["ref"])


def list_datasets() -> Flow[list[Dataset]]:
    """All datasets with their newest versions, by name."""
    body = yield from send_json(Request("GET", api("datasets"), idempotent=True))
    return decode_list(Dataset, body, "datasets")


def list_dataset_versions(name: str) -> Flow[list[DatasetVersion]]:
    """All versions of a dataset, newest first, without statistics and reports."""
    path = api("datasets", name, "versions")
    body = yield from send_json(Request("GET", path, idempotent=True))
    return decode_list(DatasetVersion, body, "versions")


def get_dataset(ref: str) -> Flow[DatasetVersion]:
    """One version, with its statistics and its report.

    Args:
        ref: `digits@3`, or `digits` for its newest version.
    """
    name, number = yield from _resolved(ref)
    path = api("datasets", name, "versions", number)
    return decode(DatasetVersion, (yield from send_json(Request("GET", path, idempotent=True))))


def read_rows(
    ref: str,
    split: str | None = None,
    *,
    offset: int = 0,
    limit: int = 20,
    columns: Sequence[str] | None = None,
    max_value_bytes: int | None = None,
) -> Flow[DatasetRows]:
    """Some rows of a version, to look at.

    Args:
        ref: `digits@3`, or `digits` for its newest version.
        split: whose; by default the first.
        offset: how many rows are passed over.
        limit: how many at most, up to 1000.
        columns: the only ones; by default all.
        max_value_bytes: a longer value is told by its size alone; by default 64 KiB.
    """
    name, number = yield from _resolved(ref)
    request = Request(
        "GET",
        api("datasets", name, "versions", number, "rows"),
        {
            "split": split,
            "offset": offset,
            "limit": limit,
            "column": tuple(columns or ()),
            "max_value_bytes": max_value_bytes,
        },
        idempotent=True,
    )
    return decode(DatasetRows, (yield from send_json(request)))


def delete_dataset(ref: str) -> Flow[None]:
    """Delete `digits@3`, or with `digits` the whole dataset; refused while a job needs it."""
    name, at, number = ref.partition("@")
    path = api("datasets", name, "versions", number) if at else api("datasets", name)
    yield from send(Request("DELETE", path, idempotent=True))


def _resolved(ref: str) -> Flow[tuple[str, str]]:
    """Name and number of a reference; that of the newest version is asked for."""
    name, at, number = ref.partition("@")
    if at:
        return name, number
    dataset = decode(
        Dataset, (yield from send_json(Request("GET", api("datasets", name), idempotent=True)))
    )
    if dataset.newest is None:
        raise InvalidInput(f"Dataset '{name}' has no versions (any more).", param="dataset")
    return name, str(dataset.newest.version)
