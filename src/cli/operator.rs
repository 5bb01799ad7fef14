//! `vitess-backup operator`: the controllers, with leader election.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use futures::FutureExt;
use futures::future::{BoxFuture, select};
use tokio::signal::unix::{SignalKind, signal};

use crate::controller::{self, Context, Leadership, Shutdown, webhook};
use crate::duration::GoDuration;
use crate::resources::settings::{Settings, TabletLabels};
use crate::telemetry::admin::{self, Admin};
use crate::telemetry::logs;
use crate::telemetry::metrics::Metrics;

/// Runs the operator: reconciles VitessBackups, VitessRestores and VitessBackupStorages.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_field_names)] // they are the flags' names
pub struct Operator {
    /// The operator's own image, which brings the engine into tablets' pods.
    #[arg(long, env = "OPERATOR_IMAGE", value_name = "IMAGE")]
    operator_image: String,
    /// How that image is pulled: Always, IfNotPresent or Never.
    #[arg(long, env = "OPERATOR_IMAGE_PULL_POLICY", default_value = "IfNotPresent", value_name = "POLICY")]
    operator_image_pull_policy: String,
    /// Secrets of the engine pods' namespaces with which that image is pulled.
    #[arg(long, env = "OPERATOR_IMAGE_PULL_SECRETS", value_delimiter = ',', value_name = "NAME,…")]
    operator_image_pull_secrets: Vec<String>,
    /// The namespaces to work in. Default: all.
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',', value_name = "NAME,…")]
    watch_namespaces: Vec<String>,
    /// Whether to act only while no other operator does.
    #[arg(long, env = "LEADER_ELECTION", default_value_t = true, action = clap::ArgAction::Set)]
    leader_election: bool,
    /// The operator's own namespace, where the leader's Lease is.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default", value_name = "NAME")]
    pod_namespace: String,
    /// This pod's name: who leads, and who reports events.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "ADMIN_ADDRESS", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    admin_address: SocketAddr,
    #[command(flatten)]
    webhook: Webhook,
    #[command(flatten)]
    tablets: Tablets,
    /// How long an engine's Job and pod stay after their end, once the outcome is on the object. Meanwhile the pod counts as
    /// using the tablet's volume claim.
    #[arg(long, env = "FINISHED_POD_TTL", default_value = "1m", value_name = "DURATION")]
    finished_pod_ttl: GoDuration,
    /// What is logged: a tracing filter.
    #[arg(long, env = "LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The webhook that adds the init container that restores to pods that name a VitessRestore.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_field_names)] // they are the flags' names
struct Webhook {
    /// Where it answers. Default: there is none.
    #[arg(long, env = "WEBHOOK_ADDRESS", value_name = "ADDRESS")]
    webhook_address: Option<SocketAddr>,
    /// The MutatingWebhookConfiguration that sends pods here.
    #[arg(long, env = "WEBHOOK_CONFIGURATION", default_value = "vitess-backup-operator", value_name = "NAME")]
    webhook_configuration: String,
    /// The Service that it names, in the operator's own namespace.
    #[arg(long, env = "WEBHOOK_SERVICE", default_value = "vitess-backup-operator-webhook", value_name = "NAME")]
    webhook_service: String,
    /// How long a certificate of the webhook is good; a new one is made at half of that.
    #[arg(long, env = "WEBHOOK_CERTIFICATE_LIFETIME", default_value = "720h", value_name = "DURATION")]
    webhook_certificate_lifetime: GoDuration,
}

/// How a pod is known as a tablet.
#[derive(Debug, clap::Args)]
struct Tablets {
    /// Labels that every tablet pod has.
    #[arg(
        long,
        env = "TABLET_SELECTOR",
        default_value = "planetscale.com/component=vttablet",
        value_name = "KEY=VALUE,…"
    )]
    tablet_selector: String,
    /// The label that holds the keyspace; vttablet's --init-keyspace comes before it.
    #[arg(long, env = "TABLET_KEYSPACE_LABEL", default_value = "planetscale.com/keyspace", value_name = "KEY")]
    tablet_keyspace_label: String,
    /// The label that holds the shard; vttablet's --init-shard comes before it.
    #[arg(long, env = "TABLET_SHARD_LABEL", default_value = "planetscale.com/shard", value_name = "KEY")]
    tablet_shard_label: String,
    #[arg(long, env = "TABLET_CELL_LABEL", default_value = "planetscale.com/cell", value_name = "KEY")]
    tablet_cell_label: String,
    #[arg(long, env = "TABLET_UID_LABEL", default_value = "planetscale.com/tablet-uid", value_name = "KEY")]
    tablet_uid_label: String,
    #[arg(long, env = "TABLET_TYPE_LABEL", default_value = "planetscale.com/tablet-type", value_name = "KEY")]
    tablet_type_label: String,
    /// The container of a tablet's pod that runs mysqlctld. Default: the one whose command says so.
    #[arg(long, env = "MYSQLD_CONTAINER", value_name = "NAME")]
    mysqld_container: Option<String>,
}

impl Operator {
    pub fn run(self) -> anyhow::Result<()> {
        let format = match self.log_format {
            LogFormat::Json => logs::Format::Json,
            LogFormat::Text => logs::Format::Text,
        };
        logs::start(&self.log, format)?;
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        let result = runtime.block_on(self.serve());
        // Watches that hang on a dead connection must not keep the process.
        runtime.shutdown_background();
        result
    }

