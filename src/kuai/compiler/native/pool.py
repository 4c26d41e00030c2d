"""The pool of threads that share out the chunks of a loop nest: LLVM text.

`kuai_parallel(function, context, chunks)` calls `function(context, i)` for every chunk `i` and
returns when all are done. The program decides what a chunk is, so results do not depend on how
many threads there are, or on which of them takes which chunk.

The state of a job is one 64-bit ticket: the number of the job above, and below how many chunks have
been taken from the last one down, and from the first one up. Whoever raises one of these by one has
that chunk, and knows that what it read of the job belongs together, since the number of the job is
part of what it compared. The caller takes from the first on, and every other worker from the last:
what a thread computes today lies where it computed yesterday, in the caches of its own core. While
a job is being prepared the ticket is closed: more seems taken than any job has.

A worker without work looks for some for a while (some hundreds of microseconds: until the next
call, where calls follow each other), then sleeps.

A job that comes while another is running, from inside it or from another thread, is done by its
caller alone.
"""

from __future__ import annotations

import sys

CLOSED = 0x7FFF
SPINS = 10_000

PAUSES = {
    "x86_64": "call void @llvm.x86.sse2.pause()",
    "aarch64": "call void @llvm.aarch64.hint(i32 1)",
    "arm64": "call void @llvm.aarch64.hint(i32 1)",
}
_DECLARATIONS = {
    "x86_64": "declare void @llvm.x86.sse2.pause()",
    "aarch64": "declare void @llvm.aarch64.hint(i32)",
    "arm64": "declare void @llvm.aarch64.hint(i32)",
}

# How a worker sleeps until the ticket is no more the last one that it saw, and how it is woken.
# Linux's own futex, where there is one: conditions of the C library there can lose a signal, and
# then wait for ever (glibc, bug 25847).
_FUTEX = {"x86_64": 202, "aarch64": 98}
_SLEEP_ON_FUTEX = """\
sleep:
  %s = atomicrmw add ptr @pool_sleepers, i64 1 seq_cst, align 8
  br label %check
check:
  %signal = load atomic i32, ptr @pool_signal seq_cst, align 4
  %now = load atomic i64, ptr @pool_ticket seq_cst, align 8
  %same = icmp eq i64 %now, %last
  br i1 %same, label %wait, label %awake
wait:
  %known = zext i32 %signal to i64
  %w = call i64 (i64, ...) @syscall(i64 {futex}, ptr @pool_signal, i64 128, i64 %known, ptr null)
  br label %check
awake:
  %s1 = atomicrmw sub ptr @pool_sleepers, i64 1 seq_cst, align 8
  br label %work"""
_WAKE_BY_FUTEX = """\
wake:
  %b = atomicrmw add ptr @pool_signal, i32 1 seq_cst, align 4
  %l = call i64 (i64, ...) @syscall(i64 {futex}, ptr @pool_signal, i64 129, i64 2147483647)
  br label %work"""
_SLEEP_ON_CONDITION = """\
sleep:
  %l = call i32 @pthread_mutex_lock(ptr @pool_mutex)
  %s = atomicrmw add ptr @pool_sleepers, i64 1 seq_cst, align 8
  br label %check
check:
  %now = load atomic i64, ptr @pool_ticket seq_cst, align 8
  %same = icmp eq i64 %now, %last
  br i1 %same, label %wait, label %awake
wait:
  %w = call i32 @pthread_cond_wait(ptr @pool_wake, ptr @pool_mutex)
  br label %check
awake:
  %s1 = atomicrmw sub ptr @pool_sleepers, i64 1 seq_cst, align 8
  %u = call i32 @pthread_mutex_unlock(ptr @pool_mutex)
  br label %work"""
_WAKE_BY_CONDITION = """\
wake:
  %l = call i32 @pthread_mutex_lock(ptr @pool_mutex)
  %b = call i32 @pthread_cond_broadcast(ptr @pool_wake)
  %u = call i32 @pthread_mutex_unlock(ptr @pool_mutex)
  br label %work"""

