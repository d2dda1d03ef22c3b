"""The OpenAI door: `/v1/models`, chat, completions, embeddings, rerank, files and fine-tuning jobs,
in OpenAI's shapes.

Owns: which fields of OpenAI's API are honoured, taken without effect or refused (`fields.FIELDS`),
and how answers, streams and errors are written.
Does not own: what a generation or an embedding is (runtime_api), admission (services/inference).
Extend by: an entry in `fields`, a parser that takes a body apart, a renderer, and an endpoint in
`routes`.
"""
