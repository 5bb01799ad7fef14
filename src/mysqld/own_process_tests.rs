use super::*;
use std::os::unix::fs::PermissionsExt;

/// A MySQL root whose programs are shell scripts, and a tablet for it.
fn fake(programs: &[(&str, &str)]) -> (tempfile::TempDir, OwnProcess) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("bin")).unwrap();
    for (name, script) in programs {
        let path = dir.path().join("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let layout = Layout::vitess_default_for_uid(&dir.path().join("tablet"), 1);
    for directory in layout.directories() {
        std::fs::create_dir_all(directory).unwrap();
    }
    let own = OwnProcess::new(layout, MysqlRoot::at(dir.path()), "vt_dba");
    (dir, own)
}

const VERSION_5_7: &str = "echo 'mysqld  Ver 5.7.44 for Linux'";

#[tokio::test]
async fn mysql_upgrade_runs_for_servers_that_do_not_upgrade_themselves() {
    let upgrade = r#"printf '%s\n' "$@" > "$(dirname "$0")/../arguments""#;
    let (dir, own) = fake(&[("mysqld", VERSION_5_7), ("mysql_upgrade", upgrade)]);
    own.run_mysql_upgrade().await.unwrap();
    let arguments = std::fs::read_to_string(dir.path().join("arguments")).unwrap();
    let socket = own.layout.socket.display();
    assert_eq!(arguments, format!("--no-defaults\n--force\n--socket={socket}\n--user=vt_dba\n"));
}

#[tokio::test]
async fn mysql_upgrade_that_fails_is_an_error_with_its_output() {
    let (_dir, own) = fake(&[("mysqld", VERSION_5_7), ("mysql_upgrade", "echo tables are broken >&2; exit 3")]);
    let message = own.run_mysql_upgrade().await.unwrap_err().to_string();
    assert!(message.contains("exit status: 3") && message.contains("tables are broken"), "{message}");
}

#[tokio::test]
async fn mysql_upgrade_is_not_run_where_there_is_none_or_no_need() {
    let (_dir, without) = fake(&[("mysqld", VERSION_5_7)]);
    without.run_mysql_upgrade().await.unwrap();
    let (_dir, newer) = fake(&[("mysqld", "echo 'mysqld  Ver 8.0.16 for Linux'"), ("mysql_upgrade", "exit 1")]);
    newer.run_mysql_upgrade().await.unwrap();
}

#[tokio::test]
async fn a_mysqld_that_ends_while_starting_shows_its_last_words() {
    let (_dir, own) = fake(&[("mysqld", "echo unknown variable >&2; exit 7")]);
    let message = own.start(&[]).await.unwrap_err().to_string();
    assert!(message.contains("exit status: 7") && message.ends_with("unknown variable"), "{message}");
}

#[tokio::test]
async fn a_mysqld_that_never_answers_is_given_up_and_can_be_shut_down() {
    let (_dir, own) = fake(&[("mysqld", "exec sleep 1000")]);
    let own = own.with_start_timeout(Duration::from_millis(300));
    let error = own.start(&[]).await.unwrap_err();
    assert!(error.to_string().contains("did not answer within 300ms"), "{error}");
    // sleep dies of SIGTERM, which is not how a mysqld ends that has written out its pages.
    let error = own.shutdown(Duration::from_secs(10)).await.unwrap_err().to_string();
    assert!(error.contains("did not stop cleanly (signal: 15"), "{error}");
    own.shutdown(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn a_mysqld_that_does_not_stop_is_never_killed() {
    let (_dir, own) = fake(&[("mysqld", "trap '' TERM; while :; do sleep 0.1; done")]);
    let own = own.with_start_timeout(Duration::from_millis(300));
    own.start(&[]).await.unwrap_err();
    let error = own.shutdown(Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(error, MysqldError::StillRunning { .. }), "{error}");
    let mut child = own.child.lock().await.take().unwrap();
    assert!(child.try_wait().unwrap().is_none());
    child.kill().await.unwrap();
}
