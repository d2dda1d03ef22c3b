"""Datasets: versions of rows, made by jobs, read by other services.

Owns: versions and their shards, the jobs that import and derive them, looking at rows.
Does not own: what a row is and how files are read (datasets/), where contents are kept
(services/catalog), how jobs run (services/jobs).
"""
