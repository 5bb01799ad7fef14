//! The Helm chart, rendered by the real Helm: what it refuses, and what it would put into a cluster.

// clippy.toml allows these in tests, which to clippy are only the `#[test]` functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "chart/alerts.rs"]
mod alerts;
#[path = "chart/dashboard.rs"]
mod dashboard;
#[path = "chart/monitoring.rs"]
mod monitoring;
#[path = "chart/promtool.rs"]
mod promtool;
#[path = "chart/releases.rs"]
mod releases;
#[path = "support/chart.rs"]
mod rendered;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use rstest::rstest;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use vitess_backup::resources::rbac;

use rendered::{CHART, grants, helm, kind, policy, render_release, root, text};

/// Settings that between them go through every branch of the templates.
const SETTINGS: &[&[&str]] = &[
    &[],
    &["watchNamespaces={commerce,customer}", "rbac.aggregateToUserRoles=false"],
    &["leaderElection=false", "replicas=1", "metrics.service.enabled=true", "metrics.service.annotations.a=b"],
    monitoring::ALL,
    &["networkPolicy.enabled=true", "podDisruptionBudget.enabled=false", "finishedPodTtl=1h30m"],
    &[
        "networkPolicy.enabled=true",
        "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
        "networkPolicy.apiServer.ports={443}",
        "networkPolicy.apiServer.to[0].ipBlock.cidr=10.0.0.1/32",
        "watchNamespaces={commerce,customer}",
        "podDisruptionBudget.maxUnavailable=50%",
    ],
    &["webhook.enabled=true", "networkPolicy.enabled=true"],
    &["webhook.enabled=true", "watchNamespaces={commerce}", "webhook.failurePolicy=Ignore", "rbac.create=false"],
    &["crds.enabled=false", "rbac.create=false", "serviceAccount.create=false", "serviceAccount.name=mine"],
    &["crds.keep=false", "fullnameOverride=vbo", "commonLabels.team=dba", "podLabels.x=y", "podAnnotations.p=q"],
    &[
        "image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "image.pullSecrets={a,b}",
    ],
    &[
        "extraArgs={--log=debug}",
        "extraEnv[0].name=A",
        "extraEnv[0].value=b",
        "priorityClassName=system-cluster-critical",
    ],
    &[
        "nodeSelector.disk=ssd",
        "tolerations[0].operator=Exists",
        "topologySpreadConstraints[0].maxSkew=1",
        "topologySpreadConstraints[0].topologyKey=zone",
        "topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
        "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1",
        "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key=a",
        "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].operator=Exists",
        "serviceAccount.annotations.a=b",
    ],
];

#[test]
fn helm_lints_the_chart_strictly_with_every_setting() {
    for settings in SETTINGS {
        let output = helm(&["lint", "--strict", CHART], settings);
        assert!(output.status.success(), "{settings:?}: {}{}", text(&output.stdout), text(&output.stderr));
    }
}

#[test]
fn everything_rendered_is_what_kubernetes_knows_field_by_field() {
    for settings in SETTINGS {
        let objects = render(settings);
        let unique: BTreeSet<_> =
            objects.iter().map(|object| format!("{} {}", kind(object), identity(object))).collect();
        assert_eq!(unique.len(), objects.len(), "{settings:?} renders something twice: {unique:?}");
        for object in objects {
            let read = match kind(&object) {
                "ClusterRole" => reread::<ClusterRole>(&object),
                "ClusterRoleBinding" => reread::<ClusterRoleBinding>(&object),
                "ConfigMap" => reread::<ConfigMap>(&object),
                "CustomResourceDefinition" => reread::<CustomResourceDefinition>(&object),
                "Deployment" => reread::<Deployment>(&object),
                "MutatingWebhookConfiguration" => reread::<MutatingWebhookConfiguration>(&object),
                "NetworkPolicy" => reread::<NetworkPolicy>(&object),
                "PodDisruptionBudget" => reread::<PodDisruptionBudget>(&object),
                "PrometheusRule" => reread::<monitoring::PrometheusRule>(&object),
                "Role" => reread::<Role>(&object),
                "RoleBinding" => reread::<RoleBinding>(&object),
                "Service" => reread::<Service>(&object),
                "ServiceAccount" => reread::<ServiceAccount>(&object),
                "ServiceMonitor" => reread::<monitoring::ServiceMonitor>(&object),
                other => panic!("{settings:?}: nothing here installs a {other}"),
            };
            assert_eq!(read, object, "{settings:?}: a field that Kubernetes does not know, or one of another type");
        }
    }
}

