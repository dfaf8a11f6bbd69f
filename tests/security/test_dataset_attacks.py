"""Data sets of the owner's files: what is labelled of their items, and of what transforms hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from duet_p2p.surface.callables import CALLABLES
from duet_p2p.surface.context import Context
from duet_p2p.wire.values import Ref
from tests.security.neighbour_kit import DATA, T
from tests.unit.engine_kit import Driver
from tests.unit.test_datasets import idx_bytes, write_files
from tests.unit.test_transforms import CLASSES

V, SET, SPLIT = "torchvision.transforms.", "torchvision.datasets.MNIST", DATA + "random_split"
ITEM = "python.Tuple.__getitem__"


@pytest.fixture
def digits(tmp_path: Path) -> Driver:
    pytest.importorskip("torchvision")
    write_files(tmp_path)
    return Driver(dirs={"digits": str(tmp_path)})


def dataset(d: Driver, *transforms: Ref) -> Ref:
    steps = d.ok(V + "Compose", list(transforms)) if transforms else None
    return d.ok(SET, "digits", transform=steps)


def to_tensor(d: Driver) -> Ref:
    return d.ok(V + "ToTensor")


def first(d: Driver, data: Ref, part: int = 0) -> Ref:
    item = d.ok("python.next", d.ok("python.iter", data))
    return d.ok(ITEM, item, part)


def batch(d: Driver, data: Ref, **settings: Any) -> Ref:
    passing = d.ok("python.iter", d.ok(DATA + "DataLoader", data, **settings))
    return d.ok("python.List.__getitem__", d.ok("python.next", passing), 0)


def size_kind(d: Driver, value: Ref) -> str:
    return d.label(d.run(T + "size", value))[0]


# items without a loader


def test_an_item_that_iter_gives_is_a_private_record(digits: Driver) -> None:
    data = dataset(digits, to_tensor(digits))
    joined = digits.ok(DATA + "ConcatDataset", [data])
    chosen = digits.ok(DATA + "Subset", data, [1, 2])
    for source in (data, joined, chosen):
        assert digits.label(first(digits, source))[:2] == ("per_record", 1)
        assert digits.label(first(digits, source, 1))[:2] == ("per_record", 1)
    assert size_kind(digits, first(digits, data)) == "metadata"  # a record's size is public


def test_so_is_an_image_that_is_no_tensor(digits: Driver) -> None:
    image = first(digits, dataset(digits))
    assert digits.label(image)[0] == "per_record"
    pixels = digits.ok(V + "functional.to_tensor", image)
    assert digits.label(pixels)[0] == "per_record"


def test_so_are_public_items_that_a_private_seed_chose(digits: Driver) -> None:
    seed = digits.share(torch.tensor(3))
    data = digits.ok(DATA + "TensorDataset", digits.put(torch.arange(6.0)))
    digits.ok("torch.manual_seed", digits.ok("python.Int", seed))
    part = digits.ok("python.List.__getitem__", digits.ok(SPLIT, data, [3, 3]), 0)
    assert digits.label(first(digits, part))[0] == "per_record"


def test_an_owners_tensor_keeps_its_label_when_items_are_taken(digits: Driver) -> None:
    x = digits.share(torch.arange(6.0))
    data = digits.ok(DATA + "TensorDataset", x)
    assert digits.label(first(digits, data))[0] == "verbatim"
    digits.ok("torch.manual_seed", digits.ok("python.Int", digits.ok(T + "__getitem__", x, 0)))
    part = digits.ok("python.List.__getitem__", digits.ok(SPLIT, data, [3, 3]), 0)
    assert digits.label(first(digits, part))[0] == "per_record"
    assert digits.label(x)[0] == "verbatim"
    assert digits.label(digits.ok("torch.mean", x))[:2] == ("aggregate", 6)


# what transforms hold


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["tensor", "list", "matrix"])
def test_what_is_written_later_into_what_a_transform_was_given_changes_no_image(
    digits: Driver, kind: str, when: str
) -> None:
    secret = digits.ok(T + "__getitem__", digits.share(torch.tensor([0.0, 7.0])), 1)
    if kind == "matrix":
        own = digits.put(torch.zeros(784))
        step = digits.ok(V + "LinearTransformation", digits.put(torch.eye(784)), own)
    else:
        own = digits.put(torch.tensor([0.0]) if kind == "tensor" else [0.0])
        step = digits.ok(V + "Normalize", own, [1.0])
    data = dataset(digits, to_tensor(digits), step) if when == "after" else None
    if kind == "list":
        digits.ok("python.List.__setitem__", own, 0, digits.ok("python.Float", secret))
    else:
        digits.ok(T + "add_", own, secret)
    data = data or dataset(digits, to_tensor(digits), step)
    mean = digits.ok("torch.mean", batch(digits, data, batch_size=10))
    as_it_is = batch(digits, dataset(digits, to_tensor(digits)), batch_size=10)
    plain = digits.release(digits.ok("torch.mean", as_it_is))
    assert digits.label(mean)[:2] == ("aggregate", 10)
    assert torch.allclose(digits.release(mean), plain, atol=1e-4)


def test_a_transform_of_private_numbers_is_as_private(digits: Driver) -> None:
    secret = digits.share(torch.tensor([0.5]))
    step = digits.ok(V + "Normalize", secret, [1.0])
    mean = digits.ok("torch.mean", batch(digits, dataset(digits, to_tensor(digits), step)))
    assert digits.label(mean)[:2] == ("per_record", 1)
    assert -1 in digits.facts(mean).sources


def test_nor_does_a_loader_tell_a_size_that_private_numbers_decided(digits: Driver) -> None:
    step = digits.ok(V + "CenterCrop", digits.share(torch.tensor([14, 7])))
    data = dataset(digits, step, to_tensor(digits))
    digits.run(DATA + "DataLoader", data)
    assert not any(getattr(event, "facts", None) for event in digits.last)
    assert size_kind(digits, batch(digits, data)) == "per_record"


def test_the_numbers_of_a_transform_are_counted_and_bounded(digits: Driver) -> None:
    given = digits.put(torch.ones(10_000))
    assert digits.failed(V + "Normalize", given, given).code == "QuotaExceeded"
    sides = digits.put(torch.tensor([100_000, 100_000]))
    assert digits.failed(V + "CenterCrop", sides).code == "QuotaExceeded"
    box = digits.put([1])
    for _ in range(14):
        box = digits.ok("python.collect", box, box)
    assert digits.failed(V + "Normalize", box, [1.0]).code == "QuotaExceeded"


# sizes that a private random state chose


def seeded(d: Driver) -> None:
    d.ok("torch.manual_seed", d.ok("python.Int", d.share(torch.tensor(3))))


def test_the_size_of_an_image_that_is_cut_or_not_is_as_private_as_the_seed(digits: Driver) -> None:
    cut = digits.ok(V + "RandomApply", [digits.ok(V + "CenterCrop", 14)])
    data = dataset(digits, cut, to_tensor(digits))
    assert size_kind(digits, batch(digits, data)) == "metadata"
    seeded(digits)
    digits.run(DATA + "DataLoader", data)
    assert not any(getattr(event, "facts", None) for event in digits.last)
    assert size_kind(digits, batch(digits, data)) == "per_record"
    assert size_kind(digits, first(digits, data)) == "per_record"


def test_so_is_which_of_two_data_sets_an_item_is_of(digits: Driver) -> None:
    parts = [digits.ok(DATA + "TensorDataset", digits.put(torch.zeros(5, wide))) for wide in (3, 4)]
    data = digits.ok(DATA + "ConcatDataset", parts)
    assert size_kind(digits, batch(digits, data, shuffle=True)) == "public"
    seeded(digits)
    assert size_kind(digits, batch(digits, data, shuffle=True)) == "per_record"
    assert size_kind(digits, batch(digits, parts[0], shuffle=True)) == "metadata"
    part = digits.ok("python.List.__getitem__", digits.ok(SPLIT, data, [5, 5]), 0)
    assert size_kind(digits, batch(digits, part)) == "per_record"
    assert size_kind(digits, first(digits, part)) == "per_record"


# what an image shows decides neither whether a transform takes it nor what is drawn for it


def told_of(data: Any) -> tuple[str, float]:
    """The size of the first item, or what its reading failed of, and what is drawn behind it."""
    torch.manual_seed(3)
    try:
        image, _ = data[0]
    except Exception as error:
        return type(error).__name__, float(torch.rand(()))
    return str(getattr(image, "shape", getattr(image, "size", None))), float(torch.rand(()))


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("name", CLASSES)
def test_no_transform_fails_for_what_an_image_shows(name: str, place: str, tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    write_files(tmp_path)
    steps = [CALLABLES[V + name](*CLASSES[name]), CALLABLES[V + "ToTensor"]()]
    data = CALLABLES[SET](
        Context({"m": tmp_path}), "m",
        transform=CALLABLES[V + "Compose"](steps if place == "before" else steps[::-1]),
    )  # fmt: skip
    images = [data._images.clone() for _ in range(5)]
    for image, pixels in zip(images, (0, 1, 127, 255), strict=False):
        image[0] = pixels
    told = []
    for image in images:
        data._images = image
        told.append(told_of(data))
    assert len(set(told)) == 1


# one source, whatever it is called


def summed(d: Driver, root: str, size: int, name: str = "MNIST") -> Ref:
    """A sum over the first records of the files that a root and a class find."""
    data = d.ok(f"torchvision.datasets.{name}", root, transform=to_tensor(d))
    return d.ok("torch.sum", batch(d, data, batch_size=size))


@pytest.mark.parametrize(("root", "name"), [
    ("digits/", "MNIST"), ("digits/.", "MNIST"), ("digits//", "MNIST"), ("digits", "FashionMNIST"),
    ("digits/MNIST/raw", "KMNIST"), ("digits/copies", "MNIST"), ("again", "MNIST"),
])  # fmt: skip
def test_the_same_files_are_one_source_however_they_were_asked_for(
    tmp_path: Path, root: str, name: str
) -> None:
    """Else the difference of two sums would be one record and count as a sum over ten."""
    pytest.importorskip("torchvision")
    is_deep = root.startswith("digits/MNIST")
    write_files(tmp_path / "MNIST" / "raw" if is_deep else tmp_path)
    write_files(tmp_path / "copies", suffix=".gz")
    d = Driver(dirs={"digits": str(tmp_path), "again": str(tmp_path)})
    most = summed(d, root, 9, name)
    facts = d.facts(d.ok("torch.sub", summed(d, "digits", 10), most))
    assert facts.min_records == 1
    assert facts.sources == d.facts(most).sources and len(facts.sources) == 1


def test_what_files_are_called_is_the_owners_word(digits: Driver) -> None:
    facts = digits.facts(summed(digits, "digits//.//", 10, "FashionMNIST"))
    assert facts.source_names == ("files in 'digits'",)


def test_files_that_share_a_directory_or_a_content_share_a_source(tmp_path: Path) -> None:
    """Whichever was opened first: some of one are in another, whose directory has others, too."""
    pytest.importorskip("torchvision")
    write_files(tmp_path / "one")
    write_files(tmp_path / "other")
    moved = torch.randint(0, 256, (10, 28, 28), dtype=torch.uint8)
    for kind, tensor in (("images-idx3", moved), ("labels-idx1", torch.arange(10).byte() + 20)):
        (tmp_path / "other" / f"t10k-{kind}-ubyte").write_bytes(idx_bytes(tensor))
    d = Driver(dirs={name: str(tmp_path / name) for name in ("one", "other")})
    found = []
    for root, train in (("other", False), ("one", True), ("other", True)):
        data = d.ok(SET, root, train=train, transform=to_tensor(d))
        found.append(set(d.facts(d.ok("torch.sum", batch(d, data, batch_size=10))).sources))
    assert not found[0] & found[1]
    assert found[2] == found[0] | found[1]


def test_the_number_of_a_source_does_not_hang_on_what_was_opened_before(tmp_path: Path) -> None:
    """An owner's rules name it and count by it, also after an engine's death."""
    pytest.importorskip("torchvision")
    for name in ("one", "other"):
        write_files(tmp_path / name)
        images = torch.randint(0, 256, (10, 28, 28), dtype=torch.uint8)
        labels = torch.randint(0, 256, (10,), dtype=torch.uint8)
        for kind, tensor in (("images-idx3", images), ("labels-idx1", labels)):
            (tmp_path / name / f"train-{kind}-ubyte").write_bytes(idx_bytes(tensor))
    found = []
    for names in (("one", "other"), ("other", "one")):
        d = Driver(dirs={name: str(tmp_path / name) for name in names})
        found.append({name: d.facts(summed(d, name, 10)).sources for name in names})
    assert found[0] == found[1] and found[0]["one"] != found[0]["other"]
