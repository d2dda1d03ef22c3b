"""Explanations that follow the gradient of a score: how it changes as its input does.

Owns: a served ONNX file as torch functions (`twin`), the check that both answer alike (`parity`),
integrated gradients and Grad-CAM on it, the work `explain-one`.
Does not own: what an explanation is, how it is told and measured (explaining/); what an operator
does in torch (training/backbones); doors, jobs, permissions.
Imported in processes of work alone, `contract` excepted.
"""
