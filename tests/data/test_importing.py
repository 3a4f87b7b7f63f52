"""import_raw and load: every raw format there and back, and every kind of broken file."""

import gzip
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tarfile
import textwrap
import time
import zipfile

import numpy as np
import pytest

from jaxdl.data import Batches, as_arrays, builder, import_raw, load
from jaxdl.data.folders import parse_folder, unpack
from jaxdl.data.raw import IDX_DTYPES, read_idx

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 28, 28), np.uint8)
LABELS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3, 3], np.uint8)


def idx_bytes(array, code=0x08):
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(IDX_DTYPES[code]).tobytes()


def write_mnist(
    folder, images=IMAGES, labels=LABELS, *, names=("{}-images-idx3-ubyte", "{}-labels-idx1-ubyte")
):
    folder.mkdir(parents=True, exist_ok=True)
    for split, part in (("train", slice(0, 8)), ("t10k", slice(8, 12))):
        for name, array in zip(names, (images[part], labels[part])):
            path = folder / name.format(split)
            data = idx_bytes(array)
            path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return folder


def write_images(folder, splits=("train", "test"), mode="RGB", size=(6, 5)):
    pillow = pytest.importorskip("PIL.Image")
    pixels = {}
    for split in splits:
        for name in ("bee", "ant"):
            (folder / split / name).mkdir(parents=True)
            for i in range(2):
                array = RNG.integers(0, 256, (*size[::-1], 3) if mode == "RGB" else size[::-1], np.uint8)
                pillow.fromarray(array).save(folder / split / name / f"{i}.png")
                pixels[split, name, i] = array
    return pixels


@pytest.fixture
def tensorflow():
    return pytest.importorskip("tensorflow")


def sorted_by_pixels(images, labels):
    order = np.lexsort(images.reshape(len(images), -1).T)
    return images[order], labels[order]


# -- there and back


@pytest.mark.parametrize("names", [
    pytest.param(("{}-images-idx3-ubyte", "{}-labels-idx1-ubyte"), id="plain"),
    pytest.param(("{}-images-idx3-ubyte.gz", "{}-labels-idx1-ubyte.gz"), id="gz"),
    pytest.param(("{}-images.idx3-ubyte", "{}-labels.idx1-ubyte"), id="dotted"),
    pytest.param(("set-letters-{}-images-idx3-ubyte", "set-letters-{}-labels-idx1-ubyte"), id="prefixed"),
])  # fmt: skip
def test_idx_names(tmp_path, names):
    raw = parse_folder(write_mnist(tmp_path / "raw", names=names))
    for split, part in (("train", slice(0, 8)), ("test", slice(8, 12))):
        examples = list(raw.splits[split]())
        np.testing.assert_array_equal([e["image"][..., 0] for e in examples], IMAGES[part])
        np.testing.assert_array_equal([e["label"] for e in examples], LABELS[part])


@pytest.mark.parametrize("code", IDX_DTYPES)
def test_idx_types(tmp_path, code):
    array = RNG.integers(0, 100, (3, 2))
    (tmp_path / "a").write_bytes(idx_bytes(array, code))
    got = read_idx(tmp_path / "a")
    assert got.dtype == np.dtype(IDX_DTYPES[code])
    np.testing.assert_array_equal(got, array)


WITHOUT_TENSORFLOW = """
import importlib.machinery, sys
class Without:  # a path finder to which TensorFlow is not installed
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            return None
        return importlib.machinery.PathFinder.find_spec(name, path, target)
sys.meta_path = [Without if f is importlib.machinery.PathFinder else f for f in sys.meta_path]
import numpy as np
from jaxdl.data import Batches, as_arrays, import_raw, load
"""


def run_without_tensorflow(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_TENSORFLOW + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
        cwd=pathlib.Path(__file__).parents[2],
        timeout=120,
    )


