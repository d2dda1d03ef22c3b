"""Encryption at rest: a data key for each tenant, wrapped by a key-encryption key.

Owns: making, keeping, re-wrapping and destroying data keys; sealing of small values under them.
Does not own: where key-encryption keys live (adapters.crypto), the format of large contents
(adapters.blobs), which values are sealed (their services).
Extend by: an entry point of the group `modelry.key_providers`; see `ports.KeyProvider`.
"""
