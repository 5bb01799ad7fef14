//! The engine's command lines. Flags are written `--name=value`: a shard may begin with a dash.

use super::attach::Attachment;
use crate::api::{
    Amount, Assertion, BackupEngine, BackupSelector, BuiltinOptions, Compression, CompressionEngine, CopyMode, Drill,
    ExistingData, GoDuration, PodTemplate, StreamMode, Verify, VitessBackupSpec, VitessRestoreSpec, XtrabackupOptions,
    XtrabackupRestoreOptions,
};
use crate::backup::bytes::ByteSize;
use crate::backup::inventory::Digest;
use crate::topo::{KeyspaceShard, TabletAlias};

/// Where the engine writes its outcome for the kubelet.
pub const TERMINATION_LOG: &str = "/dev/termination-log";
/// Where the pod of a drill has its scratch volume. Short: MySQL's socket is in it.
pub const SCRATCH_PATH: &str = "/vitess-backup-scratch";

/// How a restore finds its files.
#[derive(Clone, Debug, PartialEq)]
pub enum RestoreOnto<'a> {
    Tablet {
        alias: &'a TabletAlias,
        attachment: &'a Attachment,
    },
    /// The directory of a tablet that does not run.
    Files {
        tablet_dir: String,
    },
}

/// What a backup is told about the tablet's role and lag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    pub allow_primary: bool,
    /// `None`: as far behind as it likes.
    pub max_lag: Option<GoDuration>,
}

/// `vitess-backup backup <alias> …`. `started` is part of the backup's name, so that a run that is launched again has
/// the same.
pub fn backup(
    spec: &VitessBackupSpec,
    tablet: &TabletAlias,
    shard: &KeyspaceShard,
    attachment: &Attachment,
    storage: &[String],
    terms: Terms,
    started: jiff::Timestamp,
) -> Vec<String> {
    let mut args = vec!["backup".to_owned(), tablet.to_string()];
    args.extend(shard_flags(shard));
    args.extend(attached(attachment));
    args.extend_from_slice(storage);
    let builtin = spec.engine == BackupEngine::Builtin;
    args.push(match spec.engine {
        BackupEngine::Builtin => "--backup-engine-implementation=builtin".to_owned(),
        BackupEngine::Xtrabackup => "--backup-engine-implementation=xtrabackup".to_owned(),
    });
    args.extend(spec.concurrency.filter(|_| builtin).map(|n| format!("--concurrency={n}")));
    args.extend(spec.compression.iter().flat_map(compression));
    args.extend(terms.allow_primary.then(|| "--allow-primary".to_owned()));
    args.extend(terms.max_lag.map(|limit| format!("--max-replication-lag={limit}")));
    args.extend(limits(spec.bandwidth_limit.as_ref(), spec.pod_template.as_ref()));
    args.extend(match spec.engine {
        BackupEngine::Builtin => builtin_options(spec.builtin.as_ref()),
        BackupEngine::Xtrabackup => xtrabackup_options(spec.xtrabackup.as_ref(), spec.pod_template.as_ref()),
    });
    args.push(format!("--backup-time={started:.0}"));
    // With xtrabackup the tablet serves on, so its type stays what it is.
    args.extend(spec.vtctld.iter().filter(|_| builtin).map(|vtctld| format!("--vtctld-server={}", vtctld.address)));
    args.extend(reporting(spec.deadline));
    args
}

fn builtin_options(options: Option<&BuiltinOptions>) -> Vec<String> {
    let Some(BuiltinOptions { upgrade_safe, allow_incomplete, copy_mode }) = options else { return Vec::new() };
    let mut args = Vec::new();
    args.extend(upgrade_safe.then(|| "--upgrade-safe".to_owned()));
    args.extend(allow_incomplete.then(|| "--allow-incomplete".to_owned()));
    args.extend(match copy_mode {
        CopyMode::Auto => None,
        CopyMode::Clone => Some("--copy-mode=clone".to_owned()),
        CopyMode::InPlace => Some("--copy-mode=in-place".to_owned()),
    });
    args
}

