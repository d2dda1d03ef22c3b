"""What every chat engine needs, whichever library generates the tokens.

Owns: checking requests, filling in the manifest's defaults, JSON schemas under a budget, tools
for models and templates that know none, and turning text into events.
Does not own: sampling, templates, slots: those are the engine's.
Extend by: nothing to plug in; a runtime plans a request with `plan.plan_chat` and writes what it
generates into an `answer.Answer`.
"""