#[rstest]
#[case("replicas=two", "/replicas")]
#[case("replicas=-1", "/replicas")]
#[case("replica=2", "replica")]
#[case("image.repository=", "/image/repository")]
#[case("image.repository=registry/vbo@sha256:0", "/image/repository")]
#[case("image.digest=sha256:0", "/image/digest")]
#[case("image.pullPolicy=Sometimes", "IfNotPresent")]
#[case("watchNamespaces=commerce", "want array")]
#[case("watchNamespaces={Commerce}", "/watchNamespaces/0")]
#[case("tablets.labels.uid=", "/tablets/labels/uid")]
#[case("tablets.selector=null", "selector")]
#[case("log.format=xml", "'json', 'text'")]
#[case("metrics.service.port=70000", "/metrics/service/port")]
#[case("webhook.failurePolicy=Perhaps", "'Fail', 'Ignore'")]
#[case("webhook.port=8080", "/webhook/port")]
#[case("webhook.timeoutSeconds=60", "/webhook/timeoutSeconds")]
#[case("webhook.certificateLifetime=soon", "/webhook/certificateLifetime")]
#[case("crds.enabled=sometimes", "want boolean")]
#[case("podDisruptionBudget.maxUnavailable=0", "/podDisruptionBudget/maxUnavailable")]
#[case("networkPolicy.apiServer.ports={}", "/networkPolicy/apiServer/ports")]
#[case("finishedPodTtl=soon", "/finishedPodTtl")]
#[case("resources.limit.memory=1Gi", "limit")]
#[case("extraArgs=--log=debug", "/extraArgs")]
#[case("fullnameOverride=Vbo", "/fullnameOverride")]
fn a_wrong_value_is_refused_and_the_message_says_which(#[case] setting: &str, #[case] says: &str) {
    let output = helm(&["template", "test", CHART], &[setting]);
    let message = text(&output.stderr);
    assert!(!output.status.success(), "{setting} was taken");
    assert!(message.contains("meet the specifications of the schema"), "{setting}: {message}");
    assert!(message.contains(says), "{setting}: {message}");
}

#[test]
fn two_replicas_without_leader_election_are_refused() {
    let output = helm(&["template", "test", CHART], &["leaderElection=false", "replicas=2"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("/replicas"), "{}", text(&output.stderr));
}

// --- custom resource definitions -------------------------------------------------------------------------------------

#[test]
fn the_charts_definitions_are_those_of_config_crd() {
    let (generated, copied) = (files("config/crd"), files(&format!("{CHART}/files/crd")));
    assert!(!generated.is_empty());
    let names = |files: &[(String, String)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&copied), names(&generated), "run `make crds`");
    for (file, copy) in generated.iter().zip(&copied) {
        assert!(file == copy, "{} differs from config/crd: run `make crds`", copy.0);
    }
}

#[test]
fn definitions_are_installed_unchanged_and_outlive_the_release() {
    let rendered = of_kind(&render(&[]), "CustomResourceDefinition");
    let generated = files("config/crd");
    assert_eq!(rendered.len(), generated.len());
    for (mut object, (name, text)) in rendered.into_iter().zip(generated) {
        let metadata = object["metadata"].as_object_mut().unwrap();
        assert_eq!(metadata.shift_remove("annotations").unwrap()["helm.sh/resource-policy"], "keep", "{name}");
        assert_eq!(metadata.shift_remove("labels").unwrap()["app.kubernetes.io/managed-by"], "Helm", "{name}");
        assert_eq!(object, serde_saphyr::from_str::<Value>(&text).unwrap(), "{name}");
    }
}

