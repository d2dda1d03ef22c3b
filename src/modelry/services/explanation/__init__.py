"""Explanations that take longer than a request should: jobs that explain.

Owns: jobs that explain one answer (`explain-one`), and where what they ask and find is kept.
Does not own: what an explanation is (explaining/), how gradients are followed (gradients/), the
queue (services/jobs), doors.
"""
