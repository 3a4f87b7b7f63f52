"""Networks that learn by competition: the unit nearest to an input wins it."""

from jaxdl.models.competitive.clustering import KMeans

__all__ = ["KMeans"]
