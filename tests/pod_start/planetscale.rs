//! The layout of planetscale's operator: data below /vt/vtdataroot, both sockets and the configuration on another volume,
//! the error log a link to stderr, and user 999, whom /etc/passwd need not know.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use vitess_backup::mysqld::{Layout, Mysql, MysqlRoot, MysqldControl, OwnProcess};

use crate::engine_support::open_directory;
use crate::pod::{ARCHIVE, BACKUP, binary};
use crate::support::ground::ground;
use crate::support::mysql::{PATIENCE, free_port, run};
use crate::support::unpack_fixture;

const USER: u32 = 999;

fn folder(path: &Path) {
    std::fs::create_dir_all(path).unwrap();
    chown(path, Some(USER), Some(USER)).unwrap();
}

/// The files that its init container init-vt-root writes.
fn vt_root(vt: &Path) {
    for name in ["vtdataroot", "socket", "config/mycnf"] {
        folder(&vt.join(name));
    }
    symlink("/dev/stderr", vt.join("config/stderr.symlink")).unwrap();
    let write = |name: &str, text: String| std::fs::write(vt.join("config/mycnf").join(name), text).unwrap();
    write("rbr.cnf", "binlog_format=row\n".to_owned());
    write("log-error.cnf", format!("log-error = {}\n", vt.join("config/stderr.symlink").display()));
    write("socket.cnf", format!("socket = {}\n", vt.join("socket/mysql.sock").display()));
    write(
        "small.cnf",
        "bind-address = 127.0.0.1\ninnodb_buffer_pool_size = 64M\ninnodb_redo_log_capacity = 16M\n".to_owned(),
    );
}

/// vttablet's and mysqlctld's flags as its pods have them, with what this test's machine needs.
fn flags(vt: &Path, port: u16, backups: &Path) -> String {
    format!(
        "--logtostderr=true --topo_implementation=etcd2 --topo_global_server_address=example-etcd-client:2379 \
         --topo_global_root=/vitess/example/global --grpc_max_message_size=67108864 \
         --service_map=grpc-queryservice,grpc-tabletmanager,grpc-updatestream --port=15000 --grpc_port=15999 \
         --tablet-path=zone1-2469782763 --tablet_hostname=10.0.0.7 --init_keyspace=commerce --init_shard=0 \
         --init_tablet_type=replica --health_check_interval=5s --queryserver-config-max-result-size=100000 \
         --queryserver-config-query-timeout=900s --queryserver-config-pool-size=96 \
         --queryserver-config-stream-pool-size=96 --queryserver-config-transaction-cap=300 \
         --restore_from_backup=true --restore_concurrency=10 --wait_for_backup_interval=10s \
         --mysqlctl_socket={vt}/socket/mysqlctl.sock --enforce_strict_trans_tables=true \
         --backup_storage_implementation=file --file_backup_storage_root={backups} \
         --backup_engine_implementation=builtin --builtinbackup-incremental-restore-path={vt}/vtdataroot \
         --xtrabackup_stripes=8 --xtrabackup_user=vt_dba --compression-engine-name=pargzip \
         --tablet_uid=2469782763 --socket_file={vt}/socket/mysqlctl.sock --mysql_socket={vt}/socket/mysql.sock \
         --db_dba_user=vt_dba --db_charset=utf8mb4 --init_db_sql_file={vt}/secrets/init_db.sql --wait_time=2h0m0s \
         --mysql_server_version=9.7.0-Vitess --mysql_port={port}",
        vt = vt.display(),
        backups = backups.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_planetscales_operator_is_restored_with_its_flags_as_they_are() {
    let (root, backups) = (open_directory(), open_directory());
    let vt = root.path().join("vt");
    folder(&vt);
    vt_root(&vt);
    unpack_fixture(ARCHIVE, backups.path());
    run("chmod", &["-R", "a+rX", backups.path().to_str().unwrap()]);

    let user = USER.to_string();
    let extra = ["rbr.cnf", "log-error.cnf", "socket.cnf", "small.cnf"].map(|name| vt.join("config/mycnf").join(name));
    let port = free_port();
    let output = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .arg(binary())
        .args(["restore", "--on-pod-start"])
        .args(flags(&vt, port, backups.path()).split_whitespace())
        .args(["--report", "json"])
        .env_clear()
        .envs([("VTROOT", &vt), ("VTDATAROOT", &vt.join("vtdataroot")), ("VT_MYSQL_ROOT", &ground().mysql_root)])
        .env("EXTRA_MY_CNF", std::env::join_paths(&extra).unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{log}");
    let outcome: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((&outcome["verdict"], &outcome["backupName"]), (&"Succeeded".into(), &BACKUP.into()), "{outcome:#}");
    let ignored: Vec<&str> = out.lines().filter(|line| line.contains("ignored: ")).collect();
    assert_eq!(ignored.len(), 1, "{out}");
    assert!(ignored[0].contains("--topo-implementation") && ignored[0].contains("--wait-time"), "{ignored:?}");
    for heeded in ["--restore-", "--wait-for-backup-interval", "--init-keyspace", "--mysql-socket", "--file-backup"] {
        assert!(!ignored[0].contains(heeded), "{heeded}: {ignored:?}");
    }

    let tablet_dir = vt.join("vtdataroot/vt_2469782763");
    let layout = Layout::read(&tablet_dir).await.unwrap();
    assert_eq!((layout.port, &layout.socket), (port, &vt.join("socket/mysql.sock")));
    assert_eq!(layout.error_log, vt.join("config/stderr.symlink"));
    assert!(!layout.socket.exists() && !layout.pid_file.exists(), "mysqld was stopped");
    let owner = std::fs::metadata(layout.datadir.join("mysql.ibd")).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (USER, USER));
    assert_eq!(std::fs::metadata(&layout.datadir).unwrap().permissions().mode() & 0o007, 0);

    // The tablet's own mysqld starts on it.
    let mysqld = OwnProcess::new(layout.clone(), MysqlRoot::at(&ground().mysql_root), "vt_dba");
    // This test's own stderr may be a file that the tablet's user cannot open.
    let log = format!("--log-error={}", vt.join("socket/error.log").display());
    mysqld.start(&[&log]).await.unwrap();
    let mysql = Mysql::new(&layout.socket, "vt_dba");
    let executed = mysql.gtid_executed().await.unwrap();
    assert_eq!(outcome["position"], format!("MySQL56/{executed}"));
    assert!(mysql.databases().await.unwrap().contains(&"vt_commerce".to_owned()));
    mysql.close().await;
    mysqld.shutdown(PATIENCE).await.unwrap();
}
