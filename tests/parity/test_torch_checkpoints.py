"""Checkpoints that PyTorch wrote are read, and hostile ones are refused."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import zipfile
from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import pytest

import kuai
from kuai import dtypes
from kuai.errors import CheckpointError
from kuai.io import load
from kuai.nn.parameter import Parameter

torch = pytest.importorskip("torch")

FORMATS = {
    "zip": {},
    "zip, protocol 5": {"pickle_protocol": 5},
    "legacy": {"_use_new_zipfile_serialization": False},
}
in_every_format = pytest.mark.parametrize("options", FORMATS.values(), ids=FORMATS)


def written(obj: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(obj, file, **options)
    return file.getvalue()


def loaded(content: bytes) -> Any:
    return load(io.BytesIO(content))


@in_every_format
@pytest.mark.parametrize("name", [dtype.name for dtype in dtypes.ALL])
def test_tensors_of_every_type(name: str, options: dict[str, Any]) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(getattr(torch, name))
    result = loaded(written([tensor, tensor[:0], tensor[1, 1]], **options))
    assert all(t.dtype is getattr(kuai, name) for t in result)
    assert [t.tolist() for t in result] == [tensor.tolist(), [], tensor[1, 1].item()]
    assert result[1].shape == (0, 3)


@in_every_format
def test_views_keep_their_strides_and_share_their_memory(options: dict[str, Any]) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    whole, transposed, part = loaded(written([base, base.T, base[1:, ::2]], **options))
    assert transposed.stride() == (1, 4)
    assert part.stride() == (4, 2)
    assert part.tolist() == base[1:, ::2].tolist()
    whole.mul_(0)
    assert not part.numpy().any()
    assert not transposed.numpy().any()


@in_every_format
def test_the_state_of_a_model_and_of_its_optimizer(options: dict[str, Any]) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3])
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "epoch": 3,
    }
    result = loaded(written(state, **options))
    assert type(result["model"]) is OrderedDict
    assert result["model"]._metadata == model.state_dict()._metadata
    for name, value in model.state_dict().items():
        assert result["model"][name].tolist() == value.tolist()
    assert result["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]
    assert result["optimizer"]["state"][0]["step"].item() == 1
    assert result["scheduler"]["milestones"] == Counter([2, 3])


@in_every_format
def test_parameters_and_plain_values(options: dict[str, Any]) -> None:
    parameter = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    values = [1, 2.5, None, "x", b"\xff", (1,), {1, 2}, 10**30, 1 + 2j, True]
    obj = [parameter, torch.ones(1, requires_grad=True), torch.float16, torch.Size([2]), *values]
    result = loaded(written(obj, **options))
    assert type(result[0]) is Parameter
    assert not result[0].requires_grad
    assert result[1].requires_grad
    assert result[2] is kuai.float16
    assert result[3] == kuai.Size([2])
    assert result[4:] == values


def test_a_tensor_with_python_attributes() -> None:
    tensor = torch.ones(2)
    tensor.note = "x"
    assert loaded(written(tensor)).tolist() == [1, 1]


def test_a_big_endian_file() -> None:
    source = zipfile.ZipFile(io.BytesIO(written(torch.tensor([1.0, 2.0]))))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("byteorder"):
                content = b"big"
            if entry.filename.endswith("data/0"):
                content = struct.pack(">2f", 1.0, 2.0)
            archive.writestr(entry.filename, content)
    assert loaded(target.getvalue()).tolist() == [1.0, 2.0]


@in_every_format
@pytest.mark.parametrize(
    "obj", [torch.nn.Linear(1, 1), {"f": os.getcwd}, torch.ones(1, dtype=torch.complex64)]
)
def test_what_is_no_tensor_is_refused(obj: Any, options: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"the file (holds a|refers to)"):
        loaded(written(obj, **options))


class Runs:
    """A pickle of this runs a function as it is loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@in_every_format
@pytest.mark.parametrize(
    "function",
    [os.system, eval, getattr, __import__, pickle.loads, torch.load, type],
    ids=lambda function: function.__name__,
)
def test_no_code_runs(function: Any, options: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="the file holds a"):
        loaded(written([Runs(function, "1 + 1")], **options))