#[test]
fn definitions_can_be_left_to_others_or_removed_with_the_release() {
    assert!(of_kind(&render(&["crds.enabled=false"]), "CustomResourceDefinition").is_empty());
    for object in of_kind(&render(&["crds.keep=false"]), "CustomResourceDefinition") {
        assert_eq!(object["metadata"].get("annotations"), None);
    }
}

// --- rights ----------------------------------------------------------------------------------------------------------

#[test]
fn the_operator_may_touch_no_secret_and_run_nothing_in_a_pod() {
    for settings in SETTINGS {
        let objects = render(settings);
        for role in of_kind(&objects, "ClusterRole").iter().chain(&of_kind(&objects, "Role")) {
            for rule in rules(role) {
                let name = identity(role);
                let (resources, verbs) = (rule.resources.unwrap_or_default(), rule.verbs);
                for never in
                    ["*", "secrets", "configmaps", "pods/exec", "pods/attach", "nodes", "serviceaccounts/token"]
                {
                    assert!(!resources.iter().any(|resource| resource == never), "{name} may touch {never}");
                }
                for never in ["*", "escalate", "bind", "impersonate"] {
                    assert!(!verbs.iter().any(|verb| verb == never), "{name} may {never} {resources:?}");
                }
                let writes = verbs.iter().any(|verb| !["get", "list", "watch"].contains(&verb.as_str()));
                assert!(!(writes && resources.iter().any(|resource| resource == "pods")), "{name} may change pods");
            }
        }
    }
}

#[test]
fn watched_namespaces_get_the_very_rules_of_the_cluster_wide_role_and_no_cluster_role_is_left() {
    let name = "test-vitess-backup-operator";
    let everywhere = render(&["rbac.aggregateToUserRoles=false"]);
    let cluster_role = of_kind(&everywhere, "ClusterRole").pop().unwrap();

    let some = render(&["rbac.aggregateToUserRoles=false", "watchNamespaces={commerce,customer}"]);
    assert!(of_kind(&some, "ClusterRole").is_empty() && of_kind(&some, "ClusterRoleBinding").is_empty());
    let roles = of_kind(&some, "Role");
    let names: Vec<_> = roles.iter().map(identity).collect();
    assert_eq!(
        names,
        [format!("commerce/{name}"), format!("customer/{name}"), format!("backup-system/{name}-leader-election")]
    );
    for role in &roles[..2] {
        assert_eq!(rules(role), rules(&cluster_role));
    }
    for binding in of_kind(&some, "RoleBinding") {
        assert_eq!(binding["subjects"][0]["namespace"], "backup-system");
        assert_eq!(binding["subjects"][0]["name"], name);
    }
    assert_eq!(environment(&some, "WATCH_NAMESPACES"), "commerce,customer");
}

#[test]
fn the_roles_are_what_the_operators_code_says_it_needs() {
    let said = |rules: &[rbac::Rule]| rules.iter().map(|rule| grants(&policy(rule))).collect::<Vec<_>>();
    let rendered = |role: &Value| rules(role).iter().map(grants).collect::<Vec<_>>();
    let objects = render(&["rbac.aggregateToUserRoles=false"]);
    assert_eq!(rendered(&of_kind(&objects, "ClusterRole")[0]), said(rbac::WATCHED));
    assert_eq!(rendered(&of_kind(&objects, "Role")[0]), said(rbac::OWN_NAMESPACE));
}

#[test]
fn without_the_webhook_there_is_no_trace_of_it() {
    let objects = render(&[]);
    assert!(of_kind(&objects, "MutatingWebhookConfiguration").is_empty());
    assert!(!serde_json::to_string(&objects).unwrap().contains("WEBHOOK_ADDRESS"));
}

