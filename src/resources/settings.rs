//! What whoever installs the operator may choose.

use std::collections::BTreeMap;

/// The operator's settings, as read from its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The operator's own image: it brings the `vitess-backup` binary into engine pods.
    pub operator_image: String,
    /// `Always`, `IfNotPresent` or `Never`, for `operator_image`.
    pub image_pull_policy: String,
    /// Names of Secrets of the engine pods' namespace, for `operator_image`.
    pub image_pull_secrets: Vec<String>,
    pub tablet_labels: TabletLabels,
    /// Labels that every tablet pod has.
    pub tablet_selector: BTreeMap<String, String>,
    /// The container of a tablet's pod that runs mysqlctld; the one whose command says so when absent.
    pub mysqld_container: Option<String>,
    /// How long a Job and its pod stay after their end, once the outcome is on the object.
    pub finished_pod_ttl_seconds: i32,
}

/// No longer than it takes to read a log: a finished pod still counts as using the tablet's volume claim, which could not be
/// deleted meanwhile.
pub const FINISHED_POD_TTL_SECONDS: i32 = 60;

/// The keys of the labels by which a pod is known as a tablet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TabletLabels {
    pub keyspace: String,
    pub shard: String,
    pub cell: String,
    pub uid: String,
    pub tablet_type: String,
}

impl Default for TabletLabels {
    /// Those of planetscale's operator.
    fn default() -> Self {
        let key = |name: &str| format!("planetscale.com/{name}");
        Self {
            keyspace: key("keyspace"),
            shard: key("shard"),
            cell: key("cell"),
            uid: key("tablet-uid"),
            tablet_type: key("tablet-type"),
        }
    }
}

impl TabletLabels {
    /// Whether a label of this key makes a pod look like a tablet.
    pub fn contains(&self, key: &str) -> bool {
        let Self { keyspace, shard, cell, uid, tablet_type } = self;
        [keyspace, shard, cell, uid, tablet_type].into_iter().any(|own| own == key)
    }
}

impl Settings {
    /// The defaults, with this image.
    pub fn new(operator_image: &str) -> Self {
        Self {
            operator_image: operator_image.to_owned(),
            image_pull_policy: "IfNotPresent".to_owned(),
            image_pull_secrets: Vec::new(),
            tablet_labels: TabletLabels::default(),
            tablet_selector: BTreeMap::from([("planetscale.com/component".to_owned(), "vttablet".to_owned())]),
            mysqld_container: None,
            finished_pod_ttl_seconds: FINISHED_POD_TTL_SECONDS,
        }
    }

    /// `key=value,key=value`, for list and watch calls.
    pub fn tablet_selector_text(&self) -> String {
        let pairs: Vec<String> = self.tablet_selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(",")
    }
}
