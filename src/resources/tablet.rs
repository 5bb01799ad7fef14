//! Tablets as pods: who they are, by their labels and flags.

use k8s_openapi::api::core::v1::Pod;

use super::flags::Flags;
use super::settings::{Settings, TabletLabels};
use crate::topo::{KeyspaceShard, TabletAlias};

/// A pod that is a tablet.
#[derive(Clone, Debug, PartialEq)]
pub struct Tablet {
    pub alias: TabletAlias,
    pub shard: KeyspaceShard,
    /// The pool it belongs to (`replica`, `rdonly` …), lower-case. A label says nothing of the role: a primary's pod is
    /// usually labelled `replica`.
    pub tablet_type: String,
    pub ready: bool,
    pub pod: Pod,
}

impl Tablet {
    /// Reads a pod; nothing when its labels do not make it a tablet.
    pub fn read(pod: &Pod, settings: &Settings) -> Option<Self> {
        let TabletLabels { keyspace, shard, cell, uid, tablet_type } = &settings.tablet_labels;
        let label = |key: &String| pod.metadata.labels.as_ref()?.get(key).map(String::as_str);
        let alias = TabletAlias::new(label(cell)?, label(uid)?.parse().ok()?).ok()?;
        // vttablet's own flags are exact; a label cannot hold a shard that begins or ends with a dash.
        let flags: Vec<Flags> = pod.spec.iter().flat_map(|spec| &spec.containers).map(Flags::of).collect();
        let flag = |name: &str| flags.iter().find_map(|flags| flags.get(name));
        let keyspace = flag("init-keyspace").or_else(|| label(keyspace))?;
        let shard = match flag("init-shard") {
            Some(shard) => shard.to_owned(),
            None => shard_of_label(label(shard)?),
        };
        Some(Self {
            alias,
            shard: KeyspaceShard::new(keyspace, &shard).ok()?,
            tablet_type: label(tablet_type).unwrap_or("replica").to_ascii_lowercase(),
            ready: is_ready(pod),
            pod: pod.clone(),
        })
    }

    pub fn pod_name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn is_going(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// Whether `BackupShard` may choose it, by its pool; the lower, the sooner. rdonly serves no users, and a replica may have
    /// to become the primary; a spare is what the shard falls back on.
    pub fn backup_rank(&self) -> Option<u8> {
        match self.tablet_type.as_str() {
            "rdonly" => Some(0),
            "replica" => Some(1),
            "spare" => Some(2),
            _ => None,
        }
    }
}

/// planetscale's operator writes `-80` as `x-80`, `80-` as `80-x` and `-` as `x-x`.
fn shard_of_label(label: &str) -> String {
    match label.split_once('-') {
        Some((from, to)) => {
            let bound = |text: &str| if text == "x" { String::new() } else { text.to_owned() };
            format!("{}-{}", bound(from), bound(to))
        }
        None => label.to_owned(),
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(labels: &[(&str, &str)], args: &[&str]) -> Pod {
        let labels: std::collections::BTreeMap<String, String> =
            labels.iter().map(|(key, value)| (format!("planetscale.com/{key}"), (*value).to_owned())).collect();
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "labels": labels},
            "spec": {"containers": [{"name": "vttablet", "args": args}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap()
    }

    fn read(labels: &[(&str, &str)], args: &[&str]) -> Option<Tablet> {
        Tablet::read(&pod(labels, args), &Settings::new("image"))
    }

    const LABELS: [(&str, &str); 5] = [
        ("keyspace", "commerce"),
        ("shard", "x-80"),
        ("cell", "zone1"),
        ("tablet-uid", "101"),
        ("tablet-type", "rdonly"),
    ];

    #[test]
    fn a_pod_with_the_labels_is_a_tablet() {
        let tablet = read(&LABELS, &[]).unwrap();
        assert_eq!(tablet.alias.to_string(), "zone1-0000000101");
        assert_eq!(tablet.shard.to_string(), "commerce/-80");
        assert!(tablet.ready);
        assert_eq!(tablet.backup_rank(), Some(0));
    }

    #[test]
    fn vttablets_own_flags_come_before_labels() {
        let tablet = read(&LABELS, &["--init_keyspace=customer", "--init_shard=-"]).unwrap();
        assert_eq!(tablet.shard.to_string(), "customer/-");
    }

    #[test]
    fn a_pod_without_cell_or_uid_is_none() {
        assert_eq!(read(&LABELS[..3], &[]), None);
        assert_eq!(read(&[("keyspace", "c"), ("shard", "0"), ("cell", "z"), ("tablet-uid", "x")], &[]), None);
    }

    #[test]
    fn shards_that_a_label_cannot_hold_are_understood() {
        let shards = ["x-x", "80-x", "x-80", "80-c0", "0"].map(shard_of_label);
        assert_eq!(shards, ["-", "80-", "-80", "80-c0", "0"]);
    }
}