    async fn serve(self) -> anyhow::Result<()> {
        // Both crypto providers may be linked in; say which, once.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = self.settings()?;
        let shutdown = signals()?;
        let metrics = Arc::new(Metrics::default());
        let ready = Arc::new(AtomicBool::new(false));
        let admin = Admin { metrics: metrics.clone(), ready: ready.clone() };
        let serving = tokio::spawn(admin::serve(self.admin_address, admin, shutdown.clone()));

        let client = connect(kube::Config::infer().await.context("cannot find the cluster")?)?;
        let version = tokio::select! {
            version = controller::first_answer(&client) => version,
            () = shutdown.clone() => return Ok(()),
        };
        tracing::info!(api_server = version, operator_image = settings.operator_image, "started");
        tokio::select! {
            checked = controller::definitions::check(&client) => {
                if let Err(refusal) = checked {
                    bail!(refusal);
                }
            }
            () = shutdown.clone() => return Ok(()),
        }
        let namespaces: Vec<String> = self.watch_namespaces.iter().filter(|name| !name.is_empty()).cloned().collect();
        let context = Context::new(client.clone(), settings, metrics.clone(), self.pod_name.clone());
        let identity = self.pod_name.clone().unwrap_or_else(|| format!("process-{}", std::process::id()));
        let answering = if let Some(webhook) = self.webhook() {
            let run = webhook::run(webhook, identity.clone(), context.clone(), ready, shutdown.clone());
            Some(tokio::spawn(run))
        } else {
            ready.store(true, Ordering::Relaxed);
            None
        };
        if self.leader_election {
            let leadership = Leadership::new(client, &self.pod_namespace, identity);
            lead(&leadership, context, &namespaces, shutdown.clone(), &metrics).await?;
        } else {
            metrics.leads(true);
            controller::run(context, &namespaces, shutdown.clone()).await;
        }
        if serving.is_finished() {
            serving.await?.with_context(|| format!("cannot serve on {}", self.admin_address))?;
        }
        if let Some(answering) = answering.filter(tokio::task::JoinHandle::is_finished) {
            answering.await?.context("the webhook cannot answer")?;
        }
        tracing::info!("stopped");
        Ok(())
    }

    fn webhook(&self) -> Option<webhook::Settings> {
        let Webhook { webhook_address, webhook_configuration, webhook_service, webhook_certificate_lifetime } =
            &self.webhook;
        Some(webhook::Settings {
            address: (*webhook_address)?,
            configuration: webhook_configuration.clone(),
            service: webhook_service.clone(),
            namespace: self.pod_namespace.clone(),
            lifetime: webhook_certificate_lifetime.0,
        })
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        let Tablets {
            tablet_selector,
            tablet_keyspace_label,
            tablet_shard_label,
            tablet_cell_label,
            tablet_uid_label,
            tablet_type_label,
            mysqld_container,
        } = &self.tablets;
        Ok(Settings {
            operator_image: self.operator_image.clone(),
            image_pull_policy: self.operator_image_pull_policy.clone(),
            image_pull_secrets: self.operator_image_pull_secrets.iter().filter(|s| !s.is_empty()).cloned().collect(),
            tablet_labels: TabletLabels {
                keyspace: tablet_keyspace_label.clone(),
                shard: tablet_shard_label.clone(),
                cell: tablet_cell_label.clone(),
                uid: tablet_uid_label.clone(),
                tablet_type: tablet_type_label.clone(),
            },
            tablet_selector: selector(tablet_selector)?,
            mysqld_container: mysqld_container.clone().filter(|name| !name.is_empty()),
            finished_pod_ttl_seconds: i32::try_from(self.finished_pod_ttl.0.as_secs()).unwrap_or(i32::MAX),
        })
    }
}

/// In builds for tests each change is a point where they kill the process, see [`super::writes`].
fn connect(config: kube::Config) -> anyhow::Result<kube::Client> {
    let client = kube::client::ClientBuilder::try_from(config).context("cannot use the cluster's configuration")?;
    #[cfg(debug_assertions)]
    let client = client.with_layer(&super::writes::KillPoints);
    Ok(client.build())
}

/// Stands by until this operator leads, and acts until it does so no longer.
async fn lead(
    leadership: &Leadership,
    context: Arc<Context>,
    namespaces: &[String],
    shutdown: Shutdown,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    tokio::select! {
        () = leadership.acquire() => {}
        () = shutdown.clone() => return Ok(()),
    }
    tracing::info!("leading");
    metrics.leads(true);
    let lost = leadership.keep();
    let work = controller::run(context, namespaces, shutdown.clone());
    tokio::select! {
        // Reconciles under way are dropped at once: another operator may be acting already.
        () = lost => bail!("no longer the leader: another operator is, or the API server cannot be reached"),
        () = work => {}
    }
    leadership.release().await;
    Ok(())
}

fn signals() -> anyhow::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let either: BoxFuture<'static, ()> = async move {
        select(Box::pin(terminate.recv()), Box::pin(interrupt.recv())).await;
        tracing::info!("told to stop");
    }
    .boxed();
    Ok(either.shared())
}

fn selector(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) =
                pair.split_once('=').with_context(|| format!("{pair:?} is not of the form key=value"))?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}
