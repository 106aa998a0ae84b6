"""Work on bytes that nobody vouches for, done in child processes with limits: the death of one costs one instance.

`shared` is the sandbox of this process; what runs inside is a function of a module, given values that JSON can hold.
"""

from regionmir.sandbox.limits import Limits
from regionmir.sandbox.pool import Sandbox, limit_decoding, shared
from regionmir.sandbox.wire import Answer

__all__ = ["Answer", "Limits", "Sandbox", "limit_decoding", "shared"]
