//! How the process takes memory from the system.
//!
//! **Invariant:** nothing here changes what the agent does, only how much memory it seems to use.

/// How many heaps the C library's allocator may keep.
#[cfg(target_env = "gnu")]
const HEAPS: i32 = 2;

/// Keeps the allocator from making a heap for each thread. Large payloads are allocated by one thread per client and freed by
/// others; with many heaps that left 150 MB unused beside a RAM buffer of 1 GB.
pub(super) fn share_heaps() {
    #[cfg(target_env = "gnu")]
    {
        const M_ARENA_MAX: i32 = -8;
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        // SAFETY: `mallopt` takes two plain integers and may be called at any time; a value it does not like changes nothing.
        let _ = unsafe { mallopt(M_ARENA_MAX, HEAPS) };
    }
}
