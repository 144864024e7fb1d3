"""Data of one's own in folders, tables and other libraries' objects, and errors of bad ones."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

import mvae_jax
from mvae_jax import config as config_lib
from mvae_jax import datasets
from mvae_jax.config import ConfigError
from mvae_jax.datasets import DataError, conversion, load
from mvae_jax.report.cells import cell_of
from tests.conftest import ROOT

pa = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 6, 5, 3), np.uint8)
GREY = RNG.integers(0, 256, (12, 6, 5, 1), np.uint8)
LABELS = np.repeat([0, 1, 2], 4)
NAMES = ("ant", "bee", "cat")


def picture(pixels):
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def encoded(pixels, kind="PNG"):
    stream = io.BytesIO()
    picture(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes images by class, perhaps below splits, to a folder."""

    def write_folder(images=COLOUR, below=("",)):
        for number, (pixels, label) in enumerate(zip(images, LABELS, strict=True)):
            folder = tmp_path / "animals" / below[number % len(below)] / NAMES[label]
            folder.mkdir(parents=True, exist_ok=True)
            picture(pixels).save(folder / f"{number:03}.png")
        return tmp_path / "animals"

    return write_folder


# --- folders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [COLOUR, GREY])
def test_a_folder_has_its_files_pixels_and_classes_in_sorted_order(write, images):
    folder = write(images)
    (folder / ".DS_Store").write_text("hidden")
    (folder / "ant" / ".thumb.png").write_text("hidden")
    data = load(f"{folder}/")
    np.testing.assert_array_equal(data.images, images)
    np.testing.assert_array_equal(data.labels, LABELS)
    assert (data.num_classes, data.pixel_scale) == (3, 1 / 255)
    assert sorted(np.concatenate([*data.splits.values()])) == list(range(12))


def test_a_folder_without_classes_has_no_labels(write):
    flat = write() / "ant"
    data = load(str(flat))
    np.testing.assert_array_equal(data.images, COLOUR[:4])
    assert data.labels is None


def test_train_and_test_folders_are_the_split(write):
    folder = write(below=("train", "test"))
    data = load(str(folder), "paper")
    np.testing.assert_array_equal(data.images, np.concatenate([COLOUR[::2], COLOUR[1::2]]))
    np.testing.assert_array_equal(data.labels, [0, 0, 1, 1, 2, 2] * 2)
    assert {name: list(i) for name, i in data.splits.items()} == {
        "train": [*range(6)],
        "test": [*range(6, 12)],
    }


def spoil_size(folder):
    picture(COLOUR[0, :4]).save(folder / "bee" / "small.png")


def spoil_mode(folder):
    picture(GREY[0]).save(folder / "bee" / "grey.png")


def spoil_bits(folder):
    Image.fromarray(COLOUR[0, :, :, 0].astype(np.uint16) * 256).save(folder / "ant" / "000.png")


def spoil_alpha(folder):
    picture(COLOUR[0]).convert("RGBA").save(folder / "ant" / "000.png")


def spoil_float(folder):
    Image.fromarray(COLOUR[0, :, :, 0].astype(np.float32)).save(folder / "ant" / "000.tiff")


def spoil_end(folder):
    data = (folder / "ant" / "000.png").read_bytes()
    (folder / "ant" / "000.png").write_bytes(data[: len(data) // 2])


def spoil_kind(folder):
    (folder / "ant" / "notes.txt").write_text("not an image")


def spoil_place(folder):
    (folder / "notes.txt").write_text("not an image")


def leave_one_class(folder):
    shutil.rmtree(folder / "bee"), shutil.rmtree(folder / "cat")


def empty_class(folder):
    shutil.rmtree(folder / "bee")
    (folder / "bee").mkdir()


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            spoil_size,
            r"small\.png: has 4 x 5 pixels of 3 channels, but .*000\.png has 6 x 5 pixels",
        ),
        (spoil_mode, r"grey\.png: has 6 x 5 pixels of 1 channel, but .*000\.png has .* 3 channels"),
        (spoil_bits, r"000\.png: has Pillow's mode I(;16)?; allowed: L \(grey\) or RGB with"),
        (spoil_alpha, r"000\.png: has Pillow's mode RGBA; allowed: L \(grey\) or RGB"),
        (spoil_float, r"000\.tiff: has Pillow's mode F; allowed"),
        (spoil_end, r"000\.png: not readable as an image"),
        (spoil_kind, r"notes\.txt: not readable as an image"),
        (spoil_place, r"animals: holds the file notes\.txt beside folders; remove it"),
        (leave_one_class, r"animals: holds one class only, ant; allowed: at least two folders"),
        (empty_class, r"bee: holds no image; fill or remove it"),
        (empty, r"animals: holds no image; fill or remove it"),
        (shutil.rmtree, r"animals: no such folder"),
    ],
)
def test_a_folder_that_is_not_what_it_seems_is_answered_in_one_line(write, spoil, said):
    folder = write()
    spoil(folder)
    with pytest.raises(DataError, match=said) as raised:
        load(f"{folder}/")
    assert "\n" not in str(raised.value)


