import gzip
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from duet_p2p.surface.callables import CALLABLES, NEEDS_CONTEXT
from duet_p2p.surface.context import Context, Quotas
from duet_p2p.surface.datasets import resolve_root
from duet_p2p.surface.idx import read_idx
from duet_p2p.surface.loader import loader_facts
from duet_p2p.surface.types import type_name_of

IMAGES = torch.randint(0, 256, (10, 28, 28), dtype=torch.uint8)
LABELS = torch.arange(10, dtype=torch.uint8)


def idx_bytes(tensor: torch.Tensor) -> bytes:
    head = struct.pack(">HBB", 0, 8, tensor.dim())
    return head + struct.pack(f">{tensor.dim()}I", *tensor.shape) + bytes(tensor.numpy().tobytes())


def write_files(directory: Path, *, suffix: str = "", splits: tuple[str, ...] = ("train", "t10k")):
    directory.mkdir(parents=True, exist_ok=True)
    for split in splits:
        for kind, tensor in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
            data = idx_bytes(tensor)
            data = gzip.compress(data) if suffix == ".gz" else data
            (directory / f"{split}-{kind}-ubyte{suffix}").write_bytes(data)


def run(name: str, *args: Any, **kwargs: Any) -> Any:
    return CALLABLES[name](*args, **kwargs)


def mnist(context: Context, root: Any, **kwargs: Any) -> Any:
    return run("torchvision.datasets.MNIST", context, root, **kwargs)


def transform() -> Any:
    pytest.importorskip("torchvision")
    return run(
        "torchvision.transforms.Compose",
        [
            run("torchvision.transforms.ToTensor"),
            run("torchvision.transforms.Normalize", 0.1307, 0.3081),
        ],
    )


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("below", ["", "raw", "MNIST/raw"])
def test_files_are_found_in_plain_directories_and_in_torchvisions_layout(
    tmp_path: Path, suffix: str, below: str
) -> None:
    write_files(tmp_path / "digits" / below, suffix=suffix)
    context = Context({"mnist": tmp_path / "digits"})
    dataset = mnist(context, "mnist", train=True, download=True, transform=transform())
    assert len(dataset) == 10
    image, label = dataset[3]
    assert label == 3
    assert image.shape == (1, 28, 28)
    expected = IMAGES[3].float().div(255).sub(0.1307).div(0.3081)
    assert torch.allclose(image[0], expected)
    assert not list(tmp_path.rglob("*.part")) and len(list(tmp_path.rglob("*.*"))) <= 4
    assert "torchvision.datasets.MNIST" in NEEDS_CONTEXT
    assert type_name_of(dataset) == "torchvision.datasets.MNIST"


def test_a_batch_is_bit_for_bit_what_the_items_are(tmp_path: Path) -> None:
    write_files(tmp_path)
    dataset = mnist(Context({"m": tmp_path}), "m", transform=transform())
    for (a, la), (b, lb) in zip(
        dataset.__getitems__([9, 0, 4]), [dataset[9], dataset[0], dataset[4]], strict=True
    ):
        assert torch.equal(a, b)
        assert la == lb


@pytest.fixture
def owner(tmp_path: Path) -> Context:
    write_files(tmp_path / "data" / "v2")
    write_files(tmp_path / "outside")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "data" / "fine").symlink_to(tmp_path / "data" / "v2")
    (tmp_path / "data" / "empty").mkdir()
    return Context({"mnist": tmp_path / "data"})


@pytest.mark.parametrize(
    "root",
    [
        "unknown",
        "mnist/missing",
        "mnist/empty",
        "mnist/..",
        "mnist/../outside",
        "mnist/./../outside",
        "../outside",
        "mnist/link",
        "/etc",
        "~",
        "",
        ".",
        "mnist\\v2",
        "mnist/v2\0",
        "c:mnist",
        None,
        3,
        b"mnist",
        Path("mnist"),
    ],
)
def test_every_other_root_gives_one_and_the_same_error(owner: Context, root: Any) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        mnist(owner, root)
    with pytest.raises(FileNotFoundError) as other:
        mnist(owner, "nobody")
    assert str(caught.value) == str(other.value)


