"""Rows: reading foreign files, our own Parquet shards, splits, statistics, validation.

Owns: the columns' forms in memory and on disk, importers, what a validation report says.
Does not own: where shards are kept, who may see them, numbers of versions (services/datasets).
Imported in work processes and in tests; pyarrow is loaded when it is used.
"""
