//! What the allocator keeps for itself.

/// One heap for all threads. glibc makes up to eight for each core, and each keeps what was freed in it: with blocks of a
/// mebibyte that go from thread to thread the process holds up to a third more than it uses, and `--memory-limit` is of the
/// process. Threads seldom wait for it: small pieces come from each thread's own cache.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the call takes two numbers, and nothing has been started yet that would allocate at the same time.
        #[allow(unsafe_code, reason = "a setting of the C library that no kept crate wraps")]
        let taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
        debug_assert_eq!(taken, 1, "glibc knows the setting");
    }
}
