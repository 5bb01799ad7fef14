//! Credentials for S3 from the environment, in the order of AWS's own chain: variables, the shared credentials file, web
//! identity (IRSA), a container's endpoint (ECS, EKS Pod Identity), the instance's metadata.
//!
//! All but the file is `object_store`'s.

use std::collections::BTreeMap;
use std::path::Path as FsPath;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

/// The variables that say who we are; AWS_ENDPOINT_URL and the like are Vitess's flags here.
const VARIABLES: [&str; 12] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
    "AWS_IMDSV1_FALLBACK",
];
/// Where the shared credentials file is, when not in the home folder.
const FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";

/// # Errors
/// When a shared credentials file that somebody named is not there, or has no such profile.
pub(super) fn from_environment(builder: AmazonS3Builder) -> Result<AmazonS3Builder, String> {
    let given: BTreeMap<&str, String> =
        VARIABLES.into_iter().filter_map(|name| Some((name, variable(name)?))).collect();
    let builder = given.iter().fold(builder, |builder, (name, value)| match key(name) {
        Some(key) => builder.with_config(key, value),
        None => builder,
    });
    if given.contains_key("AWS_ACCESS_KEY_ID") {
        return Ok(builder);
    }
    match (variable(FILE), variable("HOME")) {
        (Some(path), _) => from_file(builder, FsPath::new(&path))
            .map_err(|problem| format!("there are no keys: AWS_ACCESS_KEY_ID is not set, and by {FILE} {problem}")),
        // The file of the home folder is one place of several.
        (None, Some(home)) => {
            let path = FsPath::new(&home).join(".aws/credentials");
            Ok(from_file(builder.clone(), &path).unwrap_or(builder))
        }
        (None, None) => Ok(builder),
    }
}

/// With the keys of a shared credentials file, of the profile that AWS_PROFILE names.
///
/// # Errors
/// When the file is not there, or has no such profile.
pub(super) fn from_file(builder: AmazonS3Builder, path: &FsPath) -> Result<AmazonS3Builder, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("the credentials file {} cannot be read: {error}", path.display()))?;
    let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    let Keys { id, secret, token } = Keys::of(&text, &profile)
        .ok_or_else(|| format!("the credentials file {} has no keys under [{profile}]", path.display()))?;
    let builder = builder.with_access_key_id(id).with_secret_access_key(secret);
    Ok(token.into_iter().fold(builder, AmazonS3Builder::with_token))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn key(variable: &str) -> Option<AmazonS3ConfigKey> {
    variable.to_ascii_lowercase().parse().ok()
}

#[derive(Debug, PartialEq, Eq)]
struct Keys {
    id: String,
    secret: String,
    token: Option<String>,
}

impl Keys {
    /// One profile of a shared credentials file; nothing when it has no keys.
    fn of(text: &str, profile: &str) -> Option<Self> {
        let mut section = "";
        let mut values = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name.trim();
            } else if let (true, Some((name, value))) = (section == profile, line.split_once('=')) {
                values.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
            }
        }
        let (id, secret) = (values.remove("aws_access_key_id")?, values.remove("aws_secret_access_key")?);
        Some(Self { id, secret, token: values.remove("aws_session_token") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_one_that_object_store_knows() {
        for name in VARIABLES {
            assert!(key(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_profile_is_read_from_a_shared_credentials_file() {
        let text = "# mine\n[other]\naws_access_key_id = A\n\n[default]\naws_access_key_id=B\naws_secret_access_key = s=1\n\
                    [third]\nAWS_ACCESS_KEY_ID = C\naws_secret_access_key = t\naws_session_token = u\n";
        let keys = |id: &str, secret: &str, token: Option<&str>| {
            Some(Keys { id: id.to_owned(), secret: secret.to_owned(), token: token.map(str::to_owned) })
        };
        assert_eq!(Keys::of(text, "default"), keys("B", "s=1", None));
        assert_eq!(Keys::of(text, "third"), keys("C", "t", Some("u")));
        assert_eq!(Keys::of(text, "other"), None);
        assert_eq!(Keys::of(text, "fourth"), None);
    }
}
