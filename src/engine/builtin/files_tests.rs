//! Fixture trees: which files of which MySQL make a backup.

use super::*;
use rstest::rstest;

struct Tree(tempfile::TempDir);

impl Tree {
    /// Makes files (and, for names that end in `/`, directories) below a tablet's directory as Vitess's my.cnf lays it out.
    fn of(names: &[&str]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for name in ["innodb/data/", "innodb/logs/", "data/"].iter().chain(names) {
            let path = tree.0.path().join(name);
            if name.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, name).unwrap();
            }
        }
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn select(&self) -> Selection {
        select(Roots {
            innodb_data_home_dir: &self.path("innodb/data"),
            innodb_log_group_home_dir: &self.path("innodb/logs"),
            datadir: &self.path("data"),
        })
        .unwrap()
    }
}

fn names(selection: &Selection) -> Vec<String> {
    selection.files.iter().map(|file| format!("{:?} {}", file.base, file.name)).collect()
}

const MYSQL_57: &[&str] = &[
    "innodb/data/ibdata1",
    "innodb/data/ib_buffer_pool",
    "innodb/logs/ib_logfile0",
    "innodb/logs/ib_logfile1",
    "data/auto.cnf",
    "data/mysql/user.frm",
    "data/mysql/user.MYD",
    "data/performance_schema/db.opt",
    "data/vt_commerce/db.opt",
    "data/vt_commerce/customer.frm",
    "data/vt_commerce/customer.ibd",
    "data/server-cert.pem",
];

const MYSQL_8029: &[&str] = &[
    "innodb/data/#ib_16384_0.dblwr",
    "innodb/data/ibdata1",
    "innodb/data/undo_001",
    "innodb/logs/ib_logfile0",
    "data/#innodb_temp/temp_1.ibt",
    "data/auto.cnf",
    "data/mysql.ibd",
    "data/mysql/general_log.CSV",
    "data/mysql/general_log_213.sdi",
    "data/sys/sys_config.ibd",
    "data/vt_commerce/customer.ibd",
];

const MYSQL_97: &[&str] = &[
    "innodb/data/ibdata1",
    "innodb/data/undo_001",
    "innodb/logs/#innodb_redo/#ib_redo10",
    "innodb/logs/#innodb_redo/#ib_redo11_tmp",
    "data/#innodb_temp/temp_1.ibt",
    "data/auto.cnf",
    "data/mysql.ibd",
    "data/mysql/general_log_213.sdi",
    "data/_vt/heartbeat.ibd",
    "data/vt_commerce/customer.ibd",
    "data/mysql_upgrade_history",
];

/// From 8.4 on the doublewrite files may be gone and TLS keys and persisted variables are always there.
const MYSQL_84: &[&str] = &[
    "innodb/data/#ib_16384_0.dblwr",
    "innodb/data/#ib_16384_1.bdblwr",
    "innodb/data/ib_buffer_pool",
    "innodb/data/ibdata1",
    "innodb/data/undo_001",
    "innodb/data/undo_002",
    "innodb/logs/#innodb_redo/#ib_redo9",
    "innodb/logs/#innodb_redo/#ib_redo10_tmp",
    "data/#innodb_temp/temp_1.ibt",
    "data/auto.cnf",
    "data/ca-key.pem",
    "data/mysql.ibd",
    "data/mysql/slow_log.CSM",
    "data/mysql/slow_log_214.sdi",
    "data/mysqld-auto.cnf",
    "data/performance_schema/cond_instances_82.sdi",
    "data/sys/sys_config.ibd",
    "data/vt_commerce/customer.ibd",
];

