use super::*;

/// What mysqlctl 0.24 wrote for a tablet, comments left out.
const VITESS: &str = "[mysqld]
# Global configuration that is auto-included for all MySQL/MariaDB versions

datadir = /vt/vt_0000000101/data
innodb_data_home_dir = /vt/vt_0000000101/innodb/data
innodb_log_group_home_dir = /vt/vt_0000000101/innodb/logs
log-error = /vt/vt_0000000101/error.log
log-bin = /vt/vt_0000000101/bin-logs/vt-0000000101-bin
relay-log = /vt/vt_0000000101/relay-logs/vt-0000000101-relay-bin
relay-log-index =  /vt/vt_0000000101/relay-logs/vt-0000000101-relay-bin.index
pid-file = /vt/vt_0000000101/mysql.pid
port = 17101


secure-file-priv = /vt/vt_0000000101/tmp


server-id = 101

socket = /vt/vt_0000000101/mysql.sock
tmpdir = /vt/vt_0000000101/tmp

slow-query-log-file = /vt/vt_0000000101/slow-query.log

long_query_time = 2
slow-query-log
skip-name-resolve
";

fn tablet() -> &'static Path {
    Path::new("/vt/vt_0000000101")
}

fn layout(text: &str) -> Layout {
    Layout::from_my_cnf(tablet(), text).unwrap()
}

fn vitess_layout() -> Layout {
    Layout { port: 17101, ..Layout::vitess_default(tablet()).unwrap() }
}

#[test]
fn vitess_own_my_cnf_gives_vitess_own_layout() {
    assert_eq!(layout(VITESS), vitess_layout());
}

#[test]
fn what_we_write_reads_back_and_is_what_vitess_own_reader_needs() {
    for version in [
        None,
        Some("Ver 5.7.44"),
        Some("Ver 8.0.20"),
        Some("Ver 8.0.36"),
        Some("Ver 9.7.4"),
        Some("Ver 10.11.6-MariaDB"),
    ] {
        let version = version.map(|text| ServerVersion::parse(text).unwrap());
        let text = my_cnf::template(&vitess_layout(), version.as_ref());
        assert_eq!(layout(&text), vitess_layout());
        assert_eq!(text.contains("gtid_mode"), !version.as_ref().is_some_and(ServerVersion::is_mariadb));
        assert_eq!(
            text.contains("skip_replica_start"),
            version.as_ref().is_some_and(|v| !v.is_mariadb() && v.at_least(8, 0, 26))
        );
    }
}

#[test]
fn later_settings_win_in_either_spelling_and_other_groups_do_not_count() {
    let text =
        format!("{VITESS}[client]\nsocket = /elsewhere\n[mysqld]\nserver_id=7 # why not\nloose-port = \"18000\"\n");
    assert_eq!(layout(&text), Layout { server_id: 7, port: 18000, ..vitess_layout() });
}

#[test]
fn relative_paths_are_relative_to_the_datadir_as_mysqld_has_it() {
    let text = "[mysqld]\ndatadir=data\nsocket=s\npid-file=../p\nport=3306\nserver-id=5\ninnodb_data_home_dir=\n";
    let found = layout(text);
    let datadir = tablet().join("data");
    assert_eq!(found.socket, datadir.join("s"));
    assert_eq!(found.pid_file, datadir.join("../p"));
    assert_eq!((&found.innodb_data_home_dir, &found.innodb_log_group_home_dir), (&datadir.join(""), &datadir.join("")));
    assert_eq!(found.log_bin, datadir.join("binlog"));
    assert_eq!(found.relay_log_index, datadir.join("relay-bin.index"));
    assert_eq!(found.tmpdir, Path::new("/tmp"));
}

#[test]
fn a_my_cnf_that_hides_where_mysqld_is_gets_refused_by_name() {
    for name in ["datadir", "socket", "pid-file", "port", "server-id"] {
        let without: String = VITESS.split_inclusive('\n').filter(|line| !line.starts_with(name)).collect();
        let message = Layout::from_my_cnf(tablet(), &without).unwrap_err().to_string();
        assert_eq!(message, format!("/vt/vt_0000000101/my.cnf does not set {name}"));
    }
    let message = Layout::from_my_cnf(tablet(), &format!("{VITESS}port = many\n")).unwrap_err().to_string();
    assert!(message.contains("sets port to \"many\""), "{message}");
}

#[test]
fn a_volume_mounted_elsewhere_shows() {
    assert!(layout(VITESS).outside_tablet_dir().is_empty());
    let moved = Layout::from_my_cnf(Path::new("/restore/vt_0000000101"), VITESS).unwrap();
    assert_eq!(moved.outside_tablet_dir().len(), 7 - 1 /* relay-log.info is not in my.cnf */);
}

#[test]
fn a_tablet_directory_of_another_name_needs_a_uid() {
    let message = Layout::vitess_default(Path::new("/vt/mytablet")).unwrap_err().to_string();
    assert_eq!(message, "tablet directory /vt/mytablet is not named vt_<uid>, so the tablet's uid must be given");
    let given = Layout::vitess_default_for_uid(Path::new("/vt/mytablet"), 7);
    assert_eq!(given.log_bin, Path::new("/vt/mytablet/bin-logs/vt-0000000007-bin"));
}

#[tokio::test]
async fn a_new_server_id_changes_one_line_and_is_in_vitess_range() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("my.cnf"), VITESS).unwrap();
    let mut found = Layout::read(dir.path()).await.unwrap();
    found.randomize_server_id().await.unwrap();
    assert!((100..1 << 31).contains(&found.server_id));
    let text = std::fs::read_to_string(dir.path().join("my.cnf")).unwrap();
    assert_eq!(text, VITESS.replace("server-id = 101", &format!("server-id = {}", found.server_id)));
    assert_eq!(Layout::read(dir.path()).await.unwrap(), found);
}

#[test]
fn a_server_id_is_added_where_none_was() {
    assert_eq!(my_cnf::with_server_id("[client]\nuser=x\n", 9), "[client]\nuser=x\n[mysqld]\nserver-id = 9\n");
}

#[tokio::test]
async fn extra_files_are_appended_and_missing_ones_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let extra = dir.path().join("extra.cnf");
    std::fs::write(&extra, "port = 4000\n").unwrap();
    let asked = Layout::vitess_default_for_uid(dir.path(), 9);
    asked.write_my_cnf(None, &[dir.path().join("missing.cnf"), extra]).await.unwrap();
    assert_eq!(Layout::read(dir.path()).await.unwrap(), Layout { port: 4000, ..asked });
}

#[tokio::test]
async fn a_layout_follows_what_extra_files_set_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let extra = dir.path().join("socket.cnf");
    std::fs::write(&extra, "socket = /vt/socket/mysql.sock\nlog-error = /vt/config/stderr.symlink\nport=17100\n")
        .unwrap();
    let plain = Layout::vitess_default(&dir.path().join("vt_0000000101")).unwrap();
    let layout = plain.clone().with_extra(&[dir.path().join("missing.cnf"), extra]).await.unwrap();
    let expected = Layout {
        socket: "/vt/socket/mysql.sock".into(),
        error_log: "/vt/config/stderr.symlink".into(),
        port: 17100,
        ..plain.clone()
    };
    assert_eq!(layout, expected);
    assert_eq!(plain.clone().with_extra(&[]).await.unwrap(), plain);
    assert!(!plain.tablet_dir.exists());
}
