//! The thin shell: watches, reads, carries plans out, writes status. Decisions are in `plan`.
//!
//! A reconcile is the same for every kind of run: observe → plan → act → status → events. Each may be cut short anywhere
//! and is then simply done again.

mod act;
mod backoff;
mod census;
mod context;
pub mod definitions;
mod error;
mod events;
mod first_answer;
mod held;
mod inventory;
mod kinds;
mod leader;
mod locks;
mod observe;
mod precedence;
mod queue;
mod reconcile;
mod shelf;
mod status;
mod touched;
mod watch;
mod watched;
pub mod webhook;
mod written;

pub use context::Context;
pub use error::Error;
pub use first_answer::first_answer;
pub use leader::Leadership;

use std::sync::Arc;

use futures::future::{BoxFuture, Shared, join_all};

/// What ends the controllers: they finish the reconciles under way and start no more.
pub type Shutdown = Shared<BoxFuture<'static, ()>>;

/// Runs the controllers of all kinds in these namespaces (empty: in all) until `shutdown`.
pub async fn run(context: Arc<Context>, namespaces: &[String], shutdown: Shutdown) {
    let scopes: Vec<Option<String>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.iter().cloned().map(Some).collect() };
    join_all(scopes.iter().map(|scope| watch::scope(&context, scope.as_deref(), &shutdown))).await;
}

#[cfg(test)]
mod fake_server;
#[cfg(test)]
mod fault_scenarios;
#[cfg(test)]
mod inventory_scenarios;
#[cfg(test)]
mod scenarios;
