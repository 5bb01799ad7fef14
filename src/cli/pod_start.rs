//! `vitess-backup restore --on-pod-start`: an init container of a tablet's pod, with the tablet's own flags.

use std::path::{Path, PathBuf};

use clap::builder::{ArgPredicate, BoolishValueParser};
use clap::{Args, Command};

use crate::backup::report::{Outcome, Verdict};
use crate::cli::arguments::MysqldArgument;
use crate::cli::restore::RestoreArguments;
use crate::duration::GoDuration;
use crate::engine::builtin::{BeforeStart, RestoreOptions};
use crate::engine::pod_start::{self, Data, PodStartEnd, PodStartOptions};
use crate::engine::{EngineError, Interrupt, Tablet};
use crate::progress::Monitor;
use crate::topo::{KeyspaceShard, TabletAlias};

/// Vitess's default for VTDATAROOT.
const DEFAULT_VTDATAROOT: &str = "/vt";
/// What --tablet-dir is when it is not given: a path cannot be empty.
const NOT_GIVEN: &str = "-";

/// A tablet's own flags, for `--on-pod-start`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "On pod start")]
pub struct PodStartArguments {
    /// Restore when the tablet's pod starts, before mysqlctld and vttablet: with their own flags, of which those that do not
    /// concern a restore are left out. A tablet that has data is left alone. mysqld is started to set the position, and stopped
    #[arg(long)]
    pub on_pod_start: bool,
    /// As vttablet's; with =false nothing is restored. Without it --on-pod-start says so
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new(), requires = "on_pod_start")]
    pub restore_from_backup: Option<bool>,
    /// Where there is no backup, or no complete one: look again at this interval until there is (10s, 1m30s); 0: start empty
    /// where there is none at all, fail where none is complete
    #[arg(long, value_name = "DURATION", default_value = "0")]
    pub wait_for_backup_interval: GoDuration,
    /// The tablet's keyspace, as vttablet has it [default: --keyspace]
    #[arg(long, value_name = "KEYSPACE", requires = "on_pod_start")]
    pub init_keyspace: Option<String>,
    /// The tablet's shard, as vttablet has it [default: --shard]
    #[arg(long, value_name = "SHARD", allow_hyphen_values = true, requires = "on_pod_start")]
    pub init_shard: Option<String>,
    /// What the tablet will be: replica, rdonly or spare; a primary is never restored onto
    #[arg(long, value_name = "TYPE", requires = "on_pod_start")]
    pub init_tablet_type: Option<String>,
    /// The tablet's database [default: vt_<keyspace>]
    #[arg(long, value_name = "NAME", requires = "on_pod_start")]
    pub init_db_name_override: Option<String>,
    /// The tablet's alias, as vttablet has it: names its directory below VTDATAROOT
    #[arg(long, value_name = "ALIAS", requires = "on_pod_start")]
    pub tablet_path: Option<TabletAlias>,
    /// The tablet's uid, as mysqlctld has it: names its directory below VTDATAROOT
    #[arg(long, value_name = "UID", requires = "on_pod_start")]
    pub tablet_uid: Option<u32>,
    /// mysqld's port, as mysqlctld has it [default: 3306]
    #[arg(long, value_name = "PORT", requires = "on_pod_start")]
    pub mysql_port: Option<u16>,
    /// vttablet's and mysqlctld's flags that were left out
    #[arg(skip)]
    pub ignored: Vec<String>,
}

/// On pod start some flags of `restore` have other defaults: the tablet's own flags tell what they would.
pub fn defaults(restore: Command) -> Command {
    let on_pod_start = || ArgPredicate::Equals("true".into());
    let not_given = [("keyspace", ""), ("shard", ""), ("tablet_dir", NOT_GIVEN)];
    let optional = not_given.into_iter().fold(restore, |command, (id, value)| {
        command.mut_arg(id, |argument| {
            let argument = argument.required(false).required_unless_present("on_pod_start");
            argument.default_value_if("on_pod_start", on_pod_start(), Some(value))
        })
    });
    optional.mut_arg("mysqld", |argument| argument.default_value_if("on_pod_start", on_pod_start(), Some("own")))
}

/// The environment of the tablet's containers, as far as it tells where files are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    pub vtdataroot: Option<PathBuf>,
    pub extra_my_cnf: Vec<PathBuf>,
}

impl Environment {
    pub fn of_process() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let extra = set("EXTRA_MY_CNF").unwrap_or_default();
        Self {
            vtdataroot: set("VTDATAROOT").map(PathBuf::from),
            extra_my_cnf: std::env::split_paths(&extra).filter(|path| !path.as_os_str().is_empty()).collect(),
        }
    }
}

