//! What the objects of the cluster say together, counted anew at each scrape: nothing to lose when the operator is
//! started again, and nothing left behind when an object goes.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// How many label sets one metric may have. Shards, storages and namespaces are few; whoever makes more of them than this
/// gets no series for the rest, and `vitess_backup_series_left_out` says how many.
pub const MOST_SERIES: usize = 5000;

/// A VitessBackup or a VitessRestore as the metrics see it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSeen<'a> {
    pub kind: &'static str,
    pub namespace: &'a str,
    /// `<keyspace>/<shard>`; absent until it is known.
    pub shard: Option<&'a str>,
    pub tablet_alias: Option<&'a str>,
    pub state: RunState,
    /// The condition TabletRecovered, if it is there: true, or false when it says that the tablet could not be put back.
    pub tablet_recovered: Option<bool>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RunState {
    /// In this phase, for as long as the object exists.
    Unfinished {
        phase: &'static str,
        created: Option<Timestamp>,
    },
    Succeeded(Success),
    Failed {
        finished: Timestamp,
    },
    /// Of no interest: cancelled, or of an end that nobody knows the time of.
    Ended,
}

/// How a run that succeeded went. What is unknown is absent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Success {
    pub finished: Timestamp,
    pub duration_seconds: Option<f64>,
    /// Bytes as stored.
    pub size_bytes: Option<i64>,
    pub downtime_seconds: Option<i64>,
}

/// A VitessBackupStorage as the metrics see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StorageSeen {
    /// Whether runs can use it; absent while nobody knows.
    pub reachable: Option<bool>,
    pub inventory: Option<Inventory>,
}

/// What was found in a storage at the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    pub backups: i64,
    pub incomplete: i64,
    pub bytes: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardKey {
    pub kind: &'static str,
    pub namespace: String,
    pub keyspace: String,
    pub shard: String,
}

/// The last runs of one kind that a shard had.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ShardSeen {
    pub success: Option<Success>,
    pub failed: Option<Timestamp>,
}

impl ShardSeen {
    /// Whether the last run that ended failed.
    pub fn last_failed(&self) -> bool {
        self.failed > self.success.map(|success| success.finished)
    }
}

/// Runs that have not ended, of one kind and phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    pub runs: i64,
    pub oldest: Option<Timestamp>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Census {
    pub shards: BTreeMap<ShardKey, ShardSeen>,
    pub queue: BTreeMap<(&'static str, &'static str), Queue>,
    /// By namespace and name.
    pub storages: BTreeMap<(String, String), StorageSeen>,
    /// The last run of each tablet that ended: when, and whether it left the tablet as it should not be.
    tablets: BTreeMap<(String, String), (Timestamp, bool)>,
    pub left_out: i64,
}

impl Census {
    /// Counts one run in.
    pub fn add_run(&mut self, run: &RunSeen<'_>) {
        match &run.state {
            RunState::Unfinished { phase, created } => {
                let queue = self.queue.entry((run.kind, *phase)).or_default();
                queue.runs += 1;
                queue.oldest = [queue.oldest, *created].into_iter().flatten().min();
            }
            RunState::Succeeded(success) => {
                self.tablet(run, success.finished);
                if let Some(shard) = self.shard(run) {
                    let newer = shard.success.is_none_or(|known| known.finished < success.finished);
                    shard.success = if newer { Some(*success) } else { shard.success };
                }
            }
            RunState::Failed { finished } => {
                self.tablet(run, *finished);
                if let Some(shard) = self.shard(run) {
                    shard.failed = shard.failed.max(Some(*finished));
                }
            }
            RunState::Ended => {}
        }
    }

    /// Counts one storage in.
    pub fn add_storage(&mut self, namespace: String, name: String, seen: StorageSeen) {
        if self.storages.len() < MOST_SERIES {
            self.storages.insert((namespace, name), seen);
        } else {
            self.left_out += 1;
        }
    }

    /// How many tablets of each namespace were not put back by the last run that they had.
    pub fn tablets_not_recovered(&self) -> BTreeMap<&str, i64> {
        let mut counts = BTreeMap::new();
        for ((namespace, _), (_, left)) in &self.tablets {
            *counts.entry(namespace.as_str()).or_insert(0) += i64::from(*left);
        }
        counts
    }