def test_mnist_there_and_back_without_tensorflow(tmp_path, tensorflow):
    raw = write_mnist(tmp_path / "raw")
    folder = import_raw("mnist", raw, tmp_path / "sets")
    assert folder == tmp_path / "sets" / "mnist" / "3.0.1"  # the version of TFDS, whose features these are
    assert [p.name for p in (tmp_path / "sets").iterdir()] == ["mnist"]
    np.savez(tmp_path / "want", image=IMAGES[8:, ..., None], label=LABELS[8:])
    result = run_without_tensorflow(
        """
        import os
        source = load("mnist", "test")
        assert len(source) == 4 and len(load("mnist")) == 8 and len(load("mnist", "train[:50%]")) == 4
        example = source[1]
        assert example["image"].dtype == np.uint8 and example["image"].shape == (28, 28, 1)
        assert source.dataset_info.features["label"].names == [str(i) for i in range(10)]
        arrays, want = as_arrays(source), np.load(os.environ["WANT"])
        order = lambda a: np.lexsort(a.reshape(len(a), -1).T)
        i, j = order(arrays["image"]), order(want["image"])
        np.testing.assert_array_equal(arrays["image"][i], want["image"][j])
        np.testing.assert_array_equal(arrays["label"][i], want["label"][j])
        batch = next(Batches(source, 4, shuffle=False))
        np.testing.assert_array_equal(batch["image"], arrays["image"])
        assert "tensorflow" not in sys.modules
        try:
            import_raw("toy", os.environ["RAW"])
        except ImportError as error:
            assert "pip install 'jaxdl[import]'" in str(error), error
        else:
            raise AssertionError
        """,
        JAXDL_DATA_DIR=str(tmp_path / "sets"),
        WANT=str(tmp_path / "want.npz"),
        RAW=str(raw),
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


def test_tfds_reads_the_result_as_its_own(tmp_path, tensorflow):
    import_raw("fashion_mnist", write_mnist(tmp_path / "raw"), tmp_path)
    source = pytest.importorskip("tensorflow_datasets").data_source(
        "fashion_mnist", split="train", data_dir=tmp_path, download=False
    )
    assert source.dataset_info.features["label"].names[0] == "T-shirt/top"
    assert len(source) == 8


def test_cifar10_there_and_back(tmp_path, tensorflow):
    raw = tmp_path / "cifar-10-batches-bin"
    raw.mkdir()
    images, labels = RNG.integers(0, 256, (12, 32, 32, 3), np.uint8), np.arange(12) % 10
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (raw / "batches.meta.txt").write_text("\n".join(names) + "\n")
    for k, file in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
        rows = slice(2 * k, 2 * k + 2)
        records = np.concatenate(
            [labels[rows, None], images[rows].transpose(0, 3, 1, 2).reshape(2, -1)], axis=1
        )
        (raw / file).write_bytes(records.astype(np.uint8).tobytes())
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        tar.add(raw, raw.name)
    folder = import_raw("cifar10", tmp_path / "cifar-10-binary.tar.gz", tmp_path / "sets")
    assert folder.name == "3.0.2"
    source = load("cifar10", data_dir=tmp_path / "sets")
    assert source.dataset_info.features["label"].names == names
    assert {e["id"] for e in source} == {f"train_{i:05d}".encode() for i in range(10)}
    arrays = as_arrays(load("cifar10", data_dir=tmp_path / "sets", keys=("image", "label")))
    assert set(arrays) == {"image", "label"}
    for got, want in zip(
        sorted_by_pixels(arrays["image"], arrays["label"]), sorted_by_pixels(images[:10], labels[:10])
    ):
        np.testing.assert_array_equal(got, want)


def test_class_folders_of_images_there_and_back(tmp_path, tensorflow):
    pixels = write_images(tmp_path / "raw")
    (tmp_path / "raw" / ".DS_Store").write_bytes(b"x")
    import_raw("insects", tmp_path / "raw", tmp_path)
    source = load("insects", "test", tmp_path)
    names = source.dataset_info.features["label"].names
    assert names == ["ant", "bee"]
    got = sorted((names[e["label"]], e["image"].tobytes()) for e in source)
    assert got == sorted(
        (name, array.tobytes()) for (split, name, _), array in pixels.items() if split == "test"
    )
    assert source[0]["image"].shape == (5, 6, 3)


def test_class_folders_of_text_there_and_back(tmp_path, tensorflow):
    for name, text in (("pos", "wunderbar ä"), ("neg", "bad\nvery")):
        (tmp_path / "raw" / name).mkdir(parents=True)
        (tmp_path / "raw" / name / "1.txt").write_text(text, encoding="utf-8")
    import_raw("views", tmp_path / "raw", tmp_path)
    got = {e["label"]: e["text"].decode() for e in load("views", data_dir=tmp_path)}
    assert got == {0: "bad\nvery", 1: "wunderbar ä"}


def test_csv_there_and_back_in_order(tmp_path, tensorflow):
    (tmp_path / "raw").mkdir()
    table = "age,big,height,name,label\n" + "".join(
        f'{i},{i * 3_000_000_000},{i / 4 if i else ""},"n, {i}",{"yes" if i % 3 else "no"}\n'
        for i in range(30)
    )
    (tmp_path / "raw" / "people.csv").write_text(table, encoding="utf-8")
    import_raw("people", tmp_path / "raw", tmp_path)
    source = load("people", data_dir=tmp_path)
    assert source.dataset_info.features["label"].names == ["no", "yes"]
    arrays = {key: np.array([e[key] for e in source]) for key in source[0]}
    np.testing.assert_array_equal(arrays["age"], np.arange(30))
    np.testing.assert_array_equal(arrays["big"], np.arange(30) * 3_000_000_000)
    np.testing.assert_array_equal(arrays["label"], np.arange(30) % 3 > 0)
    np.testing.assert_array_equal(arrays["height"], [np.nan, *(np.arange(1, 30) / 4)])
    assert arrays["name"][7] == b"n, 7"
    assert (source[0]["age"].dtype, source[0]["big"].dtype, source[0]["height"].dtype) == (
        np.int32, np.int64, np.float32,
    )  # fmt: skip
    with pytest.raises(ValueError, match="height holds NaN or infinity, first in row 0"):
        next(Batches(source, 30))


def test_text_there_and_back(tmp_path, tensorflow):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train.txt").write_text("one\n\ntwo\nthree\n")
    (tmp_path / "raw" / "test.txt").write_text("four")
    import_raw("lines", tmp_path / "raw", tmp_path)
    assert [e["text"] for e in load("lines", data_dir=tmp_path)] == [b"one", b"two", b"three"]
    import_raw("book", tmp_path / "raw", tmp_path, whole_text=True)
    assert [e["text"] for e in load("book", data_dir=tmp_path)] == [b"one\n\ntwo\nthree\n"]


# -- whole or absent


def nothing_but(folder, *names):
    return sorted(p.name for p in folder.iterdir()) == sorted(names)


def test_an_existing_set_is_not_overwritten(tmp_path, tensorflow):
    write_mnist(tmp_path / "raw")
    folder = import_raw("mnist", tmp_path / "raw", tmp_path / "sets")
    before = {p: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(FileExistsError, match="exists already and is not overwritten: delete that folder"):
        import_raw("mnist", tmp_path / "raw", tmp_path / "sets")
    assert {p: p.read_bytes() for p in folder.iterdir()} == before
    assert nothing_but(tmp_path / "sets", "mnist")


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_nothing(tmp_path, tensorflow, monkeypatch, error):
    def parse(folder, whole_text):
        raw = parse_folder(folder)

        whole = raw.splits["train"]

        def examples():
            yield from list(whole())[:5]
            raise error

        raw.splits["train"] = examples
        return raw

    monkeypatch.setattr(builder.folders, "parse_folder", parse)
    with pytest.raises(type(error)):
        import_raw("toy", write_mnist(tmp_path / "raw"), tmp_path / "sets")
    assert nothing_but(tmp_path / "sets")


def test_a_truncated_image_found_while_writing_is_named(tmp_path, tensorflow):
    write_images(tmp_path / "raw", size=(40, 40))
    path = tmp_path / "raw" / "train" / "bee" / "1.png"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"bee/1.png is truncated or corrupt"):
        import_raw("insects", tmp_path / "raw", tmp_path / "sets")
    assert nothing_but(tmp_path / "sets")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_import_can_be_repeated(tmp_path, tensorflow, how):
    write_mnist(tmp_path / "raw", np.tile(IMAGES, (1500, 1, 1))[:12000], np.tile(LABELS, 1500)[:12000])
    big = np.tile(IMAGES, (2000, 1, 1))
    (tmp_path / "raw" / "train-images-idx3-ubyte").write_bytes(idx_bytes(big))
    (tmp_path / "raw" / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.tile(LABELS, 2000)))
    command = [
        sys.executable,
        "-m",
        "jaxdl.data",
        "import",
        "mnist",
        tmp_path / "raw",
        "--data-dir",
        tmp_path / "sets",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("sets/.mnist*/mnist/incomplete*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    process.communicate(timeout=60)
    if (
        process.returncode == 0
    ):  # Python may lose an exception that a signal raises inside a callback: then it is whole
        assert len(load("mnist", data_dir=tmp_path / "sets")) == 24_000
        return
    if how != signal.SIGKILL:
        assert nothing_but(tmp_path / "sets")
    with pytest.raises(FileNotFoundError):
        load("mnist", data_dir=tmp_path / "sets")
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == 0
    assert len(load("mnist", data_dir=tmp_path / "sets")) == 24_000


@pytest.mark.slow
def test_a_full_disk(tmp_path, tensorflow):
    noise = RNG.integers(0, 256, (2000, 28, 28), np.uint8)
    write_mnist(tmp_path / "raw")
    (tmp_path / "raw" / "train-images-idx3-ubyte").write_bytes(idx_bytes(noise))
    (tmp_path / "raw" / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(2000, np.uint8)))
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); import sys;"
    code += "from jaxdl.data.__main__ import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "import", "toy", tmp_path / "raw", "--data-dir", tmp_path / "sets"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert f"cannot write to {tmp_path / 'sets'}: File too large. Free some space or choose" in done.stderr
    assert nothing_but(tmp_path / "sets")