impl PodStartArguments {
    /// The tablet, from its own flags: `tablet` as the other flags have it.
    ///
    /// # Errors
    /// `InvalidArguments` for what is missing or contradicts itself.
    pub fn tablet(
        &self,
        keyspace: &str,
        shard: &str,
        tablet: Tablet,
        environment: &Environment,
    ) -> Result<Tablet, EngineError> {
        let keyspace = one_of("--init-keyspace", self.init_keyspace.as_deref(), "--keyspace", keyspace)?;
        let shard = one_of("--init-shard", self.init_shard.as_deref(), "--shard", shard)?;
        if let Some(kind) = &self.init_tablet_type
            && !["replica", "rdonly", "spare"].contains(&kind.to_ascii_lowercase().as_str())
        {
            let text = format!("--init-tablet-type {kind}: a tablet starts as replica, rdonly or spare");
            return Err(EngineError::InvalidArguments(text));
        }
        if let (Some(alias), Some(uid)) = (&self.tablet_path, self.tablet_uid)
            && alias.uid() != uid
        {
            let text = format!("--tablet-path {alias} and --tablet-uid {uid} name two tablets");
            return Err(EngineError::InvalidArguments(text));
        }
        let alias = self.tablet_path.clone().or_else(|| tablet.alias.clone());
        let directory = self.directory(&tablet.directory, environment)?;
        Ok(Tablet { shard: Some(KeyspaceShard::new(keyspace, shard)?), alias, directory, ..tablet })
    }

    fn uid(&self) -> Option<u32> {
        self.tablet_uid.or_else(|| self.tablet_path.as_ref().map(TabletAlias::uid))
    }

    /// As Vitess finds it: `--tablet-dir` below VTDATAROOT, else `vt_<uid>` there. An absolute one is taken as it is.
    fn directory(&self, given: &Path, environment: &Environment) -> Result<PathBuf, EngineError> {
        let root = environment.vtdataroot.as_deref().unwrap_or(Path::new(DEFAULT_VTDATAROOT));
        if given != Path::new(NOT_GIVEN) {
            return Ok(root.join(given));
        }
        let uid = self.uid().ok_or_else(|| {
            EngineError::invalid("which tablet it is must be given: --tablet-path, --tablet-uid or --tablet-dir")
        })?;
        Ok(root.join(format!("vt_{uid:010}")))
    }

    pub fn options(&self, restore: RestoreOptions, keyspace: &str, environment: &Environment) -> PodStartOptions {
        let before_start =
            BeforeStart { uid: self.uid(), port: self.mysql_port, extra_my_cnf: environment.extra_my_cnf.clone() };
        PodStartOptions {
            restore: RestoreOptions { before_start: Some(before_start), ..restore },
            database: self.init_db_name_override.clone().unwrap_or_else(|| format!("vt_{keyspace}")),
            wait_interval: self.wait_for_backup_interval.0,
        }
    }
}

/// One of two flags that say the same.
fn one_of<'a>(flag: &str, value: Option<&'a str>, other: &str, of_other: &'a str) -> Result<&'a str, EngineError> {
    match (value.filter(|value| !value.is_empty()), Some(of_other).filter(|value| !value.is_empty())) {
        (Some(value), Some(of_other)) if value != of_other => {
            Err(EngineError::InvalidArguments(format!("{flag} {value} and {other} {of_other} contradict each other")))
        }
        (Some(value), _) | (None, Some(value)) => Ok(value),
        (None, None) => Err(EngineError::InvalidArguments(format!("{flag} is missing"))),
    }
}

/// Runs to the end of the init container.
///
/// # Errors
/// See `docs/pod-start.md`, "Exit codes".
pub async fn execute(
    arguments: &RestoreArguments,
    outcome: &mut Outcome,
    interrupt: &Interrupt,
    monitor: &dyn Monitor,
) -> Result<(), EngineError> {
    let (own, environment) = (&arguments.pod_start, Environment::of_process());
    if !own.ignored.is_empty() {
        monitor.note(&format!("not of use to a restore, ignored: --{}", own.ignored.join(", --")));
    }
    if arguments.tablet.directory.mysqld == MysqldArgument::Mysqlctld {
        return Err(EngineError::invalid("on pod start mysqlctld does not run yet: --mysqld is own or stopped"));
    }
    let named = &arguments.tablet;
    let mut tablet = named.directory.tablet();
    tablet.alias.clone_from(&arguments.tablet_alias);
    let tablet = own.tablet(&named.keyspace, &named.shard, tablet, &environment)?;
    let shard = tablet.shard()?.clone();
    outcome.shard = Some(shard.to_string());
    outcome.tablet_alias = tablet.alias.as_ref().map(ToString::to_string);
    let options = own.options(arguments.options()?, shard.keyspace(), &environment);
    let found = pod_start::look(&tablet, &options).await?;
    if found == Data::Present {
        pod_start::keep(&tablet)?;
        outcome.verdict = Verdict::DataPresent;
        return Ok(());
    }
    if own.restore_from_backup == Some(false) {
        monitor.note("--restore-from-backup=false: nothing is restored");
        outcome.verdict = Verdict::StartedEmpty;
        return Ok(());
    }
    let storage = arguments.storage.open()?;
    match pod_start::restore(&tablet, &storage, &options, &found, interrupt, monitor).await? {
        PodStartEnd::StartedEmpty => outcome.verdict = Verdict::StartedEmpty,
        PodStartEnd::Restored(done) => done.fill(outcome),
    }
    Ok(())
}
