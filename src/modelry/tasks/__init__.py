"""What kinds of question models answer, one file per task.

Owns: item and result shapes, default processing, recognising which task a model is for.
Does not own: steps (processing), engines (runtimes), how answers are rendered (protocols).
Extend by: one module here; nothing else changes.
"""
