//! What one evaluation may use: steps, memory, and stack.
//!
//! The interpreter counts a step for each term that it runs, and values charge for what they allocate. Where a limit is
//! reached the evaluation ends by unwinding, so that no `try` of the program can go on from there.
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The limits of one evaluation.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) steps: usize,
    /// Bytes that values allocate, whether or not they are freed again.
    pub(super) bytes: usize,
    /// Bytes of one text, as some filters make several of each.
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
    /// A defect of the interpreter.
    Panic,
}

#[derive(Clone, Copy)]
struct Left {
    limits: Limits,
    /// Where the stack stood when the evaluation began.
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
    // What `f` has seen is dropped with it, so nobody meets a value that is half changed.
    let result = catch_unwind(AssertUnwindSafe(f));
    LEFT.set(before);
    result.map_err(|payload| payload.downcast_ref().copied().unwrap_or(Stop::Panic))
}

/// Ends the evaluation.
pub(super) fn stop(why: Stop) -> ! {
    resume_unwind(Box::new(why))
}

/// Counts one step, and looks how deep the stack is.
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

/// Charges for memory, before it is allocated.
pub(super) fn bytes(count: usize) {
    let mut left = LEFT.get();
    let Some(bytes) = left.limits.bytes.checked_sub(count) else { stop(Stop::Bytes) };
    left.limits.bytes = bytes;
    LEFT.set(left);
}

/// Charges for a text, before it is made.
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