fn xtrabackup_options(options: Option<&XtrabackupOptions>, template: Option<&PodTemplate>) -> Vec<String> {
    let Some(XtrabackupOptions { user, stream_mode, root_path, backup_flags, stripes, stripe_block_size }) = options
    else {
        return Vec::new();
    };
    let mut args = Vec::new();
    args.extend(user.iter().map(|user| format!("--xtrabackup-user={}", literal(user))));
    args.extend(root_path.iter().map(|path| format!("--xtrabackup-root-path={}", literal(path))));
    args.push(format!("--xtrabackup-stream-mode={}", stream_mode_text(*stream_mode)));
    args.extend(backup_flags.iter().map(|flags| format!("--xtrabackup-backup-flags={}", literal(flags))));
    args.extend(stripes.map(|n| format!("--xtrabackup-stripes={n}")));
    args.extend(stripe_block_size.map(|bytes| format!("--xtrabackup-stripe-block-size={bytes}")));
    // As many threads as the container is given cores; without a request nobody knows how many that is.
    let requests = template.and_then(|template| template.resources.as_ref()).map(|resources| &resources.requests);
    let cores = requests.and_then(|requests| whole_cores(requests.get("cpu")?));
    args.extend(cores.map(|cores| format!("--xtrabackup-parallel={cores}")));
    args
}

fn xtrabackup_restore_options(options: &XtrabackupRestoreOptions) -> Vec<String> {
    let XtrabackupRestoreOptions { root_path, stream_mode, prepare_flags, restore_flags } = options;
    let mut args = Vec::new();
    args.extend(root_path.iter().map(|path| format!("--xtrabackup-root-path={}", literal(path))));
    args.extend(stream_mode.map(|mode| format!("--xtrabackup-stream-mode={}", stream_mode_text(mode))));
    args.extend(prepare_flags.iter().map(|flags| format!("--xtrabackup-prepare-flags={}", literal(flags))));
    args.extend(restore_flags.iter().map(|flags| format!("--xbstream-restore-flags={}", literal(flags))));
    args
}

fn stream_mode_text(mode: StreamMode) -> &'static str {
    match mode {
        StreamMode::Xbstream => "xbstream",
        StreamMode::Tar => "tar",
    }
}

/// A text that Kubernetes leaves as it is: it would put a variable of the container, perhaps a secret one, in the place of
/// `$(NAME)`.
pub(super) fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// An amount of CPU in whole cores, rounded up; nothing for none, and for spellings in which nobody counts cores (`1e3`).
fn whole_cores(Amount(text): &Amount) -> Option<u64> {
    let (number, parts_of_a_core) = text.strip_suffix('m').map_or((text.as_str(), 1), |number| (number, 1000));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let rest = u64::from(fraction.bytes().any(|digit| digit != b'0'));
    let cores = whole.parse::<u64>().ok()?.checked_add(rest)?.div_ceil(parts_of_a_core);
    Some(cores).filter(|cores| *cores > 0)
}

/// The engine keeps within four fifths of its container's memory limit; the rest is for what the kernel counts beside it.
fn limits(bandwidth: Option<&String>, template: Option<&PodTemplate>) -> Vec<String> {
    let limits = template.and_then(|template| template.resources.as_ref()).map(|resources| &resources.limits);
    let memory = limits.and_then(|limits| limits.get("memory")?.0.parse::<ByteSize>().ok());
    let memory = memory.map(|ByteSize(bytes)| format!("--memory-limit={}", ByteSize(bytes / 5 * 4)));
    memory.into_iter().chain(bandwidth.map(|limit| format!("--bandwidth-limit={limit}"))).collect()
}

fn compression(compression: &Compression) -> Vec<String> {
    let Compression { enabled, engine, level } = compression;
    let mut args = Vec::new();
    args.extend((!enabled).then(|| "--backup-storage-compress=false".to_owned()));
    args.extend(engine.map(|engine| format!("--compression-engine-name={}", compression_engine(engine))));
    args.extend(level.map(|level| format!("--compression-level={level}")));
    args
}

fn compression_engine(engine: CompressionEngine) -> &'static str {
    match engine {
        CompressionEngine::Pargzip => "pargzip",
        CompressionEngine::Pgzip => "pgzip",
        CompressionEngine::Zstd => "zstd",
        CompressionEngine::Lz4 => "lz4",
        CompressionEngine::External => "external",
    }
}

