"""Deep learning as pure functions, for JAX."""

from jaxdl.version import __version__

__all__ = ["__version__"]
