"""Where key-encryption keys live.

Owns: wrapping data keys under keys in a file, in the environment, or in a key management service.
Does not own: data keys and what they encrypt (services.encryption).
Extend by: an entry point of the group `modelry.key_providers`: a callable without arguments that
gives a `services.encryption.ports.KeyProvider`.
"""
