//! How a run is told to stop: by a signal or by its deadline. Steps that may be cut short race against it; putting the
//! tablet back never does.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::EngineError;

/// Why a run was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Signal(&'static str),
    /// The deadline that passed.
    Deadline(Duration),
}

/// A switch that can be thrown once. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    token: CancellationToken,
    cause: Arc<OnceLock<Cause>>,
}

impl Interrupt {
    pub fn new() -> Self {
        Self::default()
    }

    /// Interrupts the run; the first cause stays.
    pub fn raise(&self, cause: Cause) {
        let _ = self.cause.set(cause);
        self.token.cancel();
    }

    /// # Errors
    /// `Interrupted` when the switch was thrown.
    pub fn check(&self) -> Result<(), EngineError> {
        if self.token.is_cancelled() { Err(self.error()) } else { Ok(()) }
    }

    /// Drives `step` until it ends or the run is interrupted; then `step` is dropped where it stands.
    ///
    /// # Errors
    /// `Interrupted`, else what `step` gives.
    pub async fn race<T>(&self, step: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
        tokio::select! {
            biased;
            () = self.token.cancelled() => Err(self.error()),
            result = step => result,
        }
    }

    fn error(&self) -> EngineError {
        EngineError::Interrupted(self.cause.get().copied().unwrap_or(Cause::Signal("a request")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_step_is_cut_short_and_the_first_cause_is_told() {
        let interrupt = Interrupt::new();
        assert_eq!(interrupt.race(async { Ok(7) }).await.unwrap(), 7);
        interrupt.raise(Cause::Signal("SIGTERM"));
        interrupt.raise(Cause::Deadline(Duration::from_secs(1)));
        let cut = interrupt.race(std::future::pending::<Result<(), EngineError>>()).await;
        assert!(matches!(cut, Err(EngineError::Interrupted(Cause::Signal("SIGTERM")))), "{cut:?}");
        assert!(interrupt.check().is_err());
    }
}
