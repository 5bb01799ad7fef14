//! What is backed up: a tablet of 2.2 GiB, of MySQL's or of MariaDB's, the same for every run, made once and kept outside the
//! tree.
//!
//! | tables of `vt_bench` | rows | files |
//! |---|---|---|
//! | `orders` | text and short random tokens, as ids and hashes are | as large as all others together |
//! | `events_0` … `events_7` | the same | 95 MiB each |
//! | `files` | random bytes, which nothing compresses | 300 MiB |
//! | `small_00` … `small_59` | one | 112 KiB each |

use std::fmt::Write as _;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use vitess_backup::mysqld::Mysql;

use crate::machine::say;
use crate::support::ground::{Ground, ground, mariadb};
use crate::support::mariadb::{Server, install, lay_out};
use crate::support::mysql::{Tablet, run};
use crate::{HOT_UID, UID};

/// The large one.
pub const ORDERS: &str = "orders";
const CHUNK: u32 = 100_000;
const ORDER_CHUNKS: u32 = 19;
const EVENTS: u32 = 8;
const EVENT_ROWS: u32 = 160_000;
const FILES_CHUNKS: u32 = 10;
const FILES: u32 = 1_000;
const SMALL: u32 = 60;

/// The kept directory of a tablet of MySQL's; made first when it is not there.
pub async fn kept() -> PathBuf {
    let Ground { mysql_root, vitess_bin } = ground();
    let part = match kept_or_part("bench-data", (mysql_root, vitess_bin)) {
        Ok(kept) => return kept,
        Err(part) => part,
    };
    say("making the data: 2.2 GiB in a real mysqld (2 to 4 min)");
    let mut tablet = Tablet::start(UID).await;
    tablet.make_writable().await;
    let mysql = tablet.mysql();
    create_database(&mysql).await;
    execute(&mysql, "ALTER INSTANCE DISABLE INNODB REDO_LOG").await;
    fill(&mysql, &tablet.layout().tmpdir).await;
    execute(&mysql, "ALTER INSTANCE ENABLE INNODB REDO_LOG").await;
    tablet.stop_container();
    keep(tablet.tablet_dir(), &part)
}

/// The same of a tablet of MariaDB's.
pub async fn kept_of_mariadb() -> PathBuf {
    let part = match kept_or_part("bench-data-mariadb", mariadb()) {
        Ok(kept) => return kept,
        Err(part) => part,
    };
    say("making the data: 2.2 GiB in a real mariadbd (2 to 4 min)");
    let root = tempfile::Builder::new().prefix("vbo-hot-").tempdir().expect("a temporary directory");
    std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions");
    let layout = lay_out(root.path(), HOT_UID).await;
    install(&layout.tablet_dir);
    let server = Server::start(&layout.tablet_dir);
    let mysql = Mysql::new(&layout.socket, "vt_dba");
    create_database(&mysql).await;
    fill(&mysql, &layout.tmpdir).await;
    server.shut_down();
    keep(&layout.tablet_dir, &part)
}

/// The folder in the cache that is made from these programs, or where it is to be made.
fn kept_or_part(name: &str, programs: impl Hash) -> Result<PathBuf, PathBuf> {
    let mut key = DefaultHasher::new();
    (include_str!("data.rs"), programs).hash(&mut key);
    let built = cache().join("built").join(name);
    let kept = built.join(format!("{:016x}", key.finish()));
    if kept.exists() {
        return Ok(kept);
    }
    // There is room for one.
    let _ = std::fs::remove_dir_all(&built);
    std::fs::create_dir_all(&built).expect("the cache can be written");
    Err(kept.with_extension("part"))
}

fn keep(tablet_dir: &Path, part: &Path) -> PathBuf {
    run("cp", &["-a", &text(tablet_dir), &text(part)]);
    let kept = part.with_extension("");
    std::fs::rename(part, &kept).expect("a folder in the cache can be renamed");
    kept
}

fn cache() -> PathBuf {
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let name = "vitess-backup-operator";
    given("VBO_CACHE")
        .or_else(|| Some(given("XDG_CACHE_HOME")?.join(name)))
        .or_else(|| Some(given("HOME")?.join(".cache").join(name)))
        .expect("VBO_CACHE or HOME is set")
}

async fn execute(mysql: &Mysql, statement: &str) {
    mysql.execute(statement).await.unwrap_or_else(|error| panic!("{error}"));
}

/// The one transaction with a GTID.
async fn create_database(mysql: &Mysql) {
    for statement in ["CREATE DATABASE vt_bench", "SET sql_log_bin = 0", "SET unique_checks = 0"] {
        execute(mysql, statement).await;
    }
}

