"""How good answers are: one file per kind of task, numbers in and numbers out.

Used while a model is trained and when a version is evaluated, so that both mean the same.
"""
