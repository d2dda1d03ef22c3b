"""Fetches model files from where a manifest's sources point.

Owns: reading paths, package indexes, model hubs and web servers; resuming, digest checks, the
download cache, and the guard that keeps web sources off private networks.
Does not own: the syntax of sources (manifest.sources), inspection of what was fetched
(manifest.inspect), storage of versions (adapters.blobs).
Extend by: a class like `hub.ModelHub` for a new kind of source, named in `fetcher.py`.
"""

from modelry.adapters.hubs.fetcher import CachingFetcher
from modelry.adapters.hubs.types import FetchedFile, FetchPhase, FetchPolicy, FetchProgress

__all__ = ["CachingFetcher", "FetchPhase", "FetchPolicy", "FetchProgress", "FetchedFile"]
