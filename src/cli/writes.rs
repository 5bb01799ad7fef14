//! Between the operator and the API server in builds for tests: each request that changes something is told in the log (`debug`),
//! and is a point where tests kill the operator ([`crate::engine::kill_point`]).

use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::client::Body;
use tower::{Layer, Service};

use crate::engine::kill_point;

/// Puts the points into a client.
pub struct KillPoints;

impl<S> Layer<S> for KillPoints {
    type Service = Told<S>;

    fn layer(&self, inner: S) -> Told<S> {
        Told(inner)
    }
}

/// A service whose changes are told.
pub struct Told<S>(S);

impl<S, B> Service<Request<Body>> for Told<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = self.0.call(request);
        if method == Method::GET {
            return answer.boxed();
        }
        async move {
            let answer = answer.await;
            if let Ok(answer) = &answer {
                tracing::debug!(%method, path, status = answer.status().as_u16(), "written");
                kill_point::written();
            }
            answer
        }
        .boxed()
    }
}