def test_an_unwritable_folder(tmp_path, tensorflow):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write to .*file/sets.*Choose another --data-dir"):
        import_raw("toy", write_mnist(tmp_path / "raw"), tmp_path / "file" / "sets")


# -- broken raw files


def cut(name, change):
    def damage(folder):
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return damage


TRAIN = "train-images-idx3-ubyte"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(
            cut(TRAIN, lambda b: b[:-1]),
            "train-images.* is truncated: an array .8, 28, 28. takes 6288 bytes, the file has 6287",
            id="truncated",
        ),
        pytest.param(
            cut(TRAIN, lambda b: b + b"x"),
            "is corrupt: an array .* takes 6288 bytes, the file has 6289",
            id="long",
        ),
        pytest.param(
            cut(TRAIN, lambda b: b[:9]), "its header takes 16 bytes, the file has 9", id="header cut"
        ),
        pytest.param(
            cut(TRAIN, lambda b: b""), "train-images-idx3-ubyte is empty: download it again", id="empty"
        ),
        pytest.param(
            cut(TRAIN, lambda b: b"\x1f\x8b\x08\x00" + b[4:]),
            "magic number 0x1f8b0800.*still compressed",
            id="wrong magic",
        ),
        pytest.param(
            cut(TRAIN, lambda b: b"\0\0\x07\x03" + b[4:]), "magic number 0x00000703", id="unknown type"
        ),
        pytest.param(
            lambda f: (f / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS[:7])),
            r"images and labels differ in length: .* holds 8, .*labels.* 7",
            id="lengths",
        ),
        pytest.param(
            lambda f: (f / "train-labels-idx1-ubyte").unlink(),
            "no file of train labels beside it",
            id="no labels",
        ),
        pytest.param(lambda f: (f / TRAIN).unlink(), "no file of train images beside it", id="no images"),
        pytest.param(
            lambda f: (f / "train-labels-idx1-ubyte").write_bytes(idx_bytes(IMAGES[:8])),
            r"must hold bytes \[n\], got uint8 \(8, 28, 28\)",
            id="images for labels",
        ),
        pytest.param(
            lambda f: (f / TRAIN).write_bytes(idx_bytes(LABELS)), r"must hold bytes \[n, H, W\]", id="rank"
        ),
        pytest.param(
            lambda f: (f / TRAIN).write_bytes(idx_bytes(IMAGES[:8, :20])),
            "images of different sizes",
            id="sizes",
        ),
        pytest.param(
            lambda f: [
                (f / TRAIN).write_bytes(idx_bytes(IMAGES[:0])),
                (f / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS[:0])),
            ],
            "holds no images",
            id="no examples",
        ),
        pytest.param(
            lambda f: (f / (TRAIN + ".gz")).write_bytes(b""),
            "both hold the train images: keep one",
            id="twice",
        ),
    ],
)
def test_broken_idx(tmp_path, damage, message):
    folder = write_mnist(tmp_path / "raw")
    damage(folder)
    with pytest.raises(ValueError, match=message):
        parse_folder(folder)


