//! Threads that share a piece of work.

/// Runs `work` on the calling thread and on others, `threads` in all, and returns when each has come to its end. Where
/// the system has no more threads, fewer do it: slower, never wrong.
pub(crate) fn on_threads(threads: usize, work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 1..threads {
            if std::thread::Builder::new().spawn_scoped(scope, &work).is_err() {
                break;
            }
        }
        work();
    });
}