# --- tables -------------------------------------------------------------------------------------


def huggingface(images=COLOUR, kind="PNG"):
    """A column as Hugging Face writes it."""
    rows = [{"bytes": encoded(pixels, kind), "path": f"{n}.png"} for n, pixels in enumerate(images)]
    return pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))


def fixed(values, *sizes):
    """A column of lists of fixed sizes, the outermost first."""
    column = pa.array(np.asarray(values).reshape(-1))
    for size in reversed(sizes):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


COLUMNS = {
    "structs": huggingface(),
    "binary": pa.array([encoded(pixels) for pixels in COLOUR]),
    "fixed": fixed(COLOUR, 6, 5, 3),
    "lists": pa.array(COLOUR.tolist(), pa.list_(pa.list_(pa.list_(pa.uint8())))),
}


def save(table, path):
    if path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=5)
        return
    make = pa.ipc.new_stream if "stream" in path.stem else pa.ipc.new_file
    with make(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)


@pytest.mark.parametrize("file", ["mine.parquet", "mine.arrow", "mine-stream.arrow"])
@pytest.mark.parametrize("column", COLUMNS)
def test_a_table_has_its_rows_images_and_labels(tmp_path, file, column):
    save(pa.table({"img": COLUMNS[column], "label": LABELS}), tmp_path / file)
    data = load(str(tmp_path / file))
    np.testing.assert_array_equal(data.images, COLOUR)
    np.testing.assert_array_equal(data.labels, LABELS)


