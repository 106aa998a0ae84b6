"""`python -m regionmir.sandbox.child DESCRIPTOR MEMORY_BYTES CALL_S`: does one call after the other."""

import importlib
import signal
import socket
import sys
from collections.abc import Callable
from typing import Final

from regionmir.sandbox.failures import written
from regionmir.sandbox.limits import limit_cpu, limit_memory
from regionmir.sandbox.wire import Answer, BadMessage, receive, send

_MAX_CALL_BYTES: Final = 1 << 32

Operation = Callable[..., Answer]
"""Takes the values of a call by name, and its bytes as `content` where it has any."""


def main(arguments: list[str]) -> int:
    """Answer calls until the other side closes the connection."""
    descriptor, memory_bytes, call_s = int(arguments[0]), int(arguments[1]), float(arguments[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    limit_memory(memory_bytes)
    with socket.socket(fileno=descriptor) as connection:
        send(connection, Answer({"ready": True}))
        while True:
            try:
                call = receive(connection, _MAX_CALL_BYTES)
                operation = _operation(str(call.values["module"]), str(call.values["name"]))
                send(connection, Answer({"loaded": True}))  # what it imports does not count as decoding
                limit_cpu(call_s)
                answer = _done(operation, call)
                del call
                send(connection, answer)
                del answer
            except (BadMessage, OSError):
                return 0


def _done(operation: Operation, call: Answer) -> Answer:
    try:
        arguments = dict(call.values["arguments"])
        if call.content:
            arguments["content"] = bytes(call.content)
        answer = operation(**arguments)
        return Answer({"answer": answer.values}, answer.content)
    except BaseException as error:  # decoders raise all kinds, one of them no Exception
        return Answer({"error": written(error)})


def _operation(module: str, name: str) -> Operation:
    found: Operation = getattr(importlib.import_module(module), name)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
