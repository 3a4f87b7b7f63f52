"""The README's example runs as printed, and its commands and files exist."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_trains_a_net(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 32
    names: dict = {}
    exec(compile(code.replace("num_steps=600", "num_steps=300"), "README.md", "exec"), names)
    assert names["history"].last("loss") < 0.2
    printed = capsys.readouterr().out
    accuracy = float(re.search(r"'accuracy': ([0-9.]+)", printed).group(1))
    assert accuracy > 0.9
    assert "Dense_0" in printed


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_modules_named_in_commands_exist():
    for module in set(re.findall(r"python -m ([a-z_.]+)", README)):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_folders_named_exist():
    for name in re.findall(r"^\| `jaxdl/([a-z/<>]+)`", README, re.MULTILINE):
        assert (ROOT / "jaxdl" / name.split("/")[0]).is_dir(), name
