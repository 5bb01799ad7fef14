//! A tablet whose files are at rest: nothing is started or stopped.

use std::time::Duration;

use async_trait::async_trait;

use super::control::MysqldControl;
use super::error::MysqldError;
use super::evidence::{self, Evidence};
use super::layout::Layout;
use super::own_process;

/// Makes sure that no mysqld lives on the files, and starts none.
///
/// Departs from [`MysqldControl`] on purpose: `start` starts nothing, so that nothing answers SQL afterwards; `shutdown`
/// stops nothing, and is an error when there would be something to stop.
#[derive(Clone, Debug)]
pub struct Stopped {
    layout: Layout,
}

impl Stopped {
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }
}

#[async_trait]
impl MysqldControl for Stopped {
    async fn start(&self, _extra_args: &[&str]) -> Result<(), MysqldError> {
        Ok(())
    }

    async fn shutdown(&self, _timeout: Duration) -> Result<(), MysqldError> {
        let evidence = Evidence::gather(&self.layout).await?;
        if evidence.alive() {
            return Err(MysqldError::NotAtRest { evidence: evidence.to_string() });
        }
        evidence::clear_leftovers(&self.layout).await
    }

    async fn run_mysql_upgrade(&self) -> Result<(), MysqldError> {
        Ok(())
    }

    async fn reinit_config(&self) -> Result<(), MysqldError> {
        Ok(self.layout.clone().randomize_server_id().await?)
    }

    /// From the mysqld that would be found here, which need not be the one that the data is for.
    async fn version_string(&self) -> Result<String, MysqldError> {
        own_process::binary_version(&super::mysql_root::MysqlRoot::find()?).await
    }

    fn kind(&self) -> &'static str {
        "stopped"
    }
}
