//! What the chart's roles let the operator and people do, as the API server's own authorizer decides.

use std::collections::BTreeSet;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Client, Config};
use serde_json::{Value, json};
use vitess_backup::api;
use vitess_backup::resources::rbac::{OWN_NAMESPACE, Rule, WATCHED, WEBHOOK};

use super::Server;
use super::support::chart::{grants, kind, policy, render_release};
use super::support::kubernetes::within;

/// Where tablets are that the operator works on, where it is itself, and where others are.
const NAMESPACE: &str = "rights-watched";
const OWN: &str = "rights-operator";
const OTHER: &str = "rights-other";

/// What nothing of this project may do, anywhere: verb, group, resource.
const NEVER: &[(&str, &str, &str)] = &[
    ("*", "*", "*"),
    ("get", "", "secrets"),
    ("list", "", "secrets"),
    ("watch", "", "secrets"),
    ("create", "", "secrets"),
    ("patch", "", "secrets"),
    ("get", "", "configmaps"),
    ("create", "", "pods/exec"),
    ("get", "", "pods/exec"),
    ("create", "", "pods/attach"),
    ("get", "", "pods/attach"),
    ("create", "", "pods/portforward"),
    ("get", "", "pods/portforward"),
    ("patch", "", "pods/ephemeralcontainers"),
    ("create", "", "pods/eviction"),
    ("create", "", "pods"),
    ("patch", "", "pods"),
    ("delete", "", "pods"),
    ("create", "", "persistentvolumeclaims"),
    ("delete", "", "persistentvolumeclaims"),
    ("list", "", "namespaces"),
    ("delete", "", "namespaces"),
    ("create", "", "serviceaccounts/token"),
    ("impersonate", "", "serviceaccounts"),
    ("impersonate", "", "users"),
    ("get", "", "nodes"),
    ("get", "", "nodes/proxy"),
    ("patch", "apps", "statefulsets"),
    ("create", "apps", "deployments"),
    ("deletecollection", "batch", "jobs"),
    ("update", "backup.vitess.io", "vitessbackups"),
    ("deletecollection", "backup.vitess.io", "vitessbackups"),
    ("create", "backup.vitess.io", "vitessrestores"),
    ("delete", "backup.vitess.io", "vitessrestores"),
    ("patch", "backup.vitess.io", "vitessbackupstorages"),
    ("delete", "backup.vitess.io", "vitessbackupstorages"),
    ("create", "rbac.authorization.k8s.io", "roles"),
    ("bind", "rbac.authorization.k8s.io", "clusterroles"),
    ("escalate", "rbac.authorization.k8s.io", "clusterroles"),
    ("create", "rbac.authorization.k8s.io", "rolebindings"),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
    ("patch", "apiextensions.k8s.io", "customresourcedefinitions"),
    ("list", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
];

/// The roles and bindings of one release of the chart. Its account need not be there for the authorizer to know what it may.
struct Release {
    client: Client,
    name: &'static str,
    objects: Vec<Value>,
}

impl Release {
    async fn install(name: &'static str, settings: &[&str]) -> Self {
        let Server { client } = Server::with_our_definitions().await;
        for namespace in [NAMESPACE, OWN, OTHER] {
            super::make_namespace(&client, namespace).await;
        }
        let is_rbac = |object: &Value| object["apiVersion"] == "rbac.authorization.k8s.io/v1";
        let objects: Vec<Value> = render_release(name, OWN, settings).into_iter().filter(is_rbac).collect();
        for object in &objects {
            apply(&client, object).await;
        }
        Self { client, name, objects }
    }

    /// The cluster is others' too.
    async fn uninstall(self) {
        for object in &self.objects {
            let name = object["metadata"]["name"].as_str().unwrap();
            of_rights(&self.client, object).delete(name, &DeleteParams::default()).await.unwrap();
        }
    }

    fn fullname(&self) -> String {
        format!("{}-vitess-backup-operator", self.name)
    }

    fn operator(&self) -> String {
        account(&self.fullname())
    }

    /// All that the operator may do in a namespace and others' accounts may not.
    async fn may_in(&self, namespace: &str) -> BTreeSet<String> {
        let anybody = rules_of(&account("anybody"), namespace).await;
        rules_of(&self.operator(), namespace).await.difference(&anybody).cloned().collect()
    }

    /// Those that it may do of these, in a namespace or in all.
    async fn allowed<'a>(
        &self,
        asked: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>,
        namespace: Option<&str>,
    ) -> BTreeSet<String> {
        let operator = self.operator();
        let mut found = BTreeSet::new();
        for (verb, group, resource) in asked {
            if may(&self.client, &operator, (verb, group, resource), None, namespace).await {
                found.insert(format!("{group}/{resource}: {verb}"));
            }
        }
        found
    }
}