@pytest.mark.parametrize(
    "change", [lambda b: b[:-20], lambda b: b"PK" + b[2:], lambda b: b[:40] + b"\0\0\0" + b[43:]]
)
def test_broken_gzip(tmp_path, change):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(change(gzip.compress(idx_bytes(IMAGES))))
    with pytest.raises(ValueError, match=r"ubyte.gz is not a whole gzip file .*: download it again"):
        read_idx(path)


def test_labels_that_the_named_set_does_not_have(tmp_path, tensorflow):
    with pytest.raises(
        ValueError, match="mnist has 10 classes, the files have labels up to 26: import them under ano"
    ):
        import_raw("mnist", write_mnist(tmp_path / "raw", labels=LABELS + 17), tmp_path / "sets")
    assert nothing_but(tmp_path / "sets")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        pytest.param(
            lambda f: (f / "data_batch_1.bin").write_bytes(bytes(3072)),
            "data_batch_1.bin is truncated or corrupt: records take 3073 bytes, the file has 3072",
            id="truncated",
        ),
        pytest.param(lambda f: (f / "data_batch_1.bin").write_bytes(b""), "the file has 0", id="empty"),
        pytest.param(
            lambda f: (f / "data_batch_1.bin").write_bytes(b"\x0a" + bytes(3072)),
            "label must be below 10, got 10",
            id="label",
        ),
        pytest.param(
            lambda f: (f / "data_batch_1.bin").write_bytes(bytes(3073)),
            "data_batch_2.bin is missing",
            id="missing",
        ),
        pytest.param(
            lambda f: (f / "train.bin").write_bytes(bytes(3074)), "test.bin is missing", id="CIFAR-100"
        ),
    ],
)
def test_broken_cifar(tmp_path, write, message):
    write(tmp_path)
    with pytest.raises(ValueError, match=message):
        parse_folder(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param(
            {"a.csv": "x,y\n1,2\n3\n"}, "a.csv, line 3: 1 cells under a header of 2 columns", id="ragged"
        ),
        pytest.param(
            {"a.csv": "1,2\n3,4\n"},
            "a.csv has no header: its first line must name the columns, got '1,2'",
            id="no header",
        ),
        pytest.param({"a.csv": ""}, "a.csv is empty", id="empty"),
        pytest.param({"a.csv": "x,y\n"}, "has a header but no rows", id="no rows"),
        pytest.param({"a.csv": "x,x\n1,2\n"}, "names a column twice: x", id="twice"),
        pytest.param({"a.csv": "x/y\n1\n"}, "must not hold a slash", id="slash"),
        pytest.param({"a.csv": 'x,y\n"1,2\n'}, "is not CSV in UTF-8", id="open quote"),
        pytest.param({"a.csv": "x,label\n1,\n"}, "the column label has an empty cell", id="no label"),
        pytest.param(
            {"train.csv": "x\n1\n", "test.csv": "y\n1\n"},
            "has the columns [xy], .* has [xy]",
            id="headers differ",
        ),
        pytest.param(
            {"a.csv": "x\n1\n", "b.csv": "x\n1\n"},
            "is none of train.csv, test.csv, validation.csv",
            id="names",
        ),
        pytest.param({"a.txt": " \n"}, "a.txt is empty", id="empty text"),
        pytest.param({"a.txt": b"\xff\xfe\x00"}, "a.txt is not text in UTF-8", id="encoding"),
        pytest.param(
            {"a.xyz": "?"},
            r"holds no raw files of a known kind \(a.xyz ...\). Known are\n  train-images",
            id="kind",
        ),
        pytest.param({}, "is empty. It should hold one of\n  train-images", id="empty folder"),
    ],
)
def test_broken_tables_and_texts(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        parse_folder(tmp_path)


def test_broken_class_folders(tmp_path):
    pillow = pytest.importorskip("PIL.Image")

    def case(name, message, change):
        folder = tmp_path / name
        write_images(folder)
        change(folder)
        with pytest.raises(ValueError, match=message):
            parse_folder(folder)

    grey = pillow.fromarray(np.zeros((5, 6), np.uint8))
    case(
        "size",
        r"images must be of one size: .* is \(5, 6, 3\), .*bee/1.png is \(5, 7, 3\)",
        lambda f: pillow.fromarray(np.zeros((5, 7, 3), np.uint8)).save(f / "test/bee/1.png"),
    )
    case("grey", r"bee/1.png is \(5, 6, 1\)", lambda f: grey.save(f / "test/bee/1.png"))
    case("mode", "has the mode CMYK: convert it", lambda f: grey.convert("CMYK").save(f / "test/bee/c.jpg"))
    case("file", "notes.md is neither an image", lambda f: (f / "test/bee/notes.md").write_text(""))
    case("mixed", "mixes images and text", lambda f: (f / "test/bee/a.txt").write_text("a"))
    case("bytes", "bee/1.png is not an image", lambda f: (f / "test/bee/1.png").write_bytes(b"no"))
    case("empty", "wasp is empty", lambda f: (f / "test/wasp").mkdir())
    case("other", "mixes split folders with others: extra", lambda f: (f / "extra").mkdir())

    def add_class(f):
        (f / "test/wasp").mkdir()
        grey.save(f / "test/wasp/1.png")

    case("classes", "have different classes: wasp", add_class)  # fmt: skip


# -- paths that lead outside


def tar_with(path, member, kind=tarfile.REGTYPE, link=""):
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo(member)
        info.type, info.linkname = kind, link
        tar.addfile(info)


@pytest.mark.parametrize(("member", "kind", "message"), [
    ("../evil", tarfile.REGTYPE, "'../evil' lies outside the folder"),
    ("/etc/evil", tarfile.REGTYPE, "'/etc/evil' lies outside the folder"),
    ("a/link", tarfile.SYMTYPE, "'a/link' is a link or a device"),
    ("dev", tarfile.CHRTYPE, "'dev' is a link or a device"),
])  # fmt: skip
def test_an_archive_cannot_write_outside(tmp_path, tensorflow, member, kind, message):
    tar_with(tmp_path / "a.tar", member, kind, "/etc/passwd")
    with pytest.raises(ValueError, match=f"a.tar is not safe to unpack: {message}"):
        import_raw("toy", tmp_path / "a.tar", tmp_path / "sets")
    assert nothing_but(tmp_path, "a.tar", "sets")
    assert nothing_but(tmp_path / "sets")


def test_zip_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../evil", "x")
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="lies outside the folder"):
        unpack(tmp_path / "bad.zip", tmp_path / "out")
    assert nothing_but(tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as archive:
        archive.writestr("d/a.txt", "one\ntwo\n")
    unpack(tmp_path / "good.zip", tmp_path / "out")
    assert [e["text"] for e in parse_folder(tmp_path / "out").splits["train"]()] == ["one", "two"]
    (tmp_path / "not.tar").write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"not.tar is corrupt or not an archive"):
        unpack(tmp_path / "not.tar", tmp_path / "out")


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(ValueError, match=r"train.txt links to .*secret.txt, outside"):
        parse_folder(tmp_path / "raw")


