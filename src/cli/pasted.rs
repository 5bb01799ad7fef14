//! A tablet's own arguments, pasted behind `restore --on-pod-start`: what does not concern a restore is left out.
//!
//! Source of the grammar: Go's pflag. A boolean takes a value only behind an equals sign; every other flag takes the next
//! word when it has no equals sign.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::OnceLock;

use clap::{ArgAction, Command};

/// One flag a line, see the file.
const VTTABLETS: &str = include_str!("vttablet_flags.txt");

/// Flags that ask for a restore of another kind; to leave them out would be to restore something else.
const OTHER_RESTORES: [(&str, &str); 3] = [
    ("restore-with-clone", "it clones another tablet's data, which this program does not"),
    ("restore-to-timestamp", "no point in time between backups can be restored: use --restore-from-backup-ts"),
    ("restore-to-pos", "no point in time between backups can be restored: use --restore-from-backup-ts"),
];

/// A command line without what is vttablet's alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sifted {
    pub words: Vec<OsString>,
    /// The flags that were left out, without dashes, in their order.
    pub ignored: Vec<String>,
}

/// Whether these words, in kebab-case, are a restore on pod start. `variable` is the value of the flag's variable.
pub fn is_on_pod_start(words: &[OsString], variable: Option<&str>) -> bool {
    let restores = words.get(1).is_some_and(|word| word == "restore");
    let asked =
        |word: &OsString| word.to_str().is_some_and(|word| matches!(word, "--on-pod-start" | "--on-pod-start=true"));
    restores && (variable == Some("true") || words.iter().any(asked))
}

/// Leaves out what vttablet or mysqlctld know and `restore` does not, and writes booleans as `restore` takes them. What
/// neither knows stays, for clap to refuse.
///
/// # Errors
/// For a flag that asks for a restore of another kind, and for a boolean that is none, in one sentence.
pub fn sift(words: Vec<OsString>, restore: &Command) -> Result<Sifted, String> {
    let mut sifted = Sifted::default();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.to_str().and_then(|word| word.strip_prefix("--")).filter(|flag| !flag.is_empty()) else {
            sifted.words.push(word);
            continue;
        };
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
        let name = name.to_owned();
        if let Some((_, why)) = OTHER_RESTORES.iter().find(|(other, _)| *other == name) {
            if !matches!(value.as_deref(), Some("" | "false")) {
                return Err(format!("--{name}: {why}"));
            }
            continue;
        }
        let known = restore.get_arguments().find(|argument| argument.get_long() == Some(&name));
        match (known, vttablets().get(name.as_str())) {
            (Some(argument), _) if matches!(argument.get_action(), ArgAction::SetTrue) => {
                if value.as_deref().map_or(Ok(true), |value| boolean(&name, value))? {
                    sifted.words.push(format!("--{name}").into());
                }
            }
            (None, Some(&switch)) => {
                if !switch && value.is_none() {
                    words.next();
                }
                sifted.ignored.push(name);
            }
            (known, _) => {
                sifted.words.push(word);
                let takes_next = known.is_some_and(|argument| !argument.is_require_equals_set());
                if takes_next && value.is_none() {
                    sifted.words.extend(words.next());
                }
            }
        }
    }
    Ok(sifted)
}

/// Name → whether it is a boolean.
fn vttablets() -> &'static BTreeMap<&'static str, bool> {
    static FLAGS: OnceLock<BTreeMap<&'static str, bool>> = OnceLock::new();
    FLAGS.get_or_init(|| {
        let lines = VTTABLETS.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.strip_suffix(" switch").map_or((line, false), |name| (name, true))).collect()
    })
}

/// As Go's `strconv.ParseBool`.
fn boolean(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("--{name}={value}: write true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Arg;

    fn restore() -> Command {
        Command::new("restore")
            .arg(Arg::new("on").long("on-pod-start").action(ArgAction::SetTrue))
            .arg(Arg::new("fallback").long("fallback").action(ArgAction::SetTrue))
            .arg(Arg::new("rfb").long("restore-from-backup").num_args(0..=1).require_equals(true))
            .arg(Arg::new("keyspace").long("init-keyspace"))
            .arg(Arg::new("shard").long("init-shard"))
    }

    fn sifted(line: &str) -> Result<(String, String), String> {
        let words = line.split_whitespace().map(OsString::from).collect();
        let Sifted { words, ignored } = sift(words, &restore())?;
        let words: Vec<String> = words.into_iter().map(|word| word.into_string().unwrap()).collect();
        Ok((words.join(" "), ignored.join(" ")))
    }

    #[test]
    fn what_a_restore_needs_stays_and_what_is_vttablets_goes_with_its_value() {
        assert_eq!(
            sifted(
                "vitess-backup restore --on-pod-start --port 15000 --restore-from-backup --enable-replication-reporter \
                 --init-keyspace commerce --grpc-port=16000 --logtostderr --init-shard -80 --health-check-interval 2s"
            )
            .unwrap(),
            (
                "vitess-backup restore --on-pod-start --restore-from-backup --init-keyspace commerce --init-shard -80"
                    .to_owned(),
                "port enable-replication-reporter grpc-port logtostderr health-check-interval".to_owned()
            )
        );
    }

    #[test]
    fn the_value_of_a_boolean_stands_behind_an_equals_sign_only() {
        assert_eq!(sifted("--logtostderr restore --fallback=1").unwrap().0, "restore --fallback");
        assert_eq!(sifted("--fallback=F x").unwrap().0, "x");
        assert_eq!(
            sifted("--restore-from-backup=false --fallback").unwrap().0,
            "--restore-from-backup=false --fallback"
        );
        assert!(sifted("--fallback=maybe").unwrap_err().contains("write true or false"));
    }

    #[test]
    fn a_flag_that_nobody_knows_stays_to_be_refused() {
        assert_eq!(sifted("--restore-from-backups --port=1").unwrap().0, "--restore-from-backups");
    }

    #[test]
    fn another_kind_of_restore_is_refused_and_not_left_out() {
        for flag in ["--restore-with-clone", "--restore-to-timestamp=2026-01-01T00:00:00Z", "--restore-to-pos x"] {
            let error = sifted(flag).unwrap_err();
            assert!(error.starts_with(flag.split(['=', ' ']).next().unwrap()), "{error}");
        }
        assert_eq!(sifted("--restore-with-clone=false --restore-to-pos=").unwrap().0, "");
    }

    #[test]
    fn only_a_restore_on_pod_start_is_sifted() {
        let words = |line: &str| line.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        assert!(is_on_pod_start(&words("v restore --port 1 --on-pod-start"), None));
        assert!(is_on_pod_start(&words("v restore --port 1"), Some("true")));
        assert!(!is_on_pod_start(&words("v restore --port 1"), None));
        assert!(!is_on_pod_start(&words("v backup --on-pod-start"), Some("true")));
    }

    #[test]
    fn the_list_is_of_flags_in_kebab_case_each_once() {
        let lines: Vec<&str> = VTTABLETS.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines.len(), vttablets().len());
        assert!(lines.len() > 400);
        let odd =
            |name: &&&str| !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c));
        assert_eq!(vttablets().keys().find(odd), None);
    }
}
