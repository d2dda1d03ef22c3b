"""The typed door: images and texts in, plain JSON out, one endpoint per kind of question.

Owns: `/v1/classify`, `/v1/detect`, `/v1/tabular`, `/v1/translate`, `/v1/summarize`,
`/v1/explanations`; how items and options are written in raw bodies, multipart forms and JSON;
KServe's `/v1/models/{model}:predict` and `:explain`, a door of its own over the same questions.
Does not own: what a task's items, options and results are (`modelry.tasks` declares them, and
requests are read by those declarations), other doors.
Extend by: an entry in `routes.ENDPOINTS` for a task that has items.
"""

from modelry.protocols.tasks.kserve import build_kserve_door
from modelry.protocols.tasks.routes import build_door

__all__ = ["build_door", "build_kserve_door"]
