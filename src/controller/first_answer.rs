//! Waiting at start for an API server that does not answer. An operator that ended instead would be started again ever more
//! seldom, and would stay away for minutes after a long outage.

use std::time::Duration;

use kube::Client;
use tokio::time::sleep;

const PAUSE: Duration = Duration::from_secs(2);

/// Asks the API server for its version until it tells it.
pub async fn first_answer(client: &Client) -> String {
    loop {
        match client.apiserver_version().await {
            Ok(version) => return version.git_version,
            Err(error) => tracing::warn!(%error, "the API server does not answer yet"),
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fake_server::FakeServer;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_answers_after_ten_minutes_is_seen_two_seconds_later() {
        let server = FakeServer::default();
        server.fail("GET /version", 503, "ServiceUnavailable", "starting");
        let text = ["major", "minor", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"];
        let mut version: serde_json::Map<_, _> = text.map(|key| (key.to_owned(), json!("1"))).into_iter().collect();
        version.insert("gitVersion".to_owned(), json!("v1.37.2"));
        let client = server.client();
        let late = async {
            sleep(Duration::from_secs(600)).await;
            server.put("/version", version.into());
            server.recover();
            tokio::time::Instant::now()
        };
        let (told, back) = tokio::join!(first_answer(&client), late);
        assert_eq!(told, "v1.37.2");
        assert!(back.elapsed() <= PAUSE, "{:?}", back.elapsed());
    }
}
