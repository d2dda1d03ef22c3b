"""Contents of files, addressed by their SHA-256, encrypted, apart for each tenant.

Owns: the write order that survives a crash, resumable partial contents, the format of
encrypted files, file modes, decrypted contents in memory.
Does not own: which contents are referred to (rows of the database), when to collect,
keys of tenants.
Extend by: another class with the methods of `services.catalog.ports.BlobStore`, proved by
`testing.blob_store`.
"""
