"""Word vectors: pairs and windows by enumeration, PyTorch's bags, the loss in full, and a small language."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import losses, nn, optim
from jaxdl.models.dense import Word2Vec, context_windows, negative_samples, skip_gram_pairs

V, D = 9, 4


# Compiled without what would make it fast: each program runs once.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


def quick(function, *args):
    """The result of a program that runs once."""
    return jax.jit(function, compiler_options=QUICK)(*args)


def applied(model, variables, *xs, **options):
    """`model.apply` as one program."""
    return quick(lambda variables, xs: model.apply(variables, *xs, **options), variables, xs)


def started(model, key, *xs):
    """Fresh parameters."""
    return quick(lambda key: model.init(key, *xs, train=False)["params"], key)


@pytest.fixture
def variables():
    rng = np.random.default_rng(0)
    table = lambda: {"embedding": jnp.float32(rng.normal(size=(V, D)))}  # noqa: E731
    return {"params": {"inputs": table(), "outputs": table()}}


@pytest.mark.parametrize("length", [1, 2, 5, 12])
@pytest.mark.parametrize("window", [1, 3])
def test_pairs_and_windows_by_enumeration(length, window):
    tokens = np.random.default_rng(length).integers(0, V, length)
    centers, contexts = skip_gram_pairs(tokens, window)
    expected = [
        (tokens[i], tokens[j]) for i in range(length) for j in range(length) if 0 < abs(i - j) <= window
    ]
    assert list(zip(centers, contexts)) == expected
    assert centers.dtype == contexts.dtype == np.int32
    if length > window:
        assert len(centers) == 2 * length * window - window * (window + 1)
    around, mask, middle = context_windows(tokens, window)
    np.testing.assert_array_equal(middle, tokens)
    for i in range(length):
        places = [*range(i - window, i), *range(i + 1, i + window + 1)]
        assert mask[i].tolist() == [0 <= j < length for j in places]
        assert around[i].tolist() == [tokens[j] if 0 <= j < length else 0 for j in places]


def test_scores_are_products_of_the_two_tables(variables):
    words, candidates = jnp.array([2, 0, 8]), jnp.array([[1, 1, 3], [0, 5, 6], [7, 8, 2]])
    e, o = (np.float64(variables["params"][name]["embedding"]) for name in ("inputs", "outputs"))
    some = applied(Word2Vec(V, D), variables, words, candidates, train=False)
    np.testing.assert_allclose(some, np.einsum("bd,bcd->bc", e[words], o[candidates]), rtol=1e-5, atol=1e-6)
    every = applied(Word2Vec(V, D), variables, words, train=False)
    np.testing.assert_allclose(every, e[words] @ o.T, rtol=1e-5, atol=1e-6)


def test_cbow_equals_torch_bags(variables):
    torch = pytest.importorskip("torch")
    around, mask, _ = context_windows(np.array([3, 1, 4, 1, 5, 8, 2, 6]), 2)
    flat = torch.tensor(around[mask])
    starts = torch.tensor(np.concatenate([[0], np.cumsum(mask.sum(1))[:-1]]))
    table = torch.tensor(np.array(variables["params"]["inputs"]["embedding"]))
    bags = torch.nn.functional.embedding_bag(flat, table, starts, mode="mean").numpy()
    scores = applied(Word2Vec(V, D), variables, around, train=False, mask=mask)
    np.testing.assert_allclose(
        scores, bags @ np.asarray(variables["params"]["outputs"]["embedding"]).T, rtol=1e-5, atol=1e-5
    )
    nothing = applied(Word2Vec(V, D), variables, around[:1], train=False, mask=np.zeros((1, 4), bool))
    np.testing.assert_array_equal(nothing, np.zeros((1, V)))


def test_start_of_the_original(key):
    params = Word2Vec(500, 10).init(key, jnp.arange(3), train=False)["params"]
    np.testing.assert_array_equal(params["outputs"]["embedding"], np.zeros((500, 10)))
    assert 0.0499 < np.abs(params["inputs"]["embedding"]).max() <= 0.05


def test_drawn_words_follow_their_frequencies(key):
    counts = np.array([0, 50, 1, 0, 200, 16, 0])
    drawn = np.asarray(jax.jit(lambda key: negative_samples(key, counts, (100, 500)))(key))
    assert drawn.dtype == np.int32
    share = np.bincount(drawn.ravel(), minlength=7) / drawn.size
    p = counts**0.75 / np.sum(counts**0.75)
    assert (share[counts == 0] == 0).all()
    np.testing.assert_allclose(share, p, atol=4 * np.sqrt(0.25 / drawn.size))
    even = np.asarray(negative_samples(key, counts, (10_000,), power=0.0))
    assert set(even) == {1, 2, 4, 5}
    # The largest number below 1 takes the last word that occurs, not one beyond it.
    assert (np.asarray(negative_samples(key, np.array([3, 0]), (1000,))) == 0).all()


def test_expected_negative_sampling_loss_by_enumeration(variables, key):
    """The mean of the trained loss over drawn words is the paper's objective with its expectation spelled out."""
    counts = np.arange(1, V + 1)
    center, context, k = 2, 5, 3
    e, o = (np.float64(variables["params"][name]["embedding"]) for name in ("inputs", "outputs"))
    p = counts**0.75 / np.sum(counts**0.75)
    scores = o @ e[center]
    expected = np.log1p(np.exp(-scores[context])) + k * np.sum(p * np.log1p(np.exp(scores)))

    @jax.jit
    def sampled(key):
        drawn = negative_samples(key, counts, (40_000, k))
        candidates = jnp.concatenate([jnp.full((40_000, 1), context), drawn], axis=1)
        logits = Word2Vec(V, D).apply(variables, jnp.full(40_000, center), candidates, train=True)
        labels = jnp.zeros_like(logits).at[:, 0].set(1)
        return jnp.mean(jnp.sum(losses.sigmoid_binary_cross_entropy(logits, labels), axis=1))

    np.testing.assert_allclose(sampled(key), expected, rtol=0.02)


