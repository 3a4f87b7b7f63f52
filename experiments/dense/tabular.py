"""Nets rank unbalanced credit applications no worse than trees, forest, SVM and neighbours: ROC area at least 0.92.

    python -m experiments.dense.tabular

Data: synthetic credit table (data.credit_applications) with a tenth of three columns missing, of whose approved rows
one in seven is kept, so that about 15 % are approved; 30 % of the rows are held out. Needs scikit-learn (baselines).

What is missing is filled with what the training rows know (means, the most frequent occupation), days become ages,
categories stay numbers, all is scaled by the training rows, and the approved ones among these are repeated until both
classes are equal: after the split. Done before it, copies of a row lie on both sides, and a table shows by how much
trees and neighbours then seem better than they are. Every model's setting is the one with the largest ROC area on a
fifth of the rows; the held-out rows are looked at once. Of 18 columns eight decide. Two of these, car and property,
matter only together: no gain in entropy or Gini shows them, the permutation importance of a trained net does.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.classification import fresh_state
from experiments.nets import UPDATES_PER_CALL, num_calls, train_net
from experiments.run import Claim, Run
from experiments.settings import Settings, launch
from jaxdl import data, losses, metrics, optim, viz
from jaxdl.data.credit import CATEGORICAL, CONTINUOUS
from jaxdl.models.competitive import KMeans
from jaxdl.models.dense import MLP, MaxoutNetwork, PolynomialNetwork, RBFNetwork
from jaxdl.objectives import classification
from jaxdl.types import Array
from jaxdl.viz import canvas

AREA = Claim("held-out ROC area of the worse of the MLP and the maxout net", 0.92)
AHEAD = Claim(
    "held-out ROC area of the best net above that of the best of tree, forest, SVM and neighbours", 0.0
)
OPTIMISM = Claim(
    "points of balanced accuracy by which a forest seems better when rows are repeated before the split", 15.0
)
FOUND = Claim("of the eight columns that decide, those among the MLP's eight most important ones", 7.0)

COLUMNS = (*CATEGORICAL, *CONTINUOUS)
DECIDE = {"car_owner", "property_owner", "education", "children"}
DECIDE |= {"annual_income", "age", "employed_days", "unemployed_days"}
CLASSES = ("refused", "approved")
NETS = ("MLP", "maxout", "RBF", "GMDH")
Rows = dict[str, np.ndarray]
Scores = Callable[[Any], Any]  # table [N, 18] to scores [N], above 0 for approved


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Settings of this experiment."""

    num_rows: int = 8000
    """Applications before most of the approved ones are left out."""
    approved_kept: float = 0.15
    """Share of the approved applications that is kept."""
    missing_rate: float = 0.1
    """Share of incomes, ages and occupations that is missing."""
    num_epochs: int = 30
    """Passes of the MLP and the maxout net over the training rows."""
    batch_size: int = 64
    """Rows per update."""
    learning_rate: float = 3e-3
    """AdamW's rate; it follows a cosine to 0."""
    weight_decay: float = 0.1
    """AdamW's decay."""
    num_trees: int = 300
    """Trees of the forest."""
    num_settings: int = 4
    """How many settings of each model are tried, at most 4."""


PRESETS = {
    "default": Config(),
    "smoke": Config(preset="smoke", num_rows=900, num_epochs=1, num_trees=10, num_settings=1),
    "full": Config(preset="full", num_rows=50_000, num_epochs=60),
}


@dataclasses.dataclass(frozen=True)
class Contender:
    """A row of the table.

    Attributes:
      name: of the model; ours are `NETS`.
      what: the setting that is chosen on the validation rows.
      settings: what is tried.
      fit: from a setting, the training and the validation rows to the scores of any rows.
    """

    name: str
    what: str
    settings: Sequence[Any]
    fit: Callable[[Any, Rows, Rows], Scores]