fn account(name: &str) -> String {
    format!("system:serviceaccount:{OWN}:{name}")
}

fn of_rights(client: &Client, object: &Value) -> Api<DynamicObject> {
    let resource = match kind(object) {
        "ClusterRole" => ApiResource::erase::<ClusterRole>(&()),
        "ClusterRoleBinding" => ApiResource::erase::<ClusterRoleBinding>(&()),
        "Role" => ApiResource::erase::<Role>(&()),
        "RoleBinding" => ApiResource::erase::<RoleBinding>(&()),
        other => panic!("{other} is not about rights"),
    };
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

async fn apply(client: &Client, object: &Value) {
    let name = object["metadata"]["name"].as_str().unwrap();
    let parameters = PatchParams::apply("api-server-test").force();
    of_rights(client, object).patch(name, &parameters, &Patch::Apply(object)).await.unwrap();
}

/// What the API server answers a user who asks for all that they may do in a namespace.
async fn rules_of(user: &str, namespace: &str) -> BTreeSet<String> {
    let mut config = Config::infer().await.unwrap();
    config.auth_info.impersonate = Some(user.to_owned());
    let client = Client::try_from(config).unwrap();
    let spec = SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) };
    let review = SelfSubjectRulesReview { spec, ..SelfSubjectRulesReview::default() };
    let reviews: Api<SelfSubjectRulesReview> = Api::all(client);
    let answer = reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap();
    let mut found = BTreeSet::new();
    for rule in answer.resource_rules {
        let names = rule.resource_names.unwrap_or_default();
        let rule = PolicyRule {
            api_groups: rule.api_groups,
            resources: rule.resources,
            verbs: rule.verbs,
            ..PolicyRule::default()
        };
        let of_names = if names.is_empty() { String::new() } else { format!(" of {}", names.join(", ")) };
        found.extend(grants(&rule).into_iter().map(|grant| grant + &of_names));
    }
    found
}

/// Whether a user may; `namespace` absent: in the whole cluster.
async fn may(
    client: &Client,
    user: &str,
    (verb, group, resource): (&str, &str, &str),
    name: Option<&str>,
    namespace: Option<&str>,
) -> bool {
    let owned = |text: &str| Some(text.to_owned());
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(of, sub)| (of, Some(sub)));
    let attributes = ResourceAttributes {
        verb: owned(verb),
        group: owned(group),
        version: owned("*"),
        resource: owned(resource),
        subresource: subresource.and_then(owned),
        name: name.and_then(owned),
        namespace: namespace.and_then(owned),
        ..ResourceAttributes::default()
    };
    let mut groups = vec!["system:authenticated".to_owned()];
    if user.starts_with("system:serviceaccount:") {
        groups.extend(["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{OWN}")]);
    }
    let spec = SubjectAccessReviewSpec {
        user: owned(user),
        groups: Some(groups),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
}

/// What the operator's code says it needs.
fn said(rules: &[Rule]) -> BTreeSet<String> {
    rules.iter().flat_map(|rule| grants(&policy(rule))).collect()
}

/// The same, one by one.
fn each(rules: &'static [Rule]) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    rules.iter().flat_map(|rule| {
        let of_resource =
            move |resource: &'static str| rule.verbs.iter().map(move |verb| (*verb, rule.api_group, resource));
        rule.resources.iter().copied().flat_map(of_resource)
    })
}

fn nothing() -> BTreeSet<String> {
    BTreeSet::new()
}

#[tokio::test]
async fn an_operator_of_one_namespace_may_do_what_it_needs_there_and_nothing_elsewhere() {
    let release =
        Release::install("rights-one", &["watchNamespaces={rights-watched}", "rbac.aggregateToUserRoles=false"]).await;
    let there = release.may_in(NAMESPACE).await;
    let at_home = release.may_in(OWN).await;
    let elsewhere = release.may_in(OTHER).await;
    let needed = release.allowed(each(WATCHED), Some(NAMESPACE)).await;
    let mut too_much = Vec::new();
    for namespace in [Some(NAMESPACE), Some(OWN), Some(OTHER), None] {
        too_much.push(release.allowed(NEVER.iter().copied(), namespace).await);
    }
    too_much.push(release.allowed(each(WATCHED), Some(OTHER)).await);
    too_much.push(release.allowed(each(WATCHED), None).await);
    release.uninstall().await;

    assert_eq!(there, said(WATCHED));
    assert_eq!(needed, said(WATCHED));
    assert_eq!(at_home, said(OWN_NAMESPACE));
    assert_eq!(elsewhere, nothing());
    assert_eq!(too_much, vec![nothing(); 6]);
}