def zip_with(obj: Any = None, pickled: bytes | None = None, **records: bytes) -> bytes:
    """A file as PyTorch writes it, with some records replaced."""
    source = zipfile.ZipFile(io.BytesIO(written(torch.ones(4) if obj is None else obj)))
    replaced = {"data.pkl": pickled} if pickled is not None else {}
    replaced.update({f"data/{key[1:]}": content for key, content in records.items()})
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for entry in source.infolist():
            last = entry.filename.partition("/")[2]
            archive.writestr(entry.filename, replaced.get(last, source.read(entry)))
    return target.getvalue()


def rebuild(offset: Any, shape: Any, stride: Any, count: int = 4) -> bytes:
    """The pickle of a tensor with this geometry on a storage of four floats."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            if isinstance(obj, bytes):
                return ("storage", torch.FloatStorage, "0", "cpu", count)
            return None

    file = io.BytesIO()
    call = Runs(torch._utils._rebuild_tensor_v2, b"", offset, shape, stride, False, OrderedDict())
    Pickler(file, 2).dump(call)
    return file.getvalue()


def test_the_forged_geometry_is_read_when_it_is_right() -> None:
    assert loaded(zip_with(pickled=rebuild(1, (3,), (1,)))).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "pickled",
    [
        rebuild(1, (4,), (1,)),
        rebuild(-1, (1,), (1,)),
        rebuild(0, (2,), (-1,)),
        rebuild(0, (-1,), (1,)),
        rebuild(0, (2, 2), (1,)),
        rebuild(0, (2,), (2**62,)),
        rebuild(0, (2**40, 2**40), (0, 0)),
        rebuild(0, (5,), (1,), count=5),
        rebuild(0, (1,), (1,), count=-1),
        rebuild(0.5, (1,), (1,)),
        rebuild("0", (1,), (1,)),
        rebuild(0, None, None),
        b"",
        b"\x80\x02.",
        b"\x80\x02)R.",
        b"\x80\x02(K\x01K\x02u.",
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"\x80\x02ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00ac__main__\nX\nsb.",
        b"\x80\x02ctorch\nTensor\n}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02" + b"(" * 10 + b"t" * 20 + b".",
    ],
)
def test_a_forged_pickle_is_an_error(pickled: bytes) -> None:
    with pytest.raises(CheckpointError):
        loaded(zip_with(pickled=pickled))


def test_a_storage_that_is_too_short_is_an_error() -> None:
    with pytest.raises(CheckpointError, match="should have 16"):
        loaded(zip_with(_0=b"\0" * 12))


def test_a_zip_bomb_is_an_error() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\0" * 10_000_000)
    with pytest.raises(CheckpointError, match="larger than the archive"):
        loaded(file.getvalue())


def test_a_legacy_file_cannot_claim_more_memory_than_it_has() -> None:
    content = written(torch.ones(1000), _use_new_zipfile_serialization=False)
    forged = content.replace(struct.pack("<BH", ord("M"), 1000), b"J\x00\x00\x00\x7f")
    assert forged != content
    with pytest.raises(CheckpointError):
        loaded(forged)


def test_a_zip_file_of_something_else_is_an_error() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme", "x")
    with pytest.raises(CheckpointError, match="none that PyTorch saved"):
        loaded(file.getvalue())


@in_every_format
def test_a_truncated_file_is_an_error(options: dict[str, Any]) -> None:
    content = written({"a": torch.ones(10), "b": torch.zeros(3)}, **options)
    for length in range(20, len(content) - 1, 37):
        with pytest.raises(CheckpointError):
            loaded(content[:length])


@in_every_format
def test_no_changed_byte_breaks_out_of_the_reader(options: dict[str, Any]) -> None:
    content = written({"a": torch.ones(10), "b": [torch.zeros(3), 1, "x"]}, **options)
    random = np.random.default_rng(0)
    for _ in range(700):
        changed = bytearray(content)
        changed[random.integers(len(content))] = random.integers(256)
        with contextlib.suppress(CheckpointError):
            loaded(bytes(changed))