def read_table(config: Config) -> Rows:
    """The raw table, of whose approved rows most are left out."""
    table = data.credit_applications(
        jax.random.key(config.seed), config.num_rows, missing_rate=config.missing_rate
    )
    table = {name: np.asarray(column) for name, column in table.items() if name != "x"}
    rng = np.random.default_rng(config.seed)
    kept = (table["y"] == 0) | (rng.random(config.num_rows) < config.approved_kept)
    return {name: column[kept] for name, column in table.items()}


def engineered(table: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Categories int [N, 12], -1 where missing, and numbers float [N, 6], NaN where missing."""
    days = table["employment_days"]  # below 0 for days in work, above 0 for days without
    numbers = (
        table["children"],
        table["annual_income"],
        -table["birth_days"] / 365,
        np.maximum(-days, 0),
        np.maximum(days, 0),
        table["family_members"],
    )
    return np.stack([table[name] for name in CATEGORICAL], axis=1), np.stack(numbers, axis=1)


def preparation(training: Rows) -> Callable[[Rows], Rows]:
    """What fills, codes and scales a table, fitted on the training rows alone."""
    categories, numbers = engineered(training)
    mode, mean = data.impute(categories, "mode", missing=-1), data.impute(numbers, "mean")
    codes = data.category_codes(mode(categories), unknown=-1)

    def joined(table: Rows) -> np.ndarray:
        categories, numbers = engineered(table)
        return np.concatenate([codes(mode(categories)), mean(numbers)], axis=1).astype(np.float32)

    scale = data.standardize(joined(training))
    return lambda table: {"image": scale(joined(table)), "label": table["y"]}


def signs(rows: Rows) -> Any:
    """Targets of least squares: 1 for approved, -1 for refused, float32 [N, 1]."""
    return (2 * rows["label"] - 1)[:, None].astype(np.float32)


def trained(run: Run, part: str, model: Any, training: Rows) -> Scores:
    """Trains a classifier by gradients; its score is the log-odds of approval."""
    config = run.config
    updates = UPDATES_PER_CALL * num_calls(config.num_epochs, len(training["label"]), config.batch_size)
    rate = optim.warmup_cosine(0.0, config.learning_rate, max(1, updates // 20), max(updates, 2))
    tx = optim.adamw(rate, weight_decay=config.weight_decay)
    state, _ = train_net(
        run,
        part,
        fresh_state(config, model, tx, config.seed, training["image"].shape[1:]),
        classification(model, losses.softmax_cross_entropy_with_integer_labels),
        tx,
        training,
        num_epochs=config.num_epochs,
        batch_size=config.batch_size,
    )

    def scores(x: Array) -> Array:
        logits: Any = model.apply({"params": state.params}, x, train=False)
        return logits[:, 1] - logits[:, 0]

    return scores


def fitted(model: Any, variables: Any) -> Scores:
    """The scores of a model with one output that was solved for."""
    return lambda x: model.apply(variables, x, train=False)[:, 0]


def hidden_layers(dropout_rate: float) -> MLP:
    """The MLP: 18-64-32-2."""
    return MLP((64, 32), 2, dropout_rate=dropout_rate)


def contenders(run: Run) -> list[Contender]:
    """MLP, maxout, RBF and GMDH, and scikit-learn's tree, forest, SVM and neighbours."""
    ensemble, neighbors, svm, tree = scikit_learn()
    config, key = run.config, jax.random.key(run.config.seed)
    maxout = lambda rate: MaxoutNetwork((32,), 2, num_pieces=3, dropout_rate=rate)

    def by_gradients(name, make):
        return lambda rate, training, validation: trained(run, f"{name}-{rate:g}", make(rate), training)

    def rbf(setting, training, validation):
        count, width = setting
        model = RBFNetwork(min(count, len(training["label"])), 1)
        x = training["image"]
        centers = KMeans(model.num_centers, num_starts=1).fit(x, key=key)["params"]["centers"]
        return fitted(model, model.fit(x, signs(training), centers, widths=width))

    def gmdh(setting, training, validation):
        model = PolynomialNetwork(*setting)
        rows = training["image"], signs(training), validation["image"], signs(validation)
        return fitted(model, jax.jit(model.fit)(*rows))

    def classical(make):
        def fit(setting, training, validation):
            estimator = make(setting).fit(training["image"], training["label"])
            if hasattr(estimator, "decision_function"):
                return estimator.decision_function
            return lambda x: estimator.predict_proba(np.asarray(x))[:, 1] - 0.5

        return fit

    grow = partial(ensemble.RandomForestClassifier, config.num_trees, random_state=config.seed)
    split = partial(tree.DecisionTreeClassifier, criterion="entropy", random_state=config.seed)
    return [
        Contender("MLP", "dropout", (0.2, 0.4), by_gradients("mlp", hidden_layers)),
        Contender("maxout", "dropout", (0.2, 0.5), by_gradients("maxout", maxout)),
        Contender("RBF", "centres, width", ((50, 3.0), (50, 5.0), (200, 5.0)), rbf),
        Contender("GMDH", "layers, units", ((3, 10), (5, 16)), gmdh),
        Contender("tree", "rows of a leaf", (5, 20, 50), classical(lambda n: split(min_samples_leaf=n))),
        Contender("forest", "rows of a leaf", (1, 3, 10), classical(lambda n: grow(min_samples_leaf=n))),
        Contender("SVM", "C", (0.1, 0.3, 1.0, 3.0), classical(lambda c: svm.SVC(C=c))),
        Contender("kNN", "k", (5, 15, 45, 135), classical(lambda k: neighbors.KNeighborsClassifier(k))),
    ]


def scikit_learn():
    """The modules that the baselines come from."""
    try:
        from sklearn import ensemble, neighbors, svm, tree
    except ModuleNotFoundError:
        raise ModuleNotFoundError("the baselines need scikit-learn: pip install scikit-learn") from None
    return ensemble, neighbors, svm, tree


def truth(config: Config, table: Rows) -> Scores:
    """The best possible scores of these rows: above 0 where approval is likelier than among all rows."""
    p, kept = table["probability"], config.approved_kept
    among_these = kept * p / (kept * p + 1 - p)  # most approved rows were left out
    return lambda x: among_these - np.mean(table["y"])


def area(scores: Scores, rows: Rows) -> float:
    """Area under the ROC curve."""
    return float(metrics.roc_auc(jnp.asarray(scores(rows["image"]), jnp.float32), rows["label"]))


def balanced(scores: Scores, rows: Rows) -> float:
    """Mean of the shares of refused and of approved rows that are told right, in percent."""
    answers = (np.asarray(scores(rows["image"])) > 0).astype(np.int32)
    return 100 * float(metrics.recall(jnp.asarray(answers), rows["label"], num_classes=2))


def judged(name: str, setting: str, scores: Scores, held_out: Rows, seconds: float) -> dict[str, Any]:
    """A row of the table."""
    answers = np.asarray(scores(held_out["image"])) > 0
    approved = held_out["label"] == 1
    return {
        "model": name,
        "setting": setting,
        "ROC area": area(scores, held_out),
        "balanced %": balanced(scores, held_out),
        "recall %": 100 * float(np.mean(answers[approved])),
        "precision %": 100 * float(np.mean(approved[answers])) if answers.any() else 0.0,
        "seconds": seconds,
    }


def optimism(run: Run, table: Rows, prepare: Callable[[Rows], Rows]) -> list[dict[str, Any]]:
    """What models that can remember single rows seem to reach with the copies on both sides, and what they reach."""
    config = run.config
    ensemble, neighbors, _, tree = scikit_learn()
    whole = prepare(table)
    before = data.train_test_split(
        data.oversample(whole, "label", seed=config.seed), test_size=0.3, seed=config.seed, stratify="label"
    )
    training, test = data.train_test_split(whole, test_size=0.3, seed=config.seed, stratify="label")
    after = data.oversample(training, "label", seed=config.seed), test
    estimators = {
        "forest": ensemble.RandomForestClassifier(config.num_trees, random_state=config.seed),
        "tree": tree.DecisionTreeClassifier(random_state=config.seed),
        "nearest neighbour": neighbors.KNeighborsClassifier(1),
    }
    rows = []
    for name, estimator in estimators.items():
        seeming, real = (
            balanced(estimator.fit(known["image"], known["label"]).predict, unknown)
            for known, unknown in (before, after)
        )
        rows.append({"model": name, "before": seeming, "after": real, "optimism": seeming - real})
    return rows


def worth(run: Run, training: Rows, scores: Scores, held_out: Rows) -> list[dict[str, Any]]:
    """What each column says alone, what a tree makes of it, and what the net loses without it."""
    _, _, _, tree = scikit_learn()
    grown = tree.DecisionTreeClassifier(min_samples_leaf=20, random_state=run.config.seed)
    nodes: Any = grown.fit(training["image"], training["label"]).tree_
    inner = nodes.children_left >= 0
    sizes, below = nodes.n_node_samples, np.zeros(nodes.node_count)
    for children in (nodes.children_left, nodes.children_right):
        below += np.where(inner, sizes[children] / sizes * nodes.impurity[children], 0)
    in_tree = metrics.feature_importance(
        jnp.asarray(np.where(inner, nodes.feature, -1).astype(np.int32)),
        jnp.asarray(nodes.impurity - below, jnp.float32),
        jnp.asarray(sizes, jnp.float32),
        num_features=len(COLUMNS),
    )

    def net_area(x: Array, y: Array) -> Array:
        return metrics.roc_auc(scores(x), y)

    lost = metrics.permutation_importance(
        jax.random.key(run.config.seed), net_area, jnp.asarray(held_out["image"]), held_out["label"]
    )
    rows = []
    for i, name in enumerate(COLUMNS):
        column = training["image"][:, i]
        # Categories as they are, numbers in eighths of the rows.
        if name in CONTINUOUS:
            column = np.searchsorted(np.unique(np.quantile(column, np.linspace(0, 1, 9)[1:-1])), column)
        cells = np.unique(column, return_inverse=True)[1]
        counts = np.zeros((cells.max() + 1, 2), np.int32)
        np.add.at(counts, (cells, training["label"]), 1)
        shares = jnp.asarray(counts / counts.sum(axis=1, keepdims=True), jnp.float32)
        whole = jnp.asarray(counts.sum(axis=0) / counts.sum(), jnp.float32)
        left = np.average(metrics.gini_impurity(shares), weights=counts.sum(axis=1))
        rows.append(
            {
                "column": name,
                "decides": "yes" if name in DECIDE else "",
                "gain, bits": float(metrics.information_gain(jnp.asarray(counts))),
                "Gini": float(metrics.gini_impurity(whole) - left),
                "in a tree": float(in_tree[i]),
                "MLP loses": float(lost[i]),
            }
        )
    return sorted(rows, key=lambda row: -row["MLP loses"])


def main(config: Config) -> int:
    """Fits every model with every setting, and judges the chosen ones."""
    scikit_learn()
    table = read_table(config)
    parts = data.train_test_split(table, test_size=0.3, validation_size=0.2, seed=config.seed, stratify="y")
    prepare = preparation(parts[0])
    training, validation, held_out = map(prepare, parts)
    repeated = data.oversample(training, "label", seed=config.seed)
    run = Run("dense.tabular", config)
    rows, chosen = [], {}
    for contender in contenders(run):
        tried = []
        for setting in contender.settings[: config.num_settings]:
            start = time.perf_counter()
            scores = contender.fit(setting, repeated, validation)
            seconds = time.perf_counter() - start
            tried.append((area(scores, validation), setting, scores, seconds))
        _, setting, scores, seconds = max(tried, key=lambda entry: entry[0])
        chosen[contender.name] = setting, scores
        what = f"{contender.what} {setting}"
        rows.append(judged(contender.name, what, scores, held_out, seconds))
    areas = {row["model"]: row["ROC area"] for row in rows}
    rate, mlp = chosen["MLP"]
    start = time.perf_counter()
    plain = trained(run, "mlp-not-repeated", hidden_layers(rate), training)
    rows.append(judged("MLP", "rows not repeated", plain, held_out, time.perf_counter() - start))
    rows.append(judged("the truth", "P(approved | row)", truth(config, parts[2]), held_out, 0.0))
    leaks = optimism(run, table, prepare)
    run.table("balanced accuracy in %, rows repeated before the split and after it", leaks)
    columns = worth(run, repeated, jax.jit(mlp), held_out)
    run.table("what the columns are worth", columns)
    draw(run, parts[0], repeated, held_out, {name: scores for name, (_, scores) in chosen.items()}, columns)
    best = max(areas[name] for name in NETS), max(area for name, area in areas.items() if name not in NETS)
    most = {row["column"] for row in columns[: len(DECIDE)]}
    return run.finish(
        [
            (AREA, min(areas["MLP"], areas["maxout"])),
            (AHEAD, best[0] - best[1]),
            (OPTIMISM, leaks[0]["optimism"]),
            (FOUND, float(len(most & DECIDE))),
        ],
        rows,
        try_next=[
            "python -m experiments.dense.tabular --missing-rate=0.4",
            "python -m experiments.dense.vanishing_gradients",
        ],
    )


def draw(
    run: Run, raw: Rows, repeated: Rows, held_out: Rows, chosen: dict[str, Scores], columns: list[dict]
) -> None:
    """The numbers of the raw table, the classes before and after, the ROC curves, the worth of the columns."""
    _, numbers = engineered(raw)
    names = ("children", "income", "age in years", "days employed", "days unemployed", "family members")
    run.figure("numbers", lambda: viz.feature_histogram(dict(zip(names, numbers.T))))
    run.figure("classes", lambda: viz.class_counts(raw["y"], CLASSES))
    run.figure("classes_repeated", lambda: viz.class_counts(repeated["label"], CLASSES))
    x, y = held_out["image"], held_out["label"]
    curves = {
        name: metrics.roc_curve(jnp.asarray(scores(x), jnp.float32), y) for name, scores in chosen.items()
    }
    run.figure("roc", lambda: viz.roc_plot(curves))
    run.figure("columns", lambda: bars(columns))


def bars(columns: list[dict[str, Any]]):
    """Gain in entropy of each column alone beside what the net loses without it."""
    figure, panels = canvas.panels(2, columns=2, width=4.2, height=4.6)
    names = [row["column"].replace("_", " ") for row in columns]
    about = {
        "gain, bits": ("what the column says alone", "information gain in bits"),
        "MLP loses": ("what the MLP loses when it is dealt anew", "ROC area lost"),
    }
    looks = {
        "yes": ("decides", canvas.COLORS[0], ""),
        "": ("says nothing of its own", canvas.COLORS[4], "////"),
    }
    for axes, (value, (title, unit)) in zip(panels, about.items()):
        for decides, (label, color, hatch) in looks.items():
            lengths = [row[value] if row["decides"] == decides else 0.0 for row in columns]
            axes.barh(names, lengths, color=color, hatch=hatch, edgecolor="white", label=label)
        axes.invert_yaxis()
        canvas.style(axes, title=title, x=unit)
        axes.grid(False, axis="y")
    panels[1].legend(frameon=False, fontsize=canvas.TICK, loc="lower right")
    return figure


if __name__ == "__main__":
    launch(main, PRESETS)
