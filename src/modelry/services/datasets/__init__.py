"""Datasets: immutable versions of rows, how they come to be, who may see them.

Owns: names and numbers of versions, imports and derivations as jobs, previews.
Does not own: how rows are read and written (datasets/), the process in which they are.
"""
