"""The operators' door: probes, Prometheus metrics, the OpenAPI document and its page.

Owns: `/healthz`, `/readyz`, `/metrics`, `/openapi.json`, `/docs`.
Does not own: what is measured (services/inference), other doors' endpoints.
"""
