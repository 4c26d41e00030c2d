"""What a long loop asks at every round: whether a signal wants attention; LLVM text.

`kuai_interrupted()` reads a clock, and every few milliseconds goes to Python: signals are handled
(a handler may raise: then the answer is 1, and Python's error is set in this thread), and where
this thread holds the interpreter's lock, other threads get their turn.

A thread that waits for the lock asks for it after Python's switch interval of 5 ms, but only if it
has not been woken in between, and taking the lock back at once would be quicker than its waking.
So the period is longer than the interval, and the lock stays free for some microseconds.

`kuai_host()` calls a NumPy kernel by way of Python, and says whether that raised: then too,
Python's error is set in this thread. It may be that of a signal that came in this moment.
"""

from __future__ import annotations

import sys
import time

PERIOD = 10_000_000  # nanoseconds between two looks
# The kernel's coarse clock costs a few nanoseconds and is exact enough.
CLOCK = 6 if sys.platform == "linux" else getattr(time, "CLOCK_MONOTONIC", 1)

_TEXT = """
; -- interrupts and memory ------------------------------------------------------------------------
@interrupt_checked = internal global [64 x i64] zeroinitializer, align 64  ; by thread

declare i32 @clock_gettime(i32, ptr)
declare i64 @pthread_self()
declare i32 @usleep(i32)
declare i32 @PyGILState_Ensure()
declare void @PyGILState_Release(i32)
declare i32 @PyErr_CheckSignals()
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare ptr @realloc(ptr, i64)
declare void @free(ptr)

define i32 @kuai_interrupted() {{
entry:
  %time = alloca [2 x i64], align 16
  %c = call i32 @clock_gettime(i32 {clock}, ptr %time)
  %seconds = load i64, ptr %time
  %at = getelementptr i64, ptr %time, i64 1
  %rest = load i64, ptr %at
  %whole = mul i64 %seconds, 1000000000
  %now = add i64 %whole, %rest
  %self = call i64 @pthread_self()
  %high = lshr i64 %self, 12
  %slot = and i64 %high, 63
  %where = getelementptr i64, ptr @interrupt_checked, i64 %slot
  %before = load i64, ptr %where
  %since = sub i64 %now, %before
  %soon = icmp ult i64 %since, {period}
  br i1 %soon, label %no, label %look
no:
  ret i32 0
look:
  store i64 %now, ptr %where
  %state = call i32 @PyGILState_Ensure()
  %signals = call i32 @PyErr_CheckSignals()
  %raised = icmp ne i32 %signals, 0
  %held = icmp eq i32 %state, 0
  %quiet = xor i1 %raised, true
  %yield = and i1 %held, %quiet
  br i1 %yield, label %others, label %back
others:
  %thread = call ptr @PyEval_SaveThread()
  %slept = call i32 @usleep(i32 20)
  call void @PyEval_RestoreThread(ptr %thread)
  br label %back
back:
  call void @PyGILState_Release(i32 %state)
  %result = zext i1 %raised to i32
  ret i32 %result
}}

@kuai_run_host = global ptr null  ; the Python function

declare ptr @PyLong_FromLongLong(i64)
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)
declare void @Py_DecRef(ptr)

define i32 @kuai_host(i64 %number, ptr %pointers) {{
entry:
  %arguments = alloca [2 x ptr], align 16
  %second = getelementptr ptr, ptr %arguments, i64 1
  %address = ptrtoint ptr %pointers to i64
  %state = call i32 @PyGILState_Ensure()
  %x = call ptr @PyLong_FromLongLong(i64 %number)
  %y = call ptr @PyLong_FromLongLong(i64 %address)
  store ptr %x, ptr %arguments
  store ptr %y, ptr %second
  %no.x = icmp eq ptr %x, null
  %no.y = icmp eq ptr %y, null
  %nothing = or i1 %no.x, %no.y
  br i1 %nothing, label %failed, label %go
go:
  %run = load ptr, ptr @kuai_run_host
  %made = call ptr @PyObject_Vectorcall(ptr %run, ptr %arguments, i64 2, ptr null)
  call void @Py_DecRef(ptr %made)
  %raised = icmp eq ptr %made, null
  br label %done
failed:
  br label %done
done:
  %bad = phi i1 [ %raised, %go ], [ true, %failed ]
  call void @Py_DecRef(ptr %x)
  call void @Py_DecRef(ptr %y)
  call void @PyGILState_Release(i32 %state)
  %result = zext i1 %bad to i32
  ret i32 %result
}}

define ptr @kuai_grow(ptr %memory, i64 %bytes) {{
  %new = call ptr @realloc(ptr %memory, i64 %bytes)
  ret ptr %new
}}

define void @kuai_free(ptr %memory) {{
  call void @free(ptr %memory)
  ret void
}}
"""


def interrupts_text() -> str:
    """The functions for this system."""
    return _TEXT.format(clock=CLOCK, period=PERIOD)
