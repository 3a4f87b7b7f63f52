"""What fits is copied, what is frozen stays, and everything else is said."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxdl import optim
from jaxdl.train.gradients import backprop
from jaxdl.train.state import create_train_state
from jaxdl.train.transferring import freeze_parameters, transfer
from jaxdl.train.update import make_update


def tree(**sizes):
    """Nested parameters from "a__b"=shape, filled with distinct numbers."""
    out, start = {}, 0
    for name, shape in sizes.items():
        *way, last = name.split("__")
        inner = out
        for step in way:
            inner = inner.setdefault(step, {})
        n = int(np.prod(shape))
        inner[last] = jnp.arange(start, start + n, dtype=jnp.float32).reshape(shape)
        start += n
    return out


def negative(params):
    return jax.tree.map(lambda x: -1 - x, params)


class TestTransfer:
    source = tree(body__kernel=(2, 3), body__bias=(3,), head__kernel=(3, 10), head__bias=(10,), old=(1,))
    target = negative(
        tree(body__kernel=(2, 3), body__bias=(3,), head__kernel=(3, 4), head__bias=(4,), new=(2,))
    )

    def test_copies_what_fits_and_reports_the_rest(self):
        params, report = transfer(self.source, self.target)
        chex.assert_trees_all_equal(params["body"], self.source["body"])
        chex.assert_trees_all_equal(params["head"], self.target["head"])
        chex.assert_trees_all_equal(params["new"], self.target["new"])
        assert report.copied == ("body/bias", "body/kernel")
        assert report.missing == ("new",)
        assert report.mismatched == (("head/bias", "(10,)", "(4,)"), ("head/kernel", "(3, 10)", "(3, 4)"))
        assert report.unused == ("old",)
        assert report.num_values == 9

    def test_the_report_reads_well(self):
        assert str(transfer(self.source, self.target)[1]).splitlines() == [
            "copied 2 parameters with 9 values",
            "  missing in source: new",
            "  does not fit: head/bias is (10,) in source, (4,) in target",
            "  does not fit: head/kernel is (3, 10) in source, (3, 4) in target",
            "  unused in source: old",
        ]

    def test_changes_and_shares_nothing(self):
        before = jax.device_get((self.source, self.target))
        params, _ = transfer(self.source, self.target)
        jax.jit(lambda p: jax.tree.map(lambda x: x + 1, p), donate_argnums=0)(params)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(params))
        chex.assert_trees_all_equal(jax.device_get((self.source, self.target)), before)

    @pytest.mark.parametrize(
        "rename",
        [
            pytest.param({"body": "encoder/body"}, id="prefix"),
            pytest.param({"body": "encoder/body", "body/bias": "encoder/shift"}, id="longest-prefix"),
            pytest.param(lambda path: re.sub("^body", "encoder/body", path), id="function"),
        ],
    )
    def test_rename(self, rename):
        target = negative(
            tree(encoder__body__kernel=(2, 3), encoder__body__bias=(3,), encoder__shift=(3,), bodywork=(1,))
        )
        params, report = transfer(self.source, target, rename=rename)
        shifted = isinstance(rename, dict) and len(rename) == 2
        chex.assert_trees_all_equal(params["encoder"]["body"]["kernel"], self.source["body"]["kernel"])
        chex.assert_trees_all_equal(
            params["encoder"]["shift" if shifted else "body"],
            self.source["body"]["bias"] if shifted else self.source["body"],
        )
        assert report.unused == ("head/bias", "head/kernel", "old")
        assert report.missing == ("bodywork", "encoder/body/bias" if shifted else "encoder/shift")

    def test_rename_to_the_root(self):
        params, report = transfer({"net": {"w": jnp.ones(2)}}, {"w": jnp.zeros(2)}, rename={"net": ""})
        np.testing.assert_array_equal(params["w"], [1, 1])
        assert report.copied == ("w",)

    @pytest.mark.parametrize("theirs", [jnp.float32, jnp.bfloat16, np.float64])
    @pytest.mark.parametrize("ours", [jnp.float32, jnp.bfloat16])
    def test_the_dtype_of_the_target_stays(self, theirs, ours):
        x = np.asarray([1.5, -2.0]).astype(theirs)
        params, _ = transfer({"w": x}, {"w": jnp.zeros(2, ours)})
        assert params["w"].dtype == ours
        np.testing.assert_array_equal(params["w"].astype(jnp.float32), [1.5, -2.0])

    def test_kinds_are_not_mixed(self):
        _, report = transfer({"w": jnp.arange(3)}, {"w": jnp.zeros(3)})
        assert report.mismatched == (("w", "int32", "float32"),)

    def test_strict(self):
        same, report = transfer(self.target, self.target, strict=True)
        chex.assert_trees_all_equal(same, self.target)
        assert (report.missing, report.mismatched, report.unused) == ((), (), ())
        for source, target in (
            (tree(a=(1,)), tree(a=(1,), b=(1,))),
            (tree(a=(1,), b=(1,)), tree(a=(1,))),
            (tree(a=(1,)), tree(a=(2,))),
        ):
            with pytest.raises(ValueError, match=r"must have the same parameters:\ncopied [01] parameters"):
                transfer(source, target, strict=True)

    def test_errors_of_rename(self):
        with pytest.raises(ValueError, match=r"rename key 'bod' must begin a path of source, got body/bias"):
            transfer(self.source, self.target, rename={"bod": "encoder"})
        with pytest.raises(ValueError, match="rename must keep paths apart, got 'x' from"):
            transfer(self.source, self.target, rename=lambda path: "x")

    def test_a_model_with_another_head(self):
        """The usual use: all but the last layer of one Linen net into another, which then runs."""

        def make(classes):
            return linen.Sequential([linen.Dense(8), linen.tanh, linen.Dense(classes)])

        x = jax.random.normal(jax.random.key(2), (4, 5))
        old, new = (make(n).init(jax.random.key(n), x)["params"] for n in (10, 3))
        params, report = transfer(old, new)
        assert report.copied == ("layers_0/bias", "layers_0/kernel")
        features = jnp.tanh(x @ old["layers_0"]["kernel"] + old["layers_0"]["bias"][None])
        np.testing.assert_allclose(
            make(3).apply({"params": params}, x), features @ new["layers_2"]["kernel"], atol=1e-6
        )


PARAMS = tree(encoder__kernel=(4, 3), encoder__bias=(3,), head__kernel=(3, 2), head__bias=(2,))
PATTERNS = [
    pytest.param("^encoder/", {"encoder"}, id="search"),
    pytest.param(re.compile("^encoder/"), {"encoder"}, id="compiled"),
    pytest.param(lambda path: path.startswith("encoder"), {"encoder"}, id="predicate"),
]


def gradients(seed, params=PARAMS):
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return jax.tree.unflatten(treedef, [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)])


def run(tx, params, steps=4):
    state = tx.init(params)
    for seed in range(steps):
        updates, state = tx.update(gradients(seed), state, params)
        params = optax.apply_updates(params, updates)
    return params, updates, state


class TestFreeze:
    @pytest.mark.parametrize(("pattern", "frozen"), PATTERNS)
    def test_frozen_parameters_stay_also_under_weight_decay(self, pattern, frozen):
        params, updates, _ = run(freeze_parameters(optax.adamw(0.1, weight_decay=0.5), pattern), PARAMS)
        for name in PARAMS:
            for leaf, new, update in zip(*map(jax.tree.leaves, (PARAMS[name], params[name], updates[name]))):
                assert bool(jnp.all(new == leaf)) == (name in frozen)
                assert bool(jnp.all(update == 0)) == (name in frozen)

    def test_the_others_move_as_if_alone(self):
        """What trains does not see what is frozen: not in a norm, not in a moment."""
        tx = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1))
        params, _, _ = run(freeze_parameters(tx, "^encoder/"), PARAMS)
        alone, state = {"head": PARAMS["head"]}, tx.init({"head": PARAMS["head"]})
        for seed in range(4):
            updates, state = tx.update({"head": gradients(seed)["head"]}, state, alone)
            alone = optax.apply_updates(alone, updates)
        chex.assert_trees_all_equal(params["head"], alone["head"])

    def test_no_moments_for_what_is_frozen(self):
        _, _, state = run(freeze_parameters(optax.adam(0.1), "^encoder/"), PARAMS)
        sizes = [leaf.size for leaf in jax.tree.leaves(state)]
        assert sum(sizes) == 1 + 2 * (6 + 2)  # a count, and two moments of the head

    @pytest.mark.parametrize("pattern", ["bias$", "^encoder/", "head/kernel"])
    @pytest.mark.parametrize(
        "tx", [optax.sgd(0.1, momentum=0.9), optax.adamw(0.1, weight_decay=0.5)], ids=["sgd", "adamw"]
    )
    def test_agrees_with_the_link_of_a_chain(self, pattern, tx):
        ours, _, _ = run(freeze_parameters(tx, pattern), PARAMS)
        linked, _, _ = run(optax.chain(tx, optim.freeze(pattern)), PARAMS)
        chex.assert_trees_all_equal(ours, linked)

    @pytest.mark.parametrize(
        ("pattern", "which"),
        [("^enc$", "none"), (".", "all"), (lambda path: False, "none"), (lambda path: True, "all")],
    )
    def test_nothing_or_everything(self, pattern, which):
        with pytest.raises(ValueError, match=f"matches {which} of encoder/bias, encoder/kernel, head/bias"):
            freeze_parameters(optax.sgd(0.1), pattern).init(PARAMS)

    def test_names_only_some_of_many(self):
        with pytest.raises(ValueError, match=r"of p00, .*p07 and 12 more$"):
            freeze_parameters(optax.sgd(0.1), "x").init({f"p{i:02}": jnp.zeros(1) for i in range(20)})

    def test_a_bad_expression(self):
        with pytest.raises(re.error):
            freeze_parameters(optax.sgd(0.1), "(")

    def test_in_a_step(self):
        """Jitted, one trace, learning rate reported, value and value_fn passed on."""
        model = linen.Sequential([linen.Dense(8), linen.tanh, linen.Dense(1)])
        x = jax.random.normal(jax.random.key(0), (32, 3))
        variables, other = (model.init(jax.random.key(seed), x) for seed in (2, 3))
        teacher = {"layers_0": variables["params"]["layers_0"], "layers_2": other["params"]["layers_2"]}
        batch = {"x": x, "y": model.apply({"params": teacher}, x)}

        def objective(params, model_state, batch, key):
            return jnp.mean((model.apply({"params": params}, batch["x"]) - batch["y"]) ** 2), (
                model_state,
                {},
            )

        plateau = optax.chain(optax.adam(0.05), optax.contrib.reduce_on_plateau())
        for inner, reports in ((optim.adam(0.05), True), (plateau, False)):
            tx = freeze_parameters(inner, "^layers_0/")
            state = create_train_state(jax.random.key(1), variables, tx)
            first, traces = state, []

            def step(state, batch, tx=tx, traces=traces):
                traces.append(1)
                return make_update(backprop(objective), tx)(state, batch)

            step, losses = jax.jit(step), []
            for _ in range(60):
                state, metrics = step(state, batch)
                losses.append(float(metrics["loss"]))
            assert len(traces) == 1
            assert losses[-1] < 0.05 * losses[0]
            chex.assert_trees_all_equal(state.params["layers_0"], first.params["layers_0"])
            assert not jnp.array_equal(*(s.params["layers_2"]["kernel"] for s in (state, first)))
            if reports:
                np.testing.assert_allclose(metrics["learning_rate"], 0.05)
