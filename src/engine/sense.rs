//! Whether a MANIFEST makes sense: field by field, against itself and against where it lies. Pure.
//!
//! A restore asks only for what it needs, as Vitess does; a verification asks for all of it, because a MANIFEST that contradicts
//! itself was damaged, or is another backup's. Fields that older Vitess versions did not write may be absent, but only all
//! that came later with them.

use jiff::Timestamp;

use crate::backup::manifest::{Base, Builtin, FileEntry, IncrementalDetails, Manifest, Method, Xtrabackup};
use crate::backup::name;
use crate::engine::builtin::{DATA_BYTES, EMPTY_DIRECTORIES, NOT_CARRIED, STORED_BYTES};
use crate::mysqld::ServerVersion;
use crate::replication::{Position, ServerUuid};
use crate::topo::{KeyspaceShard, TabletAlias};

/// The redo log from MySQL 8.0.30 on.
const REDO_DIRECTORY: &str = "#innodb_redo/";
/// No file of InnoDB's system tablespace, though it lies there.
const BUFFER_POOL: &str = "ib_buffer_pool";
/// How many problems of file entries are told.
const ENTRIES_TOLD: usize = 5;

/// Fields that came together.
type Era<'a, const N: usize> = [(&'static str, &'a String); N];

/// One of them that is there.
fn told(era: &[(&'static str, &String)]) -> Option<&'static str> {
    era.iter().find(|(_, text)| !text.is_empty()).map(|(field, _)| *field)
}

/// What is wrong with the MANIFEST of the backup that lies in storage as `<shard>/<name>`, one sentence each.
pub fn problems(manifest: &Manifest, shard: &KeyspaceShard, name: &str) -> Vec<String> {
    let mut look = Look { problems: Vec::new() };
    look.identity(manifest, shard, name);
    look.presence(manifest);
    look.times(manifest, name);
    look.positions(manifest);
    look.server(manifest);
    look.own_fields(manifest);
    match &manifest.method {
        Method::Builtin(builtin) => look.builtin(builtin, manifest.incremental),
        Method::Xtrabackup(part) => look.xtrabackup(part, manifest.incremental),
        Method::Other => {}
    }
    look.problems
}

struct Look {
    problems: Vec<String>,
}

impl Look {
    fn say(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Whose it is: a MANIFEST that was swapped for another backup's names that one.
    fn identity(&mut self, manifest: &Manifest, shard: &KeyspaceShard, name: &str) {
        let Manifest { backup_name, tablet_alias, keyspace, shard: range, .. } = manifest;
        let mut must_be = |field: &str, found: &str, expected: &str| {
            if !found.is_empty() && found != expected {
                self.problems.push(format!("its {field} is {found:?}, and it lies in storage as {shard}/{name}"));
            }
        };
        must_be("BackupName", backup_name, name);
        must_be("Keyspace", keyspace, shard.keyspace());
        must_be("Shard", range, shard.shard());
        // Older backups of a cell with a dot are none that could be taken apart.
        if let Ok(parsed) = name.parse::<name::BackupName>()
            && let Ok(alias) = tablet_alias.parse::<TabletAlias>()
            && alias != *parsed.alias()
        {
            must_be("TabletAlias", tablet_alias, &parsed.alias().to_string());
        } else if !tablet_alias.is_empty() && tablet_alias.parse::<TabletAlias>().is_err() {
            self.say(format!("its TabletAlias {tablet_alias:?} is none"));
        }
    }

    /// Fields came with Vitess versions: whoever writes the later ones writes the earlier ones too.
    fn presence(&mut self, manifest: &Manifest) {
        let since_3: Era<'_, 3> = [
            ("BackupMethod", &manifest.backup_method),
            ("BackupTime", &manifest.backup_time),
            ("FinishedTime", &manifest.finished_time),
        ];
        let since_16: Era<'_, 3> =
            [("TabletAlias", &manifest.tablet_alias), ("Keyspace", &manifest.keyspace), ("Shard", &manifest.shard)];
        let since_18: Era<'_, 1> = [("MySQLVersion", &manifest.mysql_version)];
        let since_19: Era<'_, 1> = [("BackupName", &manifest.backup_name)];
        let eras: [&[(&'static str, &String)]; 4] = [&since_3, &since_16, &since_18, &since_19];
        let Some((newest, witness)) =
            eras.iter().enumerate().rev().find_map(|(number, era)| Some((number, told(era)?)))
        else {
            return;
        };
        for (field, text) in eras[..=newest].iter().flat_map(|era| era.iter()) {
            if text.is_empty() {
                self.say(format!("it has no {field}, which every Vitess that writes {witness} writes"));
            }
        }
    }

    fn times(&mut self, manifest: &Manifest, name: &str) {
        let began = self.time("BackupTime", &manifest.backup_time);
        let ended = self.time("FinishedTime", &manifest.finished_time);
        if let (Some(began), Some(ended)) = (began, ended)
            && ended < began
        {
            self.say(format!("its FinishedTime {ended} is before its BackupTime {began}"));
        }
        if let (Some(began), Some(named)) = (began, name::time_of(name))
            && began.as_second() != named.as_second()
        {
            self.say(format!("its BackupTime is {began}, and its name says {named}"));
        }
    }

    fn time(&mut self, field: &str, text: &str) -> Option<Timestamp> {
        let parsed = text.parse::<Timestamp>().ok();
        if parsed.is_none() && !text.is_empty() {
            self.say(format!("its {field} {text:?} is no time (RFC 3339)"));
        }
        parsed
    }

    fn positions(&mut self, manifest: &Manifest) {
        let Manifest {
            position, purged_position, from_position, from_backup, incremental, incremental_details, ..
        } = manifest;
        let of_backup = self.position("Position", position);
        if position.is_empty() {
            self.say("it has no Position".to_owned());
        }
        let purged = self.position("PurgedPosition", purged_position);
        let from = self.position("FromPosition", from_position);
        for (field, part, text) in
            [("PurgedPosition", &purged, purged_position), ("FromPosition", &from, from_position)]
        {
            if let (Some(whole), Some(part)) = (&of_backup, part)
                && !part.is_empty()
                && !whole.at_least(part)
            {
                self.say(format!("its {field} {text} is not within its Position {position}"));
            }
        }
        if *incremental {
            if from_position.is_empty() {
                self.say("it is incremental and has no FromPosition".to_owned());
            }
            match incremental_details {
                Some(details) => self.details(details),
                None => self.say("it is incremental and has no IncrementalDetails".to_owned()),
            }
            return;
        }
        for (field, set) in [
            ("FromPosition", !from_position.is_empty()),
            ("FromBackup", !from_backup.is_empty()),
            ("IncrementalDetails", incremental_details.is_some()),
        ] {
            if set {
                self.say(format!("it has {field} and is not incremental"));
            }
        }
    }

    fn position(&mut self, field: &str, text: &str) -> Option<Position> {
        match Position::decode(text) {
            Ok(position) => position,
            Err(error) => {
                self.say(format!("its {field} cannot be read as a position: {error}"));
                None
            }
        }
    }

    fn details(&mut self, details: &IncrementalDetails) {
        let IncrementalDetails { first_timestamp, last_timestamp, .. } = details;
        let first = self.time("IncrementalDetails.FirstTimestamp", first_timestamp);
        let last = self.time("IncrementalDetails.LastTimestamp", last_timestamp);
        if let (Some(first), Some(last)) = (first, last)
            && last < first
        {
            self.say(format!("its IncrementalDetails end ({last}) before they begin ({first})"));
        }
    }

    fn server(&mut self, manifest: &Manifest) {
        let Manifest { server_uuid, mysql_version, .. } = manifest;
        if !server_uuid.is_empty() && server_uuid.parse::<ServerUuid>().is_err() {
            self.say(format!("its ServerUUID {server_uuid:?} is none"));
        }
        if !mysql_version.is_empty() && ServerVersion::parse(mysql_version).is_err() {
            self.say(format!("its MySQLVersion {mysql_version:?} is none"));
        }
    }

    /// What we write and Vitess does not.
    fn own_fields(&mut self, manifest: &Manifest) {
        let texts = |value: &serde_json::Value| {
            value.as_array().is_some_and(|all| all.iter().all(serde_json::Value::is_string))
        };
        for field in [EMPTY_DIRECTORIES, NOT_CARRIED] {
            if manifest.unknown.get(field).is_some_and(|value| !texts(value)) {
                self.say(format!("its {field} is no list of texts"));
            }
        }
        if manifest.unknown.get(DATA_BYTES).is_some_and(|value| value.as_u64().is_none()) {
            self.say(format!("its {DATA_BYTES} is no number of bytes"));
        }
    }

    fn builtin(&mut self, builtin: &Builtin, incremental: bool) {
        let entries = &builtin.file_entries;
        let named: Vec<&FileEntry> = entries.iter().filter(|entry| !entry.name.is_empty()).collect();
        if named.is_empty() {
            return self.say("it names no files".to_owned());
        }
        if !incremental {
            let of = |base: &Base| named.iter().filter(|entry| entry.base == *base).collect::<Vec<_>>();
            if of(&Base::InnoDBData).iter().all(|entry| entry.name == BUFFER_POOL) {
                self.say("it names no file of InnoDB's system tablespace (Base InnoDBData)".to_owned());
            }
            if of(&Base::InnoDBLog).is_empty() {
                self.say("it names no redo log (Base InnoDBLog)".to_owned());
            }
        }
        let wrong: Vec<String> = entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| {
                let place = if incremental { in_increment(entry) } else { in_full(entry) };
                let what = path(entry).or(place).or_else(|| hash_or_size(entry))?;
                Some(format!("FileEntries[{index}] ({}): {what}", entry.name))
            })
            .collect();
        let told = entries.iter().filter(|entry| entry.unknown.contains_key(STORED_BYTES)).count();
        if told > 0 && told < entries.len() {
            self.say(format!("{} of its {} FileEntries have no {STORED_BYTES}", entries.len() - told, entries.len()));
        }
        let more = wrong.len().saturating_sub(ENTRIES_TOLD);
        self.problems.extend(wrong.into_iter().take(ENTRIES_TOLD));
        if more > 0 {
            self.say(format!("{more} more of its FileEntries make no sense"));
        }
    }

    fn xtrabackup(&mut self, part: &Xtrabackup, incremental: bool) {
        let Xtrabackup { file_name, num_stripes, stripe_block_size, .. } = part;
        if incremental {
            self.say("it is incremental, and the xtrabackup engine makes full backups only".to_owned());
        }
        if file_name.contains(['/', '\0']) || matches!(file_name.as_str(), "." | "..") {
            self.say(format!("its FileName {file_name:?} is not the name of an object"));
        }
        if *num_stripes < 0 {
            self.say(format!("its NumStripes is {num_stripes}"));
        }
        if *stripe_block_size < 0 {
            self.say(format!("its StripeBlockSize is {stripe_block_size}"));
        }
    }
}

fn path(entry: &FileEntry) -> Option<String> {
    if entry.name.is_empty() {
        // Vitess's restore would skip it.
        return Some("it has no Name".to_owned());
    }
    entry.path_below_base().err().map(|error| error.to_string())
}

/// The two directories of InnoDB's are flat, but for the redo log's own; all else is Data.
fn in_full(entry: &FileEntry) -> Option<String> {
    let FileEntry { base, name, .. } = entry;
    if name.is_empty() {
        return None;
    }
    let redo = name.starts_with(REDO_DIRECTORY) || name.starts_with("ib_logfile");
    let innodbs_own = name.starts_with("ibdata") || name == BUFFER_POOL;
    let fits = match base {
        Base::InnoDBData => !name.contains('/') && !redo && name != "mysql.ibd",
        Base::InnoDBLog => (redo || !name.contains('/')) && !innodbs_own && name != "mysql.ibd",
        Base::Data => !redo && !innodbs_own,
        Base::BinLog => return Some("a binary log is in no full backup".to_owned()),
        Base::Other(_) => return Some(format!("there is no Base {base}")),
    };
    (!fits).then(|| format!("such a file does not lie in {base}"))
}

fn in_increment(entry: &FileEntry) -> Option<String> {
    let FileEntry { base, name, .. } = entry;
    let fits = name.is_empty() || *base == Base::BinLog;
    (!fits).then(|| format!("an incremental backup holds binary logs only, and its Base is {base}"))
}

fn hash_or_size(entry: &FileEntry) -> Option<String> {
    let FileEntry { name, hash, unknown, .. } = entry;
    // That a hash is missing is told by whoever wants to compare it.
    let is_hash = hash.len() == 8 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !name.is_empty() && !hash.is_empty() && !is_hash {
        return Some(format!("its Hash {hash:?} is not 8 lower-case hex digits"));
    }
    let size = unknown.get(STORED_BYTES)?;
    size.as_u64().is_none().then(|| format!("its {STORED_BYTES} is no number of bytes"))
}

#[cfg(test)]
#[path = "sense_tests.rs"]
mod tests;
