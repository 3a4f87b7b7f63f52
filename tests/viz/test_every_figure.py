"""Every figure as a table: nothing is cut off, no words cross each other, and printed grey it says the same."""

import io
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from jaxdl import data, metrics, nn, viz

RNG = np.random.default_rng(0)
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
EPOCHS = np.arange(1, 31)
PHOTOS = RNG.integers(0, 256, (12, 32, 32, 3), np.uint8)
BLOBS = jax.device_get(data.blobs(jax.random.key(0), 200))
IRIS = data.iris("train")


def falling(rate, floor=0.1):
    return EPOCHS.tolist(), (floor + 2 * np.exp(-rate * EPOCHS) + 0.02 * RNG.normal(size=30)).tolist()


def rosenbrock(p):
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def descent(rate):
    path = [np.array([-1.2, 1.0])]
    for _ in range(59):
        x, y = np.clip(path[-1], -1e9, 1e9)
        path.append(path[-1] - rate * np.array([400 * x * (x * x - y) + 2 * (x - 1), 200 * (y - x * x)]))
    return np.array(path)


def response(damping):
    time = np.linspace(0, 10, 200)
    return 1 - np.exp(-damping * time) * np.cos(2 * time)


def roc(separation):
    labels = np.arange(400) % 2
    return metrics.roc_curve(jnp.asarray(RNG.normal(size=400) + separation * labels), jnp.asarray(labels))


NORMAL, STRANGE = RNG.gamma(2.0, 0.02, 800), RNG.gamma(6.0, 0.08, 40)
PLANE = np.mgrid[-2:2:7j, -2:2:9j].transpose(1, 2, 0) + 0.2 * RNG.normal(size=(7, 9, 2))
AGE = RNG.normal(40, 12, 300)
TIME = np.linspace(0, 10, 200)

# As they come out of ordinary use: names of ordinary length, many classes, many nets.
FIGURES = {
    "activation_plots": lambda _: viz.activation_plots(
        {"ReLU": nn.relu, "GELU": nn.gelu, "hard sigmoid": nn.hard_sigmoid, "softplus": jax.nn.softplus}
    ),
    "anomaly_histogram": lambda _: viz.anomaly_histogram(
        {"normal": NORMAL, "anomalous": STRANGE}, 0.15, score_name="squared reconstruction error"
    ),
    "attention_map": lambda _: viz.attention_map(
        RNG.dirichlet(np.full(7, 0.3), (4, 6)),
        ["the", "cat", "sat", "there", "and", "waited"],
        ["die", "Katze", "saß", "dort", "und", "wartete", "lange"],
    ),
    "class_counts": lambda _: viz.class_counts(RNG.integers(0, 10, 5000), CLASSES),
    "confusion_matrix_plot": lambda _: viz.confusion_matrix_plot(
        RNG.integers(0, 90, (10, 10)) + 900 * np.eye(10, dtype=int), CLASSES
    ),
    "decision_boundary": lambda _: viz.decision_boundary(
        lambda x: 2 * (x[:, 0] > 0) + (x[:, 1] > 0), BLOBS["x"], BLOBS["y"]
    ),
    "feature_histogram": lambda _: viz.feature_histogram(
        {"age in years": AGE, "income in 1,000 $ a year": np.exp(RNG.normal(3.5, 0.6, 300))}
    ),
    "feature_maps": lambda _: viz.feature_maps(RNG.normal(size=(28, 28, 16))),
    "feature_scatter": lambda _: viz.feature_scatter(
        dict(zip(("sepal length in cm", "sepal width in cm", "petal length in cm"), IRIS["features"].T)),
        labels=IRIS["label"],
        class_names=["setosa", "versicolor", "virginica"],
    ),
    "feature_scatter of a target": lambda _: viz.feature_scatter(
        {"age in years": AGE, "size in m²": 3 * AGE + RNG.normal(size=300)}, target=AGE**2, target_name="price in $"
    ),
    "filters": lambda _: viz.filters(RNG.normal(size=(5, 5, 3, 12))),
    "filters of one channel": lambda _: viz.filters(RNG.normal(size=(5, 5, 1, 6))),
    "fitted_line": lambda _: viz.fitted_line(
        AGE,
        2 * AGE + 9 * RNG.normal(size=300),
        {"normal equation": ([10, 80], [20, 160]), "gradient descent": ([10, 80], [25, 150])},
        x_name="age in years",
        y_name="income in 1,000 $",
    ),
    "gradient_flow": lambda _: viz.gradient_flow(
        {
            name: {f"Dense_{i}": 10.0 ** (rate * (i - 9)) for i in range(10)}
            for name, rate in (("sigmoid", 0.9), ("ReLU", 0.1), ("batch normalization", 0.02), ("residual", -0.03))
        }
    ),
    "image_grid": lambda _: viz.image_grid(
        PHOTOS, titles=[f"{CLASSES[i % 10]} read as {CLASSES[(i + 1) % 10]}\np = 0.92" for i in range(12)]
    ),
    "image_grid without titles": lambda _: viz.image_grid(RNG.uniform(size=(10, 28, 28))),
    "latent_space": lambda _: viz.latent_space(
        RNG.normal(size=(500, 10)) + 6 * np.eye(10)[np.arange(500) % 10], np.arange(500) % 10, CLASSES
    ),
    "latent_walk": lambda _: viz.latent_walk(
        lambda z: z[:, :1, None] + np.hypot(*np.mgrid[-1:1:28j, -1:1:28j])[None],
        RNG.normal(size=(4, 3)),
        RNG.normal(size=(4, 3)),
    ),
    "learning_curves": lambda _: viz.learning_curves(
        {"loss": falling(0.3, 0.02), "validation/loss": falling(0.2), "accuracy": (EPOCHS, 1 - 1 / EPOCHS)}
    ),
    "learning_curves of many nets": lambda _: viz.learning_curves(
        {f"{name}/test/loss": falling(0.05 + 0.03 * i) for i, name in enumerate(CLASSES)}, log_loss=True
    ),
    "loss_surface": lambda _: viz.loss_surface(
        lambda p: jnp.sum(p["w"] ** 2) + jnp.sin(3 * p["w"][0]),
        {"w": jnp.ones(2)},
        ({"w": jnp.array([1.0, 0])}, {"w": jnp.array([0, 1.0])}),
        names=("first weight", "second weight"),
        resolution=21,
    ),
    "optimizer_paths": lambda _: viz.optimizer_paths(
        rosenbrock,
        {"gradient descent, rate 0.001": descent(1e-3), "rate 0.002": descent(2e-3), "rate 0.02": descent(0.02)},
        minima=[[1, 1]],
        limits=((-2, 2), (-1, 3)),
        name="Rosenbrock's function",
        resolution=61,
    ),
    "parameter_vs_loss": lambda _: viz.parameter_vs_loss(EPOCHS, (EPOCHS - 9.0) ** 2, name="slope m"),
    "predicted_vs_actual": lambda _: viz.predicted_vs_actual(AGE + 3 * RNG.normal(size=300), AGE),
    "reconstructions": lambda _: viz.reconstructions(
        dict.fromkeys(("original", *(f"random_change_{i}" for i in range(12))), PHOTOS[:8])
    ),
    "roc_plot": lambda _: viz.roc_plot(
        {"reconstruction error": roc(1.0), "latent distance": roc(2.0), "discriminator": roc(0.3)}
    ),
    "sample_evolution": lambda folder: viz.sample_evolution(
        {100 * i: RNG.uniform(size=(12, 16, 16)) for i in range(5)}, folder / "samples.gif"
    ),
    "som_map": lambda _: viz.som_map(
        PLANE, RNG.normal(size=(200, 2)), np.arange(200) % 3, ["setosa", "versicolor", "virginica"]
    ),
    "step_response": lambda _: viz.step_response(
        TIME,
        {"PI": response(0.4), "PID": response(0.9), "model predictive": response(2.0)},
        1.0,
        inputs={"PI": np.exp(-TIME), "PID": np.exp(-2 * TIME), "model predictive": np.exp(-3 * TIME)},
        output_name="level in m",
        input_name="valve in %",
    ),
    "unrolled_graph": lambda _: viz.unrolled_graph(6, num_layers=2, window=3),
    "weight_histograms": lambda _: viz.weight_histograms(
        {
            "encoder": {"Conv_0": {"kernel": RNG.normal(size=(3, 3, 3, 16)), "bias": RNG.normal(size=16)}},
            "decoder": {"Dense_0": {"kernel": RNG.normal(size=(64, 10)), "bias": RNG.normal(size=10)}},
        }
    ),
}  # fmt: skip


