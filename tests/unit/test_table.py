import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from duet_p2p.surface import table
from duet_p2p.surface.bounds import BOUNDS
from duet_p2p.surface.checks import CHECKS
from duet_p2p.surface.counts import COUNTS
from duet_p2p.surface.table import TABLE, Rule, find, names_under, nearest, result_of, written
from duet_p2p.surface.types import TYPES

ROOT = Path(__file__).resolve().parents[2]

DENIED_NAMES = {
    "apply_",
    "as_strided",
    "as_strided_",
    "as_strided_scatter",
    "const_data_ptr",
    "compile",
    "data_ptr",
    "distributed",
    "empty",
    "empty_like",
    "empty_permuted",
    "empty_strided",
    "format",
    "format_map",
    "from_file",
    "from_numpy",
    "frombuffer",
    "grad_fn",
    "hub",
    "jit",
    "load",
    "map2_",
    "map_",
    "multiprocessing",
    "new",
    "new_empty",
    "new_empty_strided",
    "numpy",
    "ops",
    "pin_memory",
    "register_hook",
    "register_post_accumulate_grad_hook",
    "resize",
    "resize_",
    "resize_as",
    "resize_as_",
    "save",
    "set_",
    "share_memory_",
    "storage",
    "to_mkldnn",
    "to_sparse",
    "tolist",
    "untyped_storage",
    "vmap",
    "Lambda",
}
DENIED_DUNDERS = {
    "__array__",
    "__array_wrap__",
    "__bool__",
    "__class__",
    "__complex__",
    "__deepcopy__",
    "__delattr__",
    "__dict__",
    "__dlpack__",
    "__dlpack_device__",
    "__float__",
    "__format__",
    "__getattribute__",
    "__hash__",
    "__index__",
    "__init__",
    "__int__",
    "__long__",
    "__new__",
    "__nonzero__",
    "__reduce__",
    "__reduce_ex__",
    "__repr__",
    "__setattr__",
    "__setstate__",
    "__sizeof__",
    "__subclasshook__",
    "__torch_function__",
}
# a module of these is nowhere on the way to a name
DENIED_PLACES = ("_C", "_VF", "classes", "compile", "distributed", "hub", "jit", "library", "ops")


@pytest.mark.parametrize("rule", TABLE.values(), ids=lambda rule: rule.name)
def test_no_offered_name_is_denied_by_rule(rule: Rule) -> None:
    parts = rule.name.removesuffix("=").split(".")
    is_dunder = parts[-1].startswith("__") and parts[-1].endswith("__")
    assert parts[0] in ("torch", "torchvision", "python")
    # torchvision's resize makes a new image; torch's changes a tensor's memory
    is_image = rule.name == "torchvision.transforms.functional.resize"
    assert is_image or not any(part in DENIED_NAMES for part in parts), "denied by rule"
    assert not any(part in DENIED_PLACES for part in parts)
    assert is_dunder or not parts[-1].startswith("_"), "a private name"
    assert not any(part.startswith("_") for part in parts[:-1])
    assert not any(word in rule.short for word in ("hook", "sparse", "quantize", "storage")) or (
        rule.name
        in ("torch.nn.init.sparse_", "torch.Tensor.is_sparse", "torch.Tensor.is_quantized")
    )
    if is_dunder:
        assert rule.short not in DENIED_DUNDERS
    if rule.name == "python.String.__mod__":
        pytest.fail("formatting of texts walks attributes")


def test_results_of_all_rules_are_of_the_closed_set() -> None:
    known = {"tensor", "tensors", "self", "none", "item", "number", "truth", "element", *TYPES}
    for rule in TABLE.values():
        for part in rule.result.split(";"):
            result = part.rpartition("=")[2]
            assert result in known or result.startswith("tensors:"), rule


