"""Shuts a process in before it touches a model or foreign data: `confine`.

Owns: what is taken from the process (rights, system calls, files, network), in which order, and
the report on what the kernel granted; how a process stands back behind others. Standard library
alone; runs while the process has one thread.
Does not own: which level is demanded (settings, services), cgroups and the worker's environment
(adapters/processes).
"""