def words(figure):
    """Every text that is drawn, with its box in pixels. Ticks beyond the limits have labels that are not."""
    hidden = set()
    for axes in figure.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            margin = 1e-6 * (high - low)
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not (
                    axes.axison and axis.get_visible() and low - margin <= tick.get_loc() <= high + margin
                ):
                    hidden |= {tick.label1, tick.label2}
    for text in figure.findobj(Text):
        if text not in hidden and text.get_visible() and text.get_text().strip():
            yield text, text.get_window_extent()


def test_the_table_has_every_function():
    named = {name.split(" ")[0] for name in FIGURES}
    assert named == set(viz.__all__) - {"random_directions"}  # which draws nothing


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_or_written_over(name, tmp_path):
    figure = FIGURES[name](tmp_path)
    figure.savefig(io.BytesIO(), format="png", dpi=100)
    drawn = list(words(figure))
    assert drawn or "without titles" in name
    width, height = 100 * figure.get_size_inches()
    for text, box in drawn:
        inside = box.x0 > -1 and box.x1 < width + 1 and box.y0 > -1 and box.y1 < height + 1
        assert inside, f"{text.get_text()!r} at {box} of {width:.0f}x{height:.0f}"
    level = [(text, box) for text, box in drawn if text.get_rotation() % 90 == 0]
    for (first, one), (second, other) in itertools.combinations(level, 2):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        along = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert min(across, along) < 3, f"{first.get_text()!r} over {second.get_text()!r}"


@pytest.mark.parametrize("name", FIGURES)
def test_lines_differ_without_colour(name, tmp_path):
    """By dashes, marks, thickness or lightness."""
    for axes in FIGURES[name](tmp_path).axes:
        lines = [
            line for line in axes.lines if not line.get_label().startswith("_") and len(line.get_xdata()) > 1
        ]
        looks = [
            (str(line._dash_pattern), line.get_marker(), line.get_linewidth(), grey(line)) for line in lines
        ]
        for one, other in itertools.combinations(looks, 2):
            assert one[:3] != other[:3] or abs(one[3] - other[3]) > 0.15


def grey(line):
    return float(np.dot(to_rgb(line.get_color()), [0.299, 0.587, 0.114]))