#[rstest]
#[case(MYSQL_57, &[
    "InnoDBData ib_buffer_pool", "InnoDBData ibdata1", "InnoDBLog ib_logfile0", "InnoDBLog ib_logfile1",
    "Data mysql/user.MYD", "Data mysql/user.frm", "Data performance_schema/db.opt",
    "Data vt_commerce/customer.frm", "Data vt_commerce/customer.ibd", "Data vt_commerce/db.opt",
])]
#[case(MYSQL_8029, &[
    "InnoDBData #ib_16384_0.dblwr", "InnoDBData ibdata1", "InnoDBData undo_001", "InnoDBLog ib_logfile0",
    "Data mysql.ibd", "Data mysql/general_log.CSV", "Data mysql/general_log_213.sdi", "Data sys/sys_config.ibd",
    "Data vt_commerce/customer.ibd",
])]
#[case(MYSQL_84, &[
    "InnoDBData #ib_16384_0.dblwr", "InnoDBData #ib_16384_1.bdblwr", "InnoDBData ib_buffer_pool", "InnoDBData ibdata1",
    "InnoDBData undo_001", "InnoDBData undo_002",
    "InnoDBLog #innodb_redo/#ib_redo10_tmp", "InnoDBLog #innodb_redo/#ib_redo9",
    "Data mysql.ibd", "Data mysql/slow_log.CSM", "Data mysql/slow_log_214.sdi",
    "Data performance_schema/cond_instances_82.sdi", "Data sys/sys_config.ibd", "Data vt_commerce/customer.ibd",
])]
#[case(MYSQL_97, &[
    "InnoDBData ibdata1", "InnoDBData undo_001",
    "InnoDBLog #innodb_redo/#ib_redo10", "InnoDBLog #innodb_redo/#ib_redo11_tmp",
    "Data mysql.ibd", "Data _vt/heartbeat.ibd", "Data mysql/general_log_213.sdi", "Data vt_commerce/customer.ibd",
])]
fn the_files_of_each_mysql_are_found_in_vitess_order(#[case] tree: &[&str], #[case] expected: &[&str]) {
    let selection = Tree::of(tree).select();
    assert_eq!(names(&selection), expected);
    assert!(selection.empty_directories.is_empty() && selection.not_carried.is_empty(), "{selection:?}");
}

#[test]
fn sizes_are_those_on_disk_and_paths_lead_to_the_files() {
    let selection = Tree::of(MYSQL_97).select();
    let first = &selection.files[0];
    assert_eq!(first.size, "innodb/data/ibdata1".len() as u64);
    assert!(first.path.ends_with("innodb/data/ibdata1"));
    assert_eq!(selection.bytes(), selection.files.iter().map(|file| file.size).sum::<u64>());
}

#[test]
fn when_both_redo_layouts_are_there_the_new_one_counts_as_in_vitess() {
    let tree = Tree::of(&["innodb/logs/#innodb_redo/#ib_redo1", "innodb/logs/ib_logfile0"]);
    assert_eq!(names(&tree.select()), ["InnoDBLog #innodb_redo/#ib_redo1"]);
}

#[test]
fn what_vitess_would_silently_leave_out_is_carried_after_the_rest() {
    let tree = Tree::of(&[
        "data/mysql.ibd",
        "data/archive.ibd",
        "data/undo_001",
        "data/undo_extra.ibu",
        "data/undo_notes.txt",
        "data/vt_commerce/customer.ibd",
        "data/vt_commerce/nested/part.ibd",
        "data/vt_odd/customer.MYD",
        "data/mysqld-auto.cnf",
    ]);
    assert_eq!(
        names(&tree.select()),
        [
            "Data mysql.ibd",
            "Data vt_commerce/customer.ibd",
            "Data vt_commerce/nested/part.ibd",
            "Data archive.ibd",
            "Data undo_001",
            "Data undo_extra.ibu",
            "Data vt_odd/customer.MYD",
        ]
    );
}

#[test]
fn schemas_without_tables_are_kept_by_name() {
    let selection = Tree::of(&["data/vt_empty/", "data/#innodb_temp/", "data/lost+found/"]).select();
    assert_eq!(selection.empty_directories, ["vt_empty"]);
    assert!(selection.files.is_empty());
}

#[test]
fn a_directory_among_innodbs_files_is_not_carried_and_said() {
    let selection = Tree::of(&["innodb/data/ibdata1", "innodb/data/odd/x.ibd"]).select();
    assert_eq!(names(&selection), ["InnoDBData ibdata1"]);
    assert!(selection.not_carried[0].ends_with("innodb/data/odd is a directory"), "{selection:?}");
}

#[test]
fn a_tablespace_outside_of_datadir_is_not_carried_and_said() {
    let selection = Tree::of(&["data/vt_commerce/far.isl", "data/vt_commerce/db.opt"]).select();
    assert_eq!(names(&selection), ["Data vt_commerce/db.opt"]);
    assert!(selection.not_carried[0].contains("DATA DIRECTORY"), "{selection:?}");
}

#[test]
fn symlinks_are_followed_as_in_vitess_and_one_to_nowhere_is_said() {
    let tree = Tree::of(&["data/vt_commerce/customer.ibd", "far/moved.ibd"]);
    std::os::unix::fs::symlink(tree.path("far"), tree.path("data/vt_far")).unwrap();
    std::os::unix::fs::symlink(tree.path("nowhere"), tree.path("data/vt_commerce/gone.ibd")).unwrap();
    let selection = tree.select();
    assert_eq!(names(&selection), ["Data vt_commerce/customer.ibd", "Data vt_far/moved.ibd"]);
    assert!(selection.not_carried[0].contains("gone.ibd cannot be read"), "{selection:?}");
}

