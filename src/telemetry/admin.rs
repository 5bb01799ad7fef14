//! /healthz, /readyz and /metrics.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::Metrics;

/// What the endpoints tell.
#[derive(Clone)]
pub struct Admin {
    pub metrics: Arc<Metrics>,
    /// Whether the API server has answered; a replica that stands by is ready too.
    pub ready: Arc<AtomicBool>,
}

/// Serves until `shutdown`.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    admin: Admin,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, router(admin)).with_graceful_shutdown(shutdown).await
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(admin)
}

async fn readyz(State(admin): State<Admin>) -> Response {
    if admin.ready.load(Ordering::Relaxed) {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the API server has not answered yet\n").into_response()
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match admin.metrics.text() {
        Ok(page) => ([(header::CONTENT_TYPE, content_type)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn get_page(admin: &Admin, path: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(admin.clone()).oneshot(request).await.unwrap();
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let (status, kind) = (response.status(), kind.to_owned());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn it_is_alive_at_once_ready_when_the_api_server_has_answered_and_metrics_are_openmetrics() {
        let admin = Admin { metrics: Arc::new(Metrics::default()), ready: Arc::new(AtomicBool::new(false)) };
        assert_eq!(get_page(&admin, "/healthz").await.0, StatusCode::OK);
        let (status, _, words) = get_page(&admin, "/readyz").await;
        assert_eq!(
            (status, words.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "the API server has not answered yet\n")
        );
        admin.ready.store(true, Ordering::Relaxed);
        assert_eq!(get_page(&admin, "/readyz").await.0, StatusCode::OK);
        let (status, kind, page) = get_page(&admin, "/metrics").await;
        assert_eq!(
            (status, kind.as_str()),
            (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        );
        assert!(page.contains("vitess_backup_leader 0\n") && page.ends_with("# EOF\n"), "{page}");
        assert_eq!(get_page(&admin, "/secrets").await.0, StatusCode::NOT_FOUND);
    }
}
