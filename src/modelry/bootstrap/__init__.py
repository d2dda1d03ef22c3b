"""The only place that wires objects: settings in, a running server out.

Owns: which adapter stands behind which port, the order of start and stop, signals, upkeep.
Does not own: any decision about models or requests (services), printing (cli).
"""

from modelry.bootstrap.observer import ServerAddress, StartObserver
from modelry.bootstrap.server import serve

__all__ = ["ServerAddress", "StartObserver", "serve"]