@pytest.mark.parametrize("form", ["skip-gram", "cbow"])
def test_words_of_a_kind_come_to_lie_together(form, key):
    """Sentences "article animal verb", with two articles, three animals and three verbs at random: no word of a kind
    ever stands in another place, so words of one kind have the same neighbours, and only they."""
    rng = np.random.default_rng(0)
    kinds = np.array([0, 0, 1, 1, 1, 2, 2, 2])
    text = np.stack([rng.choice(np.flatnonzero(kinds == k), 400) for k in range(3)], axis=1).ravel()
    model = Word2Vec(8, 6)
    if form == "skip-gram":
        words, targets = skip_gram_pairs(text, 1)
        mask = None
    else:
        words, mask, targets = context_windows(text, 1)
    counts = np.bincount(text)

    def loss(params, key):
        candidates = jnp.concatenate(
            [targets[:, None], negative_samples(key, counts, (len(targets), 4))], axis=1
        )
        logits = model.apply({"params": params}, words, candidates, train=True, mask=mask)
        labels = jnp.zeros_like(logits).at[:, 0].set(1)
        return jnp.mean(jnp.sum(losses.sigmoid_binary_cross_entropy(logits, labels), axis=1))

    tx = optim.adam(0.03)

    def step(carry, key):
        params, opt_state = carry
        updates, opt_state = tx.update(jax.grad(loss)(params, key), opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    start = started(model, key, words[:1])
    (params, _), _ = jax.jit(
        lambda params: jax.lax.scan(step, (params, tx.init(params)), jax.random.split(key, 120))
    )(start)
    table = params["inputs" if form == "skip-gram" else "outputs"]["embedding"]
    unit = np.asarray(table / jnp.linalg.norm(table, axis=1, keepdims=True))
    cosine = unit @ unit.T
    same = (kinds[:, None] == kinds[None]) & ~np.eye(8, dtype=bool)
    assert cosine[same].min() > cosine[kinds[:, None] != kinds[None]].max() + 0.3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(
            lambda v: Word2Vec(V, D).apply(v, jnp.ones(3), train=False), TypeError, "words must be", id="float"
        ),
        pytest.param(
            lambda v: Word2Vec(V, D).apply(v, jnp.array([1]), train=False, mask=jnp.ones((1, 1), bool)),
            ValueError, "mask must be None", id="mask",
        ),
        pytest.param(
            lambda v: Word2Vec(V, D).apply(v, jnp.array([1, 2]), jnp.array([[1]]), train=False),
            ValueError, r"candidates must have shape \(2, any\)", id="rows",
        ),
        pytest.param(lambda v: skip_gram_pairs([0.5], 1), TypeError, "tokens must be integers", id="tokens"),
        pytest.param(lambda v: skip_gram_pairs([1, 2], 0), ValueError, "window must be at least 1", id="window"),
        pytest.param(lambda v: context_windows([[1, 2]], 1), ValueError, "tokens must have rank 1", id="rank"),
        pytest.param(
            lambda v: negative_samples(jax.random.key(0), jnp.ones((2, 2)), (3,)), ValueError, "counts", id="counts"
        ),
    ],
)  # fmt: skip
def test_errors(call, error, message, variables):
    with pytest.raises(error, match=message):
        call(variables)


def test_words_outside_the_vocabulary_are_nan(variables):
    scores = applied(Word2Vec(V, D), variables, jnp.array([V]), train=False)
    assert np.isnan(scores).all()
    assert nn.sigmoid(applied(Word2Vec(V, D), variables, jnp.array([0]), train=False)).all()