_TEXT = """
; -- threads --------------------------------------------------------------------------------------
@pool_mutex = internal global [128 x i8] zeroinitializer, align 64
@pool_wake = internal global [128 x i8] zeroinitializer, align 64
@pool_ticket = internal global i64 {closed}, align 64
@pool_done = internal global i64 0, align 64
@pool_function = internal global ptr null, align 64
@pool_context = internal global ptr null
@pool_chunks = internal global i64 0
@pool_limit = internal global i64 1
@pool_signal = internal global i32 0, align 64
@pool_busy = internal global i32 0, align 64
@pool_sleepers = internal global i64 0, align 64
@pool_workers = internal global i64 0
@kuai_threads = global ptr null  ; where Python keeps how many threads may compute (i64)
@kuai_cores = global i64 1

declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(i64)
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @sigfillset(ptr)
declare i32 @sched_yield()
declare i64 @syscall(i64, ...)
{declaration}

; Take chunks while there are any; the ticket at which there were none.
define internal i64 @pool_drain(i64 %me) {{
entry:
  %parity = and i64 %me, 1
  %is_odd = icmp ne i64 %parity, 0
  %step = select i1 %is_odd, i64 65536, i64 1
  br label %look
look:
  %ticket = load atomic i64, ptr @pool_ticket seq_cst, align 8
  %low = and i64 %ticket, 65535
  %above = lshr i64 %ticket, 16
  %high = and i64 %above, 65535
  %given = add i64 %low, %high
  %chunks = load atomic i64, ptr @pool_chunks acquire, align 8
  %limit = load atomic i64, ptr @pool_limit acquire, align 8
  %some = icmp ult i64 %given, %chunks
  %mine = icmp ult i64 %me, %limit
  %take = and i1 %some, %mine
  br i1 %take, label %try, label %none
try:
  %function = load atomic ptr, ptr @pool_function acquire, align 8
  %context = load atomic ptr, ptr @pool_context acquire, align 8
  %next = add i64 %ticket, %step
  %pair = cmpxchg ptr @pool_ticket, i64 %ticket, i64 %next seq_cst seq_cst, align 8
  %taken = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %taken, label %run, label %look
run:
  %left = sub i64 %chunks, %high
  %last = sub i64 %left, 1
  %chunk = select i1 %is_odd, i64 %last, i64 %low
  call void %function(ptr %context, i64 %chunk)
  %before = atomicrmw add ptr @pool_done, i64 1 release, align 8
  br label %look
none:
  ret i64 %ticket
}}

define internal ptr @pool_worker(ptr %number) {{
entry:
  %me = ptrtoint ptr %number to i64
  br label %work
work:
  %last = call i64 @pool_drain(i64 %me)
  br label %spin
spin:
  %n = phi i64 [ 0, %work ], [ %n1, %idle ]
  %seen = load atomic i64, ptr @pool_ticket seq_cst, align 8
  %changed = icmp ne i64 %seen, %last
  br i1 %changed, label %work, label %idle
idle:
  {pause}
  %n1 = add i64 %n, 1
  %more = icmp ult i64 %n1, {spins}
  br i1 %more, label %spin, label %sleep
{sleep}
}}

; Start workers until there are `wanted`. They take no signals: those are the main thread's.
define internal void @pool_start(i64 %wanted) {{
entry:
  %thread = alloca i64, align 8
  %all = alloca [128 x i8], align 16
  %before = alloca [128 x i8], align 16
  %have = load i64, ptr @pool_workers
  %enough = icmp uge i64 %have, %wanted
  br i1 %enough, label %end, label %block
block:
  %f = call i32 @sigfillset(ptr %all)
  %m = call i32 @pthread_sigmask(i32 {set_mask}, ptr %all, ptr %before)
  br label %next
next:
  %i = phi i64 [ %have, %block ], [ %i1, %started ]
  %enough1 = icmp uge i64 %i, %wanted
  br i1 %enough1, label %unblock, label %start
start:
  %i1 = add i64 %i, 1
  %number = inttoptr i64 %i1 to ptr
  %e = call i32 @pthread_create(ptr %thread, ptr null, ptr @pool_worker, ptr %number)
  %failed = icmp ne i32 %e, 0
  br i1 %failed, label %unblock, label %started
started:
  store i64 %i1, ptr @pool_workers
  %id = load i64, ptr %thread
  %d = call i32 @pthread_detach(i64 %id)
  br label %next
unblock:
  %m1 = call i32 @pthread_sigmask(i32 {set_mask}, ptr %before, ptr null)
  br label %end
end:
  ret void
}}

; Forget the workers: at the start, and in a forked child, where there are none.
define void @kuai_pool_reset() {{
entry:
  %m = call i32 @pthread_mutex_init(ptr @pool_mutex, ptr null)
  %c = call i32 @pthread_cond_init(ptr @pool_wake, ptr null)
  store i64 {closed}, ptr @pool_ticket
  store i64 0, ptr @pool_chunks
  store i64 0, ptr @pool_sleepers
  store i64 0, ptr @pool_workers
  store i32 0, ptr @pool_busy
  ret void
}}

define i64 @kuai_pool_workers() {{
  %n = load i64, ptr @pool_workers
  ret i64 %n
}}

define internal void @pool_alone(ptr %function, ptr %context, i64 %chunks) {{
entry:
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %i1, %body ]
  %more = icmp slt i64 %i, %chunks
  br i1 %more, label %body, label %end
body:
  call void %function(ptr %context, i64 %i)
  %i1 = add i64 %i, 1
  br label %head
end:
  ret void
}}

define void @kuai_parallel(ptr %function, ptr %context, i64 %chunks) {{
entry:
  %where = load ptr, ptr @kuai_threads
  %asked = load i64, ptr %where
  %cores = load i64, ptr @kuai_cores
  %possible = call i64 @llvm.smin.i64(i64 %asked, i64 %cores)
  %threads = call i64 @llvm.smin.i64(i64 %possible, i64 %chunks)
  %one = icmp slt i64 %threads, 2
  %many = icmp sge i64 %chunks, {closed}
  %simple = or i1 %one, %many
  br i1 %simple, label %alone, label %enter
enter:
  %pair = cmpxchg ptr @pool_busy, i32 0, i32 1 acquire monotonic, align 4
  %mine = extractvalue {{ i32, i1 }} %pair, 1
  br i1 %mine, label %share, label %alone
alone:
  call void @pool_alone(ptr %function, ptr %context, i64 %chunks)
  ret void
share:
  %workers = sub i64 %threads, 1
  call void @pool_start(i64 %workers)
  %ticket = load atomic i64, ptr @pool_ticket monotonic, align 8
  %job = lshr i64 %ticket, 32
  %closing = add i64 %job, 1
  %closing_high = shl i64 %closing, 32
  %closed = or i64 %closing_high, {closed}
  store atomic i64 %closed, ptr @pool_ticket seq_cst, align 8
  store atomic ptr %function, ptr @pool_function release, align 8
  store atomic ptr %context, ptr @pool_context release, align 8
  store atomic i64 %threads, ptr @pool_limit release, align 8
  store atomic i64 0, ptr @pool_done release, align 8
  store atomic i64 %chunks, ptr @pool_chunks release, align 8
  %opening = add i64 %job, 2
  %open = shl i64 %opening, 32
  store atomic i64 %open, ptr @pool_ticket seq_cst, align 8
  %sleepers = load atomic i64, ptr @pool_sleepers seq_cst, align 8
  %asleep = icmp ne i64 %sleepers, 0
  br i1 %asleep, label %wake, label %work
{wake}
work:
  %last = call i64 @pool_drain(i64 0)
  br label %wait
wait:
  %n = phi i64 [ 0, %work ], [ %n1, %pausing ], [ %n1, %yielding ]
  %done = load atomic i64, ptr @pool_done acquire, align 8
  %all = icmp eq i64 %done, %chunks
  br i1 %all, label %finished, label %waiting
waiting:
  %n1 = add i64 %n, 1
  %patient = icmp ult i64 %n1, {spins}
  br i1 %patient, label %pausing, label %yielding
pausing:
  {pause}
  br label %wait
yielding:
  %y = call i32 @sched_yield()
  br label %wait
finished:
  store atomic i32 0, ptr @pool_busy release, align 4
  ret void
}}

declare i64 @llvm.smin.i64(i64, i64)
"""


def pool_text(architecture: str, set_mask: int, system: str = sys.platform) -> str:
    """The pool for a processor; `set_mask` is the system's number for `SIG_SETMASK`."""
    futex = _FUTEX.get(architecture) if system == "linux" else None
    sleep, wake = _SLEEP_ON_CONDITION, _WAKE_BY_CONDITION
    if futex is not None:
        sleep, wake = _SLEEP_ON_FUTEX.format(futex=futex), _WAKE_BY_FUTEX.format(futex=futex)
    return _TEXT.format(
        closed=CLOSED,
        spins=SPINS,
        pause=PAUSES.get(architecture, ""),
        declaration=_DECLARATIONS.get(architecture, ""),
        set_mask=set_mask,
        sleep=sleep,
        wake=wake,
    )
