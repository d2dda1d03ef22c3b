"""The typed door: images and texts in, plain JSON out, one endpoint per task.

Owns: `/v1/classify`, `/v1/detect`.
Does not own: what a task's items and results are (tasks), other doors.
"""
