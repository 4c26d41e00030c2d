"""What is saved comes back as it was, and nothing is written that would not."""

from __future__ import annotations

import contextlib
import io
import os
from collections import Counter, OrderedDict, defaultdict
from typing import Any

import numpy as np
import pytest

import kuai
from kuai import dtypes
from kuai.device import device
from kuai.errors import CheckpointError
from kuai.io import load, save
from kuai.nn.parameter import Parameter


def through_file(obj: Any) -> Any:
    file = io.BytesIO()
    save(obj, file)
    file.seek(0)
    return load(file)


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)], ids=str)
def test_a_tensor_of_every_type_and_shape_comes_back(
    dtype: dtypes.dtype, shape: tuple[int, ...]
) -> None:
    tensor = kuai.ones(shape, dtype=dtype)
    result = through_file(tensor)
    assert type(result) is kuai.Tensor
    assert result.dtype is dtype
    assert result.shape == tensor.shape
    assert result.tolist() == tensor.tolist()


def test_plain_values_and_containers_come_back() -> None:
    obj = {
        "a": [1, -(10**30), 2.5, -0.0, "ü\ud800", None, True],
        3: (1, (2,), []),
        None: {1, 2},
        2.5: frozenset("x"),
        True: b"\x00\xff",
        (1, "k"): range(1, 9, 2),
        "counts": Counter({1: 2}),
        "default": defaultdict(list, {"x": [1]}),
        "kinds": (kuai.float16, device("cpu"), kuai.Size([2, 3]), 1 + 2j, bytearray(b"b")),
        "infinite": [float("inf"), float("-inf")],
        "numpy": np.float64(0.1),
    }
    result = through_file(obj)
    assert result == obj
    assert [type(value) for value in result.values()] == [type(value) for value in obj.values()]
    assert list(map(type, result["kinds"])) == list(map(type, obj["kinds"]))
    assert result["default"].default_factory is list


def test_nan_comes_back() -> None:
    assert np.isnan(through_file(float("nan")))
    assert np.isnan(through_file(kuai.tensor([float("nan")])).numpy()).all()


def test_a_numpy_array_comes_back() -> None:
    result = through_file({"x": np.arange(6).reshape(2, 3)})["x"]
    assert type(result) is np.ndarray
    assert result.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_state_dict_keeps_its_order_and_metadata() -> None:
    state = OrderedDict(b=kuai.ones(2), a=kuai.zeros(3))
    state._metadata = OrderedDict({"": {"version": 2}})  # type: ignore[attr-defined]
    result = through_file(state)
    assert type(result) is OrderedDict
    assert list(result) == ["b", "a"]
    assert result._metadata == OrderedDict({"": {"version": 2}})


def test_a_parameter_stays_a_parameter() -> None:
    trained, frozen = Parameter(kuai.ones(2)), Parameter(kuai.ones(2), requires_grad=False)
    results = through_file([trained, frozen, kuai.ones(2, requires_grad=True)])
    assert [type(t) for t in results] == [Parameter, Parameter, kuai.Tensor]
    assert [t.requires_grad for t in results] == [True, False, True]


def test_one_tensor_in_two_places_is_one_tensor_again() -> None:
    tensor = kuai.ones(2)
    first, second = through_file([tensor, tensor])
    assert first is second


def test_views_share_memory_again() -> None:
    base = kuai.arange(12.0).reshape(3, 4)
    views = [base.detach(), base.select(0, 1), base.T, base.select(1, 2)]
    whole, row, transposed, column = through_file(views)
    assert transposed.stride() == (1, 4)
    whole.mul_(0)
    for tensor in (row, transposed, column):
        assert not tensor.numpy().any()


def test_views_without_their_base_share_memory_again() -> None:
    base = kuai.arange(10.0)
    left, right = through_file([base.narrow(0, 0, 6), base.narrow(0, 4, 4)])
    assert left.tolist() == [0, 1, 2, 3, 4, 5]
    assert right.tolist() == [4, 5, 6, 7]
    right.mul_(0)
    assert left.tolist() == [0, 1, 2, 3, 0, 0]


def test_views_with_gaps_of_one_memory_share_it_again() -> None:
    base = kuai.arange(10.0)
    even, odd = through_file([base[::2], base[1:].detach()[::2]])
    assert even.tolist() == [0, 2, 4, 6, 8]
    assert odd.tolist() == [1, 3, 5, 7, 9]


def test_tied_weights_are_written_once() -> None:
    weight, file = kuai.ones(100, 100), io.BytesIO()
    save({"a": weight, "b": weight.detach()}, file)
    assert len(file.getvalue()) < 41_000


def test_a_small_slice_does_not_drag_its_base_along() -> None:
    file = io.BytesIO()
    save(kuai.ones(1000, 1000).select(1, 0), file)
    assert len(file.getvalue()) < 10_000


def test_an_expanded_tensor_is_written_as_small_as_it_is() -> None:
    file = io.BytesIO()
    save(kuai.ones(1).expand(1_000_000), file)
    assert len(file.getvalue()) < 1_000
    file.seek(0)
    assert load(file).shape == (1_000_000,)


def test_strides_come_back() -> None:
    assert through_file(kuai.arange(6).reshape(2, 3).T).stride() == (1, 3)


def test_two_objects_in_one_stream_are_read_one_after_the_other() -> None:
    file = io.BytesIO()
    save([1, kuai.ones(2)], file)
    save("second", file)
    file.seek(0)
    assert load(file)[0] == 1
    assert load(file) == "second"


