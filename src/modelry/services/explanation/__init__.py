"""Gradients of an answer while its caller waits; jobs that explain one answer, or many rows.

Owns: processes that follow gradients for requests, and who may have how many; jobs that explain one
answer (`explain-one`) and where what they ask and find is kept; jobs that explain rows (`explain`),
what is kept of them, who may see what of it, their part of the card.
Does not own: what an explanation is (explaining/), how gradients are followed (gradients/), what is
made of many explanations (studying/), the queue (services/jobs), doors.
"""