    fn tablet(&mut self, run: &RunSeen<'_>, finished: Timestamp) {
        let Some(alias) = run.tablet_alias else { return };
        let left = run.tablet_recovered == Some(false);
        let known = self.tablets.entry((run.namespace.to_owned(), alias.to_owned())).or_insert((finished, left));
        if known.0 <= finished {
            *known = (finished, left);
        }
    }

    fn shard(&mut self, run: &RunSeen<'_>) -> Option<&mut ShardSeen> {
        let (keyspace, shard) = run.shard?.split_once('/')?;
        let key = ShardKey {
            kind: run.kind,
            namespace: run.namespace.to_owned(),
            keyspace: keyspace.to_owned(),
            shard: shard.to_owned(),
        };
        if self.shards.len() >= MOST_SERIES && !self.shards.contains_key(&key) {
            self.left_out += 1;
            return None;
        }
        Some(self.shards.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn success(finished: i64) -> Success {
        Success { finished: at(finished), duration_seconds: None, size_bytes: Some(finished), downtime_seconds: None }
    }

    fn run(shard: &str, state: RunState) -> RunSeen<'_> {
        RunSeen {
            kind: "VitessBackup",
            namespace: "demo",
            shard: Some(shard),
            tablet_alias: Some("zone1-0000000101"),
            state,
            tablet_recovered: None,
        }
    }

    #[test]
    fn a_shard_has_its_newest_success_whatever_the_order_and_a_failure_counts_while_it_is_newer() {
        let mut census = Census::default();
        for finished in [20, 30, 10] {
            census.add_run(&run("commerce/-80", RunState::Succeeded(success(finished))));
        }
        let key = ShardKey {
            kind: "VitessBackup",
            namespace: "demo".into(),
            keyspace: "commerce".into(),
            shard: "-80".into(),
        };
        assert_eq!(census.shards[&key], ShardSeen { success: Some(success(30)), failed: None });
        assert!(!census.shards[&key].last_failed());
        census.add_run(&run("commerce/-80", RunState::Failed { finished: at(25) }));
        assert!(!census.shards[&key].last_failed(), "a success came after it");
        census.add_run(&run("commerce/-80", RunState::Failed { finished: at(35) }));
        assert!(census.shards[&key].last_failed());
        census.add_run(&run("commerce/0", RunState::Ended));
        assert_eq!(census.shards.len(), 1);
    }

    #[test]
    fn runs_that_have_not_ended_are_counted_by_phase_with_the_time_of_the_oldest() {
        let mut census = Census::default();
        for (phase, created) in [("Pending", Some(at(7))), ("Pending", Some(at(3))), ("Running", None)] {
            census.add_run(&run("commerce/0", RunState::Unfinished { phase, created }));
        }
        let pending = Queue { runs: 2, oldest: Some(at(3)) };
        let expected =
            [(("VitessBackup", "Pending"), pending), (("VitessBackup", "Running"), Queue { runs: 1, oldest: None })];
        assert_eq!(census.queue, expected.into());
    }

    #[test]
    fn a_tablet_that_was_not_put_back_counts_until_a_later_run_on_it_ends_well() {
        let mut census = Census::default();
        let left = RunSeen { tablet_recovered: Some(false), ..run("commerce/0", RunState::Failed { finished: at(5) }) };
        census.add_run(&left);
        assert_eq!(census.tablets_not_recovered(), [("demo", 1)].into());
        let restore = RunSeen { kind: "VitessRestore", ..run("commerce/0", RunState::Succeeded(success(9))) };
        census.add_run(&restore);
        assert_eq!(census.tablets_not_recovered(), [("demo", 0)].into());
    }

    #[test]
    fn more_shards_than_a_metric_may_have_series_are_left_out_and_counted() {
        let mut census = Census::default();
        for number in 0..MOST_SERIES + 3 {
            census.add_run(&run(&format!("commerce/{number}"), RunState::Succeeded(success(1))));
        }
        census.add_run(&run("commerce/0", RunState::Succeeded(success(2))));
        assert_eq!((census.shards.len(), census.left_out), (MOST_SERIES, 3));
        let first = census.shards.values().filter(|seen| seen.success == Some(success(2))).count();
        assert_eq!(first, 1, "those that are known go on");
    }
}