@pytest.mark.parametrize("name", ["../evil", "Mnist", "a/b", "", "1st"])
def test_names_are_checked(tmp_path, name):
    with pytest.raises(ValueError, match="name must be lower case letters"):
        import_raw(name, tmp_path, tmp_path / "sets")


def test_a_missing_folder(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"nope is neither a folder nor an archive.*\n  train-images-idx3"
    ):
        import_raw("mnist", tmp_path / "nope", tmp_path / "sets")


# -- load


def test_a_missing_set_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load("nosuch", data_dir=tmp_path)
    message = str(caught.value)
    assert (
        f"'nosuch' is not in {tmp_path / 'nosuch'}; TensorFlow Datasets does not know the name nosuch"
        in message
    )
    assert f"python -m jaxdl.data import nosuch FOLDER --data-dir {tmp_path}" in message


def test_a_missing_known_set_names_its_raw_files(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXDL_DATA_DIR", str(tmp_path / "sets"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr("jaxdl.data.sources._online", lambda: False)
    with pytest.raises(FileNotFoundError) as caught:
        load("mnist")
    message = str(caught.value)
    assert f"'mnist' is not in {tmp_path / 'sets/mnist'} and {tmp_path / 'tfds/mnist'}; " in message
    assert "there is no network" in message or "only with TensorFlow" in message
    assert "(train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte," in message
    assert "  python -m jaxdl.data import mnist FOLDER\n" in message
    assert nothing_but(tmp_path)


def test_a_missing_set_without_tensorflow(tmp_path):
    result = run_without_tensorflow(
        "load('mnist')", JAXDL_DATA_DIR=str(tmp_path), TFDS_DATA_DIR=str(tmp_path)
    )
    assert result.returncode == 1
    assert "only with TensorFlow: pip install 'jaxdl[import]'" in result.stderr


def test_sets_of_tfds_itself_are_found(tmp_path, tensorflow, monkeypatch):
    import_raw("toy", write_mnist(tmp_path / "raw"), tmp_path / "tfds")
    monkeypatch.setenv("JAXDL_DATA_DIR", str(tmp_path / "sets"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    assert len(load("toy")) == 8
    with pytest.raises(FileNotFoundError):
        load("toy", data_dir=tmp_path / "sets")
    # Sets are found by folder, also those of other versions and configurations.
    (tmp_path / "tfds/toy/1.0.0").rename(tmp_path / "tfds/toy/10.0.0")
    assert len(load("toy:10.0.0")) == 8
    (tmp_path / "tfds/toy/plain").mkdir()
    (tmp_path / "tfds/toy/10.0.0").rename(tmp_path / "tfds/toy/plain/10.0.0")
    assert len(load("toy/plain")) == 8


def test_bad_requests(tmp_path, tensorflow):
    folder = import_raw("toy", write_mnist(tmp_path / "raw"), tmp_path)
    with pytest.raises(ValueError, match=r"split 'valid' is not in .*: it holds test, train"):
        load("toy", "valid[:10%]", tmp_path)
    with pytest.raises(ValueError, match="keys must be one of 'image', 'label', got 'id'"):
        load("toy", "train", tmp_path, keys=("id",))
    with pytest.raises(ValueError, match="name must look like mnist"):
        load("../toy", data_dir=tmp_path)
    record = next(folder.glob("*train*"))
    record.rename(folder / "moved")
    with pytest.raises(
        FileNotFoundError, match=r"is missing: the set is incomplete. Delete .* and import it again"
    ):
        load("toy", data_dir=tmp_path)
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(ValueError, match=r"without random access. Convert it:\n  tfds convert_format"):
        load("toy", data_dir=tmp_path)


# -- the command line


def command_line(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "jaxdl.data", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).parents[2],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        timeout=120,
    )


def test_the_command_line(tmp_path, tensorflow):
    write_mnist(tmp_path / "raw")
    done = command_line("import", "toy", tmp_path / "raw", "--data-dir", tmp_path / "sets")
    assert done.returncode == 0, done.stderr
    assert "toy/1.0.0: train 8, test 4" in done.stdout
    assert "image: Image(shape=(28, 28, 1)" in done.stdout
    again = command_line("import", "toy", tmp_path / "raw", "--data-dir", tmp_path / "sets")
    assert again.returncode == 1
    assert again.stderr.startswith("error: ")
    assert "exists already" in again.stderr


def test_the_command_line_teaches():
    shown = command_line("import", "--help")
    assert shown.returncode == 0
    for part in (
        "train-images-idx3-ubyte",
        "data_batch_1.bin",
        "JAXDL_DATA_DIR",
        "python -m jaxdl.data import mnist",
    ):
        assert part in shown.stdout
