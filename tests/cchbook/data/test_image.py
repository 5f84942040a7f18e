"""MNIST-M's making on arrays whose result is known, and the stand-in."""

import gzip

import numpy as np
import pytest
import torch

from cchbook.data import catalogue, download, image


def test_blend_by_hand():
    digits = np.array([[[0.0, 0.4], [0.6, 1.0]]])
    patches = np.array([[[0.5, 0.5], [0.25, 1.0]]])
    assert image.blend(digits, patches, 0.2) == pytest.approx(
        np.array([[[0.4, 0.4], [0.4, 1.0]]])
    )
    assert image.blend(digits, patches, 1.0) == pytest.approx(
        np.array([[[0, 0], [1, 1]]])
    )
    assert image.blend(digits, patches, 0.0) == pytest.approx(patches)
    assert image.blend(digits, patches, 1.0, threshold=0.3) == pytest.approx(
        np.array([[[0, 1], [1, 1]]])
    )


def test_blur_of_a_point_is_the_gaussian():
    point = np.zeros((1, 29, 29))
    point[0, 14, 14] = 1
    blurred = image.gaussian_blur(point, 1.5)[0]
    kernel = np.exp(-(np.arange(-14, 15) ** 2) / (2 * 1.5**2))
    kernel[np.abs(np.arange(-14, 15)) > 6] = 0  # cut at 4γ
    kernel /= kernel.sum()
    assert blurred == pytest.approx(np.outer(kernel, kernel), abs=1e-12)


def test_blur_keeps_a_constant_and_each_image_to_itself():
    images = np.stack([np.full((28, 28), 0.3), np.zeros((28, 28))])
    assert image.gaussian_blur(images, 3.5) == pytest.approx(images)
    noise = np.random.default_rng(0).random((2, 28, 28))
    assert image.gaussian_blur(noise, 0) is noise
    assert image.gaussian_blur(noise, 2.0)[1] == pytest.approx(
        image.gaussian_blur(noise[1:], 2.0)[0]
    )


def test_patches_are_pieces_of_their_photographs():
    """Each pixel says where it is from, so that a patch names its photograph and its
    place.
    """
    photos = [
        np.arange(40 * 30, dtype=np.float32).reshape(40, 30),
        10_000 + np.arange(28 * 28, dtype=np.float32).reshape(28, 28),
    ]
    patches = image.random_patches(photos, 300, seed=0)
    for patch in patches:
        photo, start = (
            (photos[1], 0) if patch[0, 0] >= 10_000 else (photos[0], int(patch[0, 0]))
        )
        top, left = divmod(start, photo.shape[1])
        assert np.array_equal(patch, photo[top : top + 28, left : left + 28])
    corners = {float(patch[0, 0]) for patch in patches if patch[0, 0] < 10_000}
    assert {
        0.0,
        12.0 * 30 + 2,
    } <= corners  # the first place and the last are both drawn
    assert np.array_equal(patches, image.random_patches(photos, 300, seed=0))


def test_inputs_are_replicated_channels():
    pictures = np.random.default_rng(0).random((3, 28, 28))
    assert image.as_inputs(pictures).shape == (3, 784)
    coloured = image.as_inputs(pictures, 3).reshape(3, 3, 784)
    assert all(np.allclose(coloured[:, c], pictures.reshape(3, -1)) for c in range(3))


def test_embedded_stand_in():
    digits, photographs = image.load("embedded")
    assert (
        digits.source.kind == photographs.source.kind == "embedded"
        and len(digits.source.sha256) == 64
    )
    assert len(digits.train_images) + len(digits.test_images) == 1797
    assert (
        digits.train_images.shape[1:] == (28, 28)
        and 0 <= digits.train_images.min()
        and digits.train_images.max() <= 1
    )
    assert set(digits.test_labels) == set(range(10))
    assert not np.array_equal(photographs.train[0], photographs.test[0])


def test_real_where_at_hand(monkeypatch, tmp_path):
    monkeypatch.setenv("CCH_DATA", str(tmp_path))
    assert image.load("auto")[0].source.kind == "embedded"
    with pytest.raises(FileNotFoundError, match="cch data fetch mnist"):
        image.load("real")


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda a: image.blend(a, a, 1.1), "alpha"),
        (lambda a: image.blend(a, a[:1], 0.2), "patches"),
        (lambda a: image.blend(a, a, 0.2, threshold=2), "threshold"),
        (lambda a: image.gaussian_blur(a, -1), "gamma"),
        (lambda a: image.random_patches([np.zeros((10, 40))], 3, 0), "photographs"),
        (lambda a: image.random_patches([], 3, 0), "photographs"),
        (lambda a: image.random_patches([np.zeros((40, 40, 3))], 3, 0), "photographs"),
        (lambda a: image.random_patches(np.zeros((2, 40, 40)), 2.5, 0), "`n`.*got 2.5"),
        (lambda a: image.gaussian_blur(a * np.nan, 1), "`images`.*got NaN"),
        (lambda a: image.gaussian_blur(a[0, 0], 1), "`images`"),
        (lambda a: image.blend(a / 0, a, 0.2), "`digits`.*got NaN"),
        (lambda a: image.blend(a, [["b"]], 0.2), "`patches`"),
        (lambda a: image.as_inputs(a, 0), "channels"),
        (lambda a: image.load("fake"), "source"),
        (lambda a: image.load("embedded")[0].subset(5000, 10), "n_train"),
    ],
)
def test_refuses(call, said):
    with pytest.raises(ValueError, match=said), np.errstate(invalid="ignore"):
        call(np.zeros((2, 28, 28)))


