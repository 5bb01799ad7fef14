//! What the operator may do, in one place: the chart's roles are compared with this list by a test.

/// One rule of a Role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub api_group: &'static str,
    pub resources: &'static [&'static str],
    pub verbs: &'static [&'static str],
    /// Why it is needed.
    pub why: &'static str,
}

/// In every namespace that is watched.
pub const WATCHED: &[Rule] = &[
    Rule {
        api_group: "backup.vitess.io",
        resources: &["vitessbackupstorages", "vitessbackups", "vitessrestores", "vitesstopologybackups"],
        verbs: &["get", "list", "watch"],
        why: "the objects that people write",
    },
    Rule {
        api_group: "backup.vitess.io",
        resources: &["vitessbackups", "vitessrestores", "vitesstopologybackups"],
        verbs: &["patch"],
        why: "finalizers, which are metadata",
    },
    Rule {
        api_group: "backup.vitess.io",
        resources: &["vitessbackups"],
        verbs: &["create", "delete"],
        why: "records of the backups that are found in storage",
    },
    Rule {
        api_group: "backup.vitess.io",
        resources: &[
            "vitessbackupstorages/status",
            "vitessbackups/status",
            "vitessrestores/status",
            "vitesstopologybackups/status",
        ],
        verbs: &["patch"],
        why: "status",
    },
    Rule {
        api_group: "backup.vitess.io",
        resources: &[
            "vitessbackupstorages/finalizers",
            "vitessbackups/finalizers",
            "vitessrestores/finalizers",
            "vitesstopologybackups/finalizers",
        ],
        verbs: &["update"],
        why: "owner references that block deletion, where the cluster checks for them",
    },
    Rule {
        api_group: "batch",
        resources: &["jobs"],
        verbs: &["get", "list", "watch", "create", "patch", "delete"],
        why: "engine pods",
    },
    Rule {
        api_group: "",
        resources: &["pods", "persistentvolumeclaims"],
        verbs: &["get", "list", "watch"],
        why: "tablets, engine pods, and whether the volumes that a spec names are there",
    },
    Rule { api_group: "", resources: &["pods/log"], verbs: &["get"], why: "an engine's progress and outcome" },
    Rule { api_group: "", resources: &["namespaces"], verbs: &["get"], why: "whether a namespace is being deleted" },
    Rule {
        api_group: "coordination.k8s.io",
        resources: &["leases"],
        verbs: &["get", "list", "watch", "create", "update", "delete"],
        why: "one run at a time per tablet, one backup at a time per shard",
    },
    Rule { api_group: "events.k8s.io", resources: &["events"], verbs: &["create", "patch"], why: "events" },
];

/// In the operator's own namespace.
pub const OWN_NAMESPACE: &[Rule] = &[Rule {
    api_group: "coordination.k8s.io",
    resources: &["leases"],
    verbs: &["get", "create", "update"],
    why: "leader election",
}];

/// In the cluster, and only where the webhook is switched on: that one configuration, by its name.
pub const WEBHOOK: &[Rule] = &[Rule {
    api_group: "admissionregistration.k8s.io",
    resources: &["mutatingwebhookconfigurations"],
    verbs: &["get", "patch"],
    why: "each replica adds the authority of its certificate to the bundle, so that no Secret is needed",
}];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_reads_no_secrets_and_enters_no_pods() {
        let forbidden = ["secrets", "pods/exec", "pods/attach", "pods/portforward", "serviceaccounts/token", "nodes"];
        for rule in WATCHED.iter().chain(OWN_NAMESPACE).chain(WEBHOOK) {
            for resource in rule.resources {
                assert!(!forbidden.contains(resource), "{rule:?}");
                assert!(!resource.contains('*'), "{rule:?}");
            }
            assert!(!rule.verbs.contains(&"*") && !rule.api_group.contains('*'), "{rule:?}");
        }
    }

    #[test]
    fn the_operator_makes_no_pods_of_its_own_and_changes_none() {
        let verbs_on = |resource: &str| -> Vec<&str> {
            WATCHED
                .iter()
                .filter(|rule| rule.resources.contains(&resource))
                .flat_map(|rule| rule.verbs.to_vec())
                .collect()
        };
        assert_eq!(verbs_on("pods"), ["get", "list", "watch"]);
        assert_eq!(verbs_on("persistentvolumeclaims"), ["get", "list", "watch"]);
    }
}
