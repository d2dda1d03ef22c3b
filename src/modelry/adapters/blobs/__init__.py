"""Contents of files, addressed by their SHA-256, apart for each tenant.

Owns: the write order that survives a crash, resumable partial contents, file modes.
Does not own: which contents are referred to (rows of the database), when to collect.
Extend by: another class with the methods of `services.catalog.ports.BlobStore`, proved by
`testing.blob_store`.
"""
