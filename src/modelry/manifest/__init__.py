"""`model.yaml` and what can be known of model files without loading them.

Owns: the manifest's schema and its errors with line and column, the syntax of sources, the
inspection of files (format, signature, refusals), digests, and the starter catalogue as data.
Does not own: fetching (adapters.hubs), storage, processing steps and tasks (their names and
parameters are checked by the layers above), engines.
Extend by: a reader in `inspect/` for another file format; an entry in `catalogue/` for another
starter model.
"""
