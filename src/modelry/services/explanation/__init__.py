"""Jobs that explain: one answer that takes longer than a request should, or rows of a dataset.

Owns: jobs that explain one answer (`explain-one`) and where what they ask and find is kept; jobs
that explain rows (`explain`), what is kept of them, who may see what of it, their part of the card.
Does not own: what an explanation is (explaining/), how gradients are followed (gradients/), what is
made of many explanations (studying/), the queue (services/jobs), doors.
"""
