"""From LLVM text to machine code, and machine code into memory.

`llvmlite` is needed only to make machine code. What comes from the cache is linked by
`kuai.compiler.native.link`, which takes a tenth of the time that loading LLVM would.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

from kuai.compiler.native import cache
from kuai.compiler.native.link import Library, link
from kuai.compiler.native.locks import Lock
from kuai.compiler.native.target import Target, host

_lock = Lock()
if hasattr(os, "register_at_fork"):  # what LLVM is doing is done first: a child cannot end it
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release)


@functools.cache
def llvm() -> Any:
    """`llvmlite.binding`, ready to make code for this machine."""
    import llvmlite.binding as binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.initialize_native_asmparser()
    return binding


@functools.cache
def _machine(target: Target, level: int) -> Any:
    binding = llvm()
    return binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=level, reloc="pic", codemodel="small"
    )


LEVEL = 2  # of code generation
HASTY = 0  # of code that is wanted at once, and replaced


def _optimised(text: str, optimise: bool, verify: bool, target: Target) -> Any:
    """The module of this text, after the passes."""
    binding = llvm()
    context = binding.create_context()
    module = binding.parse_assembly(text, context)
    module._kuai_context = context  # must outlive the module
    if verify:
        module.verify()
    if optimise:
        builder = binding.create_pass_builder(
            _machine(target, LEVEL), binding.create_pipeline_tuning_options(2)
        )
        passes = binding.create_new_module_pass_manager()
        # The text is vectorised, tiled and fused already. What is left: variables become
        # registers, indices that are constant fold, and what nothing uses goes.
        passes.add_sroa_pass()
        passes.add_simplify_cfg_pass()
        passes.add_instruction_combine_pass()
        passes.add_simplify_cfg_pass()
        passes.run(module, builder)
    return module


def assemble(
    text: str,
    optimise: bool = True,
    *,
    level: int = LEVEL,
    verify: bool = False,
    target: Target | None = None,
) -> bytes:
    """The object file of a module of LLVM text.

    Args:
        text: one LLVM module.
        optimise: whether to run the passes on it first.
        level: how much LLVM does for good code, from 0 to 3.
        verify: whether LLVM should check the module; for tests.
        target: the machine to make it for; this one by default.

    Raises:
        RuntimeError: the text is not a module of LLVM; the message says where.
    """
    with _lock:
        return _object_file(text, optimise, level, verify, target or host())


def _object_file(text: str, optimise: bool, level: int, verify: bool, target: Target) -> bytes:
    # A function of its own, so that the module is given back while the lock is held.
    module = _optimised(text, optimise, verify, target)
    return bytes(_machine(target, level).emit_object(module))


def assembly(text: str, optimise: bool = True) -> str:
    """The machine code of a module of LLVM text, in the processor's assembly language."""
    with _lock:
        return str(_machine(host(), LEVEL).emit_assembly(_optimised(text, optimise, False, host())))


def compiled(text: str, optimise: bool = True) -> bytes:
    """The object file of a module of LLVM text, from the cache where it was made before."""
    target = host()
    key = cache.key("object", str(optimise), target.triple, target.cpu, target.features, text)
    found = cache.read(key)
    if found is None:
        found = assemble(text, optimise)
        cache.write(key, found)
    return found


def load(
    object_file: bytes,
    exports: Sequence[str] = ("program",),
    symbols: dict[str, int] | None = None,
) -> Library:
    """Put machine code into memory, ready to be called.

    Args:
        object_file: what `assemble` made.
        exports: the names of which the addresses are wanted.
        symbols: addresses of outer functions by name; others are looked for in the process,
            which has those of the C library.

    Returns:
        The library; `library[name]` is the address of an export. It must be kept as long
        as its code may run.

    Raises:
        RuntimeError: it refers to something that is nowhere.
    """
    return link(object_file, exports, symbols or {})
