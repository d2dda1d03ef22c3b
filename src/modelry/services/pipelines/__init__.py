"""From a trained version to a served one: jobs `register` and `deploy`, gates, and chains of jobs.

Owns: conditions that a version must meet, what follows when it does, chains as one request.
Does not own: training and measuring, the queue, the catalogue, replicas.
"""