def test_paths_below_a_name_and_links_within_are_fine(owner: Context) -> None:
    assert len(mnist(owner, "mnist/v2", train=False)) == 10
    assert len(mnist(owner, "mnist/fine")) == 10


def test_a_file_that_links_outside_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path / "outside")
    (tmp_path / "in").mkdir()
    for file in (tmp_path / "outside").iterdir():
        (tmp_path / "in" / file.name).symlink_to(file)
    with pytest.raises(FileNotFoundError):
        mnist(Context({"m": tmp_path / "in"}), "m")


def test_the_empty_name_stands_for_the_root_of_all(tmp_path: Path) -> None:
    write_files(tmp_path / "digits")
    context = Context({"": tmp_path})
    assert resolve_root(context, "digits") == (tmp_path / "digits").resolve()
    assert resolve_root(context, "") == tmp_path.resolve()
    with pytest.raises(FileNotFoundError):
        resolve_root(context, "digits/../..")


def test_callables_are_not_taken(owner: Context) -> None:
    with pytest.raises((TypeError, ValueError)):
        mnist(owner, "mnist/v2", transform=lambda image: image)
    with pytest.raises((TypeError, ValueError)):
        mnist(owner, "mnist/v2", target_transform=len)


def test_items_out_of_range_are_refused(owner: Context) -> None:
    dataset = mnist(owner, "mnist/v2", transform=transform())
    for index in (10, -11, 10**30):
        with pytest.raises(IndexError):
            run("torch.utils.data.Dataset.__getitem__", dataset, index)
    with pytest.raises(IndexError):
        run("torch.utils.data.Subset", dataset, [0, 10])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x0d\x01\0\0\0\1\0\0\0\0",
        b"\0\0\x08\x09" + b"\0" * 36,
        b"\0\0\x08\x01\0\0",
        b"\0\0\x08\x01\0\0\0\5abc",
        b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\1\0\x08\x01\0\0\0\1a",
    ],
)
@pytest.mark.parametrize("is_zipped", [False, True])
def test_damaged_files_are_value_errors(tmp_path: Path, content: bytes, is_zipped: bool) -> None:
    path = tmp_path / ("a.gz" if is_zipped else "a")
    path.write_bytes(gzip.compress(content) if is_zipped else content)
    with pytest.raises(ValueError, match="IDX"):
        read_idx(path, 1000)


def test_a_cut_archive_is_a_value_error(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx_bytes(IMAGES))[:-400])
    with pytest.raises(ValueError, match="IDX"):
        read_idx(path, 10**6)


def test_the_largest_file_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(idx_bytes(LABELS))
    assert torch.equal(read_idx(path, 10), LABELS)
    with pytest.raises(ValueError, match="too large"):
        read_idx(path, 9)
    write_files(tmp_path / "d")
    small = Context({"d": tmp_path / "d"}, Quotas(dataset_bytes=100))
    with pytest.raises(ValueError, match="too large"):
        mnist(small, "d")


def make_loader(dataset: Any, **kwargs: Any) -> Any:
    return run("torch.utils.data.DataLoader", dataset, **kwargs)


def test_a_loader_gives_lists_of_tensors_in_a_local_runs_order(owner: Context) -> None:
    dataset = mnist(owner, "mnist/v2", transform=transform())
    local = torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=True)
    torch.manual_seed(3)
    expected = [label for _, labels in local for label in labels.tolist()]
    torch.manual_seed(3)
    loader = make_loader(dataset, batch_size=4, shuffle=True, num_workers=8, pin_memory=True)
    assert run("torch.utils.data.DataLoader.__len__", loader) == 3
    iterator = run("python.iter", loader)
    batches = [run("python.next", iterator) for _ in range(3)]
    assert all(type(batch) is list and len(batch) == 2 for batch in batches)
    assert [tuple(batch[0].shape) for batch in batches] == [
        (4, 1, 28, 28),
        (4, 1, 28, 28),
        (2, 1, 28, 28),
    ]
    assert [label for batch in batches for label in batch[1].tolist()] == expected