#[test]
fn the_webhook_is_asked_about_labelled_pods_only_and_may_change_its_own_configuration_only() {
    let name = "test-vitess-backup-operator";
    let settings = ["webhook.enabled=true", "rbac.aggregateToUserRoles=false", "watchNamespaces={commerce}"];
    let objects = render(&settings);
    let configurations = of_kind(&objects, "MutatingWebhookConfiguration");
    let configuration: MutatingWebhookConfiguration = parse(&configurations[0]);
    assert_eq!(identity(&configurations[0]), name);
    let webhook = configuration.webhooks.unwrap().remove(0);
    let selector = webhook.object_selector.unwrap().match_expressions.unwrap().remove(0);
    assert_eq!((selector.key.as_str(), selector.operator.as_str()), ("backup.vitess.io/restore", "Exists"));
    let namespaces = webhook.namespace_selector.unwrap().match_expressions.unwrap().remove(0);
    assert_eq!(namespaces.values.unwrap(), ["commerce"]);
    assert_eq!(webhook.failure_policy.as_deref(), Some("Fail"));
    assert_eq!(webhook.client_config.ca_bundle, None, "the operator's to fill in");

    let service = webhook.client_config.service.unwrap();
    let services: Vec<Value> = of_kind(&objects, "Service");
    assert_eq!(identity(&services[0]), format!("{}/{}", service.namespace, service.name));
    assert_eq!(environment(&objects, "WEBHOOK_SERVICE"), service.name);
    assert_eq!(environment(&objects, "WEBHOOK_CONFIGURATION"), name);
    assert_eq!(environment(&objects, "WEBHOOK_ADDRESS"), "0.0.0.0:9443");

    let roles = of_kind(&objects, "ClusterRole");
    assert_eq!(roles.len(), 1, "and nothing else in the whole cluster");
    let granted = rules(&roles[0]);
    assert_eq!(granted[0].resource_names.as_deref(), Some(&[name.to_owned()][..]));
    assert_eq!(
        granted.iter().map(grants).collect::<Vec<_>>(),
        rbac::WEBHOOK.iter().map(|rule| grants(&policy(rule))).collect::<Vec<_>>()
    );
}

#[test]
fn pods_are_made_while_the_webhook_is_down_where_the_value_asks_for_that() {
    let objects = render(&["webhook.enabled=true", "webhook.failurePolicy=Ignore"]);
    let configurations = of_kind(&objects, "MutatingWebhookConfiguration");
    let configuration: MutatingWebhookConfiguration = parse(&configurations[0]);
    let webhook = configuration.webhooks.unwrap().remove(0);
    assert_eq!(webhook.failure_policy.as_deref(), Some("Ignore"));
}

#[test]
fn nobody_but_the_operator_may_write_status_and_nobody_lifts_finalizers_by_a_subresource() {
    for settings in SETTINGS {
        let objects = render(settings);
        let peoples = of_kind(&objects, "ClusterRole").into_iter().filter(|role| {
            let labels = role["metadata"]["labels"].as_object().unwrap();
            labels.keys().any(|label| label.starts_with("rbac.authorization.k8s.io/aggregate-to-"))
        });
        for role in peoples {
            for resource in rules(&role).into_iter().flat_map(|rule| rule.resources.unwrap_or_default()) {
                assert!(!resource.contains('/'), "{} may touch {resource}", identity(&role));
            }
        }
    }
}

#[test]
fn people_who_may_view_cannot_change_anything() {
    let roles = of_kind(&render(&[]), "ClusterRole");
    let view = roles.iter().find(|role| identity(role).ends_with("-view")).unwrap();
    let verbs: BTreeSet<_> = rules(view).into_iter().flat_map(|rule| rule.verbs).collect();
    assert_eq!(verbs, ["get", "list", "watch"].map(str::to_owned).into());
}

// --- the pod ---------------------------------------------------------------------------------------------------------

#[test]
fn the_operators_pod_is_restricted_with_every_setting() {
    for settings in SETTINGS {
        assert_eq!(not_restricted(&pod(&render(settings))), [""; 0], "{settings:?}");
    }
}

