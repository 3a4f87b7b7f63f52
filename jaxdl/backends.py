"""Which form of a layer is traced: the one that is fast on this machine's backend, or the plain one."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_plain = contextvars.ContextVar("plain", default=False)


def compiles_for_cpu() -> bool:
    """Whether a form that is only faster on CPU should be traced now."""
    return not _plain.get() and jax.default_backend() == "cpu"


@contextlib.contextmanager
def plain_forms() -> Iterator[None]:
    """Within it, layers trace the plain form of what they compute: to count its operations, or for another machine."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)