def test_checks_of_all_rules_exist() -> None:
    for rule in TABLE.values():
        for word in rule.checks:
            head = word.partition(":")[0]
            assert head in CHECKS | BOUNDS | COUNTS or head in ("str", "args", "without"), rule


def test_the_table_is_closed_and_its_digest_is_that_of_the_file() -> None:
    with pytest.raises(TypeError):
        TABLE["torch.load"] = TABLE["torch.relu"]  # type: ignore[index]
    content = Path(table.__file__).with_name("table.tsv").read_bytes()
    assert hashlib.sha256(content).hexdigest() == table.DIGEST


def test_the_file_is_what_the_generator_makes_of_this_torch_and_the_review() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "make_surface"), "--check"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_find_follows_aliases_to_the_canonical_rule() -> None:
    rule = find("torch.conv2d")
    assert rule is not None
    assert rule.name == "torch.nn.functional.conv2d"
    assert find("torch.relu") is TABLE["torch.relu"]
    assert find("torch.load") is None


def test_names_under_lists_the_next_parts_for_dir() -> None:
    assert "DataLoader" in names_under("torch.utils.data")
    assert {"relu", "utils", "nn", "Tensor"} <= set(names_under("torch"))
    assert "load" not in names_under("torch")
    assert names_under("os") == ()


def test_nearest_offers_what_was_probably_meant() -> None:
    assert nearest("torch.rleu") == "torch.relu"
    assert nearest("torch.xyzzyplugh") is None


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "expected"),
    [
        ("torch.max", ("x",), {}, "tensor"),
        ("torch.max", ("x", 0), {}, "tensors:values,indices"),
        ("torch.max", ("x",), {"dim": 0}, "tensors:values,indices"),
        ("torch.max", ("x", "other"), {}, "tensor"),
        ("torch.nn.functional.max_pool2d", ("x", 2), {"return_indices": False}, "tensor"),
        (
            "torch.nn.functional.max_pool2d",
            ("x", 2),
            {"return_indices": True},
            "tensors:output,indices",
        ),
        ("torch.unique", ("x",), {"return_counts": True}, "tensors:output,counts"),
        (
            "torch.unique",
            ("x", True, True, True),
            {},
            "tensors:output,inverse_indices,counts",
        ),
        ("torch.where", ("x",), {}, "tensors"),
        ("torch.where", ("x", "a", "b"), {}, "tensor"),
        ("torch.Tensor.size", ("x",), {}, "torch.Size"),
        ("torch.Tensor.size", ("x", 0), {}, "python.Int"),
        ("torch.optim.Adam", (["p"],), {"lr": 0.1}, "torch.optim.Adam"),
    ],
)
def test_result_of_chooses_by_the_arguments(
    name: str, args: tuple[object, ...], kwargs: dict[str, object], expected: str
) -> None:
    # texts stand for tensors here
    assert result_of(TABLE[name], args, kwargs, lambda v: isinstance(v, str)) == expected


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "expected"),
    [
        ("torch.Tensor.add_", ("x", "y"), {}, ["x"]),
        ("torch.add", ("x", "y"), {}, []),
        ("torch.nn.functional.relu", ("x",), {"inplace": True}, ["x"]),
        ("torch.nn.functional.relu", ("x", True), {}, ["x"]),
        ("torch.nn.functional.relu", ("x",), {"inplace": False}, []),
        ("torch.nn.init.uniform_", (), {"tensor": "w", "a": 0.0}, ["w"]),
        ("torch.nn.functional.batch_norm", ("x", "m", "v"), {"training": True}, ["m", "v"]),
        ("torch.nn.functional.batch_norm", ("x", "m", "v"), {"training": False}, []),
        ("torch.nn.functional.batch_norm", ("x", None, None), {"training": True}, []),
        ("torch.nn.functional.embedding", ("i", "w"), {"max_norm": 1.0}, ["w"]),
        ("torch.nn.functional.embedding", ("i", "w"), {"max_norm": None}, []),
        ("torch.Tensor.__setitem__", ("x", 0, 1), {}, ["x"]),
        ("torch.Tensor.grad=", ("x", None), {}, ["x"]),
        ("python.List.append", ("l", 1), {}, ["l"]),
    ],
)
def test_written_names_what_a_call_writes_to(
    name: str, args: tuple[object, ...], kwargs: dict[str, object], expected: list[object]
) -> None:
    assert written(TABLE[name], args, kwargs) == expected


