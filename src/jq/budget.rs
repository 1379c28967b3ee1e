//! Limits on one evaluation: steps, memory and stack.
//!
//! The interpreter counts a step for each term that it runs, and values charge for their allocations. When a limit is
//! reached, the evaluation unwinds, so that no `try` in the program can continue.
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The limits of one evaluation.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) steps: usize,
    /// Bytes that values allocate in total, even if freed again.
    pub(super) bytes: usize,
    /// Maximum bytes of one string: some filters make several of each string.
    pub(super) text: usize,
    pub(super) stack: usize,
}

/// Which limit ended an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Steps,
    Bytes,
    Stack,
    /// A value is nested deeper than [`super::MAX_DEPTH`].
    Depth,
    /// A bug in the interpreter.
    Panic,
}

#[derive(Clone, Copy)]
struct Left {
    limits: Limits,
    /// The stack position at the start of the evaluation.
    base: usize,
}

pub(super) const UNLIMITED: Limits =
    Limits { steps: usize::MAX, bytes: usize::MAX, text: usize::MAX, stack: usize::MAX };

thread_local! {
    static LEFT: Cell<Left> = const { Cell::new(Left { limits: UNLIMITED, base: 0 }) };
}

/// Runs `f` within the limits.
pub(super) fn within<T>(limits: Limits, f: impl FnOnce() -> T) -> Result<T, Stop> {
    let before = LEFT.replace(Left { limits, base: stack() });
    // Everything that `f` has touched is dropped with it, so no value is left half modified.
    let result = catch_unwind(AssertUnwindSafe(f));
    LEFT.set(before);
    result.map_err(|payload| payload.downcast_ref().copied().unwrap_or(Stop::Panic))
}

/// Ends the evaluation.
pub(super) fn stop(why: Stop) -> ! {
    resume_unwind(Box::new(why))
}

/// Counts a step and checks the stack depth.
pub(super) fn step() {
    let left = LEFT.get();
    if left.base.abs_diff(stack()) > left.limits.stack {
        stop(Stop::Stack);
    }
    steps(1);
}

pub(super) fn steps(count: usize) {
    let mut left = LEFT.get();
    let Some(steps) = left.limits.steps.checked_sub(count) else { stop(Stop::Steps) };
    left.limits.steps = steps;
    LEFT.set(left);
}

/// Charges for memory before it is allocated.
pub(super) fn bytes(count: usize) {
    let mut left = LEFT.get();
    let Some(bytes) = left.limits.bytes.checked_sub(count) else { stop(Stop::Bytes) };
    left.limits.bytes = bytes;
    LEFT.set(left);
}

/// Charges for a string before it is created.
pub(super) fn text(len: usize) {
    if len > LEFT.get().limits.text {
        stop(Stop::Bytes);
    }
    bytes(len);
}

fn stack() -> usize {
    let here = 0_u8;
    std::hint::black_box(&raw const here).addr()
}
