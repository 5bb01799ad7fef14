//! The command line: one file per subcommand, typed arguments turned into options, no logic.
//!
//! Flags are kebab-case; Vitess's underscore spelling of any flag works too, and each flag has an environment variable
//! (`--file-backup-storage-root` is `VITESS_BACKUP_FILE_BACKUP_STORAGE_ROOT`).
//! Exit codes: 0 done (also "started empty") · 2 bad usage · 3 no usable backup · 4 storage · 5 MySQL, mysqlctld or the
//! topology server · 6 data refused (present, damaged, incompatible) · 7 cancelled or deadline · 70 a bug.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::backup::failure::Reason;

mod allocator;
mod arguments;
mod backup;
pub mod crd;
pub mod docs;
mod install;
mod inventory;
mod io_priority;
mod list;
mod operator;
mod pasted;
mod pod_start;
mod progress_bar;
mod recover;
mod remove;
mod report;
mod restore;
mod run;
mod storage;
mod summary;
mod topology;
mod verify;
#[cfg(debug_assertions)]
mod writes;
mod xtrabackup;

/// Backs up and restores Vitess shards, in Vitess's own format.
#[derive(Debug, Parser)]
#[command(name = "vitess-backup", version, after_help = NOTES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Below every subcommand's help too, after its examples.
const NOTES: &str = "\
Each flag may be spelled as Vitess does (--file_backup_storage_root), and each is an environment variable:
--file-backup-storage-root is VITESS_BACKUP_FILE_BACKUP_STORAGE_ROOT. VITESS_BACKUP_LOG=debug shows more of what is done.

Exit codes:
   0  done; also when there was no backup and the tablet starts empty
   2  bad usage: flags, names, the tablet's directory
   3  no usable backup
   4  storage: unreachable, denied, misconfigured
   5  MySQL, mysqlctld or the topology server; or the tablet is busy, a primary, or left by an interrupted run
   6  data refused: present, damaged, incompatible, no space for it
   7  cancelled by a signal, or the deadline came; the tablet was put back
  70  a bug";

#[derive(Debug, clap::Subcommand)]
enum Command {
    Backup(backup::BackupArguments),
    Restore(restore::RestoreArguments),
    List(list::ListArguments),
    Inventory(inventory::InventoryArguments),
    Remove(remove::RemoveArguments),
    Verify(verify::VerifyArguments),
    Recover(recover::RecoverArguments),
    Topology(topology::TopologyArguments),
    Operator(Box<operator::Operator>),
    Crd(crd::Crd),
    #[command(hide = true)]
    Docs(docs::Docs),
    #[command(hide = true)]
    InstallBinary(install::InstallBinary),
}

/// Parses the process's arguments, runs the subcommand, and gives its exit code.
pub fn main() -> ExitCode {
    allocator::share_one_heap();
    let words = std::env::args_os().map(kebab_case).collect();
    let variable = std::env::var(environment_variable("on-pod-start")).ok();
    let arguments = match parse(words, variable.as_deref()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match arguments.command {
        Command::Backup(arguments) => run::engine(&arguments),
        Command::Restore(arguments) => run::engine(&arguments),
        Command::List(arguments) => run::engine(&arguments),
        Command::Inventory(arguments) => run::engine(&arguments),
        Command::Remove(arguments) => run::engine(&arguments),
        Command::Verify(arguments) => run::engine(&arguments),
        Command::Recover(arguments) => run::engine(&arguments),
        Command::Topology(arguments) => arguments.run(),
        Command::Operator(command) => finished(command.run()),
        Command::Crd(command) => finished(command.run()),
        Command::Docs(command) => finished(command.run()),
        Command::InstallBinary(command) => finished(command.run()),
    }
}

/// Reads a command line in kebab-case; on pod start it may be a tablet's own. `variable` is that of `--on-pod-start`.
fn parse(words: Vec<OsString>, variable: Option<&str>) -> Result<Arguments, clap::Error> {
    let mut command = command();
    let mut sifted = pasted::Sifted { words, ignored: Vec::new() };
    if pasted::is_on_pod_start(&sifted.words, variable)
        && let Some(restore) = command.find_subcommand("restore")
    {
        let found = pasted::sift(sifted.words, restore);
        sifted = found.map_err(|text| command.error(clap::error::ErrorKind::InvalidValue, text))?;
        // As pflag: vttablet's flags and mysqlctld's may be pasted one behind the other, and have some in common.
        command = command.mut_subcommand("restore", |restore| restore.args_override_self(true));
    }
    let matches = command.try_get_matches_from(sifted.words)?;
    let mut arguments = Arguments::from_arg_matches(&matches)?;
    if let Command::Restore(restore) = &mut arguments.command {
        restore.pod_start.ignored = sifted.ignored;
    }
    Ok(arguments)
}

/// The exit code of a subcommand that is no engine run.
fn finished(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vitess-backup: {error:#}");
            ExitCode::from(Reason::Internal.exit_code())
        }
    }
}

