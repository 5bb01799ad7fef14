//! Work for a core: over all streams of the process, as much at a time as there are cores.
//!
//! Several files times several blocks would otherwise be many more runnable threads than cores, each with its buffers.
//! What waits for bytes (a stream that is decompressed in one thread) is not counted: it would hold a core while idle.

use std::sync::LazyLock;

use tokio::sync::Semaphore;

use super::CodecError;

static CORES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));

/// Runs `work` on tokio's pool for blocking work as soon as a core is free. Dropping the future before that drops the work;
/// afterwards the work ends by itself. `work` must not wait for anything.
pub(super) async fn on_a_core<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CodecError> {
    let core = CORES.acquire().await.map_err(|_| CodecError::Stopped)?;
    let worked = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(core);
        result
    });
    worked.await.map_err(|_| CodecError::Stopped)
}
