"""The conformance kit: suites that prove an adapter or a runtime, and fakes that pass them.

Owns: what every implementation of a port must do, written as tests that are subclassed.
Does not own: tests of one implementation alone (tests/).
Extend by: a suite per port; implementations of others inherit it in their own tests.
"""
