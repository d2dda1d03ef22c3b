"""Evaluation: how good a version is on a split of a dataset, through the engine that serves it.

Owns: the job that measures, what is kept of it, comparisons, the model card.
Does not own: the metrics (metrics/), the engine (services/deployments, services/inference).
"""