/// `vitess-backup restore …`
pub fn restore(spec: &VitessRestoreSpec, onto: &RestoreOnto<'_>, storage: &[String]) -> Vec<String> {
    let mut args = vec!["restore".to_owned()];
    args.extend(shard_flags(&spec.shard));
    match onto {
        RestoreOnto::Tablet { attachment, .. } => args.extend(attached(attachment)),
        RestoreOnto::Files { tablet_dir } => {
            args.push(format!("--tablet-dir={tablet_dir}"));
            args.push("--mysqld=stopped".to_owned());
        }
    }
    args.extend_from_slice(storage);
    args.extend(which_backup(spec));
    args.push(match spec.existing_data {
        ExistingData::Refuse => "--existing-data=refuse".to_owned(),
        ExistingData::Replace => "--existing-data=replace".to_owned(),
    });
    let waits = spec.wait_for_backup_interval > GoDuration::default();
    args.push(if waits { "--no-backup=report".to_owned() } else { "--no-backup=empty".to_owned() });
    args.extend(how_to_restore(spec));
    if let (Some(vtctld), RestoreOnto::Tablet { alias, .. }) = (&spec.vtctld, onto) {
        args.push(format!("--vtctld-server={}", vtctld.address));
        args.push(format!("--tablet-alias={alias}"));
    }
    args.extend(reporting(spec.deadline));
    args
}

/// What a pod says of the tablet that starts in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seat {
    pub alias: Option<TabletAlias>,
    pub uid: u32,
    pub tablet_dir: String,
    /// As mysqlctld is told them; where it is not, so is the engine not.
    pub mysql_port: Option<String>,
    pub mysql_socket: Option<String>,
    pub dba_user: Option<String>,
    pub init_db_name_override: Option<String>,
    /// `replica` or `rdonly`.
    pub tablet_type: Option<String>,
}

/// `vitess-backup restore --on-pod-start …`, with the names of vttablet's and mysqlctld's own flags.
pub fn restore_on_pod_start(spec: &VitessRestoreSpec, seat: &Seat, storage: &[String]) -> Vec<String> {
    let Seat { alias, uid, tablet_dir, mysql_port, mysql_socket, dba_user, init_db_name_override, tablet_type } = seat;
    let mut args = vec!["restore".to_owned(), "--on-pod-start".to_owned(), "--restore-from-backup".to_owned()];
    args.push(format!("--init-keyspace={}", spec.shard.keyspace()));
    args.push(format!("--init-shard={}", spec.shard.shard()));
    args.extend(tablet_type.iter().map(|kind| format!("--init-tablet-type={kind}")));
    args.extend(init_db_name_override.iter().map(|name| format!("--init-db-name-override={}", literal(name))));
    args.extend(alias.iter().map(|alias| format!("--tablet-path={alias}")));
    args.push(format!("--tablet-uid={uid}"));
    args.push(format!("--tablet-dir={tablet_dir}"));
    args.extend(mysql_port.iter().map(|port| format!("--mysql-port={port}")));
    args.extend(mysql_socket.iter().map(|socket| format!("--mysql-socket={socket}")));
    args.extend(dba_user.iter().map(|user| format!("--db-dba-user={}", literal(user))));
    args.extend_from_slice(storage);
    args.extend(which_backup(spec));
    if spec.existing_data == ExistingData::Replace {
        args.push("--existing-data=replace".to_owned());
    }
    let waits = spec.wait_for_backup_interval > GoDuration::default();
    args.extend(waits.then(|| format!("--wait-for-backup-interval={}", spec.wait_for_backup_interval)));
    args.extend(how_to_restore(spec));
    // Waiting for a backup has no limit, and the engine's deadline is for the whole run.
    let deadline = if waits { GoDuration::default() } else { spec.deadline };
    args.extend(reporting(deadline));
    args
}

fn which_backup(spec: &VitessRestoreSpec) -> Vec<String> {
    let BackupSelector { latest: _, name, at_or_before, to_timestamp: _, to_position: _ } = &spec.backup;
    let mut args: Vec<String> = name.iter().map(|name| format!("--backup-name={name}")).collect();
    args.extend(at_or_before.iter().map(|time| format!("--restore-from-backup-ts={time}")));
    args.extend(spec.fallback.then(|| "--fallback".to_owned()));
    args
}

fn how_to_restore(spec: &VitessRestoreSpec) -> Vec<String> {
    let mut args: Vec<String> = spec.concurrency.iter().map(|n| format!("--restore-concurrency={n}")).collect();
    args.extend(limits(spec.bandwidth_limit.as_ref(), spec.pod_template.as_ref()));
    if !spec.allowed_backup_engines.is_empty() {
        args.push(format!("--restore-from-backup-allowed-engines={}", spec.allowed_backup_engines.join(",")));
    }
    args.extend(spec.xtrabackup.iter().flat_map(xtrabackup_restore_options));
    args
}

