"""What goes between the server and a process of work: `runtime_api.frames`, and open files.

Files go to the process alone, as open memory files beside the frame that tells of them, and so
both ways: to read one, the process is given it open and sealed; to hand one over, it is given an
empty one to write into, which the server seals before it reads. So the server never opens what
the process names, nor reads what the process can still change.

Headers by kind (JSON objects); `call_id` ties an answer to what it answers:

    ORDER     {"work", "limits", "stays"}             -> BEGUN, READY, then OUTCOME | FAILED
    STOP      {}                                      the work is to end soon
    INPUT     {}  and a file                          answers OPEN
    PLACE     {}  and an empty file                   answers PUT
    ANSWER    what the server says, and a body        answers READY, WRITTEN, ASK
    FAULT     an error                                answers OPEN, PUT, WRITTEN, ASK

    BEGUN     {"sandbox": report}                     it is shut in, the work begins
    READY     {}   libraries are imported             -> ANSWER {"request"}
    ALIVE     {}                                      now and then
    OPEN      {"name"}                                -> INPUT | FAULT
    PUT       {"name"}                                -> PLACE | FAULT
    WRITTEN   {"about"}   the place is filled         -> ANSWER | FAULT
    CLOSE     {}   the input or the place of this call id is not needed any more
    ASK       {"what", "header"} and a body           -> ANSWER | FAULT
    PROGRESS  {"done", "total", "unit", "phase"}
    METRICS   {"step", "values"}
    LOG       {"line"}
    OUTCOME   {"outcome", "stays"}                    the last frame of an order
    FAILED    an error, and "stays"                   the last frame of an order

The process ends after the last frame, unless it was ordered to stay and says that it does. Then it
sends READY again, and whatever is asked next comes as the answer to that.
"""

from __future__ import annotations

from enum import IntEnum


class WorkKind(IntEnum):
    """What a frame is; below 64 from the server to the process, from 64 on the other way."""

    ORDER = 1
    STOP = 2
    INPUT = 3
    PLACE = 4
    ANSWER = 5
    FAULT = 6
    BEGUN = 64
    ALIVE = 65
    OPEN = 66
    PUT = 67
    WRITTEN = 68
    CLOSE = 69
    ASK = 70
    PROGRESS = 71
    METRICS = 72
    LOG = 73
    OUTCOME = 74
    FAILED = 75
    READY = 76


EXIT_OUT_OF_MEMORY = 137
"""How a process ends that uses more memory than it may; its last line tells how much."""

WITH_FILE = frozenset({WorkKind.INPUT, WorkKind.PLACE})

MAX_FRAME_BYTES = 256 * 2**20
"""Of a frame from the process; more ends it. A question's body must fit, files go otherwise."""
MAX_LINE_CHARACTERS = 8_000
"""Of a line of the log; what is beyond is told as a count."""
