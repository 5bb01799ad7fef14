//! Flags as they stand in a container's command line, which may also be a shell's script.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Container;

/// The flags of a container: names with dashes, whatever the spelling; the last one of a name wins, as in Go's pflag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(BTreeMap<String, String>);

impl Flags {
    /// Reads `--name=value`, `--name value`, `-name=value`, with dashes or underscores. `$(VAR)`, `${VAR}` and `$VAR` are
    /// replaced where the container's own env gives a plain value.
    pub fn of(container: &Container) -> Self {
        let words = words(container);
        let mut flags = BTreeMap::new();
        for (at, word) in words.iter().enumerate() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else { continue };
            let next = || words.get(at + 1).filter(|next| !next.starts_with('-')).cloned().unwrap_or_default();
            let with_next = || (flag, next());
            let (name, value) = flag.split_once('=').map_or_else(with_next, |(name, value)| (name, value.to_owned()));
            flags.insert(name.replace('_', "-"), value);
        }
        Self(flags)
    }

    /// Whether the flag is there, with a value or without.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The value of a flag; nothing when it is absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Whether the container runs this program: as its command, or somewhere in a shell's script.
pub fn runs(container: &Container, program: &str) -> bool {
    words(container).iter().any(|word| word.rsplit('/').next() == Some(program))
}

/// The plain value of a variable of the container.
pub fn variable<'a>(container: &'a Container, name: &str) -> Option<&'a str> {
    container.env.iter().flatten().find(|env| env.name == name)?.value.as_deref()
}

fn words(container: &Container) -> Vec<String> {
    let texts = container.command.iter().flatten().chain(container.args.iter().flatten());
    texts.flat_map(|text| split(&expand(text, container))).collect()
}

/// A text without white space is one word; any other is a shell's script.
fn split(text: &str) -> Vec<String> {
    if !text.contains(char::is_whitespace) {
        return vec![text.to_owned()];
    }
    let bare = |word: &str| word.replace(['"', '\''], "").trim_end_matches([';', '\\', '&']).to_owned();
    text.split_whitespace().map(bare).filter(|word| !word.is_empty()).collect()
}

fn expand(text: &str, container: &Container) -> String {
    let mut expanded = text.to_owned();
    // Longer names first, so that $VT does not eat the front of $VTDATAROOT.
    let mut variables: Vec<(&str, &str)> =
        container.env.iter().flatten().filter_map(|env| Some((env.name.as_str(), env.value.as_deref()?))).collect();
    variables.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, value) in variables {
        for spelled in [format!("$({name})"), format!("${{{name}}}"), format!("${name}")] {
            expanded = expanded.replace(&spelled, value);
        }
    }
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(yaml: &str) -> Container {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn flags_are_read_in_each_of_their_spellings() {
        let flags = Flags::of(&container(
            "{name: mysqld, command: [/vt/bin/mysqlctld], args: [--tablet_uid=101, -socket_file, /a.sock, --mysql-socket=$(ROOT)/b.sock], env: [{name: ROOT, value: /vt}]}",
        ));
        assert_eq!(flags.get("tablet-uid"), Some("101"));
        assert_eq!(flags.get("socket-file"), Some("/a.sock"));
        assert_eq!(flags.get("mysql-socket"), Some("/vt/b.sock"));
        assert_eq!(flags.get("tablet-dir"), None);
    }

    #[test]
    fn a_shells_script_is_read_word_by_word() {
        let mysqld = container(
            r#"{name: db, command: [sh, -ec, "mkdir -p $VTDATAROOT/tmp; exec /vt/bin/mysqlctld \\\n --socket_file=\"${VTDATAROOT}/vt_1/mysqlctl.sock\" \\\n --alsologtostderr;"], env: [{name: VT, value: no}, {name: VTDATAROOT, value: /vt/data}]}"#,
        );
        assert!(runs(&mysqld, "mysqlctld"));
        assert!(!runs(&mysqld, "mysqlctl"));
        assert_eq!(Flags::of(&mysqld).get("socket-file"), Some("/vt/data/vt_1/mysqlctl.sock"));
    }

    #[test]
    fn a_flag_without_value_has_none() {
        let flags = Flags::of(&container("{name: a, args: [--logtostderr, --tablet-dir=]}"));
        assert_eq!((flags.get("logtostderr"), flags.get("tablet-dir")), (None, None));
    }
}
