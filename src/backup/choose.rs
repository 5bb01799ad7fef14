//! Which backup to restore. Pure: names and MANIFESTs come in, newest first; a choice comes out.
//!
//! Source of the rules: Vitess `FindBackupToRestore` (newest to oldest; skip what has no readable MANIFEST, what is
//! incremental, what the version rule or the list of engines forbids; with a time, the first whose MANIFEST BackupTime,
//! not its name, is at or before it). Where Vitess folds every reason into one message, each is kept here.

use std::fmt;

use crate::backup::manifest::Manifest;

/// Which backup is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Latest,
    Named(String),
    /// The newest whose BackupTime is at or before this.
    AtOrBefore(jiff::Timestamp),
}

/// What a look at a backup's MANIFEST gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Readable(Facts),
    /// No object MANIFEST: the backup is incomplete, or still being written.
    Missing,
    /// The object is there and does not decode; the text says why.
    Unreadable(String),
}

/// What of a MANIFEST decides whether it may be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// BackupMethod as written; `""` in MANIFESTs older than the field, which means builtin.
    pub method: String,
    pub incremental: bool,
    /// BackupTime as written: RFC 3339, or `""`.
    pub backup_time: String,
    /// MySQLVersion as written, `""` when unknown.
    pub mysql_version: String,
    /// The server was shut down so that a newer MySQL may start on the data.
    pub upgrade_safe: bool,
}

impl Facts {
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            method: manifest.backup_method.clone(),
            incremental: manifest.incremental,
            backup_time: manifest.backup_time.clone(),
            mysql_version: manifest.mysql_version.clone(),
            upgrade_safe: manifest.upgrade_safe,
        }
    }
}

/// Why a backup was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    Incomplete,
    ManifestUnreadable(String),
    EngineNotAllowed(String),
    Incremental,
    VersionIncompatible(String),
    /// It was made after the wanted time.
    TooNew(jiff::Timestamp),
    /// A time was asked for and the MANIFEST has none that can be read.
    TimeUnknown(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => f.write_str("it has no MANIFEST: it is incomplete or still being made"),
            Self::ManifestUnreadable(cause) => write!(f, "its MANIFEST cannot be read: {cause}"),
            Self::EngineNotAllowed(method) => write!(f, "its engine {method:?} is not among the allowed engines"),
            Self::Incremental => f.write_str("it is incremental and cannot be restored by itself"),
            Self::VersionIncompatible(cause) => f.write_str(cause),
            Self::TooNew(time) => write!(f, "it was made at {time}, after the wanted time"),
            Self::TimeUnknown(text) => write!(f, "its BackupTime {text:?} cannot be read"),
        }
    }
}

/// A backup that was looked at and not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    pub name: String,
    pub why: Why,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.why)
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nothing is listed at all (for a named backup: not that name).
    Nothing,
    /// Something is listed, and none of it can be restored. Never a reason to start empty.
    OnlyUnusable(Vec<PassedOver>),
    Found {
        name: String,
        /// Newer ones that were passed over on the way.
        passed_over: Vec<PassedOver>,
    },
}

/// Says whether a backup of this MySQLVersion may be restored here, or why not.
pub type VersionRule<'a> = &'a (dyn Fn(&Facts) -> Result<(), String> + Send + Sync);

/// One search. The caller takes names from [`Search::order`], looks at each MANIFEST in turn, and offers what it saw
/// until one is taken; so no more MANIFESTs are read than needed.
pub struct Search<'a> {
    wanted: &'a Wanted,
    /// Raw BackupMethods that may be restored; empty: any.
    allowed_engines: &'a [String],
    version: VersionRule<'a>,
    passed_over: Vec<PassedOver>,
    taken: Option<String>,
}

impl<'a> Search<'a> {
    pub fn new(wanted: &'a Wanted, allowed_engines: &'a [String], version: VersionRule<'a>) -> Self {
        Self { wanted, allowed_engines, version, passed_over: Vec::new(), taken: None }
    }

    /// The names worth looking at, in the order to look: newest (greatest as bytes) first.
    pub fn order(&self, listed: &[String]) -> Vec<String> {
        let mut names: Vec<String> = match self.wanted {
            Wanted::Named(name) => listed.iter().filter(|listed| *listed == name).cloned().collect(),
            Wanted::Latest | Wanted::AtOrBefore(_) => listed.to_vec(),
        };
        names.sort_unstable_by(|a, b| b.as_bytes().cmp(a.as_bytes()));
        names
    }

