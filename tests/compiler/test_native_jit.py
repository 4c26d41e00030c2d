"""LLVM text becomes machine code, is kept on disk, and comes into memory with or without LLVM."""

import ctypes
import math
import subprocess
import sys

import pytest

from kuai.compiler.emit.builder import Module, Ref
from kuai.compiler.native import cache, jit, link, target

ADD = """
@.table = private unnamed_addr constant [4 x i32] [i32 3, i32 5, i32 7, i32 11]
@counter = internal global i32 100
declare double @cos(double)
declare i32 @outer(i32)
define internal i32 @inner(i32 %x) noinline {
  %now = load i32, ptr @counter
  %next = add i32 %now, 1
  store i32 %next, ptr @counter
  %sum = add i32 %x, %next
  ret i32 %sum
}
define i32 @program(i32 %i) {
  %at = getelementptr i32, ptr @.table, i32 %i
  %y = load i32, ptr %at
  %z = call i32 @inner(i32 %y)
  ret i32 %z
}
define double @cosine(double %x) {
  %y = call double @cos(double %x)
  ret double %y
}
define i32 @through(i32 %x) {
  %y = call i32 @outer(i32 %x)
  ret i32 %y
}
define ptr @address() {
  ret ptr @outer
}
"""

EXPORTS = ["program", "cosine", "through", "address"]
Int = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
Double = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KUAI_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("linker", [link.link, link.link_with_llvm])
@pytest.mark.parametrize("optimise", [True, False])
def test_code_data_and_outer_functions_find_each_other(linker, optimise):
    outer = Int(lambda x: 10 * x)
    address = ctypes.cast(outer, ctypes.c_void_p).value
    library = linker(jit.assemble(ADD, optimise, verify=True), EXPORTS, {"outer": address})
    program = Int(library["program"])
    assert [program(i) for i in range(4)] == [3 + 101, 5 + 102, 7 + 103, 11 + 104]
    assert Double(library["cosine"])(0.5) == pytest.approx(math.cos(0.5))
    assert Int(library["through"])(7) == 70
    assert ctypes.CFUNCTYPE(ctypes.c_void_p)(library["address"])() == address


def test_two_modules_with_the_same_names_do_not_meet():
    first = jit.load(jit.assemble("define i32 @program() {\n ret i32 1\n}"))
    second = jit.load(jit.assemble("define i32 @program() {\n ret i32 2\n}"))
    call = ctypes.CFUNCTYPE(ctypes.c_int)
    assert (call(first["program"])(), call(second["program"])()) == (1, 2)


def test_a_function_that_is_nowhere_is_named():
    text = "declare void @no_such_function()\ndefine void @program() {\n"
    text += " call void @no_such_function()\n ret void\n}"
    with pytest.raises(RuntimeError, match="no_such_function"):
        jit.load(jit.assemble(text))


def test_text_that_is_not_llvm_says_where_it_fails():
    with pytest.raises(RuntimeError, match="expected"):
        jit.assemble("define i32 @program() { rte i32 0 }")


def test_wide_vectors_of_the_host_run():
    host = target.host()
    lanes = host.vector_bytes // 4
    m = Module()
    f = m.function("program", "void", [("ptr", "x")], internal=False)
    x = f.load(f"<{lanes} x float>", f.arguments[0])
    f.store(f.fma(x, x, f.const(1.0, x.type)), f.arguments[0])
    f.ret()
    library = jit.load(jit.compiled(str(m)))
    data = (ctypes.c_float * lanes)(*range(lanes))
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(library["program"])(data)
    assert list(data) == [i * i + 1 for i in range(lanes)]


def test_assembly_shows_the_code():
    assert "program:" in jit.assembly("define i32 @program() {\n ret i32 1\n}")


def test_the_target_is_sensible():
    host = target.host()
    assert host.vector_bytes in (16, 32, 64)
    assert host.registers in (16, 32)
    assert 0 < host.l1 <= host.l2
    assert host.l3 > 0
    assert host.cores >= 1
    assert host.has("sse2") or "x86" not in host.triple


def test_the_same_text_is_made_once(folder, monkeypatch):
    first = jit.compiled(ADD)
    monkeypatch.setattr(jit, "assemble", None)
    assert jit.compiled(ADD) == first


def test_other_text_options_or_processors_are_other_files():
    names = {cache.key("a", "bc"), cache.key("ab", "c"), cache.key("a", "b", "c"), cache.key("")}
    assert len(names) == 4


@pytest.mark.parametrize("damage", [b"", b"kuai", None, "flip"])
def test_a_damaged_file_is_made_again(folder, damage):
    good = jit.compiled(ADD)
    for file in folder.iterdir():
        data = bytearray(file.read_bytes())
        if damage is None:
            data = data[:-5]
        elif damage == "flip":
            data[-10] ^= 1
        else:
            data = damage
        file.write_bytes(bytes(data))
    assert all(cache.read(file.name) is None for file in folder.iterdir())
    assert jit.compiled(ADD) == good
    assert any(cache.read(file.name) == good for file in folder.iterdir())


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("KUAI_CACHE_DIR", str(blocked / "below"))
    assert jit.load(jit.compiled("define i32 @program() {\n ret i32 4\n}"))["program"]


def test_what_was_used_longest_ago_goes_first(folder, monkeypatch):
    import os

    monkeypatch.setattr(cache, "LIMIT", 3000)
    monkeypatch.setattr(cache, "_written", 1)  # the next look is far away
    for i in range(5):
        cache.write(f"{i:032x}", bytes(1000))
        os.utime(folder / f"{i:032x}", (1000 + i, 1000 + i))
    cache.read(f"{0:032x}")
    monkeypatch.setattr(cache, "_written", 0)
    cache.write("f" * 32, b"new")
    kept = {int(file.name, 16) for file in folder.iterdir()}
    assert 0 in kept
    assert 1 not in kept
    assert int("f" * 32, 16) in kept


def test_many_processes_write_at_once(folder):
    code = f"from kuai.compiler.native import jit; jit.compiled({ADD!r})"
    workers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [w.wait() for w in workers] == [0, 0, 0]
    assert not [f for f in folder.iterdir() if f.name.startswith(".")]
    key = next(f.name for f in folder.iterdir() if (cache.read(f.name) or b"")[:4] == b"\x7fELF")
    assert jit.load(cache.read(key), EXPORTS, {"outer": 1})


def test_code_from_the_cache_needs_no_llvm(folder):
    jit.compiled(ADD)
    target.host.cache_clear()
    target.host()
    code = (
        "import sys; from kuai.compiler.native import jit\n"
        f"jit.load(jit.compiled({ADD!r}), ['program'], {{'outer': 1}})\n"
        "assert 'llvmlite.binding' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_float_constants_of_every_kind_reach_the_code():
    m = Module()
    f = m.function("program", "double", [], internal=False)
    f.ret(Ref("0x3FF8000000000000", "double"))
    library = jit.load(jit.compiled(str(m)))
    assert ctypes.CFUNCTYPE(ctypes.c_double)(library["program"])() == 1.5