def test_other_readers_of_safetensors_see_the_tensors_by_name(tmp_path: Any) -> None:
    import safetensors.numpy

    save({"net": {"0.weight": kuai.ones(2, 3)}, "epoch": 3}, tmp_path / "x")
    arrays = safetensors.numpy.load_file(tmp_path / "x")
    assert list(arrays) == ["net.0.weight"]
    assert arrays["net.0.weight"].shape == (2, 3)


def test_a_safetensors_file_from_elsewhere_is_a_dict_of_its_tensors(tmp_path: Any) -> None:
    import safetensors.numpy

    safetensors.numpy.save_file({"w": np.ones((2, 2), np.float16)}, tmp_path / "x")
    result = load(tmp_path / "x")
    assert list(result) == ["w"]
    assert result["w"].dtype is kuai.float16


def test_random_state_is_a_tensor_like_others() -> None:
    state = kuai.get_rng_state()
    expected = kuai.rand(3).tolist()
    kuai.set_rng_state(through_file({"rng": state})["rng"])
    assert kuai.rand(3).tolist() == expected


class Holder:
    def state_dict(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({"f": [lambda: 1]}, r"obj\['f'\]\[0\] \(function\) cannot be saved: code"),
        ({"m": Holder()}, r"obj\['m'\] \(Holder\) cannot be saved: save its state_dict\(\)"),
        (object(), r"obj \(object\) cannot be saved"),
        (int, "code is not saved"),
        (np.zeros(1, np.complex64), "cannot be saved"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_the_old_file_stays(
    obj: Any, message: str, tmp_path: Any
) -> None:
    path = tmp_path / "x"
    save(1, path)
    with pytest.raises(TypeError, match=message):
        save(obj, path)
    assert load(path) == 1
    assert os.listdir(tmp_path) == ["x"]


def test_what_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match=r"obj\[0\] contains itself"):
        through_file(endless)


def test_a_crash_while_writing_leaves_the_old_file(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    save("old", path)

    def crash(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="no space"):
        save("new", path)
    assert load(path) == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_saving_through_a_link_and_over_a_file_keeps_link_and_permissions(tmp_path: Any) -> None:
    path, link = tmp_path / "x", tmp_path / "link"
    save("old", path)
    path.chmod(0o640)
    link.symlink_to(path)
    save("new", link)
    assert link.is_symlink()
    assert load(path) == "new"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_path_may_be_a_string_and_a_missing_file_is_its_own_error(tmp_path: Any) -> None:
    save(1, str(tmp_path / "x"))
    assert load(str(tmp_path / "x")) == 1
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        save(1, tmp_path / "missing" / "x")


def test_a_device_that_is_not_there_is_an_error() -> None:
    file = io.BytesIO()
    save(1, file)
    file.seek(0)
    assert load(file, map_location="cpu") == 1
    with pytest.raises(RuntimeError, match="cuda"):
        load(file, map_location="cuda:0")


def some_file() -> bytes:
    file = io.BytesIO()
    base = kuai.arange(12.0)
    save({"a": base, "b": base.narrow(0, 2, 4), "c": [kuai.ones(2).T, 1, "x"]}, file)
    return file.getvalue()


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, -1, -20])
def test_a_truncated_file_is_an_error(length: int) -> None:
    with pytest.raises(CheckpointError):
        load(io.BytesIO(some_file()[:length]))


@pytest.mark.parametrize(
    "content", [b"hello", b"\xff" * 100, b"\x08" + b"\0" * 7 + b"{" * 8, b"\0" * 64]
)
def test_what_is_no_checkpoint_is_an_error(content: bytes) -> None:
    with pytest.raises(CheckpointError):
        load(io.BytesIO(content))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('\\"offset\\":8', '\\"offset\\":9'),
        ('\\"offset\\":8', '\\"offset\\":48'),
        ('\\"shape\\":[4]', '\\"shape\\":[99]'),
        ('\\"strides\\":[4]', '\\"strides\\":[-4]'),
        ('\\"strides\\":[4]', '\\"strides\\":[4,4]'),
        ('\\"in\\":\\"a\\"', '\\"in\\":\\"z\\"'),
        ('{\\"tensor\\":0}', '{\\"tensor\\":-1}'),
        ('{\\"tensor\\":0}', '{\\"tensor\\":9}'),
        ('{\\"tensor\\":0}', '{\\"system\\":9}'),
        ('{\\"tensor\\":0}', "{}"),
        ('{\\"tensor\\":0}', '{\\"device\\":\\"moon\\"}'),
        ('\\"version\\":1', '\\"version\\":99'),
        ('\\"dtype\\":\\"float32\\"', '\\"dtype\\":\\"object\\"'),
    ],
)
def test_a_forged_structure_is_an_error(old: str, new: str) -> None:
    content = some_file()
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length].decode(), content[8 + length :]
    assert old in header
    forged = header.replace(old, new, 1).encode()
    with pytest.raises(CheckpointError):
        load(io.BytesIO(len(forged).to_bytes(8, "little") + forged + data))


def test_no_changed_byte_breaks_out_of_the_reader() -> None:
    content = some_file()
    random = np.random.default_rng(0)
    for _ in range(1500):
        changed = bytearray(content)
        changed[random.integers(len(content) - 56)] = random.integers(256)
        with contextlib.suppress(CheckpointError):
            load(io.BytesIO(bytes(changed)))


def test_a_structure_too_deep_is_an_error() -> None:
    import safetensors.numpy

    deep = '{"version":1,"tensors":[],"tree":' + "[" * 100_000 + "]" * 100_000 + "}"
    content = safetensors.numpy.save({"x": np.ones(1)}, metadata={"kuai": deep})
    with pytest.raises(CheckpointError):
        load(io.BytesIO(content))