def test_loader_facts_tell_the_batches_beforehand_and_draw_nothing(owner: Context) -> None:
    dataset = mnist(owner, "mnist/v2", transform=transform())
    torch.manual_seed(0)
    before = torch.get_rng_state()
    facts = loader_facts(make_loader(dataset, batch_size=4))
    assert torch.equal(before, torch.get_rng_state())
    assert facts == {
        "batches": 3,
        "batch_size": 4,
        "last": 2,
        "is_list": True,
        "element": [
            {"type": "torch.Tensor", "shape": (1, 28, 28), "dtype": "float32"},
            {"type": "torch.Tensor", "shape": (), "dtype": "int64"},
        ],
    }
    dropping = make_loader(dataset, batch_size=4, drop_last=True)
    assert loader_facts(dropping)["batches"] == 2
    assert loader_facts(dropping)["last"] == 4


def test_loader_facts_are_those_of_the_real_batches() -> None:
    dataset = run("torch.utils.data.TensorDataset", torch.rand(7, 3), torch.arange(7))
    loader = make_loader(dataset, batch_size=3)
    facts = loader_facts(loader)
    batches = list(loader)
    assert len(batches) == facts["batches"]
    assert len(batches[-1][0]) == facts["last"]
    for part, known in zip(batches[0], facts["element"], strict=True):
        assert part.shape[1:] == known["shape"]
        assert str(part.dtype) == f"torch.{known['dtype']}"


@pytest.mark.parametrize(
    "kwargs",
    [
        {"collate_fn": len},
        {"sampler": [0, 0, 0]},
        {"batch_sampler": [[0]]},
        {"worker_init_fn": len},
        {"generator": torch.Generator()},
        {"batch_size": 0},
        {"batch_size": -1},
    ],
)
def test_a_loader_takes_no_code_and_no_chosen_records(kwargs: dict[str, Any]) -> None:
    dataset = torch.utils.data.TensorDataset(torch.zeros(3))
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        make_loader(dataset, **kwargs)


def test_data_sets_of_tensors_are_joined_and_split() -> None:
    a = run("torch.utils.data.TensorDataset", torch.arange(4))
    both = run("torch.utils.data.ConcatDataset", [a, a])
    assert run("torch.utils.data.Dataset.__len__", both) == 8
    torch.manual_seed(1)
    parts = run("torch.utils.data.random_split", both, [6, 2])
    assert [len(part) for part in parts] == [6, 2]
    assert run("torch.utils.data.Dataset.__getitem__", a, -1)[0] == 3
    with pytest.raises(ValueError, match="different lengths"):
        run("torch.utils.data.TensorDataset", torch.zeros(2), torch.zeros(3))
    with pytest.raises(TypeError):
        run("torch.utils.data.TensorDataset", [1, 2])


def test_transforms_take_transforms_and_admitted_sizes_only() -> None:
    pytest.importorskip("torchvision")
    resize = run("torchvision.transforms.Resize", [14, 14], antialias=True)
    assert type_name_of(resize) == "torchvision.transforms.Resize"
    applied = run("torchvision.transforms.Transform.__call__", resize, torch.zeros(1, 28, 28))
    assert applied.shape == (1, 14, 14)
    with pytest.raises(TypeError):
        run("torchvision.transforms.Compose", [len])
    with pytest.raises(RuntimeError):
        run("torchvision.transforms.Resize", 10**6)
    with pytest.raises(RuntimeError):
        run("torchvision.transforms.Pad", [1, 1, 1, 10**7])
    with pytest.raises(ValueError, match="expand"):
        run("torchvision.transforms.RandomRotation", 90, expand=True)


def test_files_have_their_place_where_another_directory_is_a_loop_of_links(tmp_path: Path) -> None:
    write_files(tmp_path / "digits" / "MNIST" / "raw")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    dataset = mnist(Context({"loop": loop, "mnist": tmp_path / "digits"}), "mnist/")
    assert dataset.place == "mnist/MNIST/raw"
    again = mnist(Context({"": tmp_path}), "digits/MNIST", train=False)
    assert again.place == "digits/MNIST/raw"
    assert again.identity[0] == dataset.identity[0]