#[rstest]
#[case("securityContext.allowPrivilegeEscalation=true", "allowPrivilegeEscalation")]
#[case("securityContext.privileged=true", "privileged")]
#[case("securityContext.readOnlyRootFilesystem=false", "readOnlyRootFilesystem")]
#[case("securityContext.capabilities.drop={NET_RAW}", "capabilities")]
#[case("securityContext.capabilities.add={SYS_ADMIN}", "capabilities")]
#[case("podSecurityContext.runAsNonRoot=false", "runAsNonRoot")]
#[case("podSecurityContext.runAsUser=0", "runAsUser")]
#[case("podSecurityContext.seccompProfile.type=Unconfined", "seccompProfile")]
fn the_check_for_restricted_finds_what_is_not(#[case] setting: &str, #[case] what: &str) {
    assert_eq!(not_restricted(&pod(&render(&[setting]))), [what]);
}

#[test]
fn engine_pods_are_told_the_image_that_the_operator_runs_from() {
    let objects = render(&["image.repository=registry.example/vbo", "image.tag=v7"]);
    let container = &pod(&objects).spec.unwrap().containers[0];
    assert_eq!(container.image.as_deref(), Some("registry.example/vbo:v7"));
    assert_eq!(environment(&objects, "OPERATOR_IMAGE"), "registry.example/vbo:v7");
}

#[test]
fn a_digest_pins_the_operators_image_and_that_of_engine_pods() {
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let settings = ["image.repository=registry.example/vbo", "image.tag=v7", &format!("image.digest={digest}")];
    let objects = render(&settings);
    let pinned = format!("registry.example/vbo@{digest}");
    let spec = pod(&objects).spec.unwrap();
    assert_eq!(spec.containers[0].image.as_deref(), Some(pinned.as_str()));
    assert_eq!(environment(&objects, "OPERATOR_IMAGE"), pinned);
}