#[test]
fn a_missing_directory_is_an_error_and_not_an_empty_backup() {
    let tree = Tree::of(&[]);
    fs::remove_dir_all(tree.path("innodb/logs")).unwrap();
    let found = select(Roots {
        innodb_data_home_dir: &tree.path("innodb/data"),
        innodb_log_group_home_dir: &tree.path("innodb/logs"),
        datadir: &tree.path("data"),
    });
    assert!(matches!(found, Err(EngineError::FileUnreadable { .. })), "{found:?}");
}

#[test]
fn the_tables_of_rocksdb_are_carried_under_both_names_of_their_directory() {
    // With .sst files it is a schema to Vitess; while all is still in the write-ahead log it is not, and not lost either.
    let tree = Tree::of(&[
        "data/.rocksdb/000012.sst",
        "data/.rocksdb/CURRENT",
        "data/.rocksdb/MANIFEST-000004",
        "data/.rocksdb/archive/000003.log",
        "data/#rocksdb/000005.log",
        "data/#rocksdb/CURRENT",
    ]);
    assert_eq!(
        names(&tree.select()),
        [
            "Data .rocksdb/000012.sst",
            "Data .rocksdb/CURRENT",
            "Data .rocksdb/MANIFEST-000004",
            "Data .rocksdb/archive/000003.log",
            "Data #rocksdb/000005.log",
            "Data #rocksdb/CURRENT",
        ]
    );
}

#[test]
fn undo_tablespaces_are_carried_wherever_below_datadir_their_directory_is() {
    let tree = Tree::of(&["innodb/data/ibdata1", "data/undo/undo_001", "data/undo/undo_002", "data/undo/more.ibu"]);
    assert_eq!(
        names(&tree.select()),
        ["InnoDBData ibdata1", "Data undo/more.ibu", "Data undo/undo_001", "Data undo/undo_002"]
    );
    // Beside innodb_data_home_dir's files a directory has no place in Vitess's walk.
    let selection = Tree::of(&["innodb/data/ibdata1", "innodb/data/undo/undo_001"]).select();
    assert!(selection.not_carried[0].ends_with("innodb/data/undo is a directory"), "{selection:?}");
}

#[test]
fn names_are_carried_as_mysql_escapes_them() {
    let tree = Tree::of(&[
        "data/vt_commerce/T1.ibd",
        "data/vt_commerce/t1.ibd",
        "data/vt_commerce/t@002d1.ibd",
        "data/vt_commerce/parted#p#p0#sp#p0sp1.ibd",
        "data/vt@002dodd/@0024x.ibd",
    ]);
    assert_eq!(
        names(&tree.select()),
        [
            "Data vt@002dodd/@0024x.ibd",
            "Data vt_commerce/T1.ibd",
            "Data vt_commerce/parted#p#p0#sp#p0sp1.ibd",
            "Data vt_commerce/t1.ibd",
            "Data vt_commerce/t@002d1.ibd",
        ]
    );
}

#[test]
fn a_link_of_mysql_57_to_a_general_tablespace_elsewhere_is_said() {
    let selection = Tree::of(&["data/archive.isl"]).select();
    assert!(selection.files.is_empty() && selection.not_carried[0].contains("archive.isl"), "{selection:?}");
}

/// A walk that follows a link back to where it came from must end.
#[test]
fn a_link_to_its_own_directory_is_said_and_not_followed_for_ever() {
    let tree = Tree::of(&["data/vt_commerce/t.ibd"]);
    std::os::unix::fs::symlink(tree.path("data/vt_commerce"), tree.path("data/vt_commerce/again")).unwrap();
    let selection = tree.select();
    assert_eq!(selection.not_carried.len(), 1, "{selection:?}");
    assert!(selection.not_carried[0].ends_with("is a directory"), "{selection:?}");
}

#[rstest]
#[case::all_in_datadir("data", "data", "data")]
#[case::redo_among_the_data("innodb", "innodb/logs", "data")]
#[case::datadir_in_data_home("", "innodb/logs", "data")]
fn directories_that_lie_in_each_other_are_refused(#[case] home: &str, #[case] logs: &str, #[case] data: &str) {
    let tree = Tree::of(&["data/ibdata1", "data/mysql.ibd"]);
    let (home, logs, data) = (tree.path(home), tree.path(logs), tree.path(data));
    let found = select(Roots { innodb_data_home_dir: &home, innodb_log_group_home_dir: &logs, datadir: &data });
    assert!(matches!(found, Err(EngineError::DirectoriesOverlap { .. })), "{found:?}");
}
