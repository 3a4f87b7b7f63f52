"""Graphs with communities, made from a key."""

import jax
import jax.numpy as jnp

from jaxdl import checks
from jaxdl.data import draws
from jaxdl.types import Array


def graphs(
    key: Array,
    size: int,
    *,
    num_nodes: int = 34,
    num_communities: int = 2,
    inside: float = 0.25,
    between: float = 0.035,
) -> dict[str, Array]:
    """Undirected graphs whose nodes know their own kind better: the stochastic block model.

    P(edge between i and j) = inside if y_i = y_j, else between;  all edges independent, communities of equal size

    The default has the size of Zachary's karate club: 34 nodes, and 78.1 edges on average. To someone who knows all
    other nodes' communities, though not how many belong to each, the best guess of a node's is that with the larger
    sum of log(inside / between) over its neighbours in it and log((1 - inside) / (1 - between)) over the others in
    it; at the default that is right for 98.6 % of the nodes. From the edges alone, every fast method known
    finds communities in large graphs only if (a - b)^2 > k (a + (k - 1) b), with a = inside V and b = between V.

    Args:
      key: PRNG key.
      size: graphs N, at least 1.
      num_nodes: V, at least num_communities.
      num_communities: k, at least 2.
      inside: in [0, 1].
      between: in [0, 1].

    Returns:
      `adjacency` float32 [N, V, V], 0 or 1, symmetric, with an empty diagonal; `y` int32 [N, V], in [0, k), in random
      order, as many nodes of each to within one.

    Source: Holland, Laskey and Leinhardt (1983); Decelle, Krzakala, Moore and Zdeborova (2011) for the threshold.
    """
    checks.at_least(1, size=size)
    checks.at_least(2, num_communities=num_communities)
    checks.at_least(num_communities, num_nodes=num_nodes)
    checks.between(0, 1, inside=inside, between=between)
    order_key, edge_key = jax.random.split(key)
    order = jnp.argsort(draws.uniform(order_key, (size, num_nodes)), axis=1)
    y = order.astype(jnp.int32) % num_communities
    probability = jnp.where(y[:, :, None] == y[:, None, :], inside, between)
    drawn = draws.uniform(edge_key, probability.shape) < probability
    upper = jnp.triu(drawn, 1)
    return {"adjacency": (upper | jnp.swapaxes(upper, 1, 2)).astype(jnp.float32), "y": y}
