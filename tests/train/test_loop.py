"""The loop: what it reports, when it stops, and that an interruption changes nothing."""

import json
import math
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import train


class Stream:
    """Endless batches that can say where they are."""

    def __init__(self, limit=None):
        self.position, self.limit = 0, limit

    def __iter__(self):
        while self.limit is None or self.position < self.limit:
            self.position += 1
            yield np.random.default_rng(self.position).normal(size=(8, 3)).astype(np.float32)

    def state(self):
        return {"position": self.position}

    def restore(self, state):
        self.position = state["position"]


def objective(params, model_state, batch, key):
    noise = 0.1 * jax.random.normal(key, (batch.shape[0],))
    error = batch @ params["w"] - batch.sum(axis=1) + noise
    count = model_state["seen"]["count"] + batch.shape[0]
    return jnp.mean(error**2), ({"seen": {"count": count}}, {"worst": jnp.max(jnp.abs(error))})


TX = optax.adam(0.05)
STEP = jax.jit(train.make_update(train.backprop(objective), TX), donate_argnums=0)


def fresh():
    variables = {"params": {"w": jnp.zeros(3)}, "seen": {"count": jnp.zeros((), jnp.int32)}}
    return train.create_train_state(jax.random.key(1), variables, TX)


def arrays(state):
    return jax.tree.map(
        lambda x: np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x),
        state,
    )


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, arrays(a), arrays(b))


def distance(state):
    return {"loss": float(jnp.sum((state.params["w"] - 1) ** 2))}


def test_fit_learns_and_logs_every_so_often():
    state, history = train.fit(STEP, fresh(), Stream(), num_steps=250, log_every=100, progress=None)
    steps, losses = history["loss"]
    assert steps == [100, 200, 250]
    assert losses[-1] < 0.05  # the noise alone is 0.01
    assert distance(state)["loss"] < 1e-2 < distance(fresh())["loss"]
    assert int(state.step) == 250
    assert int(state.model_state["seen"]["count"]) == 250 * 8
    assert {"loss", "worst", "grad_norm", "update_norm", "seconds"} <= set(history)
    assert history.first_step_seconds > 0


def test_nothing_is_fetched_between_logs(monkeypatch):
    fetched = []
    fetch = jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda tree: fetched.append(dict(tree)) or fetch(tree))
    kinds = set()
    hook = lambda i, state, metrics: kinds.update(type(value) for value in metrics.values())  # noqa: E731
    train.fit(STEP, fresh(), Stream(), num_steps=20, hooks=[hook], log_every=10, progress=None)
    assert len([tree for tree in fetched if tree]) == 2
    assert all(issubclass(kind, jax.Array) for kind in kinds)


def test_loggers_get_floats_of_logged_steps_only():
    rows = []
    train.fit(
        STEP,
        fresh(),
        Stream(),
        num_steps=7,
        log_every=3,
        progress=None,
        loggers=[lambda i, v: rows.append((i, v))],
    )
    assert [i for i, _ in rows] == [3, 6, 7]
    assert all(isinstance(value, float) for _, values in rows for value in values.values())


def test_evaluation_and_early_stopping_restore_the_best():
    """A loss that falls to step 60 and then rises: with patience 10 training stops at 70 and gives back 60."""

    def step(state, batch):
        return state + 1, {"loss": jnp.abs(state - 59.0)}

    stopping = train.EarlyStopping("validation/loss", patience=10)
    hooks = [train.make_evaluation(lambda state: {"loss": abs(float(state) - 60.0)}, every=1), stopping]
    state, history = train.fit(
        jax.jit(step, donate_argnums=0), jnp.zeros(()), Stream(), num_steps=500, hooks=hooks, progress=None
    )
    assert float(state) == 60.0
    assert stopping.best_step == 60
    assert history["validation/loss"][0][-1] == 70
    assert "60" in history.stopped


def test_early_stopping_can_keep_the_last_state_and_maximise():
    stopping = train.EarlyStopping("score", patience=3, mode="max", min_delta=0.5, restore_best=False)
    answers = [stopping(i, None, {"score": value}) for i, value in enumerate([1.0, 2.0, 2.4, 2.3, 2.45])]
    assert answers[:4] == [None] * 4
    assert answers[4].state is None
    assert stopping.best == 2.0


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        pytest.param({"error_limit": 0.11}, 4, id="error limit"),
        pytest.param({"cost_change": 0.06}, 5, id="cost at rest"),
        pytest.param({"iterations": 3}, 3, id="iterations"),
        pytest.param({"error_limit": 0.11, "every": 3}, 6, id="looked at every third step"),
    ],
)
def test_stopping_criterion(criterion, expected):
    values = [0.9, 0.5, 0.2, 0.1, 0.05, 0.01, 0.0]

    def table_step(state, batch):
        return state + 1, {"loss": jnp.asarray(values)[state]}

    _, history = train.fit(
        jax.jit(table_step),
        jnp.zeros((), jnp.int32),
        Stream(),
        num_steps=7,
        hooks=[train.StoppingCriterion(**criterion)],
        progress=None,
    )
    assert history["loss"][0][-1] == expected
    assert history.stopped


