"""Scoring: what a version answers on the rows of a split, against what the rows say.

Owns: the work `score`, how rows become items of a task, what an evaluation's report says.
Does not own: the engine that answers (the server asks it), the numbers' definitions (metrics/),
what is kept of a report (services/evaluation).
"""