#[test]
fn two_replicas_are_kept_apart_and_a_drain_leaves_one_of_them() {
    let objects = render(&[]);
    let deployment = parse::<Deployment>(&of_kind(&objects, "Deployment")[0]);
    assert_eq!(deployment.spec.replicas, Some(2));
    let labels = deployment.spec.template.metadata.unwrap().labels.unwrap();
    let selects = |selector: &BTreeMap<String, String>| {
        !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    let spread = deployment.spec.template.spec.unwrap().topology_spread_constraints.unwrap();
    assert_eq!(spread[0].when_unsatisfiable, "ScheduleAnyway", "one node is enough");
    assert!(selects(spread[0].label_selector.as_ref().unwrap().match_labels.as_ref().unwrap()));
    let budget = parse::<PodDisruptionBudget>(&of_kind(&objects, "PodDisruptionBudget")[0]).spec.unwrap();
    assert!(selects(&budget.selector.unwrap().match_labels.unwrap()));
    assert!(of_kind(&render(&["replicas=1"]), "PodDisruptionBudget").is_empty(), "it would only block drains");
}

#[test]
fn with_a_network_policy_the_operator_talks_to_dns_and_the_api_server_and_nobody_to_engine_pods() {
    assert!(of_kind(&render(&[]), "NetworkPolicy").is_empty());
    let settings = ["networkPolicy.enabled=true", "watchNamespaces={commerce,customer}"];
    let policies = of_kind(&render(&settings), "NetworkPolicy");
    let names: Vec<_> = policies.iter().map(identity).collect();
    let name = "test-vitess-backup-operator";
    assert_eq!(
        names,
        [format!("backup-system/{name}"), format!("commerce/{name}-engines"), format!("customer/{name}-engines")]
    );
    let of_operator = parse::<NetworkPolicy>(&policies[0]).spec.unwrap();
    let ports: Vec<Value> = of_operator
        .egress
        .unwrap()
        .into_iter()
        .flat_map(|rule| rule.ports.unwrap())
        .map(|port| serde_json::to_value(port.port).unwrap())
        .collect();
    assert_eq!(ports, [53, 53, 443, 6443]);
    let of_engines = parse::<NetworkPolicy>(&policies[1]).spec.unwrap();
    assert_eq!((of_engines.policy_types, of_engines.ingress), (Some(vec!["Ingress".to_owned()]), None));
    let labels = vitess_backup::resources::job::Owner {
        kind: "VitessBackup",
        namespace: "commerce".into(),
        name: "nightly".into(),
        uid: "uid".into(),
    }
    .labels();
    let selector = of_engines.pod_selector.unwrap().match_labels.unwrap();
    assert_eq!(selector["app.kubernetes.io/managed-by"], labels["app.kubernetes.io/managed-by"]);
}

#[test]
fn the_notes_give_the_next_command_for_the_namespace_that_is_watched() {
    let output = helm(
        &["install", "test", CHART, "--namespace", "backup-system", "--dry-run=client"],
        &["watchNamespaces={commerce}"],
    );
    let notes = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(notes.contains("\nkubectl --namespace 'commerce' create -f - <<'END'\n"), "{notes}");
    assert!(notes.contains("rollout status deployment/test-vitess-backup-operator"), "{notes}");
}

// --- Helm ------------------------------------------------------------------------------------------------------------

/// The objects of release `test` in namespace `backup-system`.
fn render(settings: &[&str]) -> Vec<Value> {
    render_release("test", "backup-system", settings)
}

fn identity(object: &Value) -> String {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap();
    metadata["namespace"].as_str().map_or(name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

fn of_kind(objects: &[Value], wanted: &str) -> Vec<Value> {
    objects.iter().filter(|object| kind(object) == wanted).cloned().collect()
}

fn files(folder: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn parse<T: DeserializeOwned>(object: &Value) -> T {
    serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{}: {error}", identity(object)))
}

/// The object as it is when read as `T` and written again: without what `T` has no field for.
fn reread<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
    serde_json::to_value(parse::<T>(object)).unwrap()
}

fn rules(role: &Value) -> Vec<PolicyRule> {
    parse::<Vec<PolicyRule>>(&role["rules"])
}

fn pod(objects: &[Value]) -> PodTemplateSpec {
    let deployments = of_kind(objects, "Deployment");
    assert_eq!(deployments.len(), 1);
    parse::<Deployment>(&deployments[0]).spec.template
}

fn environment(objects: &[Value], name: &str) -> String {
    let container = pod(objects).spec.unwrap().containers.remove(0);
    let variable = container.env.unwrap().into_iter().find(|variable| variable.name == name);
    variable.and_then(|variable| variable.value).unwrap_or_else(|| panic!("no {name}"))
}

/// What keeps a pod from Kubernetes's Pod Security Standard "restricted" (and from a read-only root, which is our own).
fn not_restricted(pod: &PodTemplateSpec) -> Vec<&'static str> {
    let spec = pod.spec.as_ref().unwrap();
    let of_pod = spec.security_context.clone().unwrap_or_default();
    let mut found = BTreeSet::new();
    let mut unless = |holds: bool, what| {
        if !holds {
            found.insert(what);
        }
    };
    unless(![spec.host_network, spec.host_pid, spec.host_ipc].contains(&Some(true)), "host namespaces");
    unless(spec.volumes.is_none(), "volumes");
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let own = container.security_context.clone().unwrap_or_default();
        unless(own.allow_privilege_escalation == Some(false), "allowPrivilegeEscalation");
        unless(own.privileged != Some(true), "privileged");
        unless(own.read_only_root_filesystem == Some(true), "readOnlyRootFilesystem");
        unless(own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true), "runAsNonRoot");
        unless(own.run_as_user.or(of_pod.run_as_user) != Some(0), "runAsUser");
        let capabilities = own.capabilities.unwrap_or_default();
        unless(capabilities.drop.is_some_and(|drop| drop.contains(&"ALL".to_owned())), "capabilities");
        unless(capabilities.add.is_none_or(|add| add.iter().all(|one| one == "NET_BIND_SERVICE")), "capabilities");
        let seccomp = own.seccomp_profile.or(of_pod.seccomp_profile.clone()).map(|profile| profile.type_);
        unless(seccomp.is_some_and(|type_| type_ == "RuntimeDefault" || type_ == "Localhost"), "seccompProfile");
        unless(container.ports.iter().flatten().all(|port| port.host_port.is_none()), "hostPort");
    }
    found.into_iter().collect()
}