/// `vitess-backup recover …`
pub fn recover(attachment: &Attachment, storage: &[String], deadline: GoDuration) -> Vec<String> {
    let Attachment { tablet_dir, mysqlctl_socket, .. } = attachment;
    let mut args = vec!["recover".to_owned(), format!("--tablet-dir={tablet_dir}")];
    args.push(format!("--mysqlctl-socket={mysqlctl_socket}"));
    args.extend_from_slice(storage);
    args.extend(reporting(deadline));
    args
}

/// `vitess-backup remove …`; `force` also a shard's only complete backup.
pub fn remove(shard: &str, backup_name: &str, storage: &[String], deadline: GoDuration, force: bool) -> Vec<String> {
    let mut args = vec!["remove".to_owned()];
    args.extend_from_slice(storage);
    args.extend(force.then(|| "--force".to_owned()));
    args.extend(reporting(deadline));
    args.extend([shard.to_owned(), backup_name.to_owned()]);
    args
}

/// `vitess-backup inventory …`. `known` is left out when it is of nothing.
pub fn inventory(storage: &[String], known: &Digest, limit: ByteSize, deadline: GoDuration) -> Vec<String> {
    let mut args = vec!["inventory".to_owned()];
    args.extend_from_slice(storage);
    args.push(format!("--report-limit={limit}"));
    args.extend(reporting(deadline));
    args.extend((*known != Digest::default()).then(|| format!("--known={known}")));
    args
}

/// `vitess-backup verify …`, as deep as `level`.
pub fn verify(
    spec: &VitessBackupSpec,
    level: Verify,
    shard: &str,
    backup_name: &str,
    storage: &[String],
) -> Vec<String> {
    let mut args = vec!["verify".to_owned()];
    args.extend_from_slice(storage);
    args.push(format!("--level={}", if level == Verify::Restore { "restore" } else { "objects" }));
    args.extend(spec.concurrency.map(|n| format!("--concurrency={n}")));
    args.extend(limits(None, spec.pod_template.as_ref()));
    if level == Verify::Restore {
        args.push(format!("--scratch-dir={SCRATCH_PATH}"));
        args.extend(drill(spec));
    }
    args.extend(reporting(spec.deadline));
    args.extend([shard.to_owned(), backup_name.to_owned()]);
    args
}

fn drill(spec: &VitessBackupSpec) -> Vec<String> {
    let of_backup = spec.xtrabackup.as_ref().and_then(|options| options.root_path.clone());
    let XtrabackupRestoreOptions { root_path, stream_mode, prepare_flags, restore_flags } =
        spec.drill.as_ref().and_then(|drill| drill.xtrabackup.clone()).unwrap_or_default();
    let options =
        XtrabackupRestoreOptions { root_path: root_path.or(of_backup), stream_mode, prepare_flags, restore_flags };
    let mut args = xtrabackup_restore_options(&options);
    let Some(Drill { assertions, assertion_timeout, image: _, scratch: _, my_cnf, xtrabackup: _ }) = &spec.drill else {
        return args;
    };
    let lines = my_cnf.iter().flat_map(|text| text.lines()).map(str::trim).filter(|line| !line.is_empty());
    args.extend(lines.map(|line| format!("--my-cnf={}", literal(line))));
    args.extend(assertion_timeout.map(|timeout| format!("--assertion-timeout={timeout}")));
    args.extend(assertions.iter().map(|Assertion { name, sql }| format!("--assertion={name}={}", literal(sql))));
    args
}

fn shard_flags(shard: &KeyspaceShard) -> [String; 2] {
    [format!("--keyspace={}", shard.keyspace()), format!("--shard={}", shard.shard())]
}

fn attached(attachment: &Attachment) -> Vec<String> {
    let Attachment { tablet_dir, mysqlctl_socket, mysql_socket, .. } = attachment;
    let mut args = vec![format!("--tablet-dir={tablet_dir}"), "--mysqld=mysqlctld".to_owned()];
    args.push(format!("--mysqlctl-socket={mysqlctl_socket}"));
    args.extend(mysql_socket.iter().map(|socket| format!("--mysql-socket={socket}")));
    args
}

pub(super) fn reporting(deadline: GoDuration) -> [String; 3] {
    ["--report=json".to_owned(), format!("--termination-log={TERMINATION_LOG}"), format!("--deadline={deadline}")]
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
