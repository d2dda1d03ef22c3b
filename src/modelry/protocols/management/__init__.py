"""The management door, `/api/v1`: everything that is not a prediction.

Owns: its routes, and the JSON shapes of models, versions, deployments and keys.
Does not own: use cases (services), authentication (protocols/http).
"""
