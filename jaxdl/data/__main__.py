"""The command line of `jaxdl.data`: `python -m jaxdl.data import NAME FOLDER`."""

import argparse
import os
import signal
import sys
import time

from jaxdl.data.builder import import_raw
from jaxdl.data.folders import EXPECTED
from jaxdl.data.sources import default_data_dir, tfds

_DESCRIPTION = f"""\
Turns raw files into a data set that jaxdl.data.load(NAME) reads.

FOLDER holds one of

{EXPECTED}

or is a .tar.gz or .zip archive of that. Files are checked before anything is written, the set appears
whole or not at all, and one that exists already is never overwritten. Writing needs TensorFlow
(pip install 'jaxdl[import]'); reading the result does not.
"""

_EXAMPLES = """\
examples:
  python -m jaxdl.data import mnist ~/Downloads/mnist
      the four files of MNIST; then load("mnist", "train") and load("mnist", "test")
  python -m jaxdl.data import cifar10 ~/Downloads/cifar-10-binary.tar.gz --data-dir /data/sets
      then load("cifar10", data_dir="/data/sets"), or export JAXDL_DATA_DIR=/data/sets
  python -m jaxdl.data import leaves ~/Pictures/leaves
      your own pictures, one folder per class
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0, or 1 with one message on standard error."""
    parser = argparse.ArgumentParser(prog="python -m jaxdl.data", description="Data sets for jaxdl.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser(
        "import",
        help="turn raw files (IDX, CIFAR, class folders, CSV, text) into a data set",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "name", metavar="NAME", help="what load() will call it: lower case letters, digits, _"
    )
    command.add_argument(
        "folder", metavar="FOLDER", help="the folder with the raw files, or an archive of it"
    )
    command.add_argument(
        "--data-dir",
        metavar="DIR",
        help=f"where data sets live; now {default_data_dir()} (JAXDL_DATA_DIR changes it)",
    )
    command.add_argument("--whole-text", action="store_true", help="text: one example per file, not per line")
    options = parser.parse_args(arguments)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not sys.stderr.isatty():
        tfds().disable_progress_bar()
    # The default action would end the process without removing what is half written.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    start = time.perf_counter()
    try:
        folder = import_raw(options.name, options.folder, options.data_dir, whole_text=options.whole_text)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    info = tfds().builder_from_directory(folder).info
    counts = ", ".join(f"{split} {part.num_examples:,}" for split, part in info.splits.items())
    print(f"{folder}: {counts} ({time.perf_counter() - start:.1f} s)")
    for key, feature in info.features.items():
        print(f"  {key}: {feature}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
