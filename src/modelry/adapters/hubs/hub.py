"""A model hub that speaks the Hugging Face API: names resolve by `huggingface_hub`.

The bytes come by our own transfer, so that they resume, stop and are counted like all others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import httpx2

from modelry.adapters.hubs.cache import DownloadCache
from modelry.adapters.hubs.promises import mismatch
from modelry.adapters.hubs.transfer import Transfer, reason_of
from modelry.adapters.hubs.types import DatasetFiles, FetchPhase, FetchPolicy, Report
from modelry.adapters.hubs.web import WebClient, origin_of
from modelry.domain.errors import PayloadTooLarge, SourceUnavailable
from modelry.manifest.nodes import shorten
from modelry.manifest.sources import DATASETS, DatasetSource, HubSource

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _Found(NamedTuple):
    """What the hub says of a file: at which commit, where, and its content if it is a large one."""

    source: HubSource
    url: str
    digest: str | None


class ModelHub:
    """Files of repositories on a hub.

    Args:
        policy: sizes, times, the hub's address and token.
        cache: where unfinished downloads lie.
    """

    def __init__(self, policy: FetchPolicy, cache: DownloadCache) -> None:
        self._policy = policy
        self._cache = cache

    def resolve(self, source: HubSource, report: Report) -> tuple[HubSource, bool]:
        """The source at a fixed commit, where its content does not change.

        Raises:
            SourceUnavailable: the hub does not answer, or has no such file for this token.
        """
        report(FetchPhase.RESOLVING)
        if _COMMIT.fullmatch(source.revision):
            return source, True
        return self._find(source, self._token()).source, True

    @contextmanager
    def download(self, source: HubSource, report: Report) -> Iterator[tuple[Path, str]]:
        """The file (to be moved away within the block) and its digest.

        Raises:
            SourceUnavailable: the hub does not answer, or has no such file for this token.
            DigestMismatch, PayloadTooLarge, DeadlineExceeded: see `Transfer`.
        """
        token = self._token()
        found = self._find(source, token)
        if source.digest is not None and found.digest not in (None, source.digest):
            raise mismatch(source, found.digest)
        secret = {} if token is None else {origin_of(found.url): f"Bearer {token}"}
        web = WebClient(self._policy, guarded=False, authorization=secret)
        transfer = Transfer(
            web=web,
            url=found.url,
            partial=self._cache.partial(str(found.source)),
            what=f"{shorten(source.path)} of {source.repository}",
            policy=self._policy,
            digest=found.digest or source.digest,
            report=report,
        )
        try:
            yield transfer.partial, transfer.run()
        finally:
            web.close()

    def files_of(self, source: DatasetSource) -> DatasetFiles:
        """The files of a dataset's repository, at the commit that it is at now.

        Raises:
            SourceUnavailable: the hub does not answer, or has no such repository for this token.
        """
        from huggingface_hub import HfApi

        token = self._token()
        hub = HfApi(self._policy.hub_endpoint, token=token if token is not None else False)
        named = source.file(source.revision, source.path or "*")
        with _told_of(named):
            told = hub.dataset_info(
                source.repository,
                revision=source.revision,
                timeout=self._policy.connect_timeout_s,
            )
        if not _COMMIT.fullmatch(told.sha or ""):
            raise _unavailable(named, "the hub names no commit for it; is it a model hub?")
        paths = [one.rfilename for one in told.siblings or ()]
        return DatasetFiles(str(told.sha), tuple(sorted(paths)))

    def _token(self) -> str | None:
        if self._policy.hub_token is not None:
            return self._policy.hub_token
        from huggingface_hub import get_token

        return get_token()

    def _find(self, source: HubSource, token: str | None) -> _Found:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        is_dataset = source.repository.startswith(DATASETS)

        def url_at(revision: str) -> str:
            return hf_hub_url(
                source.repository.removeprefix(DATASETS) if is_dataset else source.repository,
                source.path,
                repo_type="dataset" if is_dataset else None,
                revision=revision,
                endpoint=self._policy.hub_endpoint,
            )

        with _told_of(source):
            facts = get_hf_file_metadata(
                url_at(source.revision),
                token=token if token is not None else False,
                timeout=self._policy.connect_timeout_s,
                endpoint=self._policy.hub_endpoint,
                library_name="modelry",
            )
        if facts.size is not None and facts.size > self._policy.max_bytes:
            raise PayloadTooLarge(
                f"{shorten(source.path)} of {source.repository} has {facts.size} bytes; at most "
                f"{self._policy.max_bytes} are accepted.",
                param="source",
            )
        commit = facts.commit_hash or ""
        if not _COMMIT.fullmatch(commit):
            raise _unavailable(source, "the hub names no commit for it; is it a model hub?")
        digest = f"sha256:{facts.etag}" if _SHA256.fullmatch(facts.etag or "") else None
        return _Found(source.at(commit), url_at(commit), digest)


@contextmanager
def _told_of(source: HubSource) -> Iterator[None]:
    """What goes wrong while the hub is asked is told as one kind of error."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.HFValidationError, errors.OfflineModeIsEnabled) as error:
        raise _unavailable(source, str(error)) from None
    except errors.HfHubHTTPError as error:
        raise _unavailable(source, _told(error, source)) from None
    except httpx2.HTTPError as error:
        raise _unavailable(source, reason_of(error)) from None
    except (ValueError, TypeError, KeyError):
        raise _unavailable(source, "the answer is none of a model hub's.") from None


def _unavailable(source: HubSource, why: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"{shorten(str(replace(source, digest=None)), 200)} could not be found: {why}",
        param="source",
    )


def _told(error: Exception, source: HubSource) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (
            "the repository is gated. Accept its terms on the hub, and give this server a token "
            "of that account (HF_TOKEN)."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"the repository has no revision {shorten(source.revision)}; 'main' is the usual one."
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"the repository has no file {shorten(source.path)} at this revision."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "there is no such repository, or it is private and this server has no token for it "
            "(HF_TOKEN)."
        )
    response = getattr(error, "response", None)
    status = "an error" if response is None else str(response.status_code)
    return f"the hub answered {status}; try again later, or check HF_ENDPOINT."
