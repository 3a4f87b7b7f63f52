"""The architecture, as rules that a parser can check."""

import ast
import importlib
import pathlib
import pkgutil
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
LEAVES = {"types", "checks", "files", "loops", "backends", "version"}
# What each package may import from jaxdl, besides the leaves and itself.
MAY_IMPORT = {
    **{package: set() for package in ("nn", "losses", "optim", "search", "envs", "viz", "train")},
    "metrics": {"losses"},
    "data": {"nn"},
    "rules": {"nn", "losses"},
    "models": {"nn", "losses"},  # losses: only what searches an image in models/vision
    "objectives": {"losses", "metrics", "nn"},
    "rl": {"losses", "objectives", "envs", "train"},
    "control": {"losses", "metrics", "objectives", "optim", "search", "envs", "train"},
    "interop": {"models"},
}
USES_LINEN = ("nn/", "models/", "objectives/", "train/inspection.py")
HEAVY = {"matplotlib", "tensorflow", "sklearn", "torch", "keras", "PIL", "tensorboardX"}
BANNED_NAMES = {"utils", "common", "helpers", "misc", "base", "util", "helper"}

FILES = sorted((ROOT / "jaxdl").rglob("*.py"))
ids = [str(path.relative_to(ROOT / "jaxdl")) for path in FILES]


def imports(path):
    """Absolute dotted names that a file imports, with whether the import is at module level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) in top


def place(path):
    """("train", "train/loop.py") for jaxdl/train/loop.py; leaves have their own name."""
    relative = path.relative_to(ROOT / "jaxdl")
    return (relative.parts[0] if len(relative.parts) > 1 else relative.stem), relative.as_posix()


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_import_table(path):
    package, relative = place(path)
    for name, _ in imports(path):
        parts = name.split(".")
        if parts[0] != "jaxdl" or package == "__init__":
            continue
        target = parts[1] if len(parts) > 1 else ""
        if target in LEAVES:
            allowed = package not in LEAVES
        elif target == package:
            allowed = True
            if package == "models" and len(parts) > 2:
                family = relative.split("/")[1]
                allowed = parts[2] in (family, "dense") or relative == "models/__init__.py"
        else:
            allowed = target in MAY_IMPORT.get(package, set())
            if package == "models" and target == "losses":
                allowed = relative.startswith("models/vision/")
        assert allowed, f"{relative} may not import {name}"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_leaves_import_nothing_of_ours(path):
    package, relative = place(path)
    if package in LEAVES:
        assert not [name for name, _ in imports(path) if name.split(".")[0] == "jaxdl"], relative


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_linen_only_where_models_are(path):
    _, relative = place(path)
    names = {name for name, _ in imports(path) if name.startswith(("flax.linen", "flax.nnx"))}
    assert not names or relative.startswith(USES_LINEN), f"{relative} imports {names}"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_heavy_imports_are_inside_functions(path):
    found = {name for name, top in imports(path) if top and name.split(".")[0] in HEAVY}
    assert not found, f"{path} imports {found} at module level"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_file_names(path):
    assert path.stem not in BANNED_NAMES


def packages():
    import jaxdl

    return [m.name for m in pkgutil.walk_packages(jaxdl.__path__, "jaxdl.") if m.ispkg]


@pytest.mark.parametrize("name", packages())
def test_public_names(name):
    module = importlib.import_module(name)
    if name == "jaxdl.models":
        return
    assert list(module.__all__) == sorted(module.__all__), f"{name}.__all__ is not sorted"
    files = {path.stem for path in pathlib.Path(module.__path__[0]).glob("*.py")}
    for public in module.__all__:
        value = getattr(module, public)
        assert callable(value), f"{name}.{public}"
        assert (getattr(value, "func", value).__doc__ or "").strip(), f"{name}.{public} has no docstring"
        assert public not in files, f"{name}/{public}.py hides the function of that name"


SHARED = ("settings", "run", "inputs", "classification", "nets", "populations", "galleries")


def test_experiments_do_not_import_each_other():
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        for name, _ in imports(path):
            if name.startswith("experiments."):
                assert name.split(".")[1] in SHARED, f"{path} imports {name}"


@pytest.mark.parametrize(
    "package", ["jaxdl", "jaxdl.data", "jaxdl.viz", "jaxdl.train", "jaxdl.optim", "jaxdl.losses"]
)
def test_import_is_light(package):
    heavy = HEAVY | {"tensorflow_datasets"}
    code = f"import sys, {package}; bad = {heavy} & set(sys.modules); sys.exit(', '.join(sorted(bad)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_unpickles():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\b(import pickle|pickle\.load|allow_pickle=True|\beval\(|\bexec\()", text), (
            path
        )
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
                settings = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert settings.get("allow_pickle") == "False", f"{path}: {ast.unparse(node)}"