def test_binary_images_are_blurred_as_numbers():
    """In their own type ndimage would round the blur away; a tensor, and a single
    image, are read too.
    """
    point = np.zeros((2, 9, 9))
    point[:, 4, 4] = 1
    wanted = image.gaussian_blur(point, 1.0)
    for same in (point > 0, point.astype(int), torch.tensor(point)):
        assert image.gaussian_blur(same, 1.0) == pytest.approx(wanted, abs=1e-6)
    assert image.gaussian_blur(point[0], 1.0) == pytest.approx(wanted[0])
    assert image.blend(torch.tensor(point), point * 0.5, 0.2) == pytest.approx(
        image.blend(point, point * 0.5, 0.2)
    )


def idx(array):
    """`array` (uint8) as MNIST's publisher writes it, before packing."""
    header = bytes([0, 0, 8, array.ndim])
    lengths = np.array(array.shape, ">u4").tobytes()
    return header + lengths + array.tobytes()


def test_idx_files(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    file = tmp_path / "a.gz"
    file.write_bytes(gzip.compress(idx(array)))
    np.testing.assert_array_equal(image.read_idx(file), array)


def test_idx_files_are_torchvisions(tmp_path):
    """The peer reads the same images and labels from the unpacked files."""
    from torchvision.datasets import mnist

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 10, 7, dtype=np.uint8)
    for array, peer in (
        (images, mnist.read_image_file),
        (labels, mnist.read_label_file),
    ):
        plain, packed = tmp_path / "plain", tmp_path / "packed.gz"
        plain.write_bytes(idx(array))
        packed.write_bytes(gzip.compress(idx(array)))
        np.testing.assert_array_equal(image.read_idx(packed), peer(str(plain)).numpy())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x08\0",
        b"no idx file at all",
        idx(np.zeros((2, 3), np.uint8))[:-1],
        idx(np.zeros((2, 3), np.uint8)) + b"x",
        idx(np.zeros(3, np.uint8)).replace(b"\x08", b"\x0d", 1),
    ],
)
def test_broken_idx_files_are_named(tmp_path, content):
    file = tmp_path / "a.gz"
    file.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=r"a\.gz must be an IDX array"):
        image.read_idx(file)


@pytest.mark.parametrize("change", ["cut", "bits", "plain"])
def test_a_broken_packing_is_named(tmp_path, change):
    file = tmp_path / "a.gz"
    packed = bytearray(gzip.compress(idx(np.arange(250, dtype=np.uint8))))
    if change == "bits":
        packed[30] ^= 255
    content = {"cut": packed[:-9], "bits": packed, "plain": b"plain"}[change]
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.gz: could not be read"):
        image.read_idx(file)


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """MNIST's four files with one image in five hundred, as if they were published."""
    monkeypatch.setenv("CCH_DATA", str(tmp_path))
    monkeypatch.setattr(catalogue, "cache_home", lambda: tmp_path / "cache")
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    sums = {}
    for split, count in (("train", 60000), ("t10k", 10000)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[::500] = random.integers(0, 256, (count // 500, 28, 28))
        labels = random.integers(0, 10, count).astype(np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            file = folder / f"{split}-{name}-ubyte.gz"
            file.write_bytes(gzip.compress(idx(array), 1))
            sums[f"MNIST/raw/{file.name}"] = download.sha256_of(file)
    monkeypatch.setattr(catalogue, "_checksums", lambda: sums)
    return folder


def test_an_unpacked_file_beside_a_verified_one_is_not_read(tiny_mnist):
    """It would be served as real, with the checksum of what was not read."""
    source = catalogue.resolve("mnist", "real")
    before = image._mnist(source)
    for packed in tiny_mnist.glob("*.gz"):
        content = bytearray(gzip.decompress(packed.read_bytes()))
        content[-20:] = bytes(20)
        packed.with_suffix("").write_bytes(content)
    after = image._mnist(catalogue.resolve("mnist", "real"))
    assert after.source.sha256 == before.source.sha256
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert before.train_images.max() <= 1 and before.train_labels.dtype == np.int64
    assert not (tiny_mnist.parents[1] / "cache" / "unpacked").exists()


def test_mnist_of_another_size_is_named(tiny_mnist):
    file = tiny_mnist / "t10k-labels-idx1-ubyte.gz"
    file.write_bytes(gzip.compress(idx(np.zeros(9, np.uint8))))
    source = catalogue.DataSource("mnist", "real", None, tiny_mnist.parents[1], "")
    with pytest.raises(ValueError, match=r"t10k must have 10000 images of 28 .*\(9,\)"):
        image._mnist(source)


@pytest.mark.parametrize("name", ["digits", "patches"])
def test_masked_images_are_refused(name):
    images = {"digits": np.zeros((1, 2, 2)), "patches": np.zeros((1, 2, 2))}
    images[name] = np.ma.array(images[name], mask=np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match=f"`{name}` must not be masked"):
        image.blend(**images, alpha=0.5)