def test_flat_squares_names_and_no_labels(tmp_path):
    images = RNG.integers(0, 256, (12, 7, 7), np.uint8)
    names = pa.array([NAMES[label] for label in LABELS])
    for labels in (names, names.dictionary_encode()):
        save(pa.table({"image": fixed(images, 49), "labels": labels}), tmp_path / "mine.parquet")
        data = load(str(tmp_path / "mine.parquet"))
        np.testing.assert_array_equal(data.images[..., 0], images)
        np.testing.assert_array_equal(data.labels, LABELS)
    save(pa.table({"image": fixed(images, 49)}), tmp_path / "mine.parquet")
    assert load(str(tmp_path / "mine.parquet")).labels is None


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"pixels": COLUMNS["fixed"]}, "no column named image or img; it holds pixels"),
        (
            {"image": COLUMNS["fixed"], "fine_label": LABELS},
            "no column named label or labels; rename one of fine_label, or remove them",
        ),
        (
            {"image": COLUMNS["fixed"], "img": COLUMNS["fixed"]},
            "holds the columns image and img; allowed: one of them",
        ),
        ({"image": COLUMNS["fixed"][:0]}, "holds no row"),
        (
            {"image": pa.array(["a.png"])},
            "column image: of the type string; allowed: encoded images",
        ),
        (
            {"image": pa.array([encoded(GREY[0]), encoded(COLOUR[0])])},
            r"row 1: has 6 x 5 pixels of 3 channels, but .*row 0 has 6 x 5 pixels of 1 channel",
        ),
        ({"image": pa.array([encoded(GREY[0]), b"no image"])}, "row 1: not readable as an image"),
        ({"image": pa.array([encoded(GREY[0]), None])}, "column image: 1 rows without an image"),
        (
            {"image": pa.array([{"bytes": None, "path": "a.png"}], huggingface().type)},
            "row 0: a path without the image's bytes",
        ),
        (
            {"image": fixed(COLOUR.astype(np.float32) / 255, 6, 5, 3)},
            "column image: pixels of float; allowed: uint8, 0 to 255",
        ),
        ({"image": fixed(GREY, 30)}, r"\[30\] pixels in lists; allowed: \[H\]\[W\]"),
        (
            {"image": pa.array([[[1, 2]], [[1, 2, 3]]], pa.list_(pa.list_(pa.uint8())))},
            "lists of 2 and 3 values; allowed: images of one size",
        ),
        (
            {"image": COLUMNS["fixed"], "label": pa.array([None, *LABELS[1:]], pa.int64())},
            "column label: 1 rows without a label",
        ),
        (
            {"image": COLUMNS["fixed"], "label": LABELS / 2},
            "column label: of the type double; allowed: integers, or names",
        ),
        ({"image": COLUMNS["fixed"], "label": LABELS - 1}, r"labels: got -1 to 1; allowed: 0 to"),
    ],
)
def test_a_table_that_is_not_what_it_seems_is_answered_in_one_line(tmp_path, columns, said):
    save(pa.table(columns), tmp_path / "mine.parquet")
    with pytest.raises(DataError, match=rf"mine\.parquet.*{said}") as raised:
        load(str(tmp_path / "mine.parquet"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("file", "said"), [("a.parquet", "as a Parquet file"), ("a.arrow", "as a[n]? Arrow file")]
)
def test_a_damaged_or_missing_file_is_answered_in_one_line(tmp_path, file, said):
    with pytest.raises(DataError, match=r"no such file"):
        load(str(tmp_path / file))
    save(pa.table({"image": COLUMNS["fixed"], "label": LABELS}), tmp_path / file)
    whole = (tmp_path / file).read_bytes()
    for data in (b"", b"anything", whole[: len(whole) // 2]):
        (tmp_path / file).write_bytes(data)
        with pytest.raises(DataError, match=rf"not readable {said}") as raised:
            load(str(tmp_path / file))
        assert "\n" not in str(raised.value)


# --- objects ------------------------------------------------------------------------------------


class Torch:
    """Stands for a map-style data set, whose iteration does not end.

    It has a shape, rows and columns, as Hugging Face's have.
    """

    def __init__(self, examples):
        self.examples, self.shape = examples, (len(examples), 2)

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        return self.examples[index % len(self.examples)]


class Tensor:
    """Stands for torch's: an array with `detach`, channels first."""

    def __init__(self, pixels):
        self.array = pixels if pixels.ndim < 3 else pixels.transpose(2, 0, 1)

    def __array__(self, dtype=None, copy=None):
        return self.array

    def detach(self):
        return self


@pytest.mark.parametrize("make", [picture, Tensor, lambda pixels: pixels])
@pytest.mark.parametrize("images", [COLOUR, GREY])
def test_pairs_of_image_and_label(make, images):
    found = datasets.arrays(Torch([(make(x), int(y)) for x, y in zip(images, LABELS, strict=True)]))
    np.testing.assert_array_equal(found[0], images)
    np.testing.assert_array_equal(found[1], LABELS)
    alone = datasets.arrays(iter([make(pixels) for pixels in images]))
    np.testing.assert_array_equal(alone[0], images)
    assert alone[1] is None


def test_a_torch_data_set_itself():
    torch = pytest.importorskip("torch")
    tensors = torch.from_numpy(COLOUR).permute(0, 3, 1, 2), torch.from_numpy(LABELS)
    found = datasets.arrays(torch.utils.data.TensorDataset(*tensors))
    np.testing.assert_array_equal(found[0], COLOUR)
    np.testing.assert_array_equal(found[1], LABELS)


def test_a_hugging_face_data_set(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    hf = pytest.importorskip("datasets")
    features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=list(NAMES))})
    rows = {"image": [picture(pixels) for pixels in COLOUR], "label": LABELS.tolist()}
    data = hf.Dataset.from_dict(rows, features=features)
    images, labels = datasets.arrays(data)
    np.testing.assert_array_equal(images, COLOUR)
    np.testing.assert_array_equal(labels, LABELS)
    images, labels = datasets.arrays(data.select([5, 2, 9]))
    np.testing.assert_array_equal(images, COLOUR[[5, 2, 9]])
    features = hf.Features({"image": hf.Array3D((6, 5, 3), "uint8"), "label": hf.Value("int64")})
    nested = hf.Dataset.from_dict({**rows, "image": list(COLOUR)}, features=features)
    np.testing.assert_array_equal(datasets.arrays(nested)[0], COLOUR)
    with pytest.raises(DataError, match="got the splits train, test; pass one"):
        datasets.arrays(hf.DatasetDict(train=data, test=data))
    data.to_parquet(str(tmp_path / "mine.parquet"))
    np.testing.assert_array_equal(load(str(tmp_path / "mine.parquet")).images, COLOUR)


def test_arrays_and_paths(write):
    np.testing.assert_array_equal(datasets.arrays(COLOUR)[0], COLOUR)
    images, labels = datasets.arrays(write())
    np.testing.assert_array_equal(images, COLOUR)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ([(Tensor(COLOUR[0] / 255), 1)], r"float64 \[3, 6, 5\]; allowed: .* take ToTensor and"),
        ([(COLOUR[0], 1), (COLOUR[1, :4], 1)], "example 1: has 4 x 5 pixels"),
        ([(COLOUR[0], 1), COLOUR[1]], "example 1: has a label where others have none, or lacks"),
        ([(COLOUR[0], 0.5)], "label 0.5; allowed: an integer"),
        ([(COLOUR[0], "ant")], "label ant; allowed: an integer"),
        ([], "images: got none"),
        (3, "builtins.int: no data set; allowed: a Hugging Face or torch data set"),
    ],
)
def test_an_object_that_is_not_what_it_seems_is_answered_in_one_line(source, said):
    with pytest.raises(DataError, match=said.replace(" take", r" \(take")) as raised:
        datasets.arrays(source)
    assert "\n" not in str(raised.value)


