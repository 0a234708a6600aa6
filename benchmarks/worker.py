"""A contestant's process: ``python -m benchmarks.worker NAME THREADS``, started by ``channel.py``.

It answers JSON lines on stdin with JSON lines on stdout.  Before any request it says ``{"ready": info}``, or
``{"absent": reason}`` and ends.  Then, one at a time:

    {"do": "prepare", "case": {...}}       {"done": null}, or {"unsupported": reason}
    {"do": "check", "path": "x.npz"}       {"done": null}; what was computed is in that file
    {"do": "calibrate", "seconds": s}      {"done": number of calls that take about s seconds}
    {"do": "sample", "repeats": n}         {"done": seconds a call, the mean of n}
    {"do": "memory", "case": {...}}        {"done": MiB, or null}; for a fresh process, see ``memory.py``
    {"do": "quit"}                         ends; so does the end of stdin, and on Linux the parent's

Whatever a request raises is answered by {"failed": reason}.
"""

import json
import os
import sys
from typing import Any

from benchmarks.machine import end_with_parent, pin


def main(name: str, threads: int) -> None:
    """Serve the contestant called ``name`` until there are no more requests."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not come between the lines of the protocol

    def send(reply: dict[str, Any]) -> None:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    pin(threads)
    end_with_parent()
    from benchmarks.peers import build  # not before: NumPy counts the cores when it is loaded
    from benchmarks.server import Server, one_line

    try:
        peer = build(name, threads)
    except Exception as error:  # noqa: BLE001 - whatever keeps a library from loading is the reason of its absence
        send({"absent": one_line(error)})
        return
    send({"ready": peer.info})
    server = Server(peer)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "quit":
            return
        send(server.answer(request))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
