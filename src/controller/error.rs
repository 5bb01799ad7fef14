//! What can go wrong between the operator and the API server.

/// A reconcile that has to be done again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {verb} {what}: {source}")]
    Api { verb: &'static str, what: String, source: Box<kube::Error> },
    /// Somebody else was faster, or what was looked at is old: the next look sees it.
    #[error("{what} has changed in the meantime")]
    Outdated { what: String },
}

impl Error {
    /// For `map_err`.
    pub fn api(verb: &'static str, what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| match &source {
            kube::Error::Api(status) if status.is_conflict() => Self::Outdated { what },
            _ => Self::Api { verb, what, source: Box::new(source) },
        }
    }

    /// Nothing is wrong; try again soon.
    pub fn is_outdated(&self) -> bool {
        matches!(self, Self::Outdated { .. })
    }
}

/// The object that was asked for, or nothing where there is none.
pub fn optional<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