    /// True when this backup is the one; then look no further.
    pub fn offer(&mut self, name: &str, seen: &Seen) -> bool {
        match self.objection(seen) {
            None => {
                self.taken = Some(name.to_owned());
                true
            }
            Some(why) => {
                self.passed_over.push(PassedOver { name: name.to_owned(), why });
                false
            }
        }
    }

    pub fn conclude(self) -> Choice {
        match self.taken {
            Some(name) => Choice::Found { name, passed_over: self.passed_over },
            None if self.passed_over.is_empty() => Choice::Nothing,
            None => Choice::OnlyUnusable(self.passed_over),
        }
    }

    fn objection(&self, seen: &Seen) -> Option<Why> {
        let facts = match seen {
            Seen::Missing => return Some(Why::Incomplete),
            Seen::Unreadable(cause) => return Some(Why::ManifestUnreadable(cause.clone())),
            Seen::Readable(facts) => facts,
        };
        if !self.allowed_engines.is_empty() && !self.allowed_engines.contains(&facts.method) {
            return Some(Why::EngineNotAllowed(facts.method.clone()));
        }
        if facts.incremental {
            return Some(Why::Incremental);
        }
        if let Wanted::AtOrBefore(limit) = self.wanted {
            match facts.backup_time.parse::<jiff::Timestamp>() {
                Err(_) => return Some(Why::TimeUnknown(facts.backup_time.clone())),
                Ok(time) if time > *limit => return Some(Why::TooNew(time)),
                Ok(_) => {}
            }
        }
        (self.version)(facts).err().map(Why::VersionIncompatible)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn facts(time: &str) -> Facts {
        Facts {
            method: "builtin".into(),
            incremental: false,
            backup_time: time.into(),
            mysql_version: "Ver 9.7.4 MySQL".into(),
            upgrade_safe: false,
        }
    }

    fn search(wanted: &Wanted, engines: &[&str], listed: &[(&str, Seen)]) -> Choice {
        let engines: Vec<String> = engines.iter().map(ToString::to_string).collect();
        let version = |facts: &Facts| match &facts.mysql_version {
            text if text.contains("5.7") => Err(format!("{text} is too old")),
            _ => Ok(()),
        };
        let mut search = Search::new(wanted, &engines, &version);
        let names: Vec<String> = listed.iter().map(|(name, _)| (*name).to_owned()).collect();
        for name in search.order(&names) {
            let (_, seen) = listed.iter().find(|(listed, _)| *listed == name).unwrap();
            if search.offer(&name, seen) {
                break;
            }
        }
        search.conclude()
    }

    fn found(name: &str, passed_over: &[(&str, Why)]) -> Choice {
        Choice::Found { name: name.into(), passed_over: passed(passed_over) }
    }

    fn passed(list: &[(&str, Why)]) -> Vec<PassedOver> {
        list.iter().map(|(name, why)| PassedOver { name: (*name).into(), why: why.clone() }).collect()
    }

    const MONDAY: &str = "2024-01-01.000000.zone1-0000000101";
    const TUESDAY: &str = "2024-01-02.000000.zone1-0000000101";
    const WEDNESDAY: &str = "2024-01-03.000000.zone1-0000000101";

    fn week() -> Vec<(&'static str, Seen)> {
        vec![
            (MONDAY, Seen::Readable(facts("2024-01-01T00:00:00Z"))),
            (TUESDAY, Seen::Readable(facts("2024-01-02T00:00:00Z"))),
            (WEDNESDAY, Seen::Readable(facts("2024-01-03T00:00:00Z"))),
        ]
    }

    #[test]
    fn nothing_listed_is_an_answer_of_its_own() {
        assert_eq!(search(&Wanted::Latest, &[], &[]), Choice::Nothing);
    }

    #[test]
    fn the_latest_is_the_newest_by_name_whatever_the_order_of_the_list() {
        let mut listed = week();
        listed.reverse();
        assert_eq!(search(&Wanted::Latest, &[], &listed), found(WEDNESDAY, &[]));
    }

    #[rstest]
    #[case(Seen::Missing, Why::Incomplete)]
    #[case(Seen::Unreadable("Position is a number".into()), Why::ManifestUnreadable("Position is a number".into()))]
    #[case(Seen::Readable(Facts { incremental: true, ..facts("2024-01-03T00:00:00Z") }), Why::Incremental)]
    #[case(
        Seen::Readable(Facts { mysql_version: "Ver 5.7.44".into(), ..facts("2024-01-03T00:00:00Z") }),
        Why::VersionIncompatible("Ver 5.7.44 is too old".into())
    )]
    fn the_newest_is_passed_over_when_it_cannot_be_restored(#[case] newest: Seen, #[case] why: Why) {
        let mut listed = week();
        listed[2].1 = newest;
        assert_eq!(search(&Wanted::Latest, &[], &listed), found(TUESDAY, &[(WEDNESDAY, why)]));
    }

    #[test]
    fn a_stray_directory_alone_is_never_taken_for_no_backups_at_all() {
        assert_eq!(
            search(&Wanted::Latest, &[], &[("9999-junk", Seen::Missing)]),
            Choice::OnlyUnusable(passed(&[("9999-junk", Why::Incomplete)]))
        );
    }

    #[test]
    fn each_unusable_backup_says_why() {
        let listed = [
            (MONDAY, Seen::Missing),
            (TUESDAY, Seen::Unreadable("eof".into())),
            (WEDNESDAY, Seen::Readable(Facts { incremental: true, ..facts("") })),
        ];
        assert_eq!(
            search(&Wanted::Latest, &[], &listed),
            Choice::OnlyUnusable(passed(&[
                (WEDNESDAY, Why::Incremental),
                (TUESDAY, Why::ManifestUnreadable("eof".into())),
                (MONDAY, Why::Incomplete),
            ]))
        );
    }

    #[rstest]
    #[case("2024-01-02T00:00:00Z", TUESDAY)]
    #[case("2024-01-02T23:59:59Z", TUESDAY)]
    #[case("2024-01-01T00:00:00Z", MONDAY)]
    fn a_time_takes_the_newest_at_or_before_it(#[case] time: &str, #[case] name: &str) {
        let wanted = Wanted::AtOrBefore(time.parse().unwrap());
        let Choice::Found { name: taken, .. } = search(&wanted, &[], &week()) else { panic!("found none") };
        assert_eq!(taken, name);
    }

    #[test]
    fn the_manifests_time_decides_and_not_the_name() {
        let listed = [(WEDNESDAY, Seen::Readable(facts("2024-01-01T12:00:00Z")))];
        let wanted = Wanted::AtOrBefore("2024-01-02T00:00:00Z".parse().unwrap());
        assert_eq!(search(&wanted, &[], &listed), found(WEDNESDAY, &[]));
    }

    #[test]
    fn a_time_before_every_backup_finds_only_unusable_ones() {
        let time: jiff::Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
        let wanted = Wanted::AtOrBefore("2023-12-31T00:00:00Z".parse().unwrap());
        assert_eq!(search(&wanted, &[], &week()[..1]), Choice::OnlyUnusable(passed(&[(MONDAY, Why::TooNew(time))])));
    }

    #[test]
    fn a_backup_without_a_time_is_no_answer_to_a_time() {
        let wanted = Wanted::AtOrBefore("2024-01-02T00:00:00Z".parse().unwrap());
        assert_eq!(
            search(&wanted, &[], &[(MONDAY, Seen::Readable(facts("")))]),
            Choice::OnlyUnusable(passed(&[(MONDAY, Why::TimeUnknown(String::new()))]))
        );
    }

    #[test]
    fn an_allow_list_of_engines_compares_the_raw_method_so_an_absent_one_is_excluded_as_in_vitess() {
        let old = Seen::Readable(Facts { method: String::new(), ..facts("2024-01-03T00:00:00Z") });
        let mut listed = week();
        listed[2].1 = old.clone();
        let excluded = Why::EngineNotAllowed(String::new());
        assert_eq!(search(&Wanted::Latest, &["builtin"], &listed), found(TUESDAY, &[(WEDNESDAY, excluded)]));
        assert_eq!(search(&Wanted::Latest, &[], &listed), found(WEDNESDAY, &[]));
    }

    #[test]
    fn a_named_backup_is_taken_or_nothing_is() {
        assert_eq!(search(&Wanted::Named(TUESDAY.into()), &[], &week()), found(TUESDAY, &[]));
        assert_eq!(search(&Wanted::Named("2024-01-02".into()), &[], &week()), Choice::Nothing);
    }

    #[test]
    fn a_named_backup_that_cannot_be_restored_is_not_replaced_by_an_older_one() {
        let mut listed = week();
        listed[1].1 = Seen::Missing;
        assert_eq!(
            search(&Wanted::Named(TUESDAY.into()), &[], &listed),
            Choice::OnlyUnusable(passed(&[(TUESDAY, Why::Incomplete)]))
        );
    }
}
