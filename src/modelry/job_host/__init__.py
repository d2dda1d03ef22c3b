"""The process that does one piece of work (`runtime_api.work.Work`), shut in as workers are.

Owns: the process, its end of the socket, how works are found by name.
Does not own: what works do (datasets/, training/, services' requests), the server's end
(adapters/processes).
"""