def test_not_finite_stops_with_step_metric_and_checkpoint(tmp_path):
    def step(state, batch):
        return state + 1, {"loss": jnp.where(state > 5, jnp.nan, 1.0)}

    checkpointer = train.Checkpointer(tmp_path / "c", every=4)
    with pytest.raises(FloatingPointError, match=r"step 8: loss is nan.*last good checkpoint is step 4"):
        train.fit(
            jax.jit(step),
            jnp.zeros(()),
            Stream(),
            num_steps=100,
            log_every=10,
            checkpointer=checkpointer,
            progress=None,
        )
    assert train.Checkpointer(tmp_path / "c").steps == [4]


def test_batches_that_end_too_early():
    with pytest.raises(ValueError, match="ended after 3 of 10 steps"):
        train.fit(STEP, fresh(), Stream(limit=3), num_steps=10, progress=None)


@pytest.mark.parametrize(("setting", "value"), [("num_steps", 0), ("log_every", 0), ("progress", "hours")])
def test_bad_settings(setting, value):
    with pytest.raises(ValueError, match=setting):
        train.fit(STEP, fresh(), Stream(), **{"num_steps": 1, setting: value})


@pytest.mark.parametrize("cut", [1, 49, 50, 77])
def test_resume_is_bit_for_bit(tmp_path, cut):
    def hooks():
        return [train.make_evaluation(distance, 10), train.EarlyStopping(patience=1000)]

    def checkpointer(folder):
        return train.Checkpointer(folder, every=25, monitor="validation/loss", mode="min")

    path = tmp_path / "metrics.jsonl"
    whole, history = train.fit(
        STEP, fresh(), Stream(), num_steps=120, hooks=hooks(), log_every=20, progress=None
    )
    train.fit(
        STEP,
        fresh(),
        Stream(),
        num_steps=cut,
        hooks=hooks(),
        log_every=20,
        progress=None,
        checkpointer=checkpointer(tmp_path / "c"),
        history=train.History(path),
    )
    resumed_hooks = hooks()
    resumed, resumed_history = train.fit(
        STEP,
        fresh(),
        Stream(),
        num_steps=120,
        hooks=resumed_hooks,
        log_every=20,
        progress=None,
        checkpointer=checkpointer(tmp_path / "c"),
        history=train.History(path),
        resume=True,
    )
    assert_same(whole, resumed)
    assert resumed_hooks[1].best == min(history["validation/loss"][1])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == resumed_history.rows
    assert [row["step"] for row in lines] == sorted({row["step"] for row in lines})


def test_resume_of_a_finished_run_changes_nothing(tmp_path):
    make = lambda: train.Checkpointer(tmp_path / "c", every=10)  # noqa: E731
    first, history = train.fit(STEP, fresh(), Stream(), num_steps=30, checkpointer=make(), progress=None)
    again, history_again = train.fit(
        STEP, fresh(), Stream(), num_steps=30, checkpointer=make(), resume=True, progress=None
    )
    assert_same(first, again)
    assert history.rows == history_again.rows


def test_resume_of_an_early_stopped_run_stays_stopped(tmp_path):
    make = lambda: train.Checkpointer(tmp_path / "c", every=10)  # noqa: E731
    hooks = lambda: [train.make_evaluation(lambda s: {"loss": 1.0}, 5), train.EarlyStopping(patience=2)]  # noqa: E731
    first, _ = train.fit(
        STEP, fresh(), Stream(), num_steps=90, checkpointer=make(), hooks=hooks(), progress=None
    )
    again, history = train.fit(
        STEP, fresh(), Stream(), num_steps=90, checkpointer=make(), hooks=hooks(), resume=True, progress=None
    )
    assert_same(first, again)
    assert int(again.step) == 5
    assert history.stopped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops_cleanly(tmp_path, number):
    def hook(i, state, metrics):
        if i == 13:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    checkpointer = train.Checkpointer(tmp_path / "c", every=1000)
    with pytest.raises(train.TrainingInterrupted, match="after step 13") as caught:
        train.fit(
            STEP, fresh(), Stream(), num_steps=100, hooks=[hook], checkpointer=checkpointer, progress=None
        )
    assert caught.value.signal_number == number
    assert signal.getsignal(number) is before
    whole, _ = train.fit(STEP, fresh(), Stream(), num_steps=40, progress=None)
    resumed, _ = train.fit(
        STEP,
        fresh(),
        Stream(),
        num_steps=40,
        checkpointer=train.Checkpointer(tmp_path / "c"),
        resume=True,
        progress=None,
    )
    assert_same(whole, resumed)


def test_progress_lines_without_a_terminal(capsys):
    train.fit(STEP, fresh(), Stream(), num_steps=20, log_every=10, progress="epoch", steps_per_epoch=5)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 2/4  loss ")
    assert "steps/s" in lines[0]


def test_history_is_a_mapping_of_curves():
    history = train.History()
    history.append(1, {"loss": 2.0})
    history.append(3, {"loss": 1.0, "accuracy": 0.5})
    assert dict(history) == {"loss": ([1, 3], [2.0, 1.0]), "accuracy": ([3], [0.5])}
    assert history.last("loss") == 1.0
    with pytest.raises(KeyError, match="there are.*loss"):
        history["error"]


def test_nan_never_counts_as_best(tmp_path):
    checkpointer = train.Checkpointer(tmp_path, monitor="score")
    assert not checkpointer.improves({"score": math.nan})
    assert checkpointer.improves({"score": -3.0})
    assert not checkpointer.improves({"other": 1.0})