/// The whole command line, with an environment variable for each flag.
fn command() -> clap::Command {
    Arguments::command().mut_subcommand("restore", pod_start::defaults).mut_subcommands(with_variables)
}

fn with_variables(subcommand: clap::Command) -> clap::Command {
    let subcommand = match subcommand.get_after_long_help().map(ToString::to_string) {
        Some(examples) => subcommand.after_long_help(format!("{examples}\n\n{NOTES}")),
        None => subcommand,
    };
    let subcommand = subcommand.mut_args(|argument| match argument.get_long() {
        Some(long) if argument.get_env().is_none() => {
            let variable = environment_variable(long);
            // The rule is told once, below; beside each flag it would bury what the flag does.
            argument.env(variable).hide_env(true)
        }
        _ => argument,
    });
    subcommand.mut_subcommands(with_variables)
}

/// `--compression-level` → `VITESS_BACKUP_COMPRESSION_LEVEL`. Clap wants names that live as long as the process.
fn environment_variable(long: &str) -> &'static str {
    let name = format!("VITESS_BACKUP_{}", long.replace('-', "_").to_ascii_uppercase());
    Box::leak(name.into_boxed_str())
}

/// `--restore_from_backup_ts=x` → `--restore-from-backup-ts=x`: people paste their tablet's flags as they have them.
fn kebab_case(argument: OsString) -> OsString {
    let Some(text) = argument.to_str().filter(|text| text.starts_with("--")) else {
        return argument;
    };
    match text.split_once('=') {
        Some((flag, value)) => format!("{}={value}", flag.replace('_', "-")).into(),
        None => text.replace('_', "-").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    /// The operator writes these; so do people's scripts.
    #[test]
    fn the_command_lines_of_engine_pods_are_understood() {
        let storage = "--backup-storage-implementation file --file-backup-storage-root /backups";
        for line in [
            "backup zone1-0000000101 --keyspace commerce --shard -80 --tablet-dir /vt/vt_0000000101 STORAGE --mysqld mysqlctld \
             --mysqlctl-socket /vt/mysqlctl.sock --mysql-socket /vt/mysql.sock --db-dba-user vt_dba \
             --backup-engine-implementation builtin --concurrency 4 --compression-engine-name pargzip --compression-level 1 \
             --backup-storage-compress=false --allow-primary --upgrade-safe --allow-incomplete \
             --backup-time 2024-01-02T03:04:05Z --vtctld-server vtctld:15999 --report json --termination-log /dev/termination-log --deadline 6h",
            "restore --keyspace commerce --shard 0 --tablet-dir /vt/vt_0000000101 STORAGE --mysqld stopped \
             --backup-name 2024-01-02.030405.zone1-0000000101 --existing-data replace --no-backup report \
             --restore-concurrency 2 --restore-from-backup-allowed-engines builtin,xtrabackup \
             --vtctld-server vtctld:15999 --tablet-alias zone1-0000000102",
            "restore --keyspace commerce --shard 0 --tablet-dir /vt/x STORAGE --restore_from_backup_ts 2021-04-29.133050 \
             --existing-data refuse --no-backup empty --mysqld own",
            "restore --on-pod-start --restore_from_backup --init_keyspace commerce --init_shard -80 --init_tablet_type rdonly \
             --tablet-dir /vt/vt_0000000101 STORAGE --wait_for_backup_interval 10s --restore_from_backup_ts 2021-04-29.133050",
            "backup zone1-0000000101 --keyspace commerce --shard 0 --tablet-dir /vt/vt_0000000101 STORAGE --mysqld mysqlctld \
             --backup-engine-implementation xtrabackup --xtrabackup-user vt_backup --xtrabackup-root-path /opt/xtrabackup/bin \
             --xtrabackup-stream-mode xbstream --xtrabackup-backup-flags=--no-server-version-check --xtrabackup-stripes 8 \
             --xtrabackup-stripe-block-size 1024 --xtrabackup-parallel 3 --compression-engine-name zstd",
            "restore --keyspace commerce --shard 0 --tablet-dir /vt/x STORAGE --mysqld stopped --xtrabackup-root-path /opt \
             --xtrabackup-stream-mode tar --xtrabackup-prepare-flags=--use-memory=1G --xbstream-restore-flags=--decompress",
            "list STORAGE --output yaml commerce/-80",
            "inventory STORAGE --output yaml",
            "inventory STORAGE --report json --report-limit 4MiB --termination-log /dev/termination-log --deadline 30m",
            "remove STORAGE --force commerce/0 2024-01-02.030405.zone1-0000000101",
            "verify STORAGE --level objects commerce/0 2024-01-02.030405.zone1-0000000101",
            "verify STORAGE --level restore --concurrency 8 --memory-limit 858993456 --scratch-dir /vitess-backup-scratch \
             --xtrabackup-root-path /opt --my-cnf=innodb_page_size=64k --assertion-timeout 30s --assertion=a=SELECT/**/1 \
             commerce/0 2024-01-02.030405.zone1-0000000101",
            "recover --tablet-dir /vt/vt_0000000101 --mysqlctl-socket /vt/mysqlctl.sock STORAGE",
            "recover --tablet-dir /vt/vt_0000000101",
            "list STORAGE --topology --report json",
            "remove STORAGE --force --topology=2026-11-27.060000.global.etcd",
            "topology backup --topo-implementation=etcd2 --topo-server-address=https://etcd:2379 --topo-tls-dir=/topology-tls \
             --topo-credentials-dir=/topology-credentials --cell=global --stale --backup-time=2026-11-27T06:00:00Z STORAGE \
             --report=json --termination-log=/dev/termination-log --deadline=6h",
            "topology backup --topo-implementation=zk2 --zookeeper-data-dir=/zookeeper-data --zookeeper-data-log-dir=/zookeeper-logs STORAGE",
            "topology export --topo_implementation zk2 --topo_global_server_address zk:2181 --topo_global_root /vitess/global --topo_zk_tls_ca ca.pem",
        ] {
            let line = format!("vitess-backup {}", line.replace("STORAGE", storage));
            let words = line.split_whitespace().map(|word| kebab_case(word.into()));
            let matches = command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            Arguments::from_arg_matches(&matches).unwrap();
        }
    }

    #[test]
    fn the_examples_in_the_help_of_each_engine_subcommand_are_understood() {
        let topology = ["topology backup", "topology restore", "topology export", "topology import"];
        for name in
            ["backup", "restore", "list", "inventory", "remove", "verify", "recover"].into_iter().chain(topology)
        {
            let command = command();
            let subcommand = name.split(' ').fold(&command, |command, name| command.find_subcommand(name).unwrap());
            let help = subcommand.get_after_long_help().unwrap().to_string();
            let examples: Vec<&str> = help.lines().filter(|line| line.starts_with("  vitess-backup ")).collect();
            assert!(!examples.is_empty() && help.contains("Exit codes:"), "{name}: {help}");
            for line in examples {
                assert!(line.starts_with(&format!("  vitess-backup {name} ")), "{line}");
                let words = line.split_whitespace().map(|word| kebab_case(word.into()));
                let matches =
                    super::command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
                Arguments::from_arg_matches(&matches).unwrap();
            }
        }
    }

    #[test]
    fn a_tablets_own_arguments_are_understood_on_pod_start() {
        let line = "vitess-backup restore --on-pod-start --restore_from_backup=true --port 15000 --init_keyspace commerce \
                    --db_dba_user=a --init_shard -80 --db_dba_user=vt_dba --tablet-path zone1-101 --logtostderr \
                    --s3_backup_force_path_style=true --external_decompressor_use_manifest=false";
        let words = line.split_whitespace().map(|word| kebab_case(word.into())).collect();
        let Arguments { command: Command::Restore(restore) } = parse(words, None).unwrap() else { panic!() };
        assert_eq!(restore.pod_start.ignored, ["port", "logtostderr"]);
        assert_eq!(restore.tablet.directory.db_dba_user, "vt_dba", "the last one wins");
        assert_eq!(restore.tablet.directory.mysqld, arguments::MysqldArgument::Own);
        assert_eq!(restore.pod_start.restore_from_backup, Some(true));
        assert!(restore.storage.s3.s3_backup_force_path_style && !restore.external_decompressor_use_manifest);
        let unknown = ["vitess-backup", "restore", "--on-pod-start", "--no-such-flag"].map(OsString::from);
        assert!(parse(unknown.into(), None).unwrap_err().to_string().contains("--no-such-flag"));
        let without = ["vitess-backup", "restore", "--port", "1"].map(OsString::from);
        assert!(parse(without.into(), None).is_err(), "only on pod start is anything left out");
    }

    #[test]
    fn every_flag_has_an_environment_variable() {
        let command = command();
        let nested = command.get_subcommands().flat_map(clap::Command::get_subcommands);
        for subcommand in command.get_subcommands().chain(nested) {
            for argument in subcommand.get_arguments().filter(|argument| argument.get_long().is_some()) {
                let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                // The operator's are its chart's, and there is nothing else in its pod that they could be taken for.
                let named = variable.starts_with("VITESS_BACKUP_") || subcommand.get_name() == "operator";
                assert!(named && !variable.is_empty(), "{} --{:?}", subcommand.get_name(), argument.get_long());
            }
        }
    }

    #[test]
    fn the_underscore_spelling_of_a_flag_is_understood_and_values_are_left_alone() {
        let spelled = |text: &str| kebab_case(text.into()).into_string().unwrap();
        assert_eq!(spelled("--restore_from_backup_ts=2021_x"), "--restore-from-backup-ts=2021_x");
        assert_eq!(spelled("--allow_primary"), "--allow-primary");
        assert_eq!(spelled("my_keyspace/0"), "my_keyspace/0");
    }
}
