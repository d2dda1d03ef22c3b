"""What kinds of question models answer, one file per task.

Owns: item and result shapes, default processing, recognising which task a model is for, and the
predictors that workers call.
Does not own: steps (processing), engines (runtimes), how answers are rendered (protocols).
Extend by: one module in `tasks/installed`; nothing else changes.
"""