#[tokio::test]
async fn an_operator_of_the_whole_cluster_may_do_the_same_everywhere_and_no_more() {
    let release = Release::install("rights-all", &["rbac.aggregateToUserRoles=false"]).await;
    let everywhere = release.allowed(each(WATCHED), None).await;
    let in_any = release.may_in(OTHER).await;
    let mut too_much = Vec::new();
    for namespace in [None, Some(OTHER), Some(OWN)] {
        too_much.push(release.allowed(NEVER.iter().copied(), namespace).await);
    }
    release.uninstall().await;

    assert_eq!(everywhere, said(WATCHED));
    assert_eq!(in_any, said(WATCHED));
    assert_eq!(too_much, vec![nothing(); 3]);
}

#[tokio::test]
async fn an_operator_with_the_webhook_may_change_its_own_configuration_and_no_other() {
    let settings = ["watchNamespaces={rights-watched}", "rbac.aggregateToUserRoles=false", "webhook.enabled=true"];
    let release = Release::install("rights-webhook", &settings).await;
    let (client, operator, own) = (release.client.clone(), release.operator(), release.fullname());
    let mut granted = BTreeSet::new();
    for name in [Some(own.as_str()), Some("vitess-backup-operator"), None] {
        for verb in ["get", "list", "watch", "create", "update", "patch", "delete"] {
            let asked = (verb, "admissionregistration.k8s.io", "mutatingwebhookconfigurations");
            if may(&client, &operator, asked, name, None).await {
                granted.insert((name.map(str::to_owned), format!("{}/{}: {verb}", asked.1, asked.2)));
            }
        }
    }
    let elsewhere = release.may_in(OTHER).await;
    let never = release.allowed(NEVER.iter().copied(), None).await;
    release.uninstall().await;

    assert_eq!(granted, said(WEBHOOK).into_iter().map(|grant| (Some(own.clone()), grant)).collect());
    assert_eq!(elsewhere, said(WEBHOOK).into_iter().map(|grant| format!("{grant} of {own}")).collect());
    assert_eq!(never, nothing());
}

#[tokio::test]
async fn who_may_view_or_edit_may_do_so_with_our_kinds_and_nobody_writes_their_status() {
    let release = Release::install("rights-people", &["rbac.create=false"]).await;
    let mut of_our_kinds = Vec::new();
    for role in ["view", "edit", "admin"] {
        let user = format!("{OTHER}-{role}");
        apply(&release.client, &binding(role, &user)).await;
        // The roles are put together by a controller.
        let may_list = ("list", api::GROUP, "vitesstopologybackups");
        within("the aggregated role", 30, async || may(&release.client, &user, may_list, None, Some(NAMESPACE)).await)
            .await;
        let all = rules_of(&user, NAMESPACE).await;
        let of_ours = |grant: &String| grant.starts_with(api::GROUP);
        of_our_kinds.push(all.into_iter().filter(of_ours).collect::<BTreeSet<String>>());
        for (verb, subresource) in [("patch", "status"), ("update", "status"), ("update", "finalizers")] {
            for resource in our_resources() {
                let asked = format!("{resource}/{subresource}");
                let allowed = may(&release.client, &user, (verb, api::GROUP, &asked), None, Some(NAMESPACE)).await;
                assert!(!allowed, "{role} may {verb} {asked}");
            }
        }
        let elsewhere = may(&release.client, &user, may_list, None, Some(OTHER)).await;
        assert!(!elsewhere, "bound in one namespace, {role} is of use there only");
        of_rights(&release.client, &binding(role, &user)).delete(&user, &DeleteParams::default()).await.unwrap();
    }
    release.uninstall().await;

    let view = of_our_resources(&["get", "list", "watch"]);
    let edit = of_our_resources(&["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]);
    assert_eq!(of_our_kinds, [view, edit.clone(), edit]);
}

fn our_resources() -> Vec<String> {
    api::custom_resource_definitions().into_iter().map(|definition| definition.spec.names.plural).collect()
}

fn of_our_resources(verbs: &[&str]) -> BTreeSet<String> {
    let of_resource = |resource: String| verbs.iter().map(move |verb| format!("{}/{resource}: {verb}", api::GROUP));
    our_resources().into_iter().flat_map(of_resource).collect()
}

/// Gives a user one of the cluster's own roles, where tablets are.
fn binding(role: &str, user: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": user, "namespace": NAMESPACE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    })
}