SCENARIO_NAMES = [
    "torch.cuda.is_available",
    "torch.manual_seed",
    "torch.device",
    "torch.device.type",
    "torch.Tensor.cpu",
    "torch.Tensor.cuda",
    "torch.Tensor.to",
    "torch.optim.Adadelta",
    "torch.optim.Adam",
    "torch.optim.AdamW",
    "torch.optim.SGD",
    "torch.optim.lr_scheduler.StepLR",
    "torch.optim.Optimizer.zero_grad",
    "torch.optim.Optimizer.step",
    "torch.optim.lr_scheduler.LRScheduler.step",
    "python.List",
    "python.List.append",
    "python.List.insert",
    "python.Float",
    "python.Float.__iadd__",
    "python.Int",
    "torchvision.transforms.ToTensor",
    "torchvision.transforms.Normalize",
    "torchvision.transforms.Compose",
    "torchvision.datasets.MNIST",
    "torch.utils.data.DataLoader",
    "torch.utils.data.DataLoader.__len__",
    "torch.utils.data.Dataset.__len__",
    "python.iter",
    "python.next",
    "python.len",
    "python.collect",
    "python.state_dict",
    "torch.nn.functional.nll_loss",
    "torch.Tensor.backward",
    "torch.Tensor.item",
    "torch.exp",
    "torch.Tensor",
    "torch.nn.functional.conv2d",
    "torch.nn.functional.relu",
    "torch.nn.functional.max_pool2d",
    "torch.nn.functional.dropout",
    "torch.flatten",
    "torch.nn.functional.linear",
    "torch.nn.functional.log_softmax",
    "torch.Tensor.float",
    "torch.Tensor.mean",
    "torch.Tensor.amax",
    "torch.Tensor.amin",
    "torch.Tensor.__getitem__",
    "torch.Tensor.long",
    "torch.nn.functional.mse_loss",
    "torch.sum",
    "torch.pow",
    "torch.Tensor.pow",
    "torch.Tensor.view",
    "torch.sigmoid",
    "torch.nn.functional.binary_cross_entropy",
    "torch.nn.functional.conv_transpose2d",
    "torch.nn.functional.batch_norm",
    "torch.nn.functional.leaky_relu",
    "torch.tanh",
    "torch.zeros_like",
    "torch.ones_like",
    "torch.Tensor.fill_",
    "torch.Tensor.detach",
    "torch.Tensor.squeeze",
    "torch.Tensor.unsqueeze",
    "torch.nn.functional.pixel_shuffle",
    "torch.nn.init.orthogonal_",
    "torch.lstm_cell",
    "torch.split",
    "torch.cat",
    "torch.stack",
    "python.Tuple",
    "torch.randn",
    "torch.randn_like",
    "torch.Tensor.mul",
    "torch.Tensor.exp_",
    "torch.nn.init.kaiming_uniform_",
    "torch.nn.init.uniform_",
    "torch.nn.init.xavier_uniform_",
    "torch.Tensor.grad",
    "torch.Tensor.grad=",
    "torch.Tensor.data",
    "torch.Tensor.data=",
    "torch.Tensor.requires_grad=",
    "torch.zeros",
    "torch.ones",
    "torch.tensor",
    "torch.rand",
    "torch.einsum",
    "torch.where",
    "torch.Tensor.add_",
]


def test_every_name_that_the_acceptance_scenarios_use_is_offered() -> None:
    assert [name for name in SCENARIO_NAMES if find(name) is None] == []