def test_the_docstrings_example_runs():
    import doctest

    assert doctest.testmod(conversion).failed == 0


def test_the_manuals_pairs_become_arrays():
    page = (ROOT / "mvae_jax" / "docs" / "data.md").read_text(encoding="utf-8")
    (snippet,) = [block for block in page.split("```python\n") if "datasets.arrays(" in block]
    made = {}
    exec(snippet.partition("```")[0], made)
    assert (made["images"].shape, made["labels"].tolist()) == ((2, 8, 8, 3), [0, 1])
    assert made["images"][1, 0, 0].tolist() == [0, 0, 255]


# --- the door -----------------------------------------------------------------------------------


def test_fit_takes_each(write, tmp_path):
    few = {"latent_size": 2, "num_seeds": 1, "num_epochs": 1, "hidden_size": 4, "batch_size": 6}
    few |= {"iwae_samples": 0}
    pairs = Torch([(picture(x), int(y)) for x, y in zip(COLOUR, LABELS, strict=True)])
    run = mvae_jax.fit("vae", pairs, folder=tmp_path / "pairs", **few)
    other = mvae_jax.fit("vae", write(), folder=tmp_path / "folder", **few)
    for config in (run, other):
        assert config.seeds == [777]
    stored = [config_lib.FrozenConfigDict(of.config) for of in (run, other)]
    assert stored[0].data_sha256 == stored[1].data_sha256
    cell = cell_of({**stored[1].to_dict()}, "")
    assert cell.setting.dataset == "animals/"


def test_a_folders_name_is_its_run_folders():
    for dataset, name in [("./data/flowers", "flowers"), ("flowers/", "flowers"), ("x.arrow", "x")]:
        config = config_lib.validate(config_lib.base_config(dataset, "vae,2"))
        assert str(config_lib.default_workdir(config)) == f"runs/{name}/release/vae-z2"
    with pytest.raises((ConfigError, DataError), match=r"a folder of images, written with a slash"):
        load("flowers")