async fn fill(mysql: &Mysql, tmp: &Path) {
    fill_rows(mysql, tmp, ORDERS, ORDER_CHUNKS, CHUNK).await;
    for number in 0..EVENTS {
        fill_rows(mysql, tmp, &format!("events_{number}"), 1, EVENT_ROWS).await;
    }
    fill_files(mysql, tmp).await;
    for number in 0..SMALL {
        execute(mysql, &format!("CREATE TABLE vt_bench.small_{number:02} (id INT PRIMARY KEY, note TEXT)")).await;
        execute(mysql, &format!("INSERT INTO vt_bench.small_{number:02} VALUES (1, 'small')")).await;
    }
}

async fn fill_rows(mysql: &Mysql, tmp: &Path, table: &str, chunks: u32, rows: u32) {
    let columns = "id BIGINT PRIMARY KEY, email VARCHAR(64), token CHAR(32), note TEXT, KEY (email)";
    create(mysql, table, columns).await;
    let mut random = Random::of(table);
    for chunk in 0..chunks {
        load(mysql, tmp, table, "(id, email, token, note)", |to| {
            for row in 0..rows {
                write!(to, "{}\t", chunk * rows + row)?;
                random.row(to)?;
            }
            Ok(())
        })
        .await;
    }
}

async fn fill_files(mysql: &Mysql, tmp: &Path) {
    create(mysql, "files", "id BIGINT PRIMARY KEY, body LONGBLOB").await;
    let mut random = Random::of("files");
    for chunk in 0..FILES_CHUNKS {
        load(mysql, tmp, "files", "(id, @body) SET body = UNHEX(@body)", |to| {
            for row in 0..FILES {
                write!(to, "{}\t", chunk * FILES + row)?;
                // 29 KiB on average
                for _ in 0..=random.below(464) {
                    random.hex(to, 128)?;
                }
                writeln!(to)?;
            }
            Ok(())
        })
        .await;
    }
}

async fn create(mysql: &Mysql, table: &str, columns: &str) {
    execute(mysql, &format!("CREATE TABLE vt_bench.{table} ({columns})")).await;
}

/// Rows by way of a file in the one folder that mysqld loads from.
async fn load(
    mysql: &Mysql,
    tmp: &Path,
    table: &str,
    columns: &str,
    rows: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) {
    let path = tmp.join("rows.tsv");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path).expect("the tablet's tmp can be written"));
    rows(&mut file).and_then(|()| file.flush()).expect("the rows can be written");
    let statement = format!("LOAD DATA INFILE '{}' INTO TABLE vt_bench.{table} {columns}", path.display());
    execute(mysql, &statement).await;
    std::fs::remove_file(path).expect("the rows can be removed");
}

/// xorshift64*: the same numbers everywhere and for ever.
struct Random(u64);

impl Random {
    fn of(seed: &str) -> Self {
        Self(
            seed.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
        )
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 32) % limit
    }

    /// That many digits, a multiple of 16.
    fn hex(&mut self, to: &mut impl Write, digits: u32) -> std::io::Result<()> {
        (0..digits / 16).try_for_each(|_| write!(to, "{:016x}", self.next()))
    }

    /// An address, a token, and a note of 20 to 99 words: what a row has after its id.
    fn row(&mut self, to: &mut impl Write) -> std::io::Result<()> {
        write!(to, "{:08x}@example{}.com\t", self.next() >> 32, self.below(50))?;
        self.hex(to, 32)?;
        let mut note = String::with_capacity(700);
        for _ in 0..20 + self.below(80) {
            // Of 1024 words some are frequent, as in any language.
            let word = self.below(1024).min(self.below(1024)).min(self.below(1024));
            for syllable in [word & 31, word >> 5] {
                note.push_str(SYLLABLES[usize::try_from(syllable).expect("below 32")]);
            }
            note.push(' ');
        }
        writeln!(to, "\t{}", note.trim_end())
    }
}

const SYLLABLES: [&str; 32] = [
    "de", "li", "ver", "pen", "ding", "ware", "hou", "se", "ship", "ment", "in", "voi", "ce", "or", "der", "re",
    "turn", "ed", "ex", "press", "stan", "dard", "ad", "dress", "con", "tact", "phone", "re", "fund", "cre", "dit",
    "ur",
];

/// How large the data is, as files: all, and the large table. For the report, and as a check that it is what it should be.
pub fn sizes(tablet_dir: &Path) -> (u64, u64) {
    let of = |path: &str| size(&tablet_dir.join(path));
    let all = of("data") + of("innodb");
    let orders = of(&format!("data/vt_bench/{ORDERS}.ibd"));
    let mut what = String::new();
    let _ = write!(what, "{} MiB in all, {} MiB of it one table", all >> 20, orders >> 20);
    say(&what);
    assert!(all >= 2 << 30, "the data is too small: {what}");
    assert!((45..=55).contains(&(orders * 100 / all)), "the large table is not about half of it: {what}");
    (all, orders)
}

/// Bytes of a file, or of all files below a folder.
pub fn size(path: &Path) -> u64 {
    let metadata = std::fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = std::fs::read_dir(path).expect("a folder of the tablet can be read");
    entries.map(|entry| size(&entry.expect("a folder of the tablet can be read").path())).sum()
}

pub fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}
